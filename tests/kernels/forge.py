"""An attacker's tools: a bundle changed at will, with every hash made to fit again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cocoon.kernels.bundle import canonical, chunks
from cocoon.kernels.bundle.loader import GOLDEN, MANIFEST, TOKENIZER, program_name, shard_name
from cocoon.kernels.errors import BundleInvalid

__all__ = ["leaves", "put", "read_manifest", "rehash", "replace_program", "write_manifest"]


def read_manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return found


def write_manifest(folder: Path, manifest: Any) -> None:
    """Canonical where it can be; a forger does not mind."""
    try:
        text = canonical.dumps(manifest)
    except BundleInvalid:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    (folder / MANIFEST).write_bytes(text)


def rehash(folder: Path) -> None:
    """Makes shards, root, and the core's hashes those of the files."""
    manifest = read_manifest(folder)
    shards = [chunks.hash_shard(folder / shard_name(index)) for index in range(len(manifest["shards"]))]
    manifest["shards"] = [{"bytes": shard.bytes, "chunks": list(shard.chunks)} for shard in shards]
    manifest["core"]["weights"]["root"] = chunks.root(shards)
    manifest["core"]["weights"]["bytes"] = sum(shard.bytes for shard in shards)
    for field, name in (("golden", GOLDEN), ("tokenizer", TOKENIZER)):
        manifest["core"][field] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    write_manifest(folder, manifest)


def replace_program(source: Path, folder: Path, data: bytes, index: int = 0) -> None:
    """Copies the bundle, with another program behind a role."""
    shutil.copytree(source, folder)
    manifest = read_manifest(folder)
    sha256 = hashlib.sha256(data).hexdigest()
    manifest["builds"][0]["programs"][index] |= {"sha256": sha256, "bytes": len(data)}
    (folder / program_name(sha256)).write_bytes(data)
    write_manifest(folder, manifest)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to everything in a JSON value, containers included."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def put(value: Any, path: tuple[str | int, ...], change: Callable[[Any], Any]) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = change(value[path[-1]])
