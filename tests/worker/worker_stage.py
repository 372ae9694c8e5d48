"""What tests of workers play on: a sandbox as a process, and the command line as its users have it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocoon.chain.lite import LiteChain
from cocoon.deployment import Deployment
from cocoon.wire.registry import RegistryStorage

__all__ = ["COCOON", "MODEL", "Place", "running_sandbox"]

MODEL = "cocoon.bench.null_kernel:NullKernel"
COCOON = [sys.executable, "-m", "cocoon"]


@dataclass(frozen=True)
class Place:
    """A directory with a running sandbox in `.sandbox`."""

    path: Path

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COCOON, *arguments], cwd=self.path, capture_output=True, text=True, timeout=200, check=False
        )
        return done

    def json(self, *arguments: str) -> dict[str, Any]:
        """Of a command that succeeds."""
        done = self.command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def init(self, name: str, *arguments: str) -> dict[str, Any]:
        return self.json("worker", "init", name, "--sandbox", "--yes", "--json", "--model", MODEL, *arguments)

    @contextlib.contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command in the background, killed in the end if it is still there."""
        with (self.path / f"{time.monotonic_ns()}.log").open("w") as log:
            process = subprocess.Popen(
                [*COCOON, *arguments],
                cwd=self.path,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
            process.wait()

    def stop_signer(self, name: str) -> None:
        self.command("agent", "stop-signer", f"{name}/agent.toml")

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.path.glob("*.log")))

    async def chain(self) -> LiteChain:
        return await LiteChain.open(json.loads((self.path / ".sandbox" / "global.config.json").read_text()))

    async def next_index(self, deployment: Deployment) -> int:
        async with await self.chain() as chain:
            data = (await chain.account(deployment.registry)).data
        assert data is not None
        return RegistryStorage.from_cell(data).next_index

    def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        give_up = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < give_up, self.logs()[-3000:]
            time.sleep(0.1)


@contextlib.contextmanager
def running_sandbox() -> Iterator[Place]:
    """In a directory with a short name: a socket's path has less than 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="cocoon-") as made:
        place = Place(Path(made))
        with place.start("sandbox", "up", "--ephemeral", "--block-interval", "0.3", "--json"):
            place.until(lambda: (place.path / ".sandbox" / "control.sock").exists())
            yield place
