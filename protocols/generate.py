"""`python -m protocols.generate` writes all vectors anew; with `--check` it only says whether that changes any."""

import sys

from protocols.distributed_noise import known_answers as distributed_noise
from protocols.distributed_noise import refusals as distributed_noise_refusals
from protocols.distributed_noise import sampler_answers
from protocols.dp_sgd import client_level_answers, matrix_answers
from protocols.dp_sgd import known_answers as dp_sgd
from protocols.encoding import bfloat16_answers
from protocols.encoding import known_answers as encoding
from protocols.encoding import refusals as encoding_refusals
from protocols.he_aggregation import client_refusals as he_client
from protocols.he_aggregation import golden as he_golden
from protocols.he_aggregation import holder_refusals as he_holder
from protocols.he_aggregation import known_answers as he_aggregation
from protocols.he_aggregation import message_answers as he_messages
from protocols.he_aggregation import message_refusals as he_refusals
from protocols.he_aggregation import rounds as he_rounds
from protocols.he_aggregation import server_refusals as he_server
from protocols.he_aggregation import slot_answers as he_slots
from protocols.pairwise_masking import (
    client_answers,
    client_refusals,
    client_refusals_prepared,
    client_refusals_signed,
    client_refusals_sparse,
    graph_answers,
    rounds,
    server_refusals,
    server_refusals_prepared,
    server_refusals_signed,
    shamir_answers,
)
from protocols.pairwise_masking import known_answers as pairwise_masking
from protocols.pairwise_masking import wrong_shares as wrong
from protocols.vector_files import VectorFile
from protocols.wire import bundle_answers, named_refusals
from protocols.wire import known_answers as wire
from protocols.wire import refusals as wire_refusals


def files() -> list[VectorFile]:
    """All vector files, from fixed seeds."""
    return [
        wire.messages(),
        wire.specifications(),
        wire_refusals.refused(),
        named_refusals.refused_named(),
        bundle_answers.bundles(),
        encoding.layouts(),
        bfloat16_answers.bfloat16_numbers(),
        encoding.quantisation(),
        encoding.scalars(),
        encoding.lanes(),
        encoding.packing(),
        encoding.aggregates(),
        encoding_refusals.refused(),
        pairwise_masking.derivations(),
        pairwise_masking.streams(),
        shamir_answers.shamir_sharing(),
        graph_answers.parameters(),
        graph_answers.picks(),
        rounds.rounds(),
        rounds.rounds_signed(),
        rounds.rounds_sparse(),
        rounds.rounds_sparse_signed(),
        rounds.rounds_prepared(),
        client_refusals.client_refuses(),
        client_refusals_signed.client_refuses_signed(),
        client_refusals_sparse.client_refuses_sparse(),
        client_refusals_prepared.client_refuses_prepared(),
        client_answers.client_goes_on(),
        client_answers.client_goes_on_signed(),
        client_refusals_prepared.client_goes_on_prepared(),
        server_refusals.server_refuses(),
        server_refusals_signed.server_refuses_signed(),
        server_refusals_prepared.server_refuses_prepared(),
        wrong.wrong_shares(),
        wrong.wrong_shares_signed(),
        he_aggregation.parameters(),
        he_aggregation.derivations(),
        he_aggregation.lanes_and_bits(),
        he_aggregation.encryption(),
        he_aggregation.tagged(),
        he_messages.messages(),
        he_refusals.refused(),
        he_golden.ciphertexts(),
        he_rounds.rounds(),
        he_client.client_refuses(),
        he_holder.holder_refuses(),
        he_server.server_refuses(),
        he_slots.slots(),
        he_slots.slots_holder_refuses(),
        distributed_noise.parameters(),
        distributed_noise.rotation(),
        distributed_noise.rounding(),
        distributed_noise.clients(),
        distributed_noise.means(),
        distributed_noise.rounds(),
        distributed_noise_refusals.refused(),
        sampler_answers.samplers(),
        *dp_sgd.files(),
        matrix_answers.matrices(),
        client_level_answers.client_levels(),
    ]


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` name those that differ. Returns the exit status."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m protocols.generate [--check]", file=sys.stderr)
        return 2
    changed = []
    for file in files():
        text = file.render()
        if file.path.is_file() and file.path.read_text(encoding="utf-8") == text:
            continue
        changed.append(file)
        if not arguments:
            file.path.parent.mkdir(exist_ok=True)
            file.path.write_text(text, encoding="utf-8")
    for file in changed:
        print(f"{'differs' if arguments else 'written'}: {file.protocol}/vectors/{file.name}.json")
    return 1 if arguments and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
