"""Writing bundles: weights first, then the core that names them, then builds, each checked before it is listed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..bundle import chunks
from ..bundle.loader import GOLDEN, MANIFEST, TEMPLATE, TOKENIZER, open_bundle, program_name, read_manifest, shard_name
from ..bundle.manifest import SCHEMA, Core, Manifest, Shard, Weights
from ..bundle.safetensors import write
from ..engine.golden import check_golden
from ..engine.runtime import CompiledCache, Runtime
from ..errors import BundleInvalid
from ..progress import Progress, ProgressCallback, silent
from .blueprint import Blueprint, BuildOptions, Made

__all__ = ["add_build", "write_bundle"]

_SHARD_BYTES = 512 << 20


def write_bundle(
    blueprint: Blueprint,
    options: Sequence[BuildOptions],
    folder: Path,
    progress: ProgressCallback = silent,
    *,
    cache: CompiledCache | None = None,
) -> Manifest:
    """Makes `folder`, which must not exist. It appears whole or not at all. Raises BundleInvalid, UnsupportedModel.

    cache: keeps what was compiled to check the builds.
    """
    if folder.exists():
        raise BundleInvalid(f"{folder} exists already: remove it, or add a build to it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _beside(folder) as scratch:
        shards = _write_weights(blueprint, scratch, progress)
        golden = blueprint.source.golden()
        write(scratch / GOLDEN, golden)
        for name, text in ((TOKENIZER, blueprint.tokenizer), (TEMPLATE, blueprint.chat_template)):
            if text is not None:
                (scratch / name).write_bytes(text)
        core = Core(
            schema=SCHEMA,  # type: ignore[arg-type]
            kind=blueprint.kind,
            name=blueprint.name,
            licence=blueprint.licence,
            inputs=blueprint.inputs,
            outputs=blueprint.outputs,
            weights=Weights(chunks.root(shards), sum(shard.bytes for shard in shards), chunks.CHUNK_BYTES),
            tokenizer=_hash(blueprint.tokenizer),
            chat_template=_hash(blueprint.chat_template),
            golden=hashlib.sha256((scratch / GOLDEN).read_bytes()).hexdigest(),
            tolerance=blueprint.tolerance,
            generate=blueprint.generate,
        )
        manifest = Manifest(core, tuple(shards), ())
        (scratch / MANIFEST).write_bytes(manifest.to_bytes())
        (scratch / "programs").mkdir()
        for index, option in enumerate(options):
            progress(Progress("build", index, len(options)))
            manifest = _add(blueprint, option, scratch, cache)
        progress(Progress("build", len(options), len(options)))
        os.replace(scratch, folder)
        scratch.mkdir()  # for the context to remove
    return manifest


def add_build(
    blueprint: Blueprint,
    option: BuildOptions,
    folder: Path,
    progress: ProgressCallback = silent,
    *,
    cache: CompiledCache | None = None,
) -> Manifest:
    """Exports the model once more, for the bundle in `folder`, and lists the build once it gives the golden outputs.

    The model's id stays. Raises BundleInvalid if the blueprint is another model.
    """
    progress(Progress("build", 0, 1))
    manifest = _add(blueprint, option, folder, cache)
    progress(Progress("build", 1, 1))
    return manifest


def _add(blueprint: Blueprint, option: BuildOptions, folder: Path, cache: CompiledCache | None) -> Manifest:
    before = read_manifest(folder)
    made = blueprint.source.make(option)
    if made.build.id in {build.id for build in before.builds}:
        return before
    manifest = Manifest(before.core, before.shards, (*before.builds, made.build))
    with _beside(folder) as trial:  # the same files and the new ones, to be tried before they count
        for part in folder.iterdir():
            if part.name != MANIFEST:
                shutil.copytree(part, trial / part.name, copy_function=os.link) if part.is_dir() else os.link(
                    part, trial / part.name
                )
        _write_programs(trial, made)
        (trial / MANIFEST).write_bytes(manifest.to_bytes())
        bundle = open_bundle(trial)
        check_golden(bundle, made.build, Runtime(bundle, made.build, cache=cache))
    _write_programs(folder, made)
    _replace(folder / MANIFEST, manifest.to_bytes())
    return manifest


def _write_weights(blueprint: Blueprint, folder: Path, progress: ProgressCallback) -> list[Shard]:
    (folder / "weights").mkdir()
    total = sum(array.nbytes for array in blueprint.weights.values())
    shards: list[Shard] = []
    part: list[tuple[str, npt.NDArray[Any]]] = []
    done = 0

    def close() -> None:
        path = folder / shard_name(len(shards))
        write(path, part)
        shards.append(chunks.hash_shard(path))
        part.clear()
        progress(Progress("write", done, total))

    for name, array in blueprint.weights.items():
        if part and sum(other.nbytes for _, other in part) + array.nbytes > _SHARD_BYTES:
            close()
        part.append((name, array))
        done += array.nbytes
    if part:
        close()
    return shards


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A scratch folder on the same disk."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        yield Path(scratch)


def _write_programs(folder: Path, made: Made) -> None:
    for sha256, data in made.programs.items():
        _replace(folder / program_name(sha256), data)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _hash(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
