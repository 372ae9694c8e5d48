"""Any function of arrays as a `map` model: the shapes are those of its example inputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ..bundle.manifest import Build, Program, Tensor, Tolerance
from ..errors import UnsupportedModel
from .blueprint import Blueprint, BuildOptions, Made
from .export import EXPORTER, PLATFORMS, export_program, specs, tensor_of

__all__ = ["blueprint_from_function", "load_function"]

Arrays = dict[str, npt.NDArray[Any]]
_TOLERANCE = Tolerance(10_000)


def load_function(spec: str) -> Callable[..., Any]:
    """What `module:name` stands for. Raises UnsupportedModel."""
    module, colon, name = spec.partition(":")
    if not colon:
        raise UnsupportedModel(f"{spec!r} names no function: write module:function")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UnsupportedModel(f"{spec!r} can't be found: {error}") from error
    if not callable(found):
        raise UnsupportedModel(f"{spec!r} is no function")
    made: Callable[..., Any] = found
    return made


def blueprint_from_function(
    function: Callable[..., Any], examples: Mapping[str, npt.NDArray[Any]], *, name: str, licence: str
) -> Blueprint:
    """examples: inputs by the name of the parameter; their shapes and dtypes are the model's. The function returns an
    array (called `output`) or a dictionary of arrays, and has no weights but its inputs and small constants.

    Raises UnsupportedModel.
    """
    if not examples:
        raise UnsupportedModel("a function needs at least one example input")
    inputs = tuple(tensor_of(key, np.asarray(array)) for key, array in examples.items())

    def flat(*values: Any) -> list[Any]:
        found = function(**dict(zip(examples, values, strict=True)))
        return [found[key] for key in sorted(found)] if isinstance(found, dict) else [found]

    try:
        shapes = jax.eval_shape(
            lambda kw: function(**kw), {t.name: s for t, s in zip(inputs, specs(inputs), strict=True)}
        )
        named = {key: shapes[key] for key in sorted(shapes)} if isinstance(shapes, dict) else {"output": shapes}
        outputs = tuple(tensor_of(key, shape) for key, shape in named.items())
    except Exception as error:  # a stranger's function
        raise UnsupportedModel(f"the function can't be traced: {type(error).__name__}: {error}") from error
    return Blueprint(
        kind="map",
        name=name,
        licence=licence,
        weights={},
        inputs=inputs,
        outputs=outputs,
        tolerance=_TOLERANCE,
        source=_Function(flat, dict(examples), inputs, outputs),
    )


@dataclass(frozen=True, slots=True)
class _Function:
    flat: Callable[..., list[Any]]
    examples: Arrays
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def make(self, options: BuildOptions) -> Made:
        options.only_whole("a function")
        exported = export_program(self.flat, specs(self.inputs))
        program = Program("map", exported.sha256, len(exported.data), self.inputs, self.outputs)
        build = Build("mixed", PLATFORMS, EXPORTER, 0, 0, 0, (), (), (), (program,))  # type: ignore[arg-type]
        return Made(build, {exported.sha256: exported.data})

    def golden(self) -> Arrays:
        found = jax.jit(self.flat)(*(self.examples[tensor.name] for tensor in self.inputs))
        results = {tensor.name: np.asarray(array) for tensor, array in zip(self.outputs, found, strict=True)}
        return {name: np.asarray(array) for name, array in self.examples.items()} | results
