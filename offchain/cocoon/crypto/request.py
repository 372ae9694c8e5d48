"""Requests: what a client wants computed, readable by one worker, for one channel and one model.

Plaintext: the response secret (32 bytes) and a JSON object, padded (see `payload`). The HPKE `info` is a label and the
hash of a cell that names network, escrow, epoch, key epoch, kind, worker and model, so a ciphertext moved elsewhere
does not open there.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from pytoniq_core import Cell

from ..errors import WireError
from ..wire.blob import bytes_to_cell, cell_to_bytes
from ..wire.codec import U256, Std, Struct
from ..wire.common import SignedDomain
from ..wire.hashing import struct_hash
from .errors import PayloadMalformed, RequestUndecryptable
from .hpke import OVERHEAD_BYTES, HpkePublicKey
from .payload import MAX_PADDED_BYTES, encode_object, pack_encoded, unpack

__all__ = [
    "SECRET_BYTES",
    "Request",
    "RequestBinding",
    "check_fits",
    "parse_request",
    "request_ciphertext",
    "request_digest",
    "seal_encoded",
    "seal_request",
]

SECRET_BYTES = 32
_LEAST_BYTES = 512
_LABEL = b"cocoon request 1 "


@dataclass(frozen=True, slots=True)
class RequestBinding(Struct):
    """Where a request may be opened. `domain.kind` is that of the receipt it asks for: STREAM_RECEIPT or
    FORCED_RECEIPT.
    """

    domain: SignedDomain
    worker: Std
    model_id: U256

    @property
    def info(self) -> bytes:
        """HPKE's `info`: 49 bytes."""
        return _LABEL + struct_hash(self)


@dataclass(frozen=True, slots=True)
class Request:
    """A decrypted request. `secret` has 32 bytes and keys the response; it is kept out of the representation."""

    secret: bytes = field(repr=False)
    body: dict[str, Any] = field(repr=False)


def seal_request(body: dict[str, Any], *, to: HpkePublicKey, binding: RequestBinding) -> tuple[Cell, bytes]:
    """(request cell, response secret). The secret is fresh and opens every response to this request.

    PayloadMalformed if `body` is not JSON, PayloadTooLarge if it is too long.
    """
    ciphertext, secret = seal_encoded(encode_object(body), to=to, binding=binding)
    return bytes_to_cell(ciphertext), secret


def seal_encoded(encoded: bytes, *, to: HpkePublicKey, binding: RequestBinding) -> tuple[bytes, bytes]:
    """`seal_request` for a body that `encode_object` gave and that travels as bytes; its digest is the hash of the
    cell it would be. PayloadTooLarge.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    return to.encrypt(pack_encoded(secret, encoded, least=_LEAST_BYTES), binding.info), secret


def check_fits(encoded: bytes) -> None:
    """PayloadTooLarge if `encoded` can't be sealed."""
    pack_encoded(bytes(SECRET_BYTES), encoded, least=_LEAST_BYTES)


def request_digest(request: Cell) -> int:
    """What receipts and rejections name a request by: the hash of the ciphertext's cell."""
    return int.from_bytes(request.hash, "big")


def request_ciphertext(request: Cell) -> bytes:
    """The bytes to decrypt. RequestUndecryptable if the cell can't hold a request."""
    try:
        ciphertext = cell_to_bytes(request, max_bytes=MAX_PADDED_BYTES + OVERHEAD_BYTES)
    except WireError as error:
        raise RequestUndecryptable(f"the request cell holds no ciphertext: {error}") from error
    return ciphertext


def parse_request(plaintext: bytes) -> Request:
    """What `HpkePrivateKey.decrypt` gave, read. PayloadMalformed if a client did not make it as `seal_request` does."""
    secret, body = unpack(plaintext, header_bytes=SECRET_BYTES, least=_LEAST_BYTES)
    if not any(secret):
        raise PayloadMalformed("the response secret is empty")
    return Request(secret, body)
