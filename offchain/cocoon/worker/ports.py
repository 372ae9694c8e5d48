"""Ports that neither anything on this machine nor a neighbouring worker's set-up has."""

from __future__ import annotations

from pathlib import Path

from .checking_host import check_port
from .directory import WorkerDirectory
from .errors import SetupFailed
from .findings import Level

__all__ = ["free_ports"]

_FIRST, _LAST = 9464, 9963


def free_ports(directory: Path, count: int) -> list[int]:
    """On the loopback interface. Neighbours: other workers' directories beside this one, which need not run now."""
    taken = _neighbours(directory)
    found: list[int] = []
    for port in range(_FIRST, _LAST + 1):
        if port not in taken and check_port("port", f"127.0.0.1:{port}").level == Level.OK:
            found.append(port)
            if len(found) == count:
                return found
    raise SetupFailed(f"there are no free ports from {_FIRST} to {_LAST}: name some with --metrics and --listen")


def _neighbours(directory: Path) -> set[int]:
    ports: set[int] = set()
    if not directory.parent.is_dir():
        return ports
    for other in directory.parent.iterdir():
        progress = WorkerDirectory(other).load() if other != directory and other.is_dir() else None
        if progress is not None:
            listening = (progress.choices.metrics, progress.choices.listen)
            ports |= {int(listen.rpartition(":")[2]) for listen in listening if listen}
    return ports
