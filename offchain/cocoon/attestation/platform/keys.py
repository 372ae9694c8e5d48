"""P-256 keys and other bytes that follow from a seed, and signatures that follow from key and message (RFC 6979)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from ..certificates import raw_signature

__all__ = ["SigningKey", "derive_bytes"]

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def derive_bytes(seed: bytes, label: str, size: int) -> bytes:
    """`size` bytes that belong to `label`."""
    return hashlib.shake_256(len(seed).to_bytes(4) + seed + label.encode()).digest(size)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. `public_key` is x ‖ y."""

    public_key: bytes
    _key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @classmethod
    def derive(cls, seed: bytes, label: str) -> SigningKey:
        """The key that belongs to `label`."""
        scalar = int.from_bytes(derive_bytes(seed, f"key {label}", 48)) % (_ORDER - 1) + 1
        key = ec.derive_private_key(scalar, ec.SECP256R1())
        numbers = key.public_key().public_numbers()
        return cls(numbers.x.to_bytes(32) + numbers.y.to_bytes(32), key)

    def sign_der(self, message: bytes) -> bytes:
        """The DER form of a signature over SHA-256 of `message`."""
        return self._key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))

    def sign(self, message: bytes) -> bytes:
        """r ‖ s, 64 bytes."""
        return raw_signature(self.sign_der(message))
