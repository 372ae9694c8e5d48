"""Ed25519 keys as ADNL uses them: their short ids, and the X25519 secret two sides share."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from cocoon_sandbox.tlb.validators import key_id

__all__ = ["ServerKey"]

_P = 2**255 - 19


class ServerKey:
    """A lite server's identity."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.public_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self.id = key_id(self.public_key)
        self._secret = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])

    def shared_secret(self, peer: bytes) -> bytes:
        """X25519 secret with the owner of the Ed25519 key `peer`; ValueError for a key that is no curve point."""
        return self._secret.exchange(X25519PublicKey.from_public_bytes(_montgomery(peer)))


def _montgomery(public_key: bytes) -> bytes:
    """The X25519 form of an Ed25519 public key: u = (1 + y) / (1 - y)."""
    y = int.from_bytes(public_key, "little") & ((1 << 255) - 1)
    return ((1 + y) * pow(1 - y, -1, _P) % _P).to_bytes(32, "little")
