"""Frames: one per WebSocket message, a type and fixed fields. All but opening and chunks are sealed (`session`).

Numbers are big-endian; what has no fixed length comes last.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, ClassVar, Self

from pytoniq_core import Address

from .errors import FrameMalformed

__all__ = [
    "MAX_FRAME_BYTES",
    "PATH",
    "VERSION",
    "Accepted",
    "AskClose",
    "AskReceipts",
    "Cancel",
    "Challenge",
    "Chunk",
    "CloseSigned",
    "End",
    "Fail",
    "Frame",
    "FrameType",
    "Hello",
    "Need",
    "Receipts",
    "Refusal",
    "Request",
    "Voucher",
    "Welcome",
    "pack_reason",
    "unpack_reason",
]

VERSION = 1
PATH = "/stream"  # of the WebSocket, below the worker's endpoint
MAX_FRAME_BYTES = 1 << 18
_MAX_REASON = 64
_MAX_MESSAGE = 500


class FrameType(IntEnum):
    CHALLENGE = 1
    HELLO = 2
    REFUSAL = 3
    WELCOME = 4
    REQUEST = 5
    VOUCHER = 6
    CANCEL = 7
    ACCEPTED = 8
    CHUNK = 9
    END = 10
    NEED = 11
    FAIL = 12
    ASK_RECEIPTS = 13
    RECEIPTS = 14
    ASK_CLOSE = 15
    CLOSE_SIGNED = 16


class Frame:
    """Base: `TYPE` and the struct format of the fields; a last field `rest` takes what follows."""

    TYPE: ClassVar[FrameType]
    FORMAT: ClassVar[struct.Struct]
    RESTS: ClassVar[bool] = False

    def encode(self) -> bytes:
        """Without the type."""
        values = [getattr(self, item.name) for item in fields(self)]  # type: ignore[arg-type]
        rest: bytes = values.pop() if self.RESTS else b""
        try:
            return self.FORMAT.pack(*values) + rest
        except struct.error as error:
            raise FrameMalformed(f"a {type(self).__name__} can't be sent: {error}") from error

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """FrameMalformed."""
        size = cls.FORMAT.size
        if len(data) < size or (len(data) > size and not cls.RESTS):
            raise FrameMalformed(f"a {cls.__name__} of {len(data)} bytes")
        values: tuple[Any, ...] = cls.FORMAT.unpack_from(data)
        return cls(*values, data[size:]) if cls.RESTS else cls(*values)  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class Challenge(Frame):
    """The worker's first word: what the client must sign."""

    TYPE = FrameType.CHALLENGE
    FORMAT = struct.Struct(">B32s")

    version: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Hello(Frame):
    """Which channel, signed with its client key, with the session's secret for the worker's HPKE key in `rest`."""

    TYPE = FrameType.HELLO
    FORMAT = struct.Struct(">b32sQI64s")
    RESTS = True

    workchain: int
    account: bytes
    epoch: int
    key_epoch: int
    signature: bytes
    rest: bytes

    @property
    def escrow(self) -> Address:
        return Address((self.workchain, self.account))


@dataclass(frozen=True, slots=True)
class Refusal(Frame):
    """Why there is no welcome (`pack_reason`)."""

    TYPE = FrameType.REFUSAL
    FORMAT = struct.Struct("")
    RESTS = True

    rest: bytes


@dataclass(frozen=True, slots=True)
class Welcome(Frame):
    """The worker's view of the channel: best voucher (with its signature; zeros if there is none), what it counts as
    earned, its receipts and their chain, and how far it works ahead of vouchers.
    """

    TYPE = FrameType.WELCOME
    FORMAT = struct.Struct(">Q32sI64sQI32sQI")

    cumulative: int
    voucher_chain: bytes
    voucher_key_epoch: int
    voucher_signature: bytes
    earned: int
    receipts: int
    chain: bytes
    credit: int
    streams: int


@dataclass(frozen=True, slots=True)
class Request(Frame):
    """A sealed request in `rest`, under a number of the client's choice that this connection has not seen."""

    TYPE = FrameType.REQUEST
    FORMAT = struct.Struct(">I")
    RESTS = True

    stream: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class Voucher(Frame):
    TYPE = FrameType.VOUCHER
    FORMAT = struct.Struct(">Q32s64s")

    cumulative: int
    chain: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Cancel(Frame):
    """End this stream now; what was made of it is answered with a receipt."""

    TYPE = FrameType.CANCEL
    FORMAT = struct.Struct(">I")

    stream: int


@dataclass(frozen=True, slots=True)
class Accepted(Frame):
    """The worker begins: the number its receipt will have, the salt of the answer's key, and the prompt's tokens."""

    TYPE = FrameType.ACCEPTED
    FORMAT = struct.Struct(">II32sII")

    stream: int
    seq: int
    salt: bytes
    prompt: int
    cached: int


@dataclass(frozen=True, slots=True)
class Chunk(Frame):
    """A sealed piece in `rest`."""

    TYPE = FrameType.CHUNK
    FORMAT = struct.Struct(">I")
    RESTS = True

    stream: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class End(Frame):
    """The receipt (see `receipts.pack_receipt`), how many there are with it, and the sealed last piece in `rest`."""

    TYPE = FrameType.END
    FORMAT = struct.Struct(">II176s64s")
    RESTS = True

    stream: int
    receipts: int
    receipt: bytes
    signature: bytes
    rest: bytes


@dataclass(frozen=True, slots=True)
class Need(Frame):
    """The worker waits until vouchers reach `cumulative`."""

    TYPE = FrameType.NEED
    FORMAT = struct.Struct(">IQ")

    stream: int
    cumulative: int


@dataclass(frozen=True, slots=True)
class Fail(Frame):
    """A stream ends without a receipt, and why (`pack_reason`)."""

    TYPE = FrameType.FAIL
    FORMAT = struct.Struct(">I")
    RESTS = True

    stream: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class AskReceipts(Frame):
    """The receipts from this one on, counted from 0."""

    TYPE = FrameType.ASK_RECEIPTS
    FORMAT = struct.Struct(">I")

    first: int


@dataclass(frozen=True, slots=True)
class Receipts(Frame):
    """Some receipts in order, each with its key epoch (4 bytes) and signature (64) behind it."""

    TYPE = FrameType.RECEIPTS
    FORMAT = struct.Struct(">I")
    RESTS = True

    first: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class AskClose(Frame):
    """Agree to end the channel at `cumulative`; nothing is served in it afterwards."""

    TYPE = FrameType.ASK_CLOSE
    FORMAT = struct.Struct(">Q")

    cumulative: int


@dataclass(frozen=True, slots=True)
class CloseSigned(Frame):
    TYPE = FrameType.CLOSE_SIGNED
    FORMAT = struct.Struct(">Q64s")

    cumulative: int
    signature: bytes


def pack_reason(reason: str, message: str) -> bytes:
    return json.dumps([reason[:_MAX_REASON], message[:_MAX_MESSAGE]]).encode()


def unpack_reason(data: bytes) -> tuple[str, str]:
    """(short name, message for people), both short. FrameMalformed."""
    try:
        match json.loads(data):
            case [str(reason), str(message)]:
                return reason[:_MAX_REASON], message[:_MAX_MESSAGE]
    except (ValueError, RecursionError) as error:
        raise FrameMalformed("a reason is not JSON") from error
    raise FrameMalformed("a reason is not two texts")
