"""HPKE (RFC 9180) with a hybrid post-quantum KEM: ML-KEM-768 and X25519, HKDF-SHA256, ChaCha20-Poly1305.

A ciphertext on a public chain must stay secret for decades; the hybrid holds as long as either half does. A public key
is 1216 bytes (ML-KEM key || X25519 key) and travels as a `cocoon.wire.blob` tree, whose hash is what the Worker
contract stores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from pytoniq_core import Cell

from ..errors import WireError
from ..wire.blob import blob_hash, bytes_to_cell, cell_to_bytes
from .errors import KeyMalformed, RequestUndecryptable

__all__ = ["OVERHEAD_BYTES", "PUBLIC_KEY_BYTES", "HpkePrivateKey", "HpkePublicKey"]

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_MLKEM_BYTES = 1184
PUBLIC_KEY_BYTES = _MLKEM_BYTES + 32
OVERHEAD_BYTES = KEM.MLKEM768_X25519.enc_length() + 16  # the encapsulated key, the tag


@dataclass(frozen=True, slots=True)
class HpkePublicKey:
    """What clients encrypt to. `raw` has 1216 bytes; KeyMalformed if they are not a key."""

    raw: bytes

    def __post_init__(self) -> None:
        self._parts()

    @classmethod
    def from_cell(cls, cell: Cell) -> HpkePublicKey:
        """The key in the cell of an Attest message. KeyMalformed if there is none."""
        try:
            return cls(cell_to_bytes(cell, max_bytes=PUBLIC_KEY_BYTES))
        except WireError as error:
            raise KeyMalformed(f"the worker's HPKE key can't be read: {error}") from error

    def to_cell(self) -> Cell:
        return bytes_to_cell(self.raw)

    @property
    def cell_hash(self) -> int:
        """What the chain stores about this key."""
        return int.from_bytes(blob_hash(self.raw), "big")

    def encrypt(self, plaintext: bytes, info: bytes) -> bytes:
        """Encapsulated key (1120 bytes) || ciphertext || tag, for exactly this `info`."""
        return _SUITE.encrypt(plaintext, self._parts(), info=info)

    def _parts(self) -> MLKEM768X25519PublicKey:
        return _parse(self.raw)


@lru_cache(maxsize=256)
def _parse(raw: bytes) -> MLKEM768X25519PublicKey:
    """Remembered: a client seals many requests to few workers."""
    if len(raw) != PUBLIC_KEY_BYTES:
        raise KeyMalformed(f"an HPKE key has {PUBLIC_KEY_BYTES} bytes, not {len(raw)}")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_BYTES])
        return MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(raw[_MLKEM_BYTES:]))
    except ValueError as error:
        raise KeyMalformed(f"these bytes are not an HPKE key: {error}") from error


class HpkePrivateKey:
    """Lives in the signer's memory only: there is no way to serialize it."""

    __slots__ = ("_key", "public")

    def __init__(self) -> None:
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = HpkePublicKey(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())

    def decrypt(self, ciphertext: bytes, info: bytes) -> bytes:
        """RequestUndecryptable if it was not encrypted to this key with this `info`, or was altered."""
        try:
            return _SUITE.decrypt(ciphertext, self._key, info=info)
        except (InvalidTag, ValueError) as error:
            raise RequestUndecryptable(
                "the request does not decrypt: it was made for another key, channel, worker or model, or was altered"
            ) from error
