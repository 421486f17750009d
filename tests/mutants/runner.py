"""Tests on broken code, each time in a fork of a process that has everything imported.

A change inside a function is made in the fork, by giving the living functions their new code: the tests are collected
once for all of these, and only those run that reach the changed lines, the quickest first. A change that takes effect
on import, or whose lines no test reaches, needs a process that imports the broken file: that is slower by far.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.abc
import importlib.util
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import _lru_cache_wrapper, partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import accumulate
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from hypothesis import Phase, settings

from tests.mutants.mutations import Mutant, planted

__all__ = ["ROOMS", "forked_session", "on_import"]

ROOMS = ("crypto", "encoding", "wire", "secagg")
FOLDERS = ("crypto", "encoding", "wire", "secagg", "differential", "attacks", "fuzz")
"""Of tests/: whose tests must notice."""
_BASE = Path("build", "mutants", "reached.json")
_TIMES = Path("build", "mutants", "times.json")
_MEMORY = 16 * 2**30
_FAULT = 70
_OPTIONS = ["-qq", "-p", "no:cacheprovider", "-s", "--timeout=30", "-Wignore::pytest.PytestAssertRewriteWarning"]
Verdict = tuple[str, str]
"""killed, stopped or survived; and the test that noticed."""


def forked_session(mutants: Collection[Mutant], seconds: float, seen: Callable[[Mutant, Verdict], None]) -> None:
    """Tell the verdict on each mutant inside a function; nothing of one that no test reaches.

    Args:
        seconds: of tests for each mutant.
        seen: called in another process: this one stays without the code that is broken.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(pytest.main([*_paths(FOLDERS), *_OPTIONS], plugins=[_Fast(mutants, seconds, seen)]))
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the tests must pass before anything is broken")


def on_import(mutant: Mutant, seconds: float) -> Verdict:
    """The verdict on any mutant, in a process that imports nothing but the broken code."""
    verdict = "survived", ""
    for folders in ((mutant.room,), tuple(name for name in FOLDERS if name != mutant.room)):
        verdict = _verdict(partial(_import_and_test, mutant, folders, seconds), str)
        if verdict[0] != "survived":
            break
    return verdict


def _order(
    names: Iterable[str], times: dict[str, float], mutant: Mutant, seconds: float, first: str | None = None
) -> list[str]:
    """The quickest first, those of the room before others; as many as fit the time."""
    own = f"tests/{mutant.room}/"
    order = sorted(names, key=lambda name: (name != first, not name.startswith(own), times.get(name, 0.0)))
    spent = accumulate(times.get(name, 0.0) for name in order)
    return [name for name, so_far in zip(order, spent, strict=True) if so_far <= seconds or name == order[0]]


class _Quick:
    """As the project's random tests, but what was found is not made smaller."""

    def pytest_configure(self) -> None:
        settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")


class _Sorted(_Quick):
    def __init__(self, mutant: Mutant, seconds: float) -> None:
        self._mutant, self._seconds = mutant, seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        named = {item.nodeid: item for item in items}
        order = _order(named, json.loads(_TIMES.read_text()), self._mutant, self._seconds)
        items[:] = [named[name] for name in order]


