"""What travels in clear beside each request: the scheme, the description of the update, and whom it is for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from securefed.encoding.layout import Layout, TensorSpec
from securefed.errors import LocalProtocolError, RemoteProtocolError
from securefed.participation import ClientId
from securefed.schemes import SCHEMES
from securefed.wire.header import SERVER

__all__ = ["GREATEST_TERMS", "JobTerms", "layout_from_parts", "layout_parts"]

GREATEST_TERMS: Final = 2**24
"""Characters of a description: some hundred thousand tensors."""
_VERSION: Final = 1
_KEYS: Final = ("version", "scheme", "client", "tensors", "metrics")
_GREATEST_NAME: Final = 2**16 - 1
_GREATEST_RANK: Final = 255
_GREATEST_ID: Final = 2**32 - 1


@dataclass(frozen=True)
class JobTerms:
    """A request's terms. They are the server's words, and nothing is protected by them.

    What a client trusts is checked elsewhere: the scheme by its policy, the layout by the round's specification (O2),
    which every key is bound to, and by the client's own update (V2, V3, V4).

    Attributes:
        scheme: name in `schemes.SCHEMES`.
        layout: of the updates: names, shapes and dtypes; never a value.
        client: whom the request is for.
    """

    scheme: str
    layout: Layout
    client: ClientId

    def to_json(self) -> str:
        """As text."""
        terms = {"version": _VERSION, "scheme": self.scheme, "client": self.client} | layout_parts(self.layout)
        return json.dumps(terms, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> JobTerms:
        """What `to_json` wrote.

        Raises:
            RemoteProtocolError: O2, whatever is wrong with it, with the server as peer.
        """
        if len(text) > GREATEST_TERMS:
            raise _refused(f"{len(text)} characters, at most {GREATEST_TERMS} are read")
        try:
            terms = json.loads(text, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError, TypeError):
            raise _refused("not the JSON object that it should be") from None
        if not isinstance(terms, dict) or set(terms) != set(_KEYS):
            raise _refused(f"an object with the keys {', '.join(_KEYS)} is wanted")
        if type(terms["version"]) is not int or terms["version"] != _VERSION:
            raise _refused(f"of another version than {_VERSION}, which this program reads")
        scheme, client = terms["scheme"], terms["client"]
        if not isinstance(scheme, str) or scheme not in SCHEMES:
            raise _refused(f"the scheme is none of {', '.join(SCHEMES)}")
        if type(client) is not int or not 1 <= client <= _GREATEST_ID:
            raise _refused("the client is no id in 1 … 2^32 - 1")
        return cls(scheme, layout_from_parts(terms), client)


def layout_parts(layout: Layout) -> dict[str, Any]:
    """`tensors` ([name, shape, dtype] each) and `metrics` of a layout, to be written as JSON."""
    tensors = [[tensor.name, list(tensor.shape), tensor.dtype] for tensor in layout.tensors]
    return {"tensors": tensors, "metrics": list(layout.metrics)}


def layout_from_parts(parts: dict[str, Any]) -> Layout:
    """What `layout_parts` gave, from JSON.

    Raises:
        RemoteProtocolError: O2, with the server as peer.
    """
    tensors, metrics = parts["tensors"], parts["metrics"]
    if not isinstance(tensors, list) or not isinstance(metrics, list):
        raise _refused("tensors and metrics are not lists")
    specs = tuple(_tensor(at, tensor) for at, tensor in enumerate(tensors))
    for at, name in enumerate(metrics):
        _check_name(f"metric {at}", name)
    # Before the layout looks for repeats, which takes it long where there are many.
    for what, names in (("tensors", [spec.name for spec in specs]), ("metrics", metrics)):
        if len(set(names)) < len(names):
            raise _refused(f"two {what} have one name")
    try:
        return Layout(specs, tuple(metrics))
    except LocalProtocolError as error:
        raise _refused(error.detail) from None


def _tensor(at: int, parts: object) -> TensorSpec:
    if not isinstance(parts, list) or len(parts) != 3:
        raise _refused(f"tensor {at} is not [name, shape, dtype]")
    name, shape, dtype = parts
    _check_name(f"tensor {at}", name)
    if not isinstance(shape, list) or len(shape) > _GREATEST_RANK:
        raise _refused(f"the shape of tensor {name!r} is not a list of at most {_GREATEST_RANK} extents")
    if any(type(extent) is not int or not 0 <= extent < 2**63 for extent in shape):
        raise _refused(f"the shape of tensor {name!r} has an extent that is no whole number from 0 on")
    if not isinstance(dtype, str):
        raise _refused(f"the dtype of tensor {name!r} is no name")
    return TensorSpec(name, tuple(shape), dtype)


def _check_name(what: str, name: object) -> None:
    try:
        if isinstance(name, str) and len(name.encode()) <= _GREATEST_NAME:
            return
    except UnicodeEncodeError:
        pass
    raise _refused(f"{what} has no name of at most {_GREATEST_NAME} bytes")


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def _refused(problem: str) -> RemoteProtocolError:
    return RemoteProtocolError("O2", f"the terms beside a request: {problem}", SERVER)
