"""Models this release can build by itself, from files it pins by hash; their bundles are kept in the cache."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .bundle.loader import MANIFEST, read_manifest
from .bundle.manifest import Manifest
from .errors import BundleInvalid, BundleUnavailable, ModelFetchError
from .fetch import ALL_MINILM_L6_V2, SMOLLM2_135M_INSTRUCT, ModelSource, cache_dir, compiled_dir, exclusive, fetch
from .progress import ProgressCallback, silent

if TYPE_CHECKING:
    from .builders.precision import Precision

__all__ = ["SHELF", "ShelfModel", "Shelved", "find_bundle"]


@dataclass(frozen=True, slots=True)
class ShelfModel:
    """Where a model comes from, and the build agents run if nothing else is asked for. capacity: tokens per slot; a
    `map` model has neither slots nor capacity.
    """

    name: str
    source: ModelSource
    precision: Precision
    slots: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Shelved:
    """A bundle in the cache, and the build that was asked for."""

    folder: Path
    model_id: bytes
    build_id: str


SHELF = {
    "smollm2-135m-instruct": ShelfModel("SmolLM2-135M-Instruct", SMOLLM2_135M_INSTRUCT, "int8", slots=4, capacity=2048),
    "all-minilm-l6-v2": ShelfModel("all-MiniLM-L6-v2", ALL_MINILM_L6_V2, "f32", slots=0, capacity=0),
}
_REVISION = 4  # of the builders: raised when the same source makes other bytes


def find_bundle(
    name: str, progress: ProgressCallback = silent, *, precision: Precision | None = None, slots: int | None = None
) -> Shelved:
    """A bundle with a build of this precision and number of slots (None: what the shelf says).

    What is not in the cache is fetched and built: a minute, once. Raises BundleUnavailable for a name that is not in
    SHELF, ModelFetchError or another KernelError.
    """
    if name not in SHELF:
        raise BundleUnavailable(f"there is no model {name!r} on the shelf; there are {', '.join(SHELF)}")
    model = SHELF[name]
    from .builders.export import EXPORTER  # JAX: only where something may have to be built

    wanted = (precision or model.precision, model.slots and (slots or model.slots), model.capacity, EXPORTER)
    root = cache_dir() / "bundles"
    folder = root / f"{name}-r{_REVISION}-{model.source.digest[:12]}"
    found = _find(folder, wanted)
    if found is None:
        path = fetch(model.source, progress)
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root / f"{folder.name}.lock"):
            found = _find(folder, wanted)  # another process may just have built it
            if found is None:
                _clear(folder)
                _build(model, wanted, path, folder, progress)
                found = _find(folder, wanted)
    if found is None:
        raise BundleInvalid(f"{folder} lacks the build that was just made: remove it and try again")
    return found


def _read(folder: Path) -> Manifest | None:
    """None if there is none, or a damaged one. Raises BundleUnavailable, which names the file that can't be read."""
    if not os.path.lexists(folder / MANIFEST):
        return None
    try:
        return read_manifest(folder)
    except BundleInvalid:
        return None


def _find(folder: Path, wanted: tuple[str, int, int, str]) -> Shelved | None:
    manifest = _read(folder)
    if manifest is None:
        return None
    builds = [
        build for build in manifest.builds if (build.precision, build.slots, build.capacity, build.exporter) == wanted
    ]
    return Shelved(folder, manifest.model_id, builds[0].id) if builds else None


def _clear(folder: Path) -> None:
    """Makes room for a bundle where there is none with a manifest. Raises ModelFetchError where that fails."""
    if _read(folder) is None and folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise ModelFetchError(f"{folder} is damaged and can't be removed: {error}; remove it, try again") from error


def _build(
    model: ShelfModel, wanted: tuple[Precision, int, int, str], path: Path, folder: Path, progress: ProgressCallback
) -> None:
    from .builders.blueprint import BuildOptions
    from .builders.gguf import blueprint_from_gguf
    from .builders.huggingface import blueprint_from_folder
    from .builders.pack import add_build, write_bundle
    from .engine.runtime import FolderCache

    if path.is_dir():
        blueprint = blueprint_from_folder(path, name=model.name, licence=model.source.licence)
    else:
        blueprint = blueprint_from_gguf(path, name=model.name, licence=model.source.licence, progress=progress)
    options = BuildOptions(wanted[0], slots=wanted[1], capacity=wanted[2]) if model.slots else BuildOptions(wanted[0])
    cache = FolderCache(compiled_dir())
    if (folder / MANIFEST).is_file():
        add_build(blueprint, options, folder, progress, cache=cache)
    else:
        write_bundle(blueprint, [options], folder, progress, cache=cache)
