"""Attacks that measure what is given away: to users of a model, and to a server that reads an update.

Each gives a result with units, intervals and the adversary that it stands for (`measured`). They are lower bounds of
what can be taken: a better attack may find more.

- `exposure`, `canaries`: how far random secrets were learnt by heart.
- `membership`, `ranking`: who was in the training.
- `embedding_rows`, `row_span`, `sequences`, `recovery`: a client's text out of its update; `layers` finds the tensors,
  `transformers_models` the models' part.

All but `transformers_models` is numpy (and SciPy's special functions) on arrays.
"""

from securefed.audit.leakage.canaries import CanaryFormat, InsertionPlan
from securefed.audit.leakage.embedding_rows import changed_rows, row_strengths
from securefed.audit.leakage.exposure import Exposure, exposure
from securefed.audit.leakage.intervals import Interval, Proportion
from securefed.audit.leakage.layers import attention_evidence, embedding_update, recover_from_update
from securefed.audit.leakage.measured import Figure, Measured, Sees, table
from securefed.audit.leakage.membership import (
    MembershipInference,
    calibrated_loss,
    likelihood_ratio,
    membership_inference,
    offline_likelihood_ratio,
    plain_loss,
)
from securefed.audit.leakage.ranking import OperatingPoint, auc, operating_point
from securefed.audit.leakage.recovery import TokenRecovery, token_recovery
from securefed.audit.leakage.row_span import Evidence, RowSpan
from securefed.audit.leakage.sequences import Decoder, Recovered, likeliest, recover
from securefed.audit.leakage.transformers_models import HuggingFaceDecoder, HuggingFaceLosses

__all__ = [
    "CanaryFormat",
    "Decoder",
    "Evidence",
    "Exposure",
    "Figure",
    "HuggingFaceDecoder",
    "HuggingFaceLosses",
    "InsertionPlan",
    "Interval",
    "Measured",
    "MembershipInference",
    "OperatingPoint",
    "Proportion",
    "Recovered",
    "RowSpan",
    "Sees",
    "TokenRecovery",
    "attention_evidence",
    "auc",
    "calibrated_loss",
    "changed_rows",
    "embedding_update",
    "exposure",
    "likeliest",
    "likelihood_ratio",
    "membership_inference",
    "offline_likelihood_ratio",
    "operating_point",
    "plain_loss",
    "recover",
    "recover_from_update",
    "row_strengths",
    "table",
    "token_recovery",
]
