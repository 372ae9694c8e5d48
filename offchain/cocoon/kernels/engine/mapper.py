"""`map` models: one call, one program, the smallest whose shapes the inputs fit into."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.manifest import Program, Tensor
from ..bundle.safetensors import NUMPY
from ..errors import InvalidRequest
from .runtime import Runtime

__all__ = ["Mapper"]

Arrays = dict[str, npt.NDArray[Any]]


class Mapper:
    """Named dimensions of the core are padded with zeros up to a program's, and outputs cut back. Which program runs
    depends on the request's own shapes only, so it replays.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._core = runtime, runtime.bundle.core
        self.programs = sorted(
            range(len(runtime.build.programs)), key=lambda i: (_volume(runtime.build.programs[i]), i)
        )

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Raises InvalidRequest for other names, dtypes or ranks, or where no program is large enough."""
        given = self._bind(inputs)
        for index in self.programs:
            program = self._runtime.build.programs[index]
            sizes = self._sizes(program)
            if all(given[dim] <= size for dim, size in sizes.items()):
                padded = [_pad(inputs[tensor.name], tensor.shape) for tensor in program.inputs]
                results = self._runtime.run(index, *padded)
                pairs = zip(self._core.outputs, results, strict=True)
                return {tensor.name: _cut(np.asarray(result), tensor, given) for tensor, result in pairs}
        largest = self._sizes(self._runtime.build.programs[self.programs[-1]])
        raise InvalidRequest(f"the inputs are {given}, at most {largest} fit: send less at once")

    def largest(self, dim: str) -> int:
        """The greatest size of a named dimension."""
        return max(self._sizes(self._runtime.build.programs[index]).get(dim, 0) for index in self.programs)

    def _bind(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
        names = [tensor.name for tensor in self._core.inputs]
        if set(inputs) != set(names):
            raise InvalidRequest(f"the inputs are {', '.join(sorted(inputs)) or 'none'}; send {', '.join(names)}")
        bound: dict[str, int] = {}
        for tensor in self._core.inputs:
            array = inputs[tensor.name]
            if array.dtype != NUMPY[tensor.dtype] or array.ndim != len(tensor.dims):
                raise InvalidRequest(f"{tensor.name} is {array.dtype}{list(array.shape)}, send {tensor.dtype}")
            for dim, size in zip(tensor.dims, array.shape, strict=True):
                fixed = bound.setdefault(dim, size) if isinstance(dim, str) else dim
                if fixed != size or size < 1:
                    raise InvalidRequest(f"{tensor.name} has shape {list(array.shape)}, send {list(tensor.dims)}")
        return bound

    def _sizes(self, program: Program) -> dict[str, int]:
        pairs = zip(self._core.inputs, program.inputs, strict=True)
        found = ((d, s) for generic, concrete in pairs for d, s in zip(generic.dims, concrete.shape, strict=True))
        return {dim: size for dim, size in found if isinstance(dim, str)}


def _cut(array: npt.NDArray[Any], tensor: Tensor, given: dict[str, int]) -> npt.NDArray[Any]:
    return array[tuple(slice(given.get(dim) if isinstance(dim, str) else dim) for dim in tensor.dims)]


def _pad(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.pad(array, [(0, size - have) for size, have in zip(shape, array.shape, strict=True)])


def _volume(program: Program) -> int:
    return sum(math.prod(tensor.shape) for tensor in program.inputs)
