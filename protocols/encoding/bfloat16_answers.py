"""The good vectors of bfloat16: edges of the format, and means about which a rounding errs."""

from protocols.encoding import bfloat16
from protocols.encoding.known_answers import number
from protocols.vector_files import VectorFile, seeded_double


def bfloat16_numbers() -> VectorFile:
    """Bits to values, and means to bits."""
    file = VectorFile("encoding", "bfloat16", "The value of a bfloat16's 16 bits, and the bits that a mean rounds to.")
    edges = (0x0000, 0x0001, 0x007F, 0x0080, 0x3F80, 0x3FC0, 0x42F7, 0x7F7F, 0x7F80, 0x7FC0)
    for bits in (*edges, *(bfloat16.SIGN | bits for bits in edges)):
        file.vectors.append({"bits": bits, "value": number(bfloat16.value(bits))})
    one, least, greatest = 1.0, 2.0**-133, (2.0 - 2.0**-7) * 2.0**127
    means = [
        *(one + 2.0**-8, one + 3 * 2.0**-8),  # ties: down to even, up to even
        *(one + 2.0**-8 + 2.0**-52, one + 3 * 2.0**-8 - 2.0**-51),  # a float32 on the way would make ties of them
        *(0.0, least / 2, least / 2 + 2.0**-180, 1.5 * least, 5e-324, 2.0**-126 - least / 2),
        *(greatest, greatest + 2.0**119 - 2.0**75, greatest + 2.0**119, 2.0**128, 1e300),
        *(seeded_double(f"bfloat16/{i}", 2.0**i) for i in range(-140, 129, 20)),
    ]
    for mean in (*means, *(-mean for mean in means)):
        file.vectors.append({"mean": mean, "bits": bfloat16.nearest(mean)})
    return file
