"""The control channel of a running sandbox: JSON lines over a unix socket that only its owner may open.

A request is `{"command": NAME, "arguments": {...}}`, its answer `{"result": ...}` or `{"error": TEXT}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cocoon_sandbox.blocks.lock import DirectoryLock
from cocoon_sandbox.errors import SandboxError

__all__ = ["SOCKET", "ControlServer", "Handler", "request", "wait_until_free"]

SOCKET = "control.sock"
_LINE_LIMIT = 64 << 20
_LONGEST_PATH = 100  # a unix socket's address has 104 bytes on some systems, 108 on others

type Handler = Callable[..., Awaitable[Any]]

_log = logging.getLogger(__name__)


class ControlServer:
    """Serves `handlers` (by command, called with the request's arguments) in `directory`, which the caller holds."""

    def __init__(self, directory: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = directory / SOCKET
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. What an earlier process left behind is replaced: the directory's lock says that it is gone."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(self._path) as path:
            listener.bind(path)
        os.chmod(self._path, 0o600)  # nobody can connect before it listens, so there is no gap
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=_LINE_LIMIT)

    async def stop(self) -> None:
        """Drop all clients and remove the socket."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            clients = [task for task in self._clients if task is not asyncio.current_task()]
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            _log.info("a control client was dropped: %s", error)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            handler = self._handlers.get(asked["command"])
            if handler is None:
                raise SandboxError(f"the running sandbox knows no command {asked['command']!r}; is it another version?")
            return {"result": await handler(**asked["arguments"])}
        except SandboxError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - one bad command must not end the sandbox
            _log.exception("a control command failed")
            return {"error": f"internal error: {error!r}"}


def request(directory: Path, command: str, **arguments: Any) -> Any:
    """Have the sandbox that runs in `directory` carry out a command, and return its result.

    SandboxError if none runs there, or with what went wrong.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        try:
            with _short(directory / SOCKET) as path:
                connection.connect(path)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise SandboxError(
                f"no sandbox runs in {directory}: start it with `cocoon sandbox up --dir {directory}`"
            ) from error
        except PermissionError as error:
            raise SandboxError(f"the sandbox in {directory} belongs to another user") from error
        connection.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise SandboxError(f"the sandbox in {directory} stopped before it answered")
    answer = json.loads(line)
    if "error" in answer:
        raise SandboxError(answer["error"])
    return answer["result"]


def wait_until_free(directory: Path, seconds: float = 30.0) -> None:
    """Wait until the sandbox that was told to stop has let go of `directory`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            DirectoryLock(directory).release()
            return
        except SandboxError as error:
            if time.monotonic() > deadline:
                raise SandboxError(f"the sandbox in {directory} has not stopped after {seconds:g} s") from error
        time.sleep(0.02)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of the socket at `path` that is short enough for the system."""
    whole = str(path.absolute())
    if len(os.fsencode(whole)) <= _LONGEST_PATH:
        yield whole
        return
    path.parent.stat()  # a missing directory has to look missing through the alias, too
    with tempfile.TemporaryDirectory(prefix="cocoon-") as place:
        alias = Path(place) / "d"
        alias.symlink_to(path.parent.absolute(), target_is_directory=True)
        yield str(alias / path.name)
