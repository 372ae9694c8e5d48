"""What is inside the pieces of an answer, and the digest over their ciphertexts.

A piece: tokens (4 bytes) || length of the text (4 bytes) || text (UTF-8, whole characters) || zeros to the next size.
The last piece: usage salt || counts || a JSON object (finish_reason, build), padded like any payload.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ..crypto.errors import PayloadMalformed
from ..crypto.payload import MAX_PADDED_BYTES, pack, padded_size, unpack
from ..crypto.usage import SALT_BYTES, Usage

__all__ = ["PieceDigest", "pack_end", "pack_piece", "unpack_end", "unpack_piece"]

_HEADER_BYTES = 8
_LEAST_PIECE = 64
_LEAST_END = 256
_LABEL = b"cocoon stream 1 "


class PieceDigest:
    """`response_digest` of a stream: SHA-256 over label, salt, and every sealed piece behind its length."""

    def __init__(self, salt: bytes) -> None:
        self._hash = hashlib.sha256(_LABEL + salt)

    def add(self, sealed: bytes) -> None:
        self._hash.update(len(sealed).to_bytes(4, "big") + sealed)

    @property
    def value(self) -> int:
        return int.from_bytes(self._hash.digest(), "big")


def pack_piece(text: str, tokens: int) -> bytes:
    encoded = text.encode()
    content = tokens.to_bytes(4, "big") + len(encoded).to_bytes(4, "big") + encoded
    return content.ljust(padded_size(len(content), least=_LEAST_PIECE), b"\0")


def unpack_piece(plaintext: bytes) -> tuple[str, int]:
    """(text, tokens). PayloadMalformed unless it is laid out exactly as `pack_piece` does it."""
    end = _HEADER_BYTES + int.from_bytes(plaintext[4:_HEADER_BYTES], "big")
    if len(plaintext) < _LEAST_PIECE or end > len(plaintext) or any(plaintext[end:]):
        raise PayloadMalformed("a piece's length or padding is wrong")
    if len(plaintext) > MAX_PADDED_BYTES or len(plaintext) != padded_size(end, least=_LEAST_PIECE):
        raise PayloadMalformed("a piece is not padded to the next size")
    try:
        return plaintext[_HEADER_BYTES:end].decode(), int.from_bytes(plaintext[:4], "big")
    except UnicodeDecodeError as error:
        raise PayloadMalformed("a piece splits a character") from error


def pack_end(body: dict[str, Any], usage: Usage) -> bytes:
    return pack(usage.salt + usage.counts, body, least=_LEAST_END)


def unpack_end(plaintext: bytes) -> tuple[dict[str, Any], Usage]:
    """(body, usage). PayloadMalformed."""
    header, body = unpack(plaintext, header_bytes=SALT_BYTES + Usage.COUNT_BYTES, least=_LEAST_END)
    return body, Usage.from_counts(header[SALT_BYTES:], header[:SALT_BYTES])
