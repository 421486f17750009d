"""What is checked, and the verdict that is expected of each: with every defence in place the properties hold; with one
taken out, spin finds the attack that it was there against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# In the order of the bits of CHECK in properties.pml; each with a piece of its assertion, blanks left out.
PROPERTIES = {
    "ONE_KIND": "kinds1&kinds2",
    "ONE_SEED": "opened_b&opened_s",
    "ONE_VIEW": "==w",
    "ONE_INPUT": "8&8",
    "ONE_SUM": "sum==live",
    "AGREED_SUM": "32&32",
    "SOME_SUM": "64&64",
}
SAFETY = tuple(PROPERTIES)[:6]


class Configuration(NamedTuple):
    """One run of spin."""

    what: str
    model: str
    defines: str
    properties: tuple[str, ...]
    expected: str
    deep: bool = False
    long: bool = False

    @property
    def liveness(self) -> bool:
        """Is it a formula of temporal logic?"""
        return self.properties[0] in ("ends", "result")

    def __str__(self) -> str:
        named = "all six" if self.properties == SAFETY else ", ".join(self.properties)
        if len(self.properties) > 3 and self.properties != SAFETY:
            named = "all but " + ", ".join(name for name in SAFETY if name not in self.properties)
        return f"{self.what:51} {self.cohort:7} {named:28}"

    @property
    def cohort(self) -> str:
        """Its size, and how many of it are corrupt."""
        values = dict(item.split("=") for item in self.defines.split() if "=" in item)
        return f"n={values.get('N', 4)} C={values.get('C', 1)}"


def malicious(
    what: str, defines: str, *, broken: str = "", holds: bool = True, deep: bool = False, long: bool = False
) -> Iterator[Configuration]:
    """Each of the properties that break alone, those that hold in one run."""
    names = broken.split()
    for name in names:
        yield Configuration(what, "malicious", defines, (name,), "broken", deep, long)
    rest = tuple(name for name in SAFETY if name not in names)
    if rest and holds:
        yield Configuration(what, "malicious", defines, rest, "holds", deep, long)


def honest(what: str, defines: str, **formulas: str) -> Iterator[Configuration]:
    """Formulas of temporal logic over runs with an honest server, each with its verdict."""
    for formula, expected in formulas.items():
        yield Configuration(what, "honest", defines, (formula,), expected)


EVERYTHING = "ONE_KIND ONE_SEED ONE_VIEW ONE_INPUT ONE_SUM"
# Where sets of survivors that differ in U3 alone are attack enough.
SMALL = "ONE_ROSTER ONE_U2"

CONFIGURATIONS = (
    # Every defence in place.
    *malicious("malicious server", ""),
    *malicious("malicious server", "N=5 C=2"),
    *malicious("malicious server, one roster", "N=5 C=1 ONE_ROSTER", deep=True),
    *malicious("malicious server, restarts", "RESTARTS", long=True),
    *malicious("malicious server, restarts", "N=5 C=2 RESTARTS", deep=True),
    *malicious("malicious server, restarts, one roster", "N=5 C=2 RESTARTS ONE_ROSTER"),
    *malicious("malicious server, restarts, one roster", "N=5 C=1 RESTARTS ONE_ROSTER", deep=True),
    # They do not hold because nothing can happen.
    *malicious("malicious server lets a round come to its end", "", broken="SOME_SUM", holds=False),
    *malicious("likewise, with restarts", "RESTARTS", broken="SOME_SUM", holds=False),
    # Stage 4.
    *malicious("no consent", "NO_CONSENT", broken="ONE_VIEW AGREED_SUM"),
    *malicious("consent without the roster", "NO_ROSTER_IN_CONSENT", broken="ONE_VIEW"),
    *malicious("consent without U2", "NO_U2_IN_CONSENT", broken="ONE_VIEW"),
    # The threshold, one too low.
    *malicious("L, t and theta too low", "LOW_THRESHOLD ONE_ROSTER", broken="ONE_SEED ONE_VIEW ONE_SUM AGREED_SUM"),
    *malicious("theta too low", "LOW_CONSENTS ONE_ROSTER", broken="ONE_VIEW AGREED_SUM"),
    *malicious("t too low", "LOW_SHARES"),
    *malicious("t too low, no consent", "LOW_SHARES NO_CONSENT", broken="ONE_SEED ONE_VIEW ONE_SUM AGREED_SUM"),
    *malicious(
        "semi-honest parameters, malicious server",
        "N=5 C=2 SEMI_HONEST ONE_ROSTER",
        broken="ONE_SEED ONE_VIEW ONE_SUM AGREED_SUM",
    ),
    # One request a stage (R4) and the record (R10): either is enough as long as nobody is started again.
    *malicious("repeated requests answered", "NO_ONE_REQUEST ONE_ROSTER"),
    *malicious("no record", "NO_RECORD"),
    *malicious(
        "repeated requests answered, no record", f"NO_ONE_REQUEST NO_RECORD {SMALL}", broken=EVERYTHING, holds=False
    ),
    *malicious("no record, restarts", f"NO_RECORD RESTARTS {SMALL}", broken=EVERYTHING, holds=False),
    *malicious("input not recorded, restarts", f"NO_INPUT_RECORD RESTARTS {SMALL}", broken="ONE_INPUT"),
    *malicious("consent not recorded, restarts", f"NO_CONSENT_RECORD RESTARTS {SMALL}", broken="ONE_VIEW AGREED_SUM"),
    *malicious("release not recorded, restarts", f"NO_RELEASE_RECORD RESTARTS {SMALL}"),
    *malicious(
        "release not recorded, restarts, no consent",
        f"NO_RELEASE_RECORD NO_CONSENT RESTARTS {SMALL}",
        broken="ONE_KIND ONE_SEED",
        holds=False,
    ),
    *malicious("message before record, restarts", f"RECORD_LATE RESTARTS {SMALL}", broken=EVERYTHING, holds=False),
    *malicious("record rolled back, restarts", f"RECORD_ROLLED_BACK RESTARTS {SMALL}", broken=EVERYTHING, holds=False),
    # The server follows the protocol.
    *honest("honest server, D stop", "", result="holds"),
    *honest("honest server, D stop and start again", "RESTARTS", result="holds"),
    *honest("honest server, D + 1 stop", "DROPS=2", ends="holds", result="broken"),
    *honest("honest server, all may stop", "DROPS=4", ends="holds"),
    *honest("honest server with a clock", "CLOCK", ends="holds", result="broken"),
    *honest("honest server with a clock, restarts", "CLOCK RESTARTS", ends="holds"),
    *honest("no notice of the end, clock", "CLOCK NO_NOTICE", ends="broken"),
    *honest("no notice of the end, D + 1 stop", "DROPS=2 NO_NOTICE", ends="broken"),
    *honest("server taken up from an older snapshot", "CLOCK SERVER_TAKEN_UP", ends="holds"),
    Configuration("server taken up from an older snapshot", "honest", "CLOCK SERVER_TAKEN_UP", SAFETY, "holds"),
    *honest("semi-honest, D stop", "N=5 SEMI_HONEST", result="holds"),
    *honest("semi-honest with a clock", "CLOCK SEMI_HONEST", ends="holds"),
    Configuration("semi-honest with a clock, restarts", "honest", "CLOCK SEMI_HONEST RESTARTS", SAFETY, "holds"),
    Configuration("semi-honest, D stop", "honest", "N=5 C=2 SEMI_HONEST", SAFETY, "holds"),
    Configuration(
        "semi-honest, server taken up from an older snapshot",
        "honest",
        "N=5 C=2 CLOCK SEMI_HONEST SERVER_TAKEN_UP",
        ("ONE_SEED",),
        "broken",
    ),
)
