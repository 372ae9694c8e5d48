"""The agent's side of the signer's socket."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from ..crypto import errors as crypto_errors
from ..crypto.hpke import HpkePublicKey
from ..crypto.request import RequestBinding
from ..wire.escrow import CloseStatement, Receipt, RejectionStatement
from .errors import AlreadySigned, SeqClosed, SignerError, SignerFull, SignerRefused, SignerUnavailable
from .keys import SignerIdentity
from .line import Fields, Line
from .messages import (
    pack_binding,
    pack_bytes,
    pack_slot,
    pack_stream_receipt,
    pack_struct,
    unpack_bytes,
    unpack_signed,
)
from .table import Signed, Slot

__all__ = ["Signer", "SignerClient"]

_ANSWER_SEC = 30.0
_ERRORS: dict[str, type[Exception]] = {
    "SeqClosed": SeqClosed,
    "SignerFull": SignerFull,
    "SignerRefused": SignerRefused,
    "RequestUndecryptable": crypto_errors.RequestUndecryptable,
    "StatementMismatch": crypto_errors.StatementMismatch,
}


class Signer(Protocol):
    """What the agent needs. Every method may raise SignerUnavailable; calling again is always safe."""

    async def identity(self) -> SignerIdentity: ...

    async def decrypt(self, binding: RequestBinding, ciphertext: bytes) -> bytes:
        """The padded plaintext. RequestUndecryptable."""
        ...

    async def find(self, slot: Slot) -> Signed | None:
        """What was signed for this sequence number, if anything."""
        ...

    async def sign_receipt(self, receipt: Receipt, response: bytes) -> Signed:
        """AlreadySigned if something else was signed for this sequence number."""
        ...

    async def sign_stream_receipt(self, receipt: Receipt) -> bytes:
        """The signature. AlreadySigned if something else was signed for this number, SeqClosed if it is old."""
        ...

    async def sign_rejection(self, rejection: RejectionStatement) -> Signed:
        """AlreadySigned if something else was signed for this sequence number."""
        ...

    async def sign_close(self, statement: CloseStatement) -> bytes: ...


class _Calls(Line):
    """The agent's end of the socket. Answers come in the order of the calls, also of those given up since."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[asyncio.Future[Fields]] = deque()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    async def call(self, fields: Fields) -> Fields:
        """ConnectionResetError if the connection ends before the answer."""
        self.send(fields)
        answer: asyncio.Future[Fields] = self._loop.create_future()
        self._waiting.append(answer)
        return await answer

    def take(self, value: Fields) -> None:
        if not self._waiting:
            raise SignerRefused("an answer to no call")
        answer = self._waiting.popleft()
        if not answer.done():
            answer.set_result(value)

    def refused(self, error: SignerRefused) -> None:
        self._end(ConnectionResetError(f"the signer sent what is no answer: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(ConnectionResetError("the signer hung up"))
        self.gone.set_result(None)

    def _end(self, error: Exception) -> None:
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)


class SignerClient:
    """A `Signer` in another process. Connects when first used and again whenever the connection is gone.

    Calls may be made at the same time: they share the connection.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connecting = asyncio.Lock()
        self._line: _Calls | None = None

    async def identity(self) -> SignerIdentity:
        answer = await self._call("identity")
        try:
            return SignerIdentity(int(answer["session_key"], 16), HpkePublicKey(unpack_bytes(answer, "hpke_key")))
        except (KeyError, ValueError, crypto_errors.KeyMalformed) as error:
            raise SignerUnavailable(f"the signer's answer can't be read: {error}; restart the signer") from error

    async def decrypt(self, binding: RequestBinding, ciphertext: bytes) -> bytes:
        answer = await self._call("decrypt", binding=pack_binding(binding), ciphertext=pack_bytes(ciphertext))
        return unpack_bytes(answer, "plaintext")

    async def find(self, slot: Slot) -> Signed | None:
        return unpack_signed((await self._call("find", slot=pack_slot(slot))).get("signed"))

    async def sign_receipt(self, receipt: Receipt, response: bytes) -> Signed:
        return _present(await self._call("sign_receipt", receipt=pack_struct(receipt), response=pack_bytes(response)))

    async def sign_stream_receipt(self, receipt: Receipt) -> bytes:
        return unpack_bytes(await self._call("sign_stream_receipt", **pack_stream_receipt(receipt)), "signature")

    async def sign_rejection(self, rejection: RejectionStatement) -> Signed:
        return _present(await self._call("sign_rejection", rejection=pack_struct(rejection)))

    async def sign_close(self, statement: CloseStatement) -> bytes:
        return unpack_bytes(await self._call("sign_close", statement=pack_struct(statement)), "signature")

    async def stop(self) -> None:
        """Ends the signer. Its keys are gone for good: the worker gets new ones, and open jobs under the old ones are
        lost.
        """
        await self._call("stop")
        await self.close()

    async def close(self) -> None:
        """Disconnects. The signer goes on."""
        if self._line is not None:
            line, self._line = self._line, None
            line.close()
            await line.gone

    async def _call(self, op: str, **fields: Any) -> Fields:
        try:
            async with asyncio.timeout(_ANSWER_SEC):
                answer = await (await self._connected()).call({"op": op, **fields})
        except (OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and self._line is not None:
                self._line.close()  # whatever it still answers is late
            raise SignerUnavailable(
                f"no signer answers at {self._path} ({error or 'timeout'}): an agent starts one, or you do, "
                f"with `python -m cocoon.signer --socket {self._path}`"
            ) from error
        if "ok" in answer:
            result: Fields = answer["ok"]
            return result
        raise _error(answer.get("error") or {})

    async def _connected(self) -> _Calls:
        async with self._connecting:
            if self._line is None or not self._line.open:
                _, self._line = await asyncio.get_running_loop().create_unix_connection(_Calls, str(self._path))
            return self._line


def _present(answer: Fields) -> Signed:
    signed = unpack_signed(answer.get("signed"))
    if signed is None:
        raise SignerUnavailable("the signer answered without a signature: restart it")
    return signed


def _error(fields: Fields) -> Exception:
    name, message = str(fields.get("type")), str(fields.get("message"))
    if name == "AlreadySigned":
        stored = unpack_signed(fields.get("stored"))
        if stored is not None:
            return AlreadySigned(stored)
    return _ERRORS.get(name, SignerError)(message)
