"""What a run is asked to do: one typed configuration, its sections and what fits together of them.

`configuration_file` reads one from TOML and overrides, and says what is wrong with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated

import tomli_w
from pydantic import Field, model_validator

from securefed.encoding.quantize import Numbers
from securefed.errors import ConfigError
from securefed.jobs.sections import Aggregation, Data, Evaluation, Method, Model, Privacy, Section, Training
from securefed.schemes import SCHEMES, Protection

__all__ = ["Configuration", "digest", "sections"]


class Configuration(Section):
    """The configuration of a run, complete."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "run"
    """of the run and of its directory"""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """of everything random but the cryptography"""
    data: Data = Data()
    model: Model = Model()
    method: Method = Method()
    training: Training = Training()
    aggregation: Aggregation = Aggregation()
    privacy: Privacy = Privacy()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _fits_together(self) -> Configuration:
        """What no key can see alone. ConfigError passes through pydantic, ValueError would be wrapped."""
        data, model, training, aggregation = self.data, self.model, self.training, self.aggregation
        cohort, scheme = training.clients_per_round, SCHEMES[aggregation.scheme]
        if set(self.name) <= {"."}:
            raise ConfigError("name", f'got "{self.name}"; a name of dots alone is no directory of its own')
        if data.source == "jsonl" and not data.file:
            raise ConfigError("data.file", 'got ""; data.source "jsonl" needs the path of a file')
        if not model.base and model.hidden % (2 * model.heads):
            allowed = f"allowed is a divisor of model.hidden ({model.hidden}) with an even quotient"
            raise ConfigError("model.heads", f"got {model.heads}; {allowed}")
        if aggregation.lose_stage != "none" and aggregation.lose_round > training.rounds:
            allowed = f"allowed is at most training.rounds ({training.rounds})"
            raise ConfigError("aggregation.lose_round", f"got {aggregation.lose_round}; {allowed}")
        aggregation.check_scheme()
        if max(self.method.client_ranks, default=1) > self.method.rank:
            allowed = f"allowed is at most method.rank ({self.method.rank}) for each client"
            raise ConfigError("method.client_ranks", f"got {list(self.method.client_ranks)}; {allowed}")
        for key, number in (("training.clients_per_round", cohort), ("data.max_clients", data.max_clients)):
            if number == 1 and scheme.protection is not Protection.NONE:
                raise ConfigError(key, "got 1; the sum over one client is its update: allowed is 0 or ≥ 2")
        # Where all clients are asked, the job says it as soon as their text is read and they are counted.
        problem = aggregation.adversary.infeasible(cohort) if cohort else None
        if problem:
            where = "aggregation.dropouts, aggregation.corrupt, or this"
            raise ConfigError("training.clients_per_round", f"got {cohort}; {problem} ({where})")
        self._check_privacy()
        if cohort:
            scheme.check_numbers(Numbers(cohort, aggregation.bits, 1.0))  # the clip changes nothing that is checked
        return self

    def _check_privacy(self) -> None:
        """What would leave a client beside the noise."""
        self.privacy.check()
        if self.privacy.kind == "none":
            return
        if self.training.weighting != "uniform":
            raise ConfigError(
                "training.weighting",
                f'got "{self.training.weighting}"; how many examples a client has is private too: allowed is uniform',
            )
        if self.method.client_ranks:
            raise ConfigError(
                "method.client_ranks",
                f"got {list(self.method.client_ranks)}; clients count their ranks in numbers that no noise covers: "
                "allowed with privacy.kind is an empty list",
            )

    def to_toml(self) -> str:
        """All keys and their values as TOML; `load` of it gives an equal configuration."""
        parts = []
        for name, section in sections(self):
            own = {k: v for k, v in section if not isinstance(v, Section)}
            title = f"[{name}]\n" if name else ""
            parts.append(f"# {section.__doc__}\n{title}{tomli_w.dumps(own)}")
        return "\n".join(parts)


def sections(section: Section, name: str = "") -> Iterator[tuple[str, Section]]:
    """The section and those inside it, with dotted names, in the order of their definition."""
    yield name, section
    for key, value in section:
        if isinstance(value, Section):
            yield from sections(value, f"{name}.{key}" if name else key)


def digest(config: Configuration) -> str:
    """64 hex digits that differ wherever any value differs; a resumed run compares them."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