class _Fast(_Quick):
    def __init__(self, mutants: Iterable[Mutant], seconds: float, seen: Callable[[Mutant, Verdict], None]) -> None:
        self._seconds = seconds
        self._mutants = [mutant for mutant in mutants if mutant.function]
        self._seen = seen
        self._failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        living = _Living()
        items = {item.nodeid: item for item in session.items}
        known = _BASE.exists() and json.loads(_BASE.read_text())["of"] == _digest()
        if not known and _verdict(lambda tell: self._record(list(items.values())), str)[0] != "survived":
            raise SystemExit("the tests must pass before anything is broken")
        base = json.loads(_BASE.read_text())
        times, reached = json.loads(_TIMES.read_text()), base["reached"]
        last: dict[str, str] = {}
        for mutant in self._mutants:
            lines = reached.get(str(mutant.path), {})
            names = {name for line in range(mutant.lines[0], mutant.lines[1] + 1) for name in lines.get(str(line), ())}
            order = _order(names & items.keys(), times, mutant, self._seconds, last.get(mutant.function))
            if order:
                test = partial(self._test, living, mutant, [items[name] for name in order], times)
                verdict = _verdict(test, order.__getitem__)
                last[mutant.function] = verdict[1]
                self._seen(mutant, verdict)
        return True

    def _record(self, items: list[pytest.Item]) -> None:
        """Which lines each test reaches, and how long it takes."""
        watch = coverage.Coverage(data_file=None, include=[f"*/securefed/{room}/*" for room in ROOMS])
        times, reached = {}, {}
        watch.start()
        for item, following in zip(items, [*items[1:], None], strict=True):
            watch.switch_context(item.nodeid)
            start = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            times[item.nodeid] = time.process_time() - start
        watch.stop()
        if self._failed:
            os._exit(1)
        data = watch.get_data()
        for file in data.measured_files():
            reached[str(Path(file).relative_to(Path.cwd()))] = data.contexts_by_lineno(file)
        _BASE.parent.mkdir(parents=True, exist_ok=True)
        _TIMES.write_text(json.dumps(times))
        _BASE.write_text(json.dumps({"of": _digest(), "reached": reached}))

    def _test(
        self,
        living: _Living,
        mutant: Mutant,
        items: list[pytest.Item],
        times: dict[str, float],
        tell: Callable[[int], None],
    ) -> None:
        living.plant(mutant)
        for number, (item, following) in enumerate(zip(items, [*items[1:], None], strict=True)):
            tell(number)
            _limit(10 * times[item.nodeid] + 5)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                os._exit(1)


class _Living:
    """The functions of the rooms as they are in this process, and what is kept of their results."""

    def __init__(self) -> None:
        rooms = tuple(str(Path("securefed", room).resolve()) + os.sep for room in ROOMS)
        self._functions: list[FunctionType] = []
        self._caches = []
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType) and thing.__code__.co_filename.startswith(rooms):
                self._functions.append(thing)
            elif isinstance(thing, _lru_cache_wrapper) and thing.__module__.startswith("securefed."):
                self._caches.append(thing)

    def plant(self, mutant: Mutant) -> None:
        path = str(mutant.path.resolve())
        new = dict(_codes(compile(planted(mutant), path, "exec")))
        for function in self._functions:
            name = function.__code__.co_qualname, function.__code__.co_firstlineno
            if function.__code__.co_filename == path and name[0] == mutant.function:
                function.__code__ = new[name]
        for kept in self._caches:
            kept.cache_clear()


def _codes(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    yield (code.co_qualname, code.co_firstlineno), code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


class _Planted(SourceFileLoader, importlib.abc.MetaPathFinder):
    """Finds one module, and loads it changed."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(
            ".".join(mutant.path.with_suffix("").parts).removesuffix(".__init__"), str(mutant.path.resolve())
        )
        self._mutant = mutant

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )

    def get_code(self, fullname: str) -> CodeType:
        return compile(planted(self._mutant), self.path, "exec")


def _import_and_test(mutant: Mutant, folders: Iterable[str], seconds: float, _tell: Callable[[int], None]) -> None:
    sys.meta_path.insert(0, _Planted(mutant))
    _limit(3 * seconds + 30)
    # Nothing to run is no news; every other status is.
    if pytest.main([*_paths(folders), *_OPTIONS, "-x"], plugins=[_Sorted(mutant, seconds)]) not in (0, 5):
        os._exit(1)


def _verdict(work: Callable[[Callable[[int], None]], None], name: Callable[[int], str]) -> Verdict:
    """Do the work in a fork, which ends with status 1 where a test failed; `name` of the last number it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            work(lambda number: os.write(writing, struct.pack("I", number)) and None)
            os._exit(0)
        except BaseException:
            os._exit(_FAULT)
    os.close(writing)
    told = b""
    while more := os.read(reading, 4096):
        told = (told + more)[-4:]
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _FAULT:
        raise RuntimeError("nothing was tested: the change could not be made")
    last = name(struct.unpack("I", told)[0]) if told else ""
    if status == 0:
        return "survived", ""
    return ("killed" if os.WIFEXITED(status) else "stopped"), last


def _limit(seconds: float) -> None:
    """So much more of the processor's time, then the process is stopped."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, resource.RLIM_INFINITY))


def _paths(folders: Iterable[str]) -> list[str]:
    return [str(Path("tests", folder)) for folder in folders]


def _digest() -> str:
    files = sorted(path for folder in ("securefed", "tests", "protocols") for path in Path(folder).rglob("*.*"))
    kept = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in kept)).hexdigest()
