"""Hashing files in chunks, so that a download is checked as it arrives and a damaged part is known by its place.

The root over shards is SHA-256 of a domain tag and, for each shard, its length (8 bytes, big endian) and chunk hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import BundleInvalid
from .manifest import Shard

__all__ = ["CHUNK_BYTES", "chunk_count", "hash_shard", "root", "verify_shard"]

CHUNK_BYTES = 4 << 20
_TAG = b"cocoon.weights/1\0"


def chunk_count(size: int, chunk_bytes: int) -> int:
    return -(-size // chunk_bytes)


def root(shards: Iterable[Shard]) -> str:
    """In hex."""
    state = hashlib.sha256(_TAG)
    for shard in shards:
        state.update(shard.bytes.to_bytes(8, "big"))
        for chunk in shard.chunks:
            state.update(bytes.fromhex(chunk))
    return state.hexdigest()


def hash_shard(path: Path, chunk_bytes: int = CHUNK_BYTES) -> Shard:
    """What a manifest says about the file."""
    hashes, size = [], 0
    with path.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            hashes.append(hashlib.sha256(chunk).hexdigest())
            size += len(chunk)
    return Shard(size, tuple(hashes))


def verify_shard(path: Path, shard: Shard, chunk_bytes: int, read: Callable[[int], None] = lambda _: None) -> None:
    """Raises BundleInvalid at the first chunk that differs. read: told how many bytes were read."""
    if path.stat().st_size != shard.bytes:
        raise BundleInvalid(f"{path.name} has {path.stat().st_size} bytes, the manifest says {shard.bytes}")
    with path.open("rb") as file:
        for index, expected in enumerate(shard.chunks):
            chunk = file.read(chunk_bytes)
            if hashlib.sha256(chunk).hexdigest() != expected:
                raise BundleInvalid(f"{path.name}: chunk {index} (byte {index * chunk_bytes}) has another hash")
            read(len(chunk))
