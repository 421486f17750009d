"""The server's side: rounds over the sites of a job, each asked by calls of the Collab API."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nvflare.collab import collab

from securefed.aggregation import Adversary, ClientId
from securefed.deployment import Coordinator, JobTerms, RoundReport, model_digest
from securefed.deployment.identities import read_roster
from securefed.encoding.layout import WEIGHT, Layout
from securefed.encoding.tensors import Floats
from securefed.errors import ConfigError, RoundAborted, SecurefedError
from securefed.federated.clipped_share import CLIPPED_SHARE
from securefed.federated.server_optimizer import FedAvg
from securefed.integrations.nvflare.calls import Call, NoAnswer, call_sites
from securefed.integrations.nvflare.site_ids import SiteIds, why
from securefed.integrations.nvflare.training_input import RoundSettings, pack_weights, to_arrays
from securefed.schemes import SCHEMES

__all__ = ["Averaged", "SecureRounds"]

_A_THIRD: Final = 0.34
_MUCH_CLIPPED: Final = 0.01
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Averaged:
    """What a round gave.

    Attributes:
        weights: the new ones, by name, in the dtypes of the old ones.
        metrics: Σ examples·metric / Σ examples, by name.
        clipped_share: likewise, of the update's values that were over the clip bound and were cut off.
        examples: Σ examples.
        sites: names of the sites whose updates are in it.
        lost: by the name of a site that was asked and is not in it, or that answered no greeting: at which exchange,
            or why it refused.
        report: the round's specification, exchanges, seconds and bytes, by client id.
    """

    weights: Mapping[str, Floats]
    metrics: Mapping[str, float]
    clipped_share: float
    examples: int
    sites: tuple[str, ...]
    lost: Mapping[str, str]
    report: RoundReport


class SecureRounds:
    """Rounds of one job, for use inside its `@collab.main` function.

    Before a round, sites that have no client id yet (`SiteIds`) are greeted; who does not answer is not in the round's
    cohort. Who was lost stays in it: a cohort that changes from round to round shows the server what the difference is.
    A site that is gone for good costs one wait a round: leave it out (`sites`).

    Args:
        scheme: name in `securefed.schemes.SCHEMES`.
        adversary: whom each round is protected against; sites compare it with their policies. Default: a server that
            follows the protocol, with a third of the sites (no site in schemes whose clients share a key).
        bits: of a quantised value.
        clip: bound of each value of an update (new − old weights, times the site's examples over `greatest_weight`).
        greatest_weight: no site may count more examples. What it is above the largest site's is lost in precision.
        metrics: names of the metrics that the sites' function gives.
        function: name that the sites' function is published under.
        training_seconds: how long the exchange may take in which sites train.
        exchange_seconds: how long any other may take.
        learning_rate: of the server: w ← w + η·mean update.
        identities: public identity keys by client id, for rounds against a malicious server: a mapping, or the path of
            an identity roster (`python -m securefed.deployment roster`).
        folder: where the present round's state is kept: a job that was stopped and is submitted again takes the round
            up where it was, if all sites have client files. For one job alone; empty for a new one.

    Raises:
        ConfigError: an argument is out of its bounds.
    """

    def __init__(
        self,
        scheme: str = "masks",
        *,
        adversary: Adversary | None = None,
        bits: int = 24,
        clip: float = 1.0,
        greatest_weight: int = 4096,
        metrics: Iterable[str] = (),
        function: str = "train",
        training_seconds: float = 3600.0,
        exchange_seconds: float = 60.0,
        learning_rate: float = 1.0,
        identities: Mapping[ClientId, bytes] | str | Path | None = None,
        folder: str | Path | None = None,
    ) -> None:
        if scheme not in SCHEMES:
            raise ConfigError("scheme", f"{scheme!r} is none of {', '.join(SCHEMES)}")
        if isinstance(metrics, str) or {CLIPPED_SHARE, WEIGHT} & set(metrics := tuple(metrics)):
            raise ConfigError(
                "metrics", f"a list of names is wanted; {CLIPPED_SHARE!r} and {WEIGHT!r} are there already"
            )
        for key, seconds in (("training_seconds", training_seconds), ("exchange_seconds", exchange_seconds)):
            if not seconds > 0:
                raise ConfigError(key, f"{seconds} seconds are no time to answer in")
        self._update_stage = SCHEMES[scheme].make().update_stage
        self._metrics = (*metrics, CLIPPED_SHARE)
        self._numbers = (clip, greatest_weight)
        self._function = function
        self._seconds = exchange_seconds
        self._training_seconds = training_seconds
        self._optimizer = FedAvg(learning_rate)
        self._ids = SiteIds(function, exchange_seconds)
        adversary = adversary or Adversary("semi-honest", 0.0 if SCHEMES[scheme].shares_a_key else _A_THIRD)
        self._coordinator = Coordinator(
            scheme, adversary, bits=bits, clip=clip, greatest_weight=greatest_weight,
            identities=_identities(identities), folder=None if folder is None else Path(folder),
            clock=self._ids.clock,
        )  # fmt: skip

    def average(
        self,
        weights: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        *,
        sites: Iterable[Any] | None = None,
        more: bool = True,
    ) -> Averaged:
        """One round: every site trains from these weights, and the weighted mean of what they changed is applied.

        Args:
            weights: float arrays by name (or what `numpy.asarray` takes); the same names, shapes and dtypes over all
                rounds, unless the set-up of the next round shall be lost.
            config: for the sites' function; what JSON can hold. It travels in clear.
            sites: proxies of the sites to ask; default: all clients of the job (`collab.clients`).
            more: whether another round with these sites is to come. Its set-up then rides on this one's messages.

        Raises:
            RoundAborted: too few sites are left. Nothing of the round may be used; the next call begins another.
            ConfigError: something cannot be averaged or sent.
            LocalProtocolError: V10, no weights at all, or two metrics of one name.
            PersistenceError: the folder's files are damaged or cannot be written.
        """
        proxies = {proxy.name: proxy for proxy in (collab.clients if sites is None else sites)}
        unheard = self._ids.greet(proxies)
        asked = {name: proxy for name, proxy in proxies.items() if name in self._ids.of_site}
        if not asked:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in unheard.items())
            raise RoundAborted("greeting", f"no site is there to be asked; {reasons}")
        arrays, text = to_arrays(weights), RoundSettings(dict(config or {}), *self._numbers).to_json()
        layout = Layout.of(arrays, self._metrics)
        exchange = _Exchange(
            self._function, asked, self._ids.of_site, self._update_stage, (self._seconds, self._training_seconds),
            pack_weights(layout, arrays), text,
        )  # fmt: skip
        cohort = tuple(sorted(self._ids.of_site[name] for name in asked))
        report = self._coordinator.run(cohort, layout, model_digest(text, arrays), exchange, more=more)
        return self._averaged(arrays, report, unheard)

    def _averaged(self, arrays: Mapping[str, Floats], report: RoundReport, unheard: Mapping[str, str]) -> Averaged:
        names = {client: name for name, client in self._ids.of_site.items()}
        lost = {names[client]: f"lost at {stage}" for client, stage in report.lost.items()}
        refused = {names[client]: reason for client, reason in report.refused.items()}
        aggregate = report.aggregate
        metrics = dict(aggregate.metrics)
        share = metrics.pop(CLIPPED_SHARE)
        if share > _MUCH_CLIPPED:
            _LOG.warning(
                "%.1f%% of the update's values were over the clip bound %g and were cut off: raise clip",
                100 * share, self._numbers[0],
            )  # fmt: skip
        return Averaged(
            weights=self._optimizer.step(arrays, aggregate.tensors),
            metrics=metrics,
            clipped_share=share,
            examples=aggregate.weight,
            sites=tuple(sorted(names[client] for client in aggregate.survivors)),
            lost={**unheard, **lost, **refused},
            report=report,
        )


class _Exchange:
    """One round's exchanges over Collab calls (`deployment.Coordinator.run`)."""

    def __init__(
        self, function: str, proxies: Mapping[str, Any], ids: Mapping[str, ClientId], update_stage: str,
        seconds: tuple[float, float], weights: bytes, config: str,
    ) -> None:  # fmt: skip
        self._function = function
        self._proxies = proxies
        self._names = {ids[name]: name for name in proxies}
        self._update_stage = update_stage
        self._seconds = seconds
        self._training_input = (weights, config)

    def __call__(
        self, stage: str, requests: Mapping[ClientId, tuple[JobTerms, bytes]]
    ) -> Iterator[tuple[ClientId, bytes | SecurefedError]]:
        trains = stage == self._update_stage
        extra = self._training_input if trains else (b"", "")
        clients = {self._names[client]: client for client in requests}
        calls = {
            self._names[client]: Call(terms.to_json(), request, *extra) for client, (terms, request) in requests.items()
        }
        for name, answer in call_sites(self._proxies, self._function, calls, self._seconds[trains]):
            content = answer.get("answer") if isinstance(answer, dict) else None
            if isinstance(content, bytes):
                yield clients[name], content
                continue
            _LOG.warning("site %s in exchange %s: %s", name, stage, why(answer))
            if not isinstance(answer, NoAnswer):
                yield clients[name], SecurefedError(why(answer))


def _identities(given: Mapping[ClientId, bytes] | str | Path | None) -> Mapping[ClientId, bytes] | None:
    return read_roster(Path(given)) if isinstance(given, str | Path) else given
