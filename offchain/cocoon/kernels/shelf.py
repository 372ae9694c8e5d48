"""Models this release can build by itself, from files it pins by hash; their bundles are kept in the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .bundle.loader import MANIFEST
from .bundle.manifest import Manifest
from .errors import BundleInvalid, BundleUnavailable
from .fetch import SMOLLM2_135M_INSTRUCT, ModelSource, cache_dir, compiled_dir, exclusive, fetch
from .progress import ProgressCallback, silent

if TYPE_CHECKING:
    from .builders.precision import Precision

__all__ = ["SHELF", "ShelfModel", "find_bundle", "model_id_of"]


@dataclass(frozen=True, slots=True)
class ShelfModel:
    """How a bundle is made. Changing it, or the exporter, makes another folder."""

    name: str
    source: ModelSource
    precision: Precision
    slots: int


SHELF = {
    "smollm2-135m-instruct": ShelfModel("SmolLM2-135M-Instruct", SMOLLM2_135M_INSTRUCT, "int8", 4),
}
_REVISION = 1  # of the builders: raised when the same source makes other bytes


def find_bundle(
    name: str, progress: ProgressCallback = silent, *, precision: Precision | None = None, slots: int | None = None
) -> Path:
    """The folder of a bundle in the cache; fetched and built if it is not there (a minute, once).

    precision, slots: of its build; None takes what the shelf says.

    Raises BundleUnavailable for a name that is not in SHELF, ModelFetchError or another KernelError.
    """
    if name not in SHELF:
        raise BundleUnavailable(f"there is no model {name!r} on the shelf; there are {', '.join(SHELF)}")
    shelved = SHELF[name]
    model = replace(shelved, precision=precision or shelved.precision, slots=slots or shelved.slots)
    from .builders.export import EXPORTER  # JAX: only where something may have to be built

    root = cache_dir() / "bundles"
    made = f"{name}-{model.precision}-{model.slots}-r{_REVISION}-{EXPORTER}-{model.source.gguf_sha256[:12]}"
    folder = root / made
    if (folder / MANIFEST).is_file():
        return folder
    from .builders.blueprint import BuildOptions
    from .builders.gguf import blueprint_from_gguf
    from .builders.pack import write_bundle
    from .engine.runtime import FolderCache

    path = fetch(model.source, progress)
    root.mkdir(parents=True, exist_ok=True)
    with exclusive(root / f"{made}.lock"):
        if not (folder / MANIFEST).is_file():  # another process may just have built it
            blueprint = blueprint_from_gguf(path, name=model.name, licence=model.source.licence, progress=progress)
            options = [BuildOptions(model.precision, slots=model.slots)]
            write_bundle(blueprint, options, folder, progress, cache=FolderCache(compiled_dir()))
    return folder


def model_id_of(folder: Path) -> bytes:
    """32 bytes, from the manifest alone: opening the bundle checks that it is that model. Raises BundleInvalid."""
    try:
        return Manifest.from_bytes((folder / MANIFEST).read_bytes()).model_id
    except OSError as error:
        raise BundleInvalid(f"{folder} is no bundle: {error.strerror}") from error
