"""Homomorphic aggregation: clients encrypt, the server adds what it cannot read, one client opens the sum.

`protocols/he_aggregation/README.md` specifies it. The exact schemes need numpy and cryptography alone; this is the one
room that imports TenSEAL, for the approximate ones (extra `he`).
"""

from securefed.he.scheme import HomomorphicScheme, bfv, bfv_2048, ckks, ckks_compact

__all__ = ["HomomorphicScheme", "bfv", "bfv_2048", "ckks", "ckks_compact"]
