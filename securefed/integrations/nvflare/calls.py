"""Calls of the Collab API to several sites at the same time, each with arguments of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Final, NamedTuple

from nvflare.collab import CollabCallError

from securefed.errors import SecurefedError

__all__ = ["GREETING", "Call", "NoAnswer", "call_sites"]


class Call(NamedTuple):
    """What a site's published function is called with (`secure_site`).

    Attributes:
        terms: `JobTerms` as text.
        request: the scheme's message; empty for a greeting.
        weights: `training_input.pack_weights`, where the site is to train; else empty.
        config: JSON text, likewise.
    """

    terms: str
    request: bytes
    weights: bytes = b""
    config: str = ""


GREETING: Final = Call("", b"")
"""Answered by the id of the site's client file."""


class NoAnswer(SecurefedError):
    """A site could not be reached, did not answer in time, or its function is not there."""


def call_sites(
    proxies: Mapping[str, Any], function: str, calls: Mapping[str, Call], seconds: float
) -> Iterator[tuple[str, Any]]:
    """Call all at once; gives what each answers, or `NoAnswer`, by the sites' names, as it comes.

    A group call (`collab.clients.train(…)`) sends all sites the same, so each has a thread that makes its own call.

    Args:
        proxies: of the sites, by name.
        function: the published one's name.
        calls: what each of some sites is called with.
        seconds: how long an answer may take.
    """
    if not calls:
        return
    with ThreadPoolExecutor(len(calls), thread_name_prefix="securefed") as pool:
        futures = {pool.submit(_call, proxies[name], function, call, seconds): name for name, call in calls.items()}
        for future in as_completed(tuple(futures)):
            yield futures.pop(future), future.result()


def _call(proxy: Any, function: str, call: Call, seconds: float) -> Any:
    try:
        return getattr(proxy(timeout=seconds), function)(*call)
    except CollabCallError as error:
        return NoAnswer(f"no answer: {error.cause}")
