"""A sandbox as a process: the network, its configuration file, its control channel and, on request, toncenter."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocoon_sandbox.blocks.lock import DirectoryLock
from cocoon_sandbox.commands import Commands
from cocoon_sandbox.control import SOCKET, ControlServer
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.rejections import WatchedNetwork
from cocoon_sandbox.toncenter import Toncenter

__all__ = ["CONFIG_FILE", "Settings", "serve"]

CONFIG_FILE = "global.config.json"
_NEVER = 1 << 32


@dataclass(frozen=True, slots=True)
class Settings:
    """What `serve` is to run. Port 0 is any free one; an `ephemeral` chain is gone when the process is.

    `toncenter_port` is None for no toncenter.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    block_interval: float = 1.0
    ephemeral: bool = False
    toncenter_port: int | None = None


async def serve(
    settings: Settings, ready: Callable[[dict[str, Any]], None], progress: Callable[[str], None] | None = None
) -> None:
    """Run a sandbox until SIGINT, SIGTERM or the command `stop`; `ready` is told where everything is.

    SandboxError if it can't start, is told to stop before it has, or if the network or toncenter fails while it runs.
    """
    _check(settings)
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    def started(found: dict[str, Any]) -> None:
        _on_signal(loop, stopping.set)
        ready(found)

    _on_signal(loop, interrupt)
    try:
        await _serve(settings, stopping, started, progress)
    except asyncio.CancelledError as error:
        if not interrupted:
            raise
        raise SandboxError("stopped before it had started") from error


def _check(settings: Settings) -> None:
    if not settings.block_interval > 0:
        raise SandboxError("the block interval is a number of seconds above 0")
    try:
        ipaddress.IPv4Address(settings.host)
    except ValueError as error:
        raise SandboxError(f"{settings.host} is no IPv4 address, the only kind a configuration can name") from error


def _on_signal(loop: asyncio.AbstractEventLoop, action: Callable[[], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, action)


async def _serve(
    settings: Settings,
    stopping: asyncio.Event,
    ready: Callable[[dict[str, Any]], None],
    progress: Callable[[str], None] | None,
) -> None:
    directory = settings.directory.absolute()
    config_path = directory / CONFIG_FILE
    async with AsyncExitStack() as undo:
        _make(directory)
        if settings.ephemeral:
            undo.callback(DirectoryLock(directory).release)
        network = WatchedNetwork(
            executor=undo.enter_context(Executor(progress=progress)),
            host=settings.host,
            port=settings.port,
            block_interval=settings.block_interval,
            data_dir=None if settings.ephemeral else directory,
        )
        await undo.enter_async_context(network)
        _write_whole(config_path, json.dumps(network.global_config(), indent=2) + "\n")
        if settings.ephemeral:
            undo.callback(config_path.unlink, missing_ok=True)  # it leads to a chain that is gone
        toncenter: Toncenter | None = None
        if settings.toncenter_port is not None:
            toncenter = Toncenter(config_path, settings.host, settings.toncenter_port)
            undo.push_async_callback(toncenter.stop)
            await toncenter.start(progress)

        def endpoints() -> dict[str, Any]:
            return _endpoints(settings, network, toncenter)

        control = ControlServer(directory, Commands(network, endpoints, stopping.set).handlers())
        undo.push_async_callback(control.stop)
        await control.start()
        ready(endpoints())
        await _until(stopping, network, toncenter)


async def _until(stopping: asyncio.Event, network: WatchedNetwork, toncenter: Toncenter | None) -> None:
    """Return when `stopping` is set; raise when a part fails before that."""
    waits: set[asyncio.Task[Any]] = {
        asyncio.create_task(stopping.wait()),
        asyncio.create_task(network.wait_for(_NEVER, float(_NEVER))),
    }
    if toncenter is not None:
        waits.add(asyncio.create_task(toncenter.wait()))
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _endpoints(settings: Settings, network: WatchedNetwork, toncenter: Toncenter | None) -> dict[str, Any]:
    directory = settings.directory.absolute()
    found: dict[str, Any] = {
        "directory": str(directory),
        "ephemeral": settings.ephemeral,
        "host": network.host,
        "port": network.port,
        "public_key": base64.b64encode(network.public_key).decode(),
        "global_config": str(directory / CONFIG_FILE),
        "control": str(directory / SOCKET),
        "block": network.archive.tip.id.seqno,
        "block_interval_s": settings.block_interval,
        "toncenter": None if toncenter is None else toncenter.url,
    }
    return found


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SandboxError(f"{directory} can't be made: {error}; choose another --dir") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise SandboxError(f"{directory} can't be written to; choose another --dir")


def _write_whole(path: Path, text: str) -> None:
    """Replace `path` at once: a client that reads it now gets the old text or the new one."""
    staging = path.with_name(path.name + ".new")
    staging.write_text(text)
    os.replace(staging, path)
