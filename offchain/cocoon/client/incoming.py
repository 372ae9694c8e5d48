"""One answer as it comes in: every piece opened in its place, the receipt held against all of them."""

from __future__ import annotations

import asyncio
from typing import Any

from ..crypto.ed25519 import verify
from ..crypto.errors import CryptoError
from ..crypto.response import ResponseKey, ResponseOpener
from ..crypto.statements import Channel as SignedChannel
from ..crypto.statements import check_receipt
from ..crypto.usage import Usage
from ..errors import CocoonError
from ..stream.errors import FrameMalformed
from ..stream.frames import Accepted, End
from ..stream.pieces import PieceDigest, unpack_end, unpack_piece
from ..stream.pricing import stream_price
from ..stream.receipts import unpack_receipt
from ..wire.common import Kind
from ..wire.escrow import Binding, SignedReceipt

__all__ = ["Incoming", "Lie"]


class Lie(CocoonError):
    """What the worker said does not hold. `receipt`: the one it signed, where its signature holds."""

    def __init__(self, message: str, receipt: SignedReceipt | None = None) -> None:
        super().__init__(message)
        self.receipt = receipt


class Incoming:
    """A stream from its request on. Raises Lie for what does not verify; nothing after that counts."""

    def __init__(self, digest: int, secret: bytes, max_fee: int, channel: SignedChannel, binding: Binding) -> None:
        self.max_fee = max_fee
        self.need = 0  # vouchers the worker waits for
        self.out: asyncio.Queue[Any] = asyncio.Queue()
        self._digest, self._secret = digest, secret
        self._channel, self._binding = channel, binding
        self._opener: ResponseOpener | None = None
        self._pieces = PieceDigest(b"")
        self._seq = self._prompt = self._cached = 0
        self.tokens = 0
        self._text: list[str] = []

    @property
    def cost(self) -> int:
        """What has arrived, by the channel's prices; nothing before the first piece."""
        if not self.tokens:
            return 0
        return stream_price(self._binding.terms, self._prompt - self._cached, self._cached, self.tokens)

    def accepted(self, frame: Accepted) -> None:
        if self._opener is not None or frame.cached > frame.prompt:
            raise Lie("the worker accepted a request twice, or more of it from its cache than there is")
        key = ResponseKey(self._secret, self._digest, Kind.STREAM_RECEIPT, frame.seq)
        self._opener, self._pieces = ResponseOpener(key, frame.salt), PieceDigest(frame.salt)
        self._seq, self._prompt, self._cached = frame.seq, frame.prompt, frame.cached

    def chunk(self, sealed: bytes) -> tuple[str, int]:
        """(text, tokens)."""
        try:
            text, tokens = unpack_piece(self._open(sealed, last=False))
        except CryptoError as error:
            raise Lie(f"a piece of the answer does not hold: {error}") from error
        self._pieces.add(sealed)
        self._text.append(text)
        self.tokens += tokens
        return text, tokens

    def end(self, frame: End) -> tuple[dict[str, Any], Usage, SignedReceipt]:
        """The whole body, the usage, and a receipt that holds in every field."""
        binding = self._binding
        try:
            receipt = unpack_receipt(frame.receipt, self._channel)
        except FrameMalformed as error:
            raise Lie(str(error)) from error
        signed = SignedReceipt(receipt, frame.signature)
        try:
            verify(binding.keys.session_key, receipt, frame.signature)
        except CryptoError as error:
            raise Lie(f"the receipt is not the worker's: {error}") from error
        try:
            body, usage = unpack_end(self._open(frame.rest, last=True))
            self._pieces.add(frame.rest)
            check_receipt(
                receipt,
                channel=self._channel,
                kind=Kind.STREAM_RECEIPT,
                seq=self._seq,
                request_digest=self._digest,
                response_digest=self._pieces.value,
                model_id=binding.model_id,
                max_fee_nano=self.max_fee,
                measurement=binding.keys.measurement,
            )
            usage.verify(receipt.outcome.disclosure.usage_commitment)
        except CryptoError as error:
            raise Lie(f"the receipt does not hold: {error}", signed) from error
        if (usage.prompt + usage.cached, usage.cached, usage.completion) != (self._prompt, self._cached, self.tokens):
            raise Lie("the receipt commits to other token counts than those that were sent", signed)
        owed = stream_price(binding.terms, usage.prompt, usage.cached, usage.completion)
        if receipt.fee_nano > owed:
            raise Lie(f"the receipt asks for {receipt.fee_nano} nanoTON where the usage costs {owed}", signed)
        return {**body, "text": "".join(self._text)}, usage, signed

    def _open(self, sealed: bytes, *, last: bool) -> bytes:
        if self._opener is None:
            raise Lie("the worker answered a request it had not accepted")
        return self._opener.open(sealed, last=last)
