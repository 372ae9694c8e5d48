"""One Node process that runs `node/bridge.mjs`, spoken to in lines of JSON, one request at a time.

A child is used by one thread at a time (the executor's lock sees to that) and never outlives its owner: it leaves at
end of file on its standard input, so it goes even when the owner is killed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import toolchain

__all__ = ["ChildGone", "ChildHung", "NodeChild"]

_CHUNK = 1 << 18


class ChildGone(Exception):
    """The process ended before it answered."""


class ChildHung(Exception):
    """No answer in time."""


class NodeChild:
    """A running bridge. `answered` counts its replies, `configs` holds the hashes of the configs uploaded to it."""

    def __init__(self, packages: Path) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [str(toolchain.node_binary()), str(toolchain.BRIDGE), str(packages)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is the owner's to handle
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._owner = os.getpid()
        self.answered = 0
        self.configs: set[bytes] = set()

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process runs; a killed one is noticed here rather than in the middle of a request."""
        if self._owner != os.getpid():
            return True  # a fork's borrowed child: only its parent can ask, so the fork learns of a death by ChildGone
        return self._process.poll() is None

    def exchange(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send `request`, wait at most `timeout` seconds for the reply. ChildGone, ChildHung."""
        deadline = time.monotonic() + timeout
        self._send(json.dumps(request, separators=(",", ":")).encode() + b"\n", deadline)
        reply: dict[str, Any] = json.loads(self._receive(deadline))
        self.answered += 1
        return reply

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                self._wait(deadline, write=True)
            except BrokenPipeError as error:
                raise ChildGone(self._obituary()) from error

    def _receive(self, deadline: float) -> bytes:
        chunks: list[bytes] = []
        while True:
            self._wait(deadline, write=False)
            try:
                chunk = os.read(self._out, _CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                raise ChildGone(self._obituary())
            chunks.append(chunk)
            if chunk.endswith(b"\n"):
                return b"".join(chunks)

    def _wait(self, deadline: float, *, write: bool) -> None:
        remaining = deadline - time.monotonic()
        poll = select.poll()
        poll.register(self._in if write else self._out, select.POLLOUT if write else select.POLLIN)
        if remaining <= 0 or not poll.poll(remaining * 1000):
            raise ChildHung("no answer in time")

    def _obituary(self) -> str:
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 2000))
        said = self._stderr.read().decode(errors="replace").strip()
        return f"the Node child ended with status {code}" + (f":\n{said}" if said else "")

    def kill(self) -> None:
        """End the process now and reap it; harmless if it has already gone."""
        if self._owner != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            return  # reaped by the parent, which owns the pipes too
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue  # nothing was left to flush to a dead process
        self._stderr.close()
