"""The killing suite: contract tests, collected once and then run in forks, each with the contracts it is given.

A fork starts from the state after collection, so no cached stage, fixture or module-level value of one mutant reaches
the next. It borrows the parent's Node child, which makes a run cost little more than the tests themselves.

What only compares with a committed figure is left out: a mutant must be noticed by what it does, not by its gas.
"""

from __future__ import annotations

import inspect
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from cocoon_sandbox.executor import Executor

from ..contracts_build import CompiledContract, substitute
from ..coverage.recorder import Place
from ..errors import CocoonError
from .tracing import Tracer

__all__ = ["PATHS", "Ran", "Suite", "SuiteError", "serve"]

PATHS = ("tests/contracts", "tests/attacks", "tests/flows/test_contract_flows.py", "tests/regressions")
# What compares figures or code with what is committed, or brings faults of its own: it would notice every mutant,
# whatever that does.
EXCLUDED = (
    "tests/contracts/test_gas.py",
    "tests/contracts/attestation/test_attestation_gas.py",
    "tests/attacks/test_compiled_code.py",
    "tests/attacks/test_guards.py",
)


class SuiteError(CocoonError):
    """The tests can't be collected, or fail without any mutant."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One test in a fork; what it ran itself and what had been run for it, if that was asked for."""

    test: str
    passed: bool
    seconds: float
    why: str = ""
    own: frozenset[Place] = frozenset()
    inherited: frozenset[Place] = frozenset()


@dataclass
class Suite:
    """The collected tests by id, in a process that may fork."""

    items: dict[str, pytest.Item]

    def texts(self) -> dict[str, str]:
        """The source of each test by its id: what it speaks of."""
        return {name: inspect.getsource(getattr(item, "function", type(item))) for name, item in self.items.items()}

    def run(
        self,
        tests: Iterable[str],
        contracts: Iterable[CompiledContract] = (),
        *,
        limit: Callable[[str], float] = lambda test: 60.0,
        record: bool = False,
    ) -> list[Ran]:
        """Run `tests` in order in one fork over `contracts`, up to and including the first that fails. A test that
        takes more than `limit` seconds has failed."""
        items = [self.items[test] for test in tests]
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _run_in_fork(items, contracts, writer, record)  # never returns
        os.close(writer)
        try:
            with os.fdopen(reader, "rb", buffering=0) as pipe:
                return _follow(child, pipe, [item.nodeid for item in items], limit)
        finally:
            os.waitpid(child, 0)


def serve(root: Path, work: Callable[[Suite], None]) -> None:
    """Collect the suite of the checkout `root` in this process and let `work` use it. SuiteError if that fails."""
    from hypothesis import HealthCheck, Phase, settings

    # Before the tests are imported: no example is remembered from one mutant to the next, and none is simplified.
    settings.register_profile(
        "mutation",
        database=None,
        derandomize=True,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")
    os.chdir(root)
    host = _Host(work)
    ignored = [f"--ignore={path}" for path in EXCLUDED]
    status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *ignored, *PATHS], plugins=[host])
    if not host.served:
        raise SuiteError(
            f"the contract tests can't be collected (pytest ended with {status}); run pytest on them first"
        )


@dataclass(eq=False)
class _Host:
    """Takes the place of pytest's own loop over the collected tests."""

    work: Callable[[Suite], None]
    served: bool = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True
        self.served = True
        self.work(Suite({item.nodeid: item for item in session.items}))
        return True


@dataclass(eq=False)
class _Reports:
    """Gathers what went wrong in the test that runs."""

    failures: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failures.append(f"{report.when}: {crash.message if crash else report.longrepr}"[:300])


def _run_in_fork(items: Sequence[pytest.Item], contracts: Iterable[CompiledContract], pipe: int, record: bool) -> None:
    status = 1
    try:
        Executor.inherit_shared()
        substitute(contracts)
        reports = _Reports()
        items[0].config.pluginmanager.register(reports)
        tracer = Tracer()
        with tracer.tracing() if record else nullcontext():
            for position, item in enumerate(items):
                following = items[position + 1] if position + 1 < len(items) else None
                started = time.perf_counter()
                tracer.clear()
                item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
                line = {
                    "passed": not reports.failures,
                    "seconds": round(time.perf_counter() - started, 3),
                    "why": "; ".join(reports.failures),
                    "own": sorted(tracer.own),
                    "inherited": sorted(tracer.inherited - tracer.own),
                }
                _write(pipe, json.dumps(line).encode() + b"\n")
                if reports.failures:
                    break
        status = 0
    except BaseException as error:  # noqa: BLE001 - a fork must not return into its parent's code
        _write(pipe, json.dumps({"error": repr(error)[:300]}).encode() + b"\n")
    finally:
        os._exit(status)


def _write(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _follow(child: int, pipe: IO[bytes], tests: Sequence[str], limit: Callable[[str], float]) -> list[Ran]:
    done: list[Ran] = []
    pending = b""
    for test in tests:
        deadline = time.monotonic() + limit(test)
        while b"\n" not in pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                _end(child)
                return [*done, Ran(test, False, limit(test), f"no end after {limit(test):g} s")]
            chunk = pipe.read(1 << 20)
            if not chunk:
                _end(child)
                raise SuiteError(f"the process that ran {test} died; run that test by itself")
            pending += chunk
        line, _, pending = pending.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:  # the fault of this module, never a mutant's
            raise SuiteError(f"{test} could not be run: {said['error']}")
        own, inherited = (frozenset((cell, offset) for cell, offset in said[name]) for name in ("own", "inherited"))
        done.append(Ran(test, said["passed"], said["seconds"], said["why"], own, inherited))
        if not said["passed"]:
            return done
    return done


def _end(child: int) -> None:
    """A fork that hangs may have left its request with the borrowed Node child, so that goes too."""
    os.kill(child, signal.SIGKILL)
    Executor.shared().close()
    sys.stderr.flush()
