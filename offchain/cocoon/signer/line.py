"""Frames over the signer's socket, both ends: a JSON object behind its length (4 bytes, big-endian).

What is sent in one turn of the event loop leaves in one write: with many streams at work, a write for each frame would
cost more than signing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from .errors import SignerRefused

__all__ = ["MAX_FRAME_BYTES", "Fields", "Line"]

MAX_FRAME_BYTES = 1 << 20
_LENGTH_BYTES = 4
type Fields = dict[str, Any]


class Line(asyncio.Protocol):
    """One connection. Subclasses `take` frames in the order in which they were sent."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._incoming = bytearray()
        self._outgoing: list[bytes] = []

    def take(self, value: Fields) -> None:
        raise NotImplementedError

    def refused(self, error: SignerRefused) -> None:
        """What came, or was to be sent, is no frame: the connection ends after this."""
        raise NotImplementedError

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, value: Fields) -> None:
        """SignerRefused if it is too long."""
        data = json.dumps(value, separators=(",", ":")).encode()
        if len(data) > MAX_FRAME_BYTES:
            raise SignerRefused(f"a frame of {len(data)} bytes is too long")
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def close(self) -> None:
        """What was sent still leaves."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """At once, whatever the other end still owes or is owed."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        if self._transport is not None and self._outgoing:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._incoming += data
        try:
            for value in self._frames():
                self.take(value)
        except SignerRefused as error:
            self.refused(error)
            self.close()

    def pause_writing(self) -> None:
        """The other end does not read: then nothing of it is read either."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _frames(self) -> Iterator[Fields]:
        """Those that came whole. SignerRefused for one that is none."""
        while self.open and len(self._incoming) >= _LENGTH_BYTES:
            length = int.from_bytes(self._incoming[:_LENGTH_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                raise SignerRefused(f"a frame of {length} bytes is too long")
            end = _LENGTH_BYTES + length
            if len(self._incoming) < end:
                return
            data = bytes(self._incoming[_LENGTH_BYTES:end])
            del self._incoming[:end]
            try:
                value = json.loads(data)
            except (ValueError, RecursionError) as error:
                raise SignerRefused(f"a frame is not JSON: {error}") from error
            if not isinstance(value, dict):
                raise SignerRefused("a frame is not an object")
            yield value
