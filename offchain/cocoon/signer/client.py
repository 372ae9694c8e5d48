"""The agent's side of the signer's socket."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Protocol

from ..crypto import errors as crypto_errors
from ..crypto.hpke import HpkePublicKey
from ..crypto.request import RequestBinding
from ..wire.escrow import CloseStatement, Receipt, RejectionStatement
from .errors import AlreadySigned, SeqClosed, SignerError, SignerFull, SignerRefused, SignerUnavailable
from .keys import SignerIdentity
from .messages import (
    Fields,
    pack_binding,
    pack_bytes,
    pack_slot,
    pack_stream_receipt,
    pack_struct,
    read_frame,
    unpack_bytes,
    unpack_signed,
    write_frame,
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


class SignerClient:
    """A `Signer` in another process. Connects when first used and again whenever the connection is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

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
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _call(self, op: str, **fields: Any) -> Fields:
        async with self._turn:
            try:
                async with asyncio.timeout(_ANSWER_SEC):
                    answer = await self._exchange({"op": op, **fields})
            except BaseException as error:
                # a half-read answer must not be taken for the next one's
                self._drop()
                if isinstance(error, OSError | TimeoutError):
                    raise SignerUnavailable(
                        f"no signer answers at {self._path} ({error or 'timeout'}): an agent starts one, or you do, "
                        f"with `python -m cocoon.signer --socket {self._path}`"
                    ) from error
                raise
        if "ok" in answer:
            result: Fields = answer["ok"]
            return result
        raise _error(answer.get("error") or {})

    async def _exchange(self, call: Fields) -> Fields:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(self._path)
        reader, writer = self._streams
        await write_frame(writer, call)
        answer = await read_frame(reader)
        if answer is None:
            raise ConnectionResetError("the signer hung up")
        return answer

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


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
