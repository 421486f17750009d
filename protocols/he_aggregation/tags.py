"""Tags that add up with the values they belong to, and the check of a sum."""

from collections.abc import Iterable

from protocols.encoding.reference import digit_count, digits, from_digits
from protocols.he_aggregation.parameters import TAGS
from protocols.notation import KDF, require, stream_words, u8, u32

P = 2**61 - 1


def coefficients(round_key: bytes, B: bytes, tag: int, lanes: int) -> list[int]:
    """c_j, one a lane, the same for all clients."""
    return stream_words(KDF(round_key, "tag-coefficients", B + u8(tag)), lanes, 4)


def pads(round_key: bytes, B: bytes, client: int) -> list[int]:
    """pad_j of one client, one a tag."""
    return [piece % P for piece in stream_words(KDF(round_key, "tag-pads", B + u32(client)), TAGS, 16)]


def weighted(round_key: bytes, B: bytes, tag: int, lanes: list[int]) -> int:
    """Σ_m c_j[m] · v[m]."""
    return sum(c * v for c, v in zip(coefficients(round_key, B, tag, len(lanes)), lanes, strict=True))


def tags(round_key: bytes, B: bytes, client: int, lanes: list[int]) -> list[int]:
    """τ_j of one client's lane values."""
    own = pads(round_key, B, client)
    return [(weighted(round_key, B, j, lanes) + own[j]) % P for j in range(TAGS)]


def with_tags(round_key: bytes, B: bytes, client: int, lanes: list[int], bits: int) -> list[int]:
    """What the client encrypts: its lane values, then its tags in digits."""
    return lanes + [digit for tag in tags(round_key, B, client, lanes) for digit in digits(tag, bits)]


def check_sum(round_key: bytes, B: bytes, clients: Iterable[int], sums: list[int], bits: int) -> list[int]:
    """The sums of the values, without those of the tags. Raises H5 unless they are those over exactly these clients."""
    D = digit_count(bits)
    values, behind = sums[: len(sums) - TAGS * D], sums[len(sums) - TAGS * D :]
    all_pads = [pads(round_key, B, client) for client in clients]
    for j in range(TAGS):
        found = from_digits(behind[j * D : (j + 1) * D], bits)
        due = weighted(round_key, B, j, values) + sum(own[j] for own in all_pads)
        require((due - found) % P == 0, "H5", f"tag {j} does not fit")
    return values
