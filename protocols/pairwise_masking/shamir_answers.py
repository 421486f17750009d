"""The vectors of Shamir's sharing, good and bad."""

from protocols.pairwise_masking.shamir import P, combine, share
from protocols.vector_files import Vector, VectorFile, seed, seeded_bytes, seeded_integer


def number(x: int) -> str:
    """An integer modulo p as 33 bytes, big-endian, in hex."""
    return x.to_bytes(33, "big").hex()


def sharing(operation: str, threshold: int, shares: list[tuple[int, int]], **rest: str) -> Vector:
    """One operation on shares, given as indices and values."""
    return {
        "operation": operation,
        "threshold": threshold,
        "indices": [index for index, _ in shares],
        "shares": [number(value) for _, value in shares],
        **rest,
    }


def splits() -> list[tuple[int, list[int], list[int]]]:
    """Secrets, polynomials, and indices."""

    def polynomial(name: str, length: int) -> list[int]:
        return [int.from_bytes(seeded_bytes(f"{name}/{m}", 48), "big") % P for m in range(length)]

    return [
        (int.from_bytes(seed("shamir/1"), "big"), polynomial("one", 0), [1, 2]),
        (int.from_bytes(seed("shamir/2"), "big"), polynomial("two", 1), [1, 2, 3]),
        (int.from_bytes(seed("shamir/3"), "big"), polynomial("three", 2), [1, 7, 1000, 2**32 - 1]),
        (int.from_bytes(seed("shamir/4"), "big"), polynomial("four", 6), [2, 3, 5, 7, 11, 13, 17, 19, 23]),
        (0, polynomial("five", 2), [1, 2, 3]),
        (2**256 - 1, [P - 1, 0, P - 1], [1, 2, 3, 2**31]),
        (5, [0, 0], [4, 8, 9]),
    ]


def shamir_sharing() -> VectorFile:
    """Secrets shared and combined; combinations that are refused."""
    file = VectorFile(
        "pairwise_masking",
        "shamir",
        "Shamir's sharing modulo 2^256 + 297: `share` splits, `combine` joins the first `threshold`; bad ones "
        "name the rule.",
    )
    for secret, polynomial, indices in splits():
        threshold = len(polynomial) + 1
        shares = [(index, share(secret, polynomial, index)) for index in indices]
        inputs = {"secret": number(secret)}
        split = sharing("share", threshold, shares, **inputs)
        file.vectors.append(split | {"coefficients": [number(a) for a in polynomial]})
        file.vectors.append(sharing("combine", threshold, shares[::-1], **inputs))
    beyond = combine([(1, P - 1), (2, P - 5)], 2)
    file.vectors.append(sharing("combine", 2, [(1, P - 1), (2, P - 5)], secret=number(beyond)))
    good = [(index, seeded_integer(f"share/{index}", 2**200)) for index in (1, 2, 3)]
    bad: list[tuple[str, str, list[tuple[int, int]]]] = [
        ("S1", "a share that is p", [*good[:2], (3, P)]),
        ("S1", "a share of 33 bytes of ones", [(1, 2**264 - 1), *good[1:]]),
        ("S2", "index 0", [(0, 5), *good[1:]]),
        ("S2", "an index twice, with the same share", [good[0], *good]),
        ("S2", "an index twice, with another share", [good[0], good[1], (1, 8)]),
        ("S3", "a share less than the threshold", good[:2]),
        ("S3", "no share", []),
    ]
    for rule, name, shares in bad:
        file.vectors.append({"name": name, "rule": rule} | sharing("combine", 3, shares))
    return file
