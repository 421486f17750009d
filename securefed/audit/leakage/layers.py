"""Which tensors of an update say something about the text: by the names that transformers and peft give them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from securefed.audit.leakage.row_span import Evidence
from securefed.audit.leakage.sequences import Decoder, Recovered, recover
from securefed.errors import ConfigError

__all__ = ["attention_evidence", "embedding_update", "recover_from_update"]

_ATTENTION: Final = re.compile(
    r"\.(?P<layer>\d+)\.(?:[a-z_]+\.)*?(?P<kind>q_proj|k_proj|v_proj|c_attn|query_key_value|qkv_proj)"
    r"(?:\.base_layer)?\.(?P<part>weight|lora_A|lora_B)(?:\.\w+)*$"
)
_EMBEDDING: Final = re.compile(r"(?:^|\.)(?:embed_tokens|wte)(?:\.[a-z_]+)*\.weight$")
_TRANSPOSED: Final = "c_attn"
"""GPT-2 keeps its weights as [inputs, outputs]."""


def attention_evidence(
    update: Mapping[str, npt.ArrayLike],
    before: Mapping[str, npt.ArrayLike],
    layer: int,
    *,
    noise: float = 0.0,
) -> list[Evidence]:
    """What the update says about the input of one attention layer's projections.

    Whole weights with the same input are stacked. Of a LoRA, the update of B is held against the A that the client
    began with, which is exact where A is frozen or one SGD step was made, and that of A where it is not zero.

    Args:
        update: new − old, by name, of one client.
        before: the old tensors by the same names: the A of LoRAs, and the others for the size of their rounding.
        layer: from 0.
        noise: see `RowSpan.of`.

    Raises:
        ConfigError: no tensor of this layer's query, key or value projection is in the update, or the A of a LoRA is
            not known.
    """
    whole: list[tuple[npt.NDArray[np.float64], float]] = []
    evidence: list[Evidence] = []
    for name, value in update.items():
        match = _ATTENTION.search(name)
        if match is None or int(match["layer"]) != layer:
            continue
        change, rounding = np.asarray(value, np.float64), _rounding(value, before.get(name))
        if match["part"] == "weight":
            whole.append((change.T if match["kind"] == _TRANSPOSED else change, rounding))
            continue
        if match["part"] == "lora_B":
            a = name.replace("lora_B", "lora_A")
            if a not in before:
                raise ConfigError("leakage.update", f"{a} is not among the tensors before the update")
            evidence.append(Evidence.of_lora_b(change, before[a], noise=noise, rounding=rounding))
        elif change.any():
            evidence.append(Evidence.of_lora_a(change, noise=noise, rounding=rounding))
    if whole:
        stacked = np.concatenate([change for change, _ in whole])
        rounding = max(rounding for _, rounding in whole)
        evidence.append(Evidence.of_weight(stacked, noise=noise, rounding=rounding))
    if not evidence:
        raise ConfigError("leakage.update", f"no query, key or value projection of layer {layer} is in the update")
    return evidence


def recover_from_update(
    decoder: Decoder,
    update: Mapping[str, npt.ArrayLike],
    before: Mapping[str, npt.ArrayLike],
    *,
    longest: int,
    most: int = 1000,
    noise: float = 0.0,
) -> Recovered:
    """The tokens that a client's update gives away, and its texts where the second layer was trained too.

    Args:
        decoder: the model before the update.
        update, before: as in `attention_evidence`.
        longest, most: see `recover`.
        noise: see `RowSpan.of`.

    Raises:
        ConfigError: the first layer's projections are not in the update; or as `recover`.
    """
    first = attention_evidence(update, before, 0, noise=noise)
    try:
        second = attention_evidence(update, before, 1, noise=noise)
    except ConfigError:
        second = []  # only the first layer was trained: tokens, and no texts
    return recover(decoder, first, second, longest=longest, most=most)


def _rounding(update: npt.ArrayLike, before: npt.ArrayLike | None) -> float:
    """Standard deviation of new − old from the rounding of both, where they are floats of 32 bits or fewer."""
    if before is None:
        return 0.0
    old, kind = np.asarray(before), np.asarray(update).dtype
    if kind.kind != "f" or kind.itemsize > 4:
        return 0.0
    return float(np.sqrt((old.astype(np.float64) ** 2).mean()) * np.finfo(kind).eps / math.sqrt(12))


def embedding_update(update: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.float64] | None:
    """The update of the table of token embeddings, [vocabulary, width]; None where it was not trained."""
    for name, value in update.items():
        if _EMBEDDING.search(name):
            return np.asarray(value, np.float64)
    return None
