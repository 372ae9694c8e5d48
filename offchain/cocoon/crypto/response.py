"""Responses: sealed for whoever holds the request's secret, fresh for every attempt.

Key: HKDF-SHA256 of the response secret, salted with 32 random bytes of the enclave's, for this request digest, kind
and seq; so no two attempts at a request share a key. Pieces are sealed with ChaCha20-Poly1305 in the STREAM
construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015): nonce = piece counter (11 bytes, big-endian) || 1 for the last
piece, else 0. A missing end is noticed.

A response on chain is `salt || pieces`, the padded plaintext cut every 1024 bytes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pytoniq_core import Cell

from ..errors import WireError
from ..wire.blob import bytes_to_cell, cell_to_bytes
from ..wire.common import Kind
from .errors import PayloadMalformed, ResponseMalformed, ResponseTruncated, ResponseUndecryptable
from .payload import MAX_PADDED_BYTES, pack, unpack
from .usage import SALT_BYTES as USAGE_SALT_BYTES
from .usage import Usage

__all__ = [
    "Answer",
    "ResponseKey",
    "ResponseOpener",
    "ResponseSealer",
    "open_response",
    "response_digest",
    "seal_response",
]

SALT_BYTES = 32
_LEAST_BYTES = 256
_PIECE_BYTES = 1024
_TAG_BYTES = 16
_LABEL = b"cocoon response 1 "
_MAX_BYTES = SALT_BYTES + MAX_PADDED_BYTES + (MAX_PADDED_BYTES // _PIECE_BYTES) * _TAG_BYTES


@dataclass(frozen=True, slots=True)
class ResponseKey:
    """Everything but the salt that a response's key follows from."""

    secret: bytes = field(repr=False)
    request_digest: int
    kind: Kind
    seq: int

    def derive(self, salt: bytes) -> bytes:
        """32 bytes, different for every salt."""
        info = _LABEL + self.request_digest.to_bytes(32, "big") + bytes([self.kind]) + self.seq.to_bytes(4, "big")
        return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(self.secret)


class ResponseSealer:
    """Seals the pieces of one attempt, in order. Never make two with one salt."""

    def __init__(self, key: ResponseKey, salt: bytes | None = None) -> None:
        """salt: None in all but tests, which means 32 fresh random bytes."""
        self.salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
        self._aead = ChaCha20Poly1305(key.derive(self.salt))
        self._count = 0
        self._ended = False

    def seal(self, piece: bytes, *, last: bool) -> bytes:
        """The next piece with its tag. Nothing may be sealed after the last one."""
        if self._ended:
            raise ResponseMalformed("this response has ended: seal another one with a fresh salt")
        self._ended = last
        self._count += 1
        return self._aead.encrypt(_nonce(self._count - 1, last), piece, None)


class ResponseOpener:
    """Opens the pieces of one attempt, in order."""

    def __init__(self, key: ResponseKey, salt: bytes) -> None:
        self._aead = ChaCha20Poly1305(key.derive(salt))
        self._count = 0
        self._ended = False

    def open(self, sealed: bytes, *, last: bool) -> bytes:
        """The next piece. ResponseUndecryptable if it is not this response's, not in its place, or not last."""
        if self._ended:
            raise ResponseUndecryptable("there is more after the end of the response")
        try:
            piece = self._aead.decrypt(_nonce(self._count, last), sealed, None)
        except (InvalidTag, ValueError) as error:
            if last and self._opens(sealed, last=False):
                raise ResponseTruncated(
                    f"the response breaks off after piece {self._count}: ask for it again"
                ) from error
            raise ResponseUndecryptable(
                f"piece {self._count} of the response does not open: made for another request or attempt, or altered"
            ) from error
        self._ended = last
        self._count += 1
        return piece

    def _opens(self, sealed: bytes, *, last: bool) -> bool:
        try:
            self._aead.decrypt(_nonce(self._count, last), sealed, None)
        except (InvalidTag, ValueError):
            return False
        return True

    def finish(self) -> None:
        """ResponseTruncated unless the last piece has been opened."""
        if not self._ended:
            raise ResponseTruncated(
                f"the response ends after {self._count} pieces without its last one: ask for it again"
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets: the model's output and the exact usage, which the chain knows only as a salted commitment."""

    body: dict[str, Any] = field(repr=False)
    usage: Usage


def seal_response(answer: Answer, key: ResponseKey, salt: bytes | None = None) -> Cell:
    """The response cell of a forced job. PayloadTooLarge or PayloadMalformed if the answer can't be sent."""
    plaintext = pack(answer.usage.salt + answer.usage.counts, answer.body, least=_LEAST_BYTES)
    sealer = ResponseSealer(key, salt)
    pieces = [plaintext[at : at + _PIECE_BYTES] for at in range(0, len(plaintext), _PIECE_BYTES)]
    sealed = [sealer.seal(piece, last=index == len(pieces) - 1) for index, piece in enumerate(pieces)]
    return bytes_to_cell(b"".join([sealer.salt, *sealed]))


def open_response(response: Cell, key: ResponseKey) -> Answer:
    """The answer in a response cell. ResponseUndecryptable, ResponseTruncated or ResponseMalformed say why there is
    none.
    """
    try:
        data = cell_to_bytes(response, max_bytes=_MAX_BYTES)
    except WireError as error:
        raise ResponseUndecryptable(f"the response cell holds no ciphertext: {error}") from error
    salt, rest = data[:SALT_BYTES], data[SALT_BYTES:]
    if len(salt) < SALT_BYTES or not rest:
        raise ResponseTruncated("the response is shorter than its own header: ask for it again")
    opener = ResponseOpener(key, salt)
    step = _PIECE_BYTES + _TAG_BYTES
    pieces = [rest[at : at + step] for at in range(0, len(rest), step)]
    opened = [opener.open(piece, last=index == len(pieces) - 1) for index, piece in enumerate(pieces)]
    opener.finish()
    try:
        header, body = unpack(b"".join(opened), header_bytes=USAGE_SALT_BYTES + Usage.COUNT_BYTES, least=_LEAST_BYTES)
    except PayloadMalformed as error:
        raise ResponseMalformed(f"the worker's answer can't be read: {error}") from error
    return Answer(body, Usage.from_counts(header[USAGE_SALT_BYTES:], header[:USAGE_SALT_BYTES]))


def response_digest(response: Cell) -> int:
    """What a receipt names a response by: the hash of the ciphertext's cell."""
    return int.from_bytes(response.hash, "big")


def _nonce(count: int, last: bool) -> bytes:
    return count.to_bytes(11, "big") + bytes([last])
