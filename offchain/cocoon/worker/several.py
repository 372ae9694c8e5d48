"""Several workers on one host: each a directory and a process, ended together."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..agent.config import AgentConfig
from .errors import WorkerCommandError

__all__ = ["Planned", "check_apart", "run_all"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planned:
    """A worker that is to run. metrics: `host:port`, None for none."""

    directory: Path
    config: AgentConfig
    metrics: str | None


def check_apart(workers: Sequence[Planned]) -> None:
    """WorkerCommandError if two of them would get in each other's way."""
    uses: dict[tuple[str, str], Path] = {}
    for one in workers:
        config = one.config
        ports = [listen.rpartition(":")[2] for listen in (config.listen, one.metrics) if listen is not None]
        taken = [("port", port) for port in ports if port != "0"]
        taken.append(("data directory", str(config.data_dir.resolve())))
        taken.append(("signer", str(config.socket.resolve())))
        taken.append(("worker", f"{config.worker_index} of {config.registry.to_str()}"))
        taken.append(("operator's wallet", config.wallet().address.to_str()))
        for use in taken:
            if use in uses:
                both = "itself" if uses[use] == one.directory else str(uses[use])
                raise WorkerCommandError(f"{one.directory} and {both} share the {use[0]} {use[1]}: give each its own")
            uses[use] = one.directory


async def run_all(directories: Sequence[Path], arguments: Sequence[str]) -> int:
    """A `cocoon worker run` for each. One that fails leaves the others running; the worst status is returned."""
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cocoon", "worker", "run", str(directory), *arguments)
        )
        for directory in directories
    ]
    loop = asyncio.get_running_loop()

    def pass_on() -> None:
        for process in running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)

    loop.add_signal_handler(signal.SIGTERM, pass_on)
    # a terminal tells all of its group; told twice, they would hurry
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if sys.stdin.isatty() else pass_on)
    try:
        statuses = await asyncio.gather(
            *(_wait(process, one) for process, one in zip(running, directories, strict=True))
        )
    finally:
        pass_on()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return max(1 if status else 0 for status in statuses)


async def _wait(process: asyncio.subprocess.Process, directory: Path) -> int:
    status = await process.wait()
    if status:
        _log.error("the worker in %s ended with status %d; the others go on", directory, status)
    return status
