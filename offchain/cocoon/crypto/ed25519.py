"""Ed25519 over cell hashes, as the contracts check it; public keys are 256-bit integers, as they lie in cells."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..wire.codec import Struct
from ..wire.hashing import struct_hash
from .errors import BadSignature, KeyUnsound

__all__ = ["check_sound", "is_sound", "public_key", "sign", "verify"]

# The encodings of points of small order, the sign bit cleared: contracts/common/ed25519.tolk refuses the same.
_P = 2**255 - 19
_ORDER_8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_SMALL_ORDER = frozenset(y.to_bytes(32, "little") for y in (0, 1, _P - 1, _P, _P + 1, _ORDER_8, _P - _ORDER_8))


def public_key(key: Ed25519PrivateKey) -> int:
    return int.from_bytes(key.public_key().public_bytes_raw(), "big")


def is_sound(key: int) -> bool:
    """Whether the contracts would register `key`: none of the encodings of the points of small order."""
    raw = key.to_bytes(32, "big")
    return raw[:31] + bytes([raw[31] & 0x7F]) not in _SMALL_ORDER


def check_sound(key: int) -> None:
    """KeyUnsound for what the contracts refuse to register."""
    if not is_sound(key):
        raise KeyUnsound("this public key has small order and would let anyone sign: generate another one")


def sign(key: Ed25519PrivateKey, statement: Struct) -> bytes:
    """64 bytes over the hash of the statement's cell."""
    return key.sign(struct_hash(statement))


def verify(key: int, statement: Struct, signature: bytes) -> None:
    """BadSignature or KeyUnsound unless `key` signed exactly this statement."""
    check_sound(key)
    try:
        Ed25519PublicKey.from_public_bytes(key.to_bytes(32, "big")).verify(signature, struct_hash(statement))
    except (InvalidSignature, ValueError) as error:
        raise BadSignature(f"the signature of this {type(statement).__name__} does not hold") from error
