"""What was released, what it cost, and the book that does not forget it. The text is `protocols/dp_sgd/README.md`.

Needs numpy alone until an ε is asked for: then the extra `securefed[dp]`.
"""

from securefed.dp.accounting.accountant import Accountant, epsilon, used_accountant
from securefed.dp.accounting.calibration import effective_multiplier, noise_multiplier, skellam_variance
from securefed.dp.accounting.certificate import Certificate, recompute
from securefed.dp.accounting.events import (
    DiscreteGaussianSum,
    Event,
    Failure,
    Gaussian,
    PoissonSampled,
    Relation,
    Skellam,
    TruncatedPoissonSampled,
    event_from_json,
)
from securefed.dp.accounting.ledger import Ledger
from securefed.dp.accounting.ledger_file import Head
from securefed.dp.accounting.unit import Unit

__all__ = [
    "Accountant", "Certificate", "DiscreteGaussianSum", "Event", "Failure", "Gaussian", "Head", "Ledger",
    "PoissonSampled", "Relation", "Skellam", "TruncatedPoissonSampled", "Unit", "effective_multiplier", "epsilon",
    "event_from_json", "noise_multiplier", "recompute", "skellam_variance", "used_accountant",
]  # fmt: skip
