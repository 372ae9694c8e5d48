"""One connection to one lite server: ADNL over TCP with the library's codec and this project's life cycle.

The library's own connection follows blocks in tasks that can die unseen and trusts what they hear. Here there is one
task per connection, which ends with it, and blocks are followed (and proven) by `LiteChain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import secrets
import struct
from typing import Any

from pytoniq import LiteClient

from ..errors import ChainError, ChainUnavailable

__all__ = ["Link", "ServerRefused"]

_MAX_PACKET = 1 << 24
_SHORT_CLOSE = 1.0


class ServerRefused(ChainError):
    """The lite server answered with an error of its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"the lite server answered: {message} (code {code})")
        self.code = code
        self.text = message


class Link:
    """A connected lite server. Any failure of the transport closes it for good: open another one."""

    def __init__(self, codec: LiteClient, timeout_sec: float) -> None:
        self._codec = codec
        self._timeout_sec = timeout_sec
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._listener: asyncio.Task[None] | None = None
        self.closed = False

    @classmethod
    async def open(cls, config: dict[str, Any], server: int, timeout_sec: float) -> Link:
        """Connect to `config["liteservers"][server]`. ChainUnavailable if it does not answer."""
        try:
            codec = LiteClient.from_config(config, server, trust_level=2, timeout=math.ceil(timeout_sec))
        except (KeyError, TypeError, ValueError, struct.error) as error:
            raise ChainError(f"lite server {server} in the global configuration is malformed ({error!r})") from error
        link = cls(codec, timeout_sec)
        try:
            async with asyncio.timeout(timeout_sec):
                link._reader, link._writer = await asyncio.open_connection(codec.server.host, codec.server.port)
                try:
                    link._writer.write(codec.handshake())
                    await link._receive()
                except BaseException:
                    link._writer.close()
                    raise
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise ChainUnavailable(f"lite server {link.name} does not answer: {_reason(error)}") from error
        link._listener = asyncio.create_task(link._listen(), name=f"lite server {link.name}")
        return link

    @property
    def name(self) -> str:
        return f"{self._codec.server.host}:{self._codec.server.port}"

    async def query(
        self, method: str, data: dict[str, Any], *, wait_seqno: int | None = None, wait_sec: float = 0.0
    ) -> Any:
        """Ask `liteServer.<method>`; with `wait_seqno`, once that masterchain block exists or `wait_sec` are over.

        ServerRefused if the server answers with an error, ChainUnavailable if it does not answer.
        """
        schemas = self._codec.schemas
        request = schemas.serialize(schemas.get_by_name(f"liteServer.{method}"), data)
        if wait_seqno is not None:
            prefix = {"seqno": wait_seqno, "timeout_ms": int(wait_sec * 1000)}
            request = schemas.serialize(schemas.get_by_name("liteServer.waitMasterchainSeqno"), prefix) + request
        query_id = secrets.token_bytes(32)
        answer = await self._exchange(query_id, request, self._timeout_sec + wait_sec)
        if "code" in answer and "message" in answer:
            raise ServerRefused(int(answer["code"]), str(answer["message"]))
        return answer

    async def _exchange(self, query_id: bytes, request: bytes, timeout_sec: float) -> dict[str, Any]:
        if self.closed:
            raise ChainUnavailable(f"the connection to lite server {self.name} is closed")
        schemas = self._codec.schemas
        wrapped = schemas.serialize(self._codec.ls_query_sch, {"data": request})
        packet = schemas.serialize(self._codec.adnl_query_sch, {"query_id": query_id, "query": wrapped})
        key = query_id[::-1].hex()
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            async with asyncio.timeout(timeout_sec):
                self._writer.write(self._codec.encrypt(self._codec.serialize_packet(packet)))
                await self._writer.drain()
                return await future
        except (OSError, TimeoutError) as error:
            await self.close()
            raise ChainUnavailable(f"lite server {self.name} does not answer: {_reason(error)}") from error
        finally:
            self._waiting.pop(key, None)

    async def _receive(self) -> bytes:
        """One packet's payload, without nonce and checksum."""
        length = int.from_bytes(self._codec.decrypt(await self._reader.readexactly(4)), "little")
        if not 64 <= length <= _MAX_PACKET:
            raise ValueError(f"a packet of {length} bytes")
        packet: bytes = self._codec.decrypt(await self._reader.readexactly(length))
        if hashlib.sha256(packet[:-32]).digest() != packet[-32:]:
            raise ValueError("a packet with a wrong checksum")
        return packet[32:-32]

    async def _listen(self) -> None:
        reason = "it closed the connection"
        try:
            while True:
                payload = await self._receive()
                if not payload:
                    continue
                answer = self._codec.schemas.deserialize(payload, boxed=True)[0]
                future = self._waiting.get(str(answer.get("query_id")))
                if future is not None and not future.done():
                    future.set_result(answer.get("answer", {}))
        except (OSError, EOFError) as error:
            reason = _reason(error)
        except Exception as error:  # noqa: BLE001 - whatever a broken server sends ends this connection, nothing else
            reason = f"it sent something unreadable ({_reason(error)})"
        finally:
            self.closed = True
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ChainUnavailable(f"lite server {self.name} went away: {reason}"))

    async def close(self) -> None:
        """End the connection and its task; pending queries fail with ChainUnavailable."""
        self.closed = True
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            await asyncio.wait([listener])
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), _SHORT_CLOSE)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, EOFError):
        return "it closed the connection"
    return str(error) or type(error).__name__
