"""JAX functions to the bytes of portable StableHLO programs, the same bytes wherever and whenever they are made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
from jax import export as jax_export

from ..bundle.manifest import Tensor
from ..bundle.safetensors import NUMPY, dtype_name
from ..errors import UnsupportedModel

__all__ = ["EXPORTER", "PLATFORMS", "Exported", "export_program", "specs", "tensor_of"]

PLATFORMS = ("cpu", "cuda")
# The serialization generation: what must be known to judge whether a later release still reads it.
EXPORTER = f"jax-{jax.__version__}-call-{jax.config.jax_export_calling_convention_version}"


@dataclass(frozen=True, slots=True)
class Exported:
    """A program's bytes and what it returns."""

    data: bytes
    outputs: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def export_program(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    *,
    donated: Sequence[int] = (),
    platforms: Sequence[str] = PLATFORMS,
) -> Exported:
    """`function` takes the arguments (of `specs`) by position and returns a flat sequence of arrays.

    Raises UnsupportedModel if JAX can't trace or export it.
    """

    def flat(*values: Any) -> tuple[Any, ...]:
        return tuple(function(*values))

    flat.__name__ = flat.__qualname__ = "main"
    try:
        with _reproducible():
            made = jax_export.export(
                jax.jit(flat, donate_argnums=tuple(donated), keep_unused=True), platforms=list(platforms)
            )(*arguments)
            data = bytes(made.serialize())
    except Exception as error:  # whatever a stranger's function raises while it is traced
        raise UnsupportedModel(f"the function can't be exported: {type(error).__name__}: {error}") from error
    return Exported(data, tuple((dtype_name(aval.dtype), tuple(aval.shape)) for aval in made.out_avals))


def specs(tensors: Sequence[Tensor]) -> list[Any]:
    """What `export_program` takes as arguments."""
    return [jax.ShapeDtypeStruct(tensor.shape, NUMPY[tensor.dtype]) for tensor in tensors]  # type: ignore[no-untyped-call]


def tensor_of(name: str, array: Any) -> Tensor:
    return Tensor(name, dtype_name(array.dtype), tuple(int(dim) for dim in array.shape))


@contextmanager
def _reproducible() -> Iterator[None]:
    """Keeps paths and line numbers of the sources out of the programs."""
    settings = {"jax_traceback_in_locations_limit": 0, "jax_hlo_source_file_canonicalization_regex": ".*"}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)  # type: ignore[no-untyped-call]
