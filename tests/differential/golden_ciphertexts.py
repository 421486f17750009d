"""`python -m tests.differential.golden_ciphertexts` draws the ciphertexts of protocols/he_aggregation that are missing.

They are approximate ones: seeds and errors are the library's own, so every run gives others, and what is stored must
go on to load. It is drawn once for a version of the protocol; `python -m protocols.generate` fills in the rest.
"""

from __future__ import annotations

from protocols.he_aggregation.golden import NAME, SCENARIOS
from protocols.vector_files import VectorFile, load
from tests.differential.he_rounds import NUMBERS, Stage, play_vector


def main() -> None:
    """Play each round that the file lacks, and keep what its clients sent in the input stage."""
    file = VectorFile("he_aggregation", NAME, "Drawn, and not complete: run python -m protocols.generate.")
    stored = {v["name"]: v for v in load(file.protocol, NAME)["vectors"]} if file.path.is_file() else {}
    for scenario in SCENARIOS:
        if scenario.name in stored:
            file.vectors.append({name: stored[scenario.name][name] for name in ("name", "messages")})
            continue
        clients = [scenario.client_vector(client) for client in scenario.cohort]
        vector = {"suite": scenario.suite, **scenario.context_vector(), "clients": clients}
        _, played = play_vector(vector)
        messages = [message for stage, sender, _, message in played.sent if stage == NUMBERS[Stage.INPUT] and sender]
        file.vectors.append({"name": scenario.name, "messages": [message.hex() for message in messages]})
    file.path.parent.mkdir(exist_ok=True)
    file.path.write_text(file.render(), encoding="utf-8")


if __name__ == "__main__":
    main()
