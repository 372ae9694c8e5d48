"""ADNL over TCP, the server's side: handshake, encrypted framing, pings, queries."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.liteserver.keys import ServerKey
from cocoon_sandbox.liteserver.tl import TlError, lite_schema

__all__ = ["AdnlConnection", "HandshakeError"]

_HANDSHAKE_BYTES = 256
_MAX_PACKET = 1 << 24
_SCHEMA = lite_schema()

type Handler = Callable[[bytes], Awaitable[bytes]]


class HandshakeError(SandboxError):
    """A peer that doesn't know this server's key, or doesn't speak ADNL."""


def _ctr(key: bytes, initial: bytes) -> CipherContext:
    return Cipher(AES(key), CTR(initial)).encryptor()


class AdnlConnection:
    """One client. `handler` answers the payload of each adnl.message.query; queries are answered concurrently."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler

    async def serve(self, key: ServerKey) -> None:
        """Talk until the client leaves. Whatever it asked for and was not answered yet is cancelled then."""
        await self._handshake(key)
        async with asyncio.TaskGroup() as tasks:
            pending: set[asyncio.Task[None]] = set()
            try:
                while True:
                    payload = await self._receive()
                    if payload[:4] == _SCHEMA.tag("tcp.ping"):
                        ping = _SCHEMA.load(payload)
                        await self._send(_SCHEMA.dump("tcp.pong", random_id=ping["random_id"]))
                        continue
                    task = tasks.create_task(self._answer(payload))
                    pending.add(task)
                    task.add_done_callback(pending.discard)
            except (asyncio.IncompleteReadError, ConnectionError, TlError, HandshakeError):
                for task in pending:
                    task.cancel()

    async def _handshake(self, key: ServerKey) -> None:
        hello = await self._reader.readexactly(_HANDSHAKE_BYTES)
        receiver, sender, checksum, sealed = hello[:32], hello[32:64], hello[64:96], hello[96:]
        if receiver != key.id:
            raise HandshakeError("a client asked for another server's key: is its global config stale?")
        secret = key.shared_secret(sender)
        cipher = _ctr(secret[:16] + checksum[16:], checksum[:4] + secret[20:])
        params = cipher.update(sealed)
        if hashlib.sha256(params).digest() != checksum:
            raise HandshakeError("the checksum of an ADNL handshake is wrong")
        self._encryptor = _ctr(params[:32], params[64:80])
        self._decryptor = _ctr(params[32:64], params[80:96])
        await self._send(b"")

    async def _receive(self) -> bytes:
        size = int.from_bytes(self._decryptor.update(await self._reader.readexactly(4)), "little")
        if not 64 <= size <= _MAX_PACKET:
            raise HandshakeError(f"an ADNL packet of {size} bytes")
        packet = self._decryptor.update(await self._reader.readexactly(size))
        if hashlib.sha256(packet[:-32]).digest() != packet[-32:]:
            raise HandshakeError("the checksum of an ADNL packet is wrong")
        return packet[32:-32]

    async def _send(self, payload: bytes) -> None:
        body = os.urandom(32) + payload
        packet = (len(body) + 32).to_bytes(4, "little") + body + hashlib.sha256(body).digest()
        # Encrypting and writing must not be interleaved with another answer: no await in between.
        self._writer.write(self._encryptor.update(packet))
        await self._writer.drain()

    async def _answer(self, payload: bytes) -> None:
        try:
            query = _SCHEMA.load(payload)
        except TlError:
            return  # nothing to answer to: not even the query's id is known
        if query["@type"] != "adnl.message.query":
            return
        answer = await self._handler(query["query"])
        try:
            await self._send(_SCHEMA.dump("adnl.message.answer", query_id=query["query_id"], answer=answer))
        except ConnectionError:
            return  # the client left; its reader ends the connection
