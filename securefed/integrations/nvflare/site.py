"""A site's side: a function that trains becomes one that answers the server in secure rounds."""

from __future__ import annotations

import inspect
import logging
import operator
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final

from nvflare.collab import collab

from securefed.aggregation import Adversary, Policy, Update
from securefed.deployment import ClientFile, ClientState, JobTerms, MemoryState, Participant, model_digest
from securefed.encoding.tensors import Floats
from securefed.errors import LocalProtocolError, RemoteProtocolError, SecurefedError
from securefed.federated.clipped_share import CLIPPED_SHARE, clipped_share
from securefed.integrations.nvflare.training_input import RoundSettings, difference, unpack_weights

__all__ = ["CLIENT_FILE_VARIABLE", "Train", "secure_site"]

CLIENT_FILE_VARIABLE: Final = "SECUREFED_CLIENT_FILE"
"""Environment variable with the path of the site's client file; `{site}` in it stands for the site's name."""

Train = Callable[[dict[str, Floats], dict[str, Any]], tuple[Mapping[str, Any], int, Mapping[str, float]]]
"""(weights, config) → (new weights, number of examples, metrics)."""


_WITHOUT_FILE: Final = Policy(adversary=Adversary("semi-honest"))
_LOG: Final = logging.getLogger(__name__)
_SERVER_SITE: Final = "server"


def secure_site(
    policy: Policy | None = None, *, client_file: str | Path | None = None
) -> Callable[[Callable[..., Any]], Callable[..., dict[str, Any]]]:
    """Publish a function that trains as this site's part in secure rounds (`SecureRounds`).

    To be written over `train(weights, config)`, a function of the job's module or a method, in place of
    `@collab.publish`. It is called once a round, in the exchange that needs its result, with

    - `weights`: float arrays by name, which it may write to,
    - `config`: the round's configuration,

    and gives new weights (by the same names and of the same shapes), the number of examples that it trained on and the
    metrics that the server named. Of these only what the scheme lets through leaves the site. What it raises stays in
    the site's log: the server hears that training failed.

    Args:
        policy: what the job's code demands of a round. Where the site's client file has a policy too, both must hold;
            where neither has, `Policy()` does, which wants a malicious server. Without a client file the default is
            `Policy(adversary=Adversary("semi-honest"))`.
        client_file: path of the site's client file (`python -m securefed.deployment identity`); `{site}` in it stands
            for the site's name. Default: what the environment variable `SECUREFED_CLIENT_FILE` of the site's
            process says; without either, the site keeps its state in memory as long as the job's process lives, takes
            the client id that the server gives it, and has no identity key.

    Returns:
        What publishes the function. Calls that do not come from the server are refused.
    """

    def publish(train: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
        sites = _Sites(policy, client_file)
        published: Callable[..., dict[str, Any]]
        if _is_method(train):

            def method(self: Any, terms: str, request: bytes, weights: bytes, config: str) -> dict[str, Any]:
                return sites.answer(partial(train, self), terms, request, weights, config)

            published = collab.publish(method)
        else:

            def function(terms: str, request: bytes, weights: bytes, config: str) -> dict[str, Any]:
                return sites.answer(train, terms, request, weights, config)

            published = collab.publish(function)
        published.__name__, published.__doc__ = train.__name__, train.__doc__
        return published

    return publish


def _is_method(train: Callable[..., Any]) -> bool:
    return next(iter(inspect.signature(train).parameters), "") == "self"


class _TrainingFailed(SecurefedError):
    """What the job's own function raised is in the site's log alone."""


class _Sites:
    """The participants behind one published function: a process of a job has one site, a test may have more."""

    def __init__(self, policy: Policy | None, client_file: str | Path | None) -> None:
        self._policy = policy
        self._client_file = client_file
        self._participants: dict[str, tuple[int, ClientState, Participant]] = {}
        self._opening = Lock()

    def answer(self, train: Train, terms: str, request: bytes, weights: bytes, config: str) -> dict[str, Any]:
        """One call of the server: {"answer": bytes}, or {"refused": why}.

        A call without a request is a greeting and is answered by {"client": the client file's id, 0 for none,
        "last_round": the greatest round that an input was given for, -1 for none}.
        """
        if collab.caller != _SERVER_SITE:
            _LOG.warning("refused a call by %s: only the server may ask", collab.caller)
            return {"refused": "only the server may ask"}
        try:
            client, state, participant = self._participant(collab.site_name)
            if not request:
                return {"client": client, "last_round": state.record.last_round}
            agreed = JobTerms.from_json(terms)
            answer = participant.answer(agreed, request, lambda: _update(train, agreed, weights, config))
        except (RemoteProtocolError, LocalProtocolError) as error:
            # These name rules and numbers: nothing that the server may not know, and it can tell its user.
            _LOG.warning("refused: %s", error)
            return {"refused": str(error)}
        except _TrainingFailed:
            return {"refused": "training failed; the site's log says why"}
        except SecurefedError as error:  # paths of this site's files may be in it
            _LOG.error("cannot answer: %s", error)
            return {"refused": "the site's client file or state cannot be used; its log says why"}
        except Exception:  # FLARE would send its text to the server
            _LOG.exception("cannot answer")
            return {"refused": "the site failed; its log says why"}
        return {"answer": answer}

    def _participant(self, site: str) -> tuple[int, ClientState, Participant]:
        with self._opening:
            if site not in self._participants:
                self._participants[site] = self._open(site)
            return self._participants[site]

    def _open(self, site: str) -> tuple[int, ClientState, Participant]:
        path = self._client_file or os.environ.get(CLIENT_FILE_VARIABLE)
        if not path:
            state = MemoryState()
            return 0, state, Participant(state, self._policy or _WITHOUT_FILE)
        file = ClientFile.load(str(path).replace("{site}", site))
        return file.id, file.state, Participant.of(file, self._policy)


def _update(train: Train, terms: JobTerms, packed: bytes, text: str) -> Update:
    """Train, and state what was trained from: the digest that the round's keys are bound to is computed here."""
    layout, settings = terms.layout, RoundSettings.from_json(text)
    old = unpack_weights(layout, packed)
    try:
        new, examples, metrics = train({name: array.copy() for name, array in old.items()}, settings.config)
        weight, named = operator.index(examples), {name: float(value) for name, value in metrics.items()}
        tensors = difference(layout, new, old)
        named[CLIPPED_SHARE] = clipped_share(tensors, weight / settings.greatest_weight, settings.clip)
    except SecurefedError:
        raise
    except Exception:
        _LOG.exception("training failed")
    else:
        return Update(tensors, model_digest(text, old), weight, named)
    raise _TrainingFailed
