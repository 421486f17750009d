"""NVIDIA FLARE on securefed: rounds over the Collab API, and filters for schemes of one exchange.

On a site, `secure_site` turns a function that trains into one that is published and answers the server in a secure
round. On the server, `SecureRounds` asks all sites and gives the new weights. `QuantizeUpdate`, `OfferRound` and
`ExactSum` are for NVFlare's own workflows, and protect nothing. See `docs/how-to/nvflare.md`.
"""

from securefed.integrations.nvflare.exact_sum import ExactSum
from securefed.integrations.nvflare.filters import OfferRound, QuantizeUpdate
from securefed.integrations.nvflare.rounds import Averaged, SecureRounds
from securefed.integrations.nvflare.site import CLIENT_FILE_VARIABLE, secure_site

__all__ = [
    "CLIENT_FILE_VARIABLE", "Averaged", "ExactSum", "OfferRound", "QuantizeUpdate", "SecureRounds", "secure_site",
]  # fmt: skip
