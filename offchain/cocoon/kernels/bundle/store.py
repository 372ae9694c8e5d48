"""Bundles by id: from a local folder, or from mirrors over HTTP.

A mirror serves MODEL_ID/manifest.json and the files beside it. The manifest's core must have the id asked for; with it
weights, texts and golden vectors are known by their hashes, so that wrong content is noticed where it begins and never
reaches the place bundles are opened from.

The builds are outside the id: which programs compute the model is the mirror's word, unless the caller names a build.
Golden vectors catch a program that is mistaken, not one made to lie about everything else.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import BundleInvalid, BundleUnavailable, KernelError
from ..progress import Progress, ProgressCallback, silent
from .limits import Limits
from .loader import (
    GOLDEN,
    MANIFEST,
    TEMPLATE,
    TOKENIZER,
    check_programs,
    check_shards,
    open_bundle,
    program_name,
    shard_name,
)
from .manifest import Manifest, Shard

__all__ = ["fetch_bundle"]

_TIMEOUT_SEC = 30.0
# What a mirror's failure looks like: no HTTP at all, an address that is none, a connection that is cut
_FAILURES = (http.client.HTTPException, ValueError, OSError)


def fetch_bundle(
    model_id: bytes,
    shelf: Path,
    mirrors: Sequence[str] = (),
    limits: Limits | None = None,
    progress: ProgressCallback = silent,
    *,
    build: bytes | None = None,
) -> Path:
    """The folder of the model below `shelf`; fetched from the first mirror that has it and serves nothing wrong.

    mirrors: http or https addresses. build: the id (32 bytes) of the only build to accept; None trusts the mirror to
    have chosen the builds well. Progress phase `download`, in bytes of weights. Raises BundleUnavailable, which says
    what was wrong with each mirror.
    """
    limits = Limits() if limits is None else limits
    # apart from what was fetched with a mirror's choice of builds
    folder = shelf / (model_id.hex() if build is None else f"{model_id.hex()}-{build.hex()}")
    if (folder / MANIFEST).is_file():
        return folder
    shelf.mkdir(parents=True, exist_ok=True)
    failures = []
    for mirror in mirrors:
        if not mirror.startswith(("https://", "http://")):
            raise BundleUnavailable(f"{mirror} is no mirror: give an address that begins with https:// or http://")
        try:
            with tempfile.TemporaryDirectory(dir=shelf, prefix=".fetch-") as scratch:
                made = Path(scratch) / "bundle"
                _fetch(f"{mirror.rstrip('/')}/{model_id.hex()}", model_id, build, made, limits, progress)
                open_bundle(made, limits, expected=model_id)
                with contextlib.suppress(FileExistsError):  # somebody else was faster, and checked it, too
                    made.rename(folder)
            return folder
        except (KernelError, OSError) as error:
            failures.append(f"{mirror}: {error}")
    raise BundleUnavailable(
        f"model {model_id.hex()} is not in {shelf} and no mirror has it: {'; '.join(failures) or 'none is given'}"
    )


def _fetch(
    address: str, model_id: bytes, build: bytes | None, folder: Path, limits: Limits, progress: ProgressCallback
) -> None:
    (folder / "weights").mkdir(parents=True)
    (folder / "programs").mkdir()
    manifest = Manifest.from_bytes(_get(f"{address}/{MANIFEST}", limits.manifest_bytes))
    if manifest.model_id != model_id:
        raise BundleInvalid(f"{MANIFEST} is of model {manifest.model_id.hex()}")
    if build is not None:
        only = next((one for one in manifest.builds if one.id == build.hex()), None)
        if only is None:
            raise BundleInvalid(f"{MANIFEST} lists no build {build.hex()}")
        manifest = replace(manifest, builds=(only,))
    core = manifest.core
    total = check_shards(manifest, limits)  # chunks are read whole, so their length is a stranger's word no longer
    programs_total = check_programs(manifest, limits)
    if total > limits.memory_bytes or total + programs_total > shutil.disk_usage(folder).free:
        raise BundleInvalid(
            f"the weights are {total} bytes, the programs {programs_total}: more than there is room for"
        )
    texts = {TOKENIZER: core.tokenizer, TEMPLATE: core.chat_template, GOLDEN: core.golden}
    wanted = {name: (sha256, limits.text_bytes) for name, sha256 in texts.items() if sha256 is not None}
    wanted |= {program_name(sha256): (sha256, size) for sha256, size in manifest.programs.items()}
    for name, (sha256, limit) in wanted.items():
        data = _get(f"{address}/{name}", limit)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BundleInvalid(f"{name} has another hash than the manifest says")
        (folder / name).write_bytes(data)
    done = 0
    for index, shard in enumerate(manifest.shards):
        name = shard_name(index)
        done = _get_shard(f"{address}/{name}", folder / name, shard, core.weights.chunk_bytes, (done, total), progress)
    (folder / MANIFEST).write_bytes(manifest.to_bytes())


def _get(address: str, limit: int) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SEC) as answer:
            data: bytes = answer.read(limit + 1)
    except _FAILURES as error:
        raise BundleUnavailable(f"{address} can't be had: {_said(error)}") from error
    if len(data) > limit:
        raise BundleInvalid(f"{address} is longer than {limit} bytes")
    return data


def _get_shard(
    address: str, path: Path, shard: Shard, chunk_bytes: int, done: tuple[int, int], progress: ProgressCallback
) -> int:
    """Chunk by chunk, each checked before the next is asked for. Returns the bytes of all shards so far."""
    position, total = done
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SEC) as answer, path.open("wb") as file:
            left = shard.bytes
            for index, expected in enumerate(shard.chunks):
                chunk = answer.read(min(chunk_bytes, left))
                if hashlib.sha256(chunk).hexdigest() != expected:
                    raise BundleInvalid(f"{path.name}: chunk {index} has another hash than the manifest says")
                file.write(chunk)
                left, position = left - len(chunk), position + len(chunk)
                progress(Progress("download", position, total))
            file.flush()
            os.fsync(file.fileno())
    except _FAILURES as error:
        raise BundleUnavailable(f"{address} can't be had: {_said(error)}") from error
    return position


def _said(error: Exception) -> str:
    """A line of it: a bad mirror may have put anything there."""
    return f"{type(error).__name__} {str(error)[:200]!a}"
