"""Which site is which client, and above which number a job's rounds must begin: what sites answer to a greeting."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from securefed.aggregation import ClientId
from securefed.integrations.nvflare.calls import GREETING, NoAnswer, call_sites

__all__ = ["SiteIds", "why"]

_FAR_AHEAD: Final = 10**6
"""Seconds. Rounds are numbered from the clock's seconds on, and here they are faster than one a second: the records of
sites may be ahead of the clock. One that is further than this is wrong, or a site's lie to use the numbers up."""
_LOG: Final = logging.getLogger(__name__)


class SiteIds:
    """Client ids of a job's sites: those of their client files; sites without one get the lowest free ids in order of
    their names. A site keeps its id.

    Args:
        function: the published one's name.
        seconds: how long a greeting may take.
    """

    def __init__(self, function: str, seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self._ahead = 0
        self.of_site: dict[str, ClientId] = {}

    def clock(self) -> float:
        """Seconds since the epoch, or more: above the number of any round that a greeted site gave an input for."""
        return time.time() + self._ahead

    def greet(self, proxies: Mapping[str, Any]) -> dict[str, str]:
        """Greet the sites that have no id yet, all at the same time; gives why, by name, for those that get none.

        No answer of a site costs another one its id, unless two claim the same.
        """
        strangers = {name: proxy for name, proxy in proxies.items() if name not in self.of_site}
        refused, without = {}, []
        for name, answer in call_sites(strangers, self._function, dict.fromkeys(strangers, GREETING), self._seconds):
            found = answer if isinstance(answer, dict) else {}
            client, last = found.get("client"), found.get("last_round")
            if type(client) is not int or type(last) is not int or not 0 <= client < 2**32:
                refused[name] = why(answer)
                continue
            owner = next((other for other, taken in self.of_site.items() if taken == client), None)
            if last > time.time() + _FAR_AHEAD:
                refused[name] = f"its record holds round {last}, far ahead of this server's clock"
                continue
            if owner is not None:
                refused[name] = f"it is client {client}, as {owner} is: each site needs a client file of its own"
                continue
            self._ahead = max(self._ahead, last - int(time.time()))
            if client:
                self.of_site[name] = client
            else:
                without.append(name)
        for name in sorted(without):
            taken = set(self.of_site.values())
            self.of_site[name] = next(number for number in range(1, len(taken) + 2) if number not in taken)
        for name, reason in refused.items():
            _LOG.warning("site %s is not in the round: %s", name, reason)
        return refused


def why(answer: Any) -> str:
    """Why there is nothing to use in what a call gave."""
    if isinstance(answer, NoAnswer):
        return str(answer)
    reason = answer.get("refused") if isinstance(answer, dict) else None
    return reason if isinstance(reason, str) else "it answered what `secure_site` does not answer"
