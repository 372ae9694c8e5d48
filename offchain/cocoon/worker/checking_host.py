"""Checks of the machine: disk, memory, ports, paths, the model."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from ..agent.main import load_kernel
from ..errors import CocoonError
from ..kernels.bundle.loader import MANIFEST, Bundle, open_bundle
from ..kernels.progress import ProgressCallback, silent
from ..kernels.shelf import SHELF, find_bundle
from .findings import Finding, failed, fine, warning

__all__ = ["ModelFound", "check_disk", "check_model", "check_port", "check_socket_path", "parse_listen"]

_LEAST_FREE = 1 << 30
_LONGEST_SOCKET = 100  # bytes of a unix socket's path, on every system
_MEMORY = Path("/proc/meminfo")


class ModelFound:
    """A model that can be run here. model_id: 64 hex digits."""

    def __init__(self, model_id: str, needed_bytes: int | None) -> None:
        self.model_id, self.needed_bytes = model_id, needed_bytes


def check_disk(path: Path, least: int = _LEAST_FREE) -> Finding:
    """The journal must never find the disk full."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < least:
        return failed("disk", f"{existing} has {free >> 20} MiB free and a worker needs {least >> 20}: free some space")
    return fine("disk", f"{free >> 20} MiB free")


def check_socket_path(socket_path: Path) -> Finding:
    size = len(bytes(socket_path.absolute()))
    if size > _LONGEST_SOCKET:
        return failed(
            "path", f"the signer's socket would have a path of {size} bytes, {_LONGEST_SOCKET} are possible: choose a "
            "directory with a shorter name"
        )  # fmt: skip
    return fine("path", f"{size} bytes")


def parse_listen(text: str) -> tuple[str, int]:
    """(host, port) of `host:port`. ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:9464")
    return host, int(port)


def check_port(name: str, listen: str, others: Sequence[str] = ()) -> Finding:
    """others: what else this set-up listens on."""
    try:
        host, port = parse_listen(listen)
        if port and any(parse_listen(other)[1] == port for other in others):
            return failed(name, f"port {port} is chosen twice: give each its own")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port))
    except ValueError as error:
        return failed(name, str(error))
    except OSError as error:
        why = "something else listens there" if error.errno == errno.EADDRINUSE else str(error)
        return failed(name, f"{listen} can't be had ({why}): choose another port, or stop what has it")
    return fine(name, f"{listen} is free")


def check_model(
    spec: str, expected: str | None, progress: ProgressCallback = silent
) -> tuple[Finding, ModelFound | None]:
    """Fetches and builds a model of the shelf, checks a bundle as the agent will, loads a factory's kernel."""
    try:
        found = _find(spec, progress)
    except CocoonError as error:
        return failed("model", str(error)), None
    if expected is not None and expected.lower() != found.model_id:
        return failed(
            "model", f"{spec} is model {found.model_id}, not {expected}: name the other, or leave its id out"
        ), None
    if found.needed_bytes is None:
        return fine("model", f"{found.model_id} (code of your own: its memory is not known)"), found
    available = _available_bytes()
    needed = found.needed_bytes
    if available is not None and needed > available:
        return failed(
            "model", f"{spec} needs {needed >> 20} MiB of memory and {available >> 20} are available: choose a smaller "
            "model or build, or free some memory"
        ), None  # fmt: skip
    text = f"{found.model_id}, {needed >> 20} MiB"
    return (fine if available is not None else warning)("model", text), found


def _find(spec: str, progress: ProgressCallback) -> ModelFound:
    folder, build_id = Path(spec), None
    if spec in SHELF:
        shelved = find_bundle(spec, progress)
        folder, build_id = shelved.folder, shelved.build_id
    elif not (folder / MANIFEST).is_file():
        return ModelFound(load_kernel(spec).model_id.hex(), None)
    opened = open_bundle(folder, progress=progress)
    return ModelFound(opened.model_id.hex(), _needed(opened, build_id))


def _needed(bundle: Bundle, build_id: str | None) -> int:
    """Weights and the state of all slots; programs and buffers come on top."""
    builds = bundle.manifest.builds
    build = next((one for one in builds if one.id == build_id), builds[0])
    parameters = sum(bundle.parameter(build, name).size_bytes for name in build.parameters)
    return parameters + sum(tensor.size_bytes for tensor in build.state)


def _available_bytes() -> int | None:
    """None where the system does not tell."""
    if not _MEMORY.is_file():
        return None
    for line in _MEMORY.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None
