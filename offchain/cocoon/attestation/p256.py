"""Hints with which a contract verifies an ECDSA-P256 signature over any digest.

The contract's instruction hashes its message, so it can't be asked about a given digest directly. It is asked two
questions about points instead; a `Hint` carries what makes them answerable: a scalar c with c·r + H0 = e (mod n),
the x of C = c·G, and the slope of the line through the public key and C. See `contracts/attestation/p256.tolk`.
Hints are no secret and need no trust: wrong ones are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from .errors import AttestationError

__all__ = [
    "GENERATOR",
    "H0",
    "B",
    "Hint",
    "N",
    "P",
    "Point",
    "add",
    "is_on_curve",
    "make_hint",
    "multiply",
    "slope",
]

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
H0 = int.from_bytes(sha256(bytes(32)).digest())

type Point = tuple[int, int]

GENERATOR: Point = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


@dataclass(frozen=True, slots=True)
class Hint:
    """What the prover adds to a signature. Integers of 256 bits."""

    c: int
    c_x: int
    slope: int


def make_hint(digest: bytes, signature: bytes, key: bytes) -> Hint:
    """The hint for `signature` (r ‖ s) over `digest` (32 bytes) under `key` (x ‖ y).

    Any r above 0 gets a hint, whether or not the signature holds: the contract decides that. AttestationError if r is
    no scalar, the key no point, or c·G is infinity or ±key, which happens once in 2^255.
    """
    r = int.from_bytes(signature[:32])
    point = (int.from_bytes(key[:32]), int.from_bytes(key[32:]))
    if not 0 < r < N:
        raise AttestationError("the signature's r is out of range: the document is not genuine")
    if not is_on_curve(point):
        raise AttestationError("the public key is no point of P-256: the document is not genuine")
    c = (int.from_bytes(digest) - H0) * pow(r, -1, N) % N
    commitment = multiply(c, GENERATOR)
    if commitment is None or commitment[0] == point[0]:
        raise AttestationError("no hint exists for this signature; have the document signed again")
    return Hint(c, commitment[0], slope(point, commitment))


def slope(first: Point, second: Point) -> int:
    """Of the line through two points of different x."""
    return (second[1] - first[1]) * pow(second[0] - first[0], -1, P) % P


def is_on_curve(point: Point) -> bool:
    """Whether the coordinates are reduced and satisfy y² = x³ - 3x + b."""
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x - 3) * x - B) % P == 0


def add(first: Point | None, second: Point | None) -> Point | None:
    """Sum of two points; None is infinity."""
    if first is None or second is None:
        return first or second
    if first[0] == second[0]:
        if (first[1] + second[1]) % P == 0:
            return None
        m = (3 * first[0] * first[0] - 3) * pow(2 * first[1], -1, P) % P
    else:
        m = slope(first, second)
    x = (m * m - first[0] - second[0]) % P
    return x, (m * (first[0] - x) - first[1]) % P


def multiply(scalar: int, point: Point) -> Point | None:
    """`scalar` times `point`, in Jacobian coordinates: one inversion for the whole product."""
    x, y, z = 0, 1, 0
    for bit in bin(scalar % N)[2:]:
        x, y, z = _double(x, y, z)
        if bit == "1":
            x, y, z = _add_affine(x, y, z, point)
    if z == 0:
        return None
    inverse = pow(z, -1, P)
    square = inverse * inverse % P
    return x * square % P, y * square * inverse % P


def _double(x: int, y: int, z: int) -> tuple[int, int, int]:
    if z == 0 or y == 0:
        return 0, 1, 0
    delta, gamma = z * z % P, y * y % P
    beta, alpha = x * gamma % P, 3 * (x - delta) * (x + delta) % P
    new_x = (alpha * alpha - 8 * beta) % P
    return new_x, (alpha * (4 * beta - new_x) - 8 * gamma * gamma) % P, 2 * y * z % P


def _add_affine(x: int, y: int, z: int, point: Point) -> tuple[int, int, int]:
    if z == 0:
        return point[0], point[1], 1
    square = z * z % P
    h, s = (point[0] * square - x) % P, (point[1] * square * z - y) % P
    if h == 0:
        return _double(x, y, z) if s == 0 else (0, 1, 0)
    cube = h * h * h % P
    middle = x * h * h % P
    new_x = (s * s - cube - 2 * middle) % P
    return new_x, (s * (middle - new_x) - y * cube) % P, z * h % P
