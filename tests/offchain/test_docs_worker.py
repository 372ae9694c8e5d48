"""docs/worker.md, followed literally: its commands lead from nothing to a paid job, and what it names is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cocoon.cli.worker import worker
from cocoon.worker.counting import Tally
from cocoon.worker.logs import LevelCounter
from cocoon.worker.metrics import WorkerMetrics

PAGE = (Path(__file__).parents[2] / "docs" / "worker.md").read_text()
BIN = Path(sys.executable).parent


def blocks() -> list[str]:
    found: list[str] = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


@contextmanager
def terminal(place: Path, commands: str) -> Iterator[subprocess.Popen[bytes]]:
    """As somebody types them, until Ctrl-C."""
    with (place / "terminal.log").open("ab") as log:
        process = subprocess.Popen(["bash", "-c", commands], cwd=place, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=False)
        try:
            process.wait(30)
        finally:
            subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def place() -> Iterator[Path]:
    """A fresh directory with a short name, with the programs where a checkout has them."""
    with tempfile.TemporaryDirectory(prefix="cocoon-") as made:
        path = Path(made)
        (path / ".venv").mkdir()
        (path / ".venv" / "bin").symlink_to(BIN)
        yield path


@pytest.mark.timeout(280)
def test_commands_of_the_page_lead_to_a_paid_job(place: Path) -> None:
    network, start, ask, several = blocks()

    def run(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-c", commands], cwd=place, capture_output=True, text=True, timeout=250, check=False
        )
        assert done.returncode == 0, done.stderr + (place / "terminal.log").read_text()[-3000:]
        return done.stdout

    def status(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(f".venv/bin/cocoon worker status {name} --json"))
        return found

    with terminal(place, network):
        _until((place / ".sandbox" / "control.sock").exists)
        with terminal(place, start):
            _until((place / "worker" / "agent.toml").exists)
            said = run(ask)
            assert "received 0 TON" not in said
            assert "all is well" in said
            first = status("worker")
            assert first["received_nano"] >= 10_000_000
            assert first["journal"]["outcomes"] == {"delivered": 1}
        init, both = several.splitlines()
        run(init)
        with terminal(place, both):
            _until(lambda: all(status(name)["attention"] == [] for name in ("worker", "second")))
        for name in ("worker", "second"):
            run(f".venv/bin/cocoon agent stop-signer {name}/agent.toml")


def _until(holds: Any, seconds: float = 150) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.2)


def test_options_and_files_that_the_page_names_are_there() -> None:
    known = {option for command in worker.commands.values() for item in command.params for option in item.opts}
    named = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--help"}
    assert len(named) > 6
    assert named <= known


def test_metrics_that_the_page_names_are_served() -> None:
    from types import SimpleNamespace

    from cocoon.agent.config import DEFAULT_TERMS
    from cocoon.worker.books import Books
    from cocoon.worker.watching import Look, Observer

    names = ("lease_end", "time", "stake_nano", "bond_nano", "operator_nano", "open_jobs", "jobs", "misses",
             "rejections", "key_losses", "volume_nano")  # fmt: skip
    facts = SimpleNamespace(status=2, models={1: DEFAULT_TERMS}, **dict.fromkeys(names, 1))
    books = Books({"settled": 1}, {}, 5, (), (), ())
    observer = Observer(SimpleNamespace(server=None), Tally(slots=2))  # type: ignore[arg-type]
    observer.latest = Look(0.0, facts, books, ())  # type: ignore[arg-type]
    shown = WorkerMetrics(observer, LevelCounter()).show().decode()
    served = {line.split("{")[0].split(" ")[0] for line in shown.splitlines() if not line.startswith("#")}
    named = set(re.findall(r"`(cocoon_worker_[a-z_]+)`", PAGE))
    assert len(named) > 15
    assert named <= served
