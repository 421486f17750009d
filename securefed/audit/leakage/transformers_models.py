"""Models of transformers (and of peft around them) as the attacks want them: losses, and the inputs of two layers.

Any other model can be attacked by writing these two for it: a callable from token sequences to losses, and a
`sequences.Decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from securefed.errors import ConfigError

__all__ = ["HuggingFaceDecoder", "HuggingFaceLosses"]

Floats = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int64]

_PROJECTION: Final = re.compile(r"\.(\d+)\.(?:[a-z_]+\.)*?(?:q_proj|c_attn|query_key_value|qkv_proj)$")
_BATCH: Final = 1024


def _torch() -> Any:
    try:
        return import_module("torch")
    except ModuleNotFoundError:
        raise ConfigError("leakage", "attacking a model needs torch: install the extra securefed[llm]") from None


class HuggingFaceLosses:
    """Mean token losses of texts under a causal language model, in nats.

    Args:
        model: whose call takes `input_ids` and gives `logits`; it is used in evaluation mode and left in the mode it
            was in.
        start: the first token whose loss counts, ≥ 1: the place of a secret, where its prefix is the same in all.
        stop: the token at which counting stops; None for the end.
    """

    def __init__(self, model: Any, *, start: int = 1, stop: int | None = None) -> None:
        if start < 1:
            raise ConfigError("leakage", f"start = {start}: the first token has no loss, take 1 or more")
        self._model = model
        self._counted = slice(start - 1, None if stop is None else stop - 1)

    def __call__(self, texts: Sequence[Sequence[int]] | Tokens) -> Floats:
        """[n] of n texts, of two tokens or more each.

        Raises:
            ConfigError: a text has no token that counts.
        """
        torch = _torch()
        rows = [np.asarray(text, np.int64) for text in texts]
        losses = np.full(len(rows), np.nan)
        for length in sorted({len(row) for row in rows}):
            same = [number for number, row in enumerate(rows) if len(row) == length]
            for begin in range(0, len(same), _BATCH // 8):
                part = same[begin : begin + _BATCH // 8]
                tokens = torch.from_numpy(np.stack([rows[number] for number in part])).to(_device(self._model))
                with _evaluation(self._model):
                    logits = self._model(input_ids=tokens).logits[:, :-1].double()
                each = logits.logsumexp(-1) - logits.gather(-1, tokens[:, 1:, None])[..., 0]
                counted = each[:, self._counted]
                if not counted.shape[1]:
                    raise ConfigError("leakage", f"a text of {length} tokens has none whose loss counts")
                losses[part] = counted.mean(dim=1).cpu().numpy()
        return losses


class HuggingFaceDecoder:
    """The inputs of the first two attention layers' projections of a causal language model.

    Args:
        model: the one that the client trained from; its call takes `input_ids` and `position_ids`.

    Raises:
        ConfigError: it has not two attention layers whose projections are named as usual (`q_proj`, `c_attn`, …).
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        layers: dict[int, Any] = {}
        for name, module in model.named_modules():
            match = _PROJECTION.search(name)
            if match:
                layers.setdefault(int(match[1]), module)
        if not {0, 1} <= set(layers):
            raise ConfigError(
                "leakage.model", "no two attention layers with q_proj, c_attn, qkv_proj or query_key_value were found"
            )
        self._layers = layers[0], layers[1]
        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        here, there = (self._inputs(0, np.zeros((1, 1), np.int64), position)[0] for position in (0, 1))
        self.positional = not np.array_equal(here, there)

    def first_inputs(self, position: int) -> Floats:
        """[vocabulary, d]."""
        return self._inputs(0, np.arange(self._vocabulary)[:, None], position)

    def second_inputs(self, tokens: Tokens) -> Floats:
        """[B, T] → [B, d]."""
        return self._inputs(1, tokens, 0)

    def _inputs(self, layer: int, tokens: Tokens, position: int) -> Floats:
        torch = _torch()
        seen: list[Floats] = []

        def stop(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            value = arguments[0] if arguments else next(iter(named.values()))
            seen.append(value[:, -1].double().cpu().numpy())
            raise _Seen

        hook = self._layers[layer].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            for begin in range(0, len(tokens), _BATCH):
                part = torch.from_numpy(np.ascontiguousarray(tokens[begin : begin + _BATCH])).to(_device(self._model))
                places = torch.arange(position, position + part.shape[1], device=part.device)[None]
                with _evaluation(self._model):
                    try:
                        self._model(input_ids=part, position_ids=places)
                    except _Seen:
                        continue
        finally:
            hook.remove()
        return np.concatenate(seen)


class _Seen(Exception):
    """The layer was reached: the rest of the model is not needed."""


def _device(model: Any) -> Any:
    return next(model.parameters()).device


@contextmanager
def _evaluation(model: Any) -> Iterator[None]:
    was = model.training
    model.eval()
    try:
        with _torch().no_grad():
            yield
    finally:
        model.train(was)
