"""Who acts in the tests: plain addresses without code, Ed25519 keys, and test bodies, all derived from names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell, begin_cell

from cocoon.wire.codec import Struct

__all__ = ["Key", "actor", "blob", "digest", "key"]


@dataclass(frozen=True, slots=True)
class Key:
    """An Ed25519 key pair; `public` as TVM sees it, a 256-bit number."""

    name: str
    private: Ed25519PrivateKey
    public: int

    def __repr__(self) -> str:
        return f"<key of {self.name}>"

    def sign(self, statement: Struct | Cell) -> bytes:
        """Signature over the hash of the statement's cell."""
        cell = statement if isinstance(statement, Cell) else statement.to_cell()
        return self.private.sign(cell.hash)


@cache
def key(name: str) -> Key:
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"cocoon test key " + name.encode()).digest())
    return Key(name, private, int.from_bytes(private.public_key().public_bytes_raw(), "big"))


@cache
def actor(name: str, workchain: int = 0) -> Address:
    """An address without code: it holds what it is paid and never answers."""
    return Address((workchain, hashlib.sha256(b"cocoon test actor " + name.encode()).digest()))


def blob(text: str, cells: int = 1) -> Cell:
    """A cell derived from `text`, the root of a tree of `cells` distinct cells, at most five deep for 128 of them."""
    if cells == 1:
        return begin_cell().store_bytes(hashlib.sha512(text.encode()).digest()).end_cell()
    builder = begin_cell().store_bytes(hashlib.sha512(f"{text} {cells}".encode()).digest())
    below, branches = cells - 1, min(4, cells - 1)
    for branch in range(branches):
        share = below // branches + (branch < below % branches)
        builder.store_ref(blob(f"{text}/{branch}", share))
    return builder.end_cell()


def digest(cell: Cell) -> int:
    """Hash of a cell as the number that messages carry."""
    return int.from_bytes(cell.hash, "big")
