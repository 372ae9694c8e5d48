"""From stored weights to a build's parameters: which are taken as they are, and the steps that make the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from ..bundle.manifest import Step, Tensor
from .blueprint import Arrays
from .export import Exported, export_program, specs, tensor_of
from .precision import Precision, quantize

__all__ = ["prepare"]

_STEPS: Mapping[Precision, Any] = {
    "f32": lambda weight: (weight.astype(jnp.float32),),
    "bf16": lambda weight: (weight.astype(jnp.bfloat16),),
    "int8": quantize,
}
_DTYPES = {"f32": "f32", "bf16": "bf16", "int8": "i8"}


def prepare(
    weights: Arrays,
    matrices: Sequence[str],
    vectors: Sequence[str],
    precision: Precision,
    keep: Callable[[Exported], tuple[str, int]],
) -> tuple[dict[str, Tensor], list[Step]]:
    """Parameters, by the names functions use, and steps. int8 matrices come with `NAME.scale`; vectors stay as stored.

    keep: takes each program there is to keep, gives its hash and length.
    """
    parameters: dict[str, Tensor] = {}
    steps: list[Step] = []
    cached: dict[Any, tuple[str, int]] = {}
    target = _DTYPES[precision]
    for name in matrices:
        stored = tensor_of(name, weights[name])
        if stored.dtype == target:
            parameters[name] = stored
            continue
        key = (stored.dtype, stored.dims)
        if key not in cached:
            cached[key] = keep(export_program(_STEPS[precision], specs([stored])))
        made = [Tensor(f"{precision}.{name}", target, stored.dims)]
        if precision == "int8":
            made.append(Tensor(f"scale.{name}", "f32", stored.dims[:1]))
            parameters[f"{name}.scale"] = made[1]
        parameters[name] = made[0]
        steps.append(Step(*cached[key], (name,), tuple(made)))
    for name in vectors:
        parameters[name] = tensor_of(name, weights[name])
    return parameters, steps
