"""From stored weights to a build's parameters: which are taken as they are, and the steps that make the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..bundle.manifest import Step, Tensor
from .blueprint import Arrays
from .export import Exported, export_program, specs, tensor_of
from .precision import Precision, quantize
from .tensor_parallel import Layout

__all__ = ["prepare"]

_STEPS: Mapping[Precision, Any] = {
    "f32": lambda weight: (weight.astype(jnp.float32),),
    "bf16": lambda weight: (weight.astype(jnp.bfloat16),),
    "int8": quantize,
}
_DTYPES = {"f32": "f32", "bf16": "bf16", "int8": "i8"}


def prepare(
    weights: Arrays,
    matrices: Mapping[str, Precision],
    vectors: Sequence[str],
    keep: Callable[[Exported], tuple[str, int]],
    layout: Callable[[str], Layout | None] = lambda name: None,
) -> tuple[dict[str, Tensor], list[Step]]:
    """Parameters, by the names functions use, and steps. int8 matrices come with `NAME.scale`; vectors stay as stored.

    matrices: which precision each gets.

    keep: takes each program there is to keep, gives its hash and length. layout: how a weight is cut into parts, the
    first axis of what becomes of it.
    """
    parameters: dict[str, Tensor] = {}
    steps: list[Step] = []
    cached: dict[Any, tuple[str, int]] = {}
    for name, precision in matrices.items():
        stored, cut, target = tensor_of(name, weights[name]), layout(name), _DTYPES[precision]
        if stored.dtype == target and cut is None:
            parameters[name] = stored
            continue
        step, dims = _STEPS[precision], stored.dims
        if cut is not None:
            dims = tuple(jax.eval_shape(cut, *specs([stored])).shape)
            step = _cut(cut, step)
        key = (target, stored.dtype, stored.dims, name.rpartition(".")[2] if cut is not None else None)
        if key not in cached:
            cached[key] = keep(export_program(step, specs([stored])))
        made = [Tensor(f"{precision}.{name}", target, dims)]
        if precision == "int8":
            made.append(Tensor(f"scale.{name}", "f32", dims[:-1]))
            parameters[f"{name}.scale"] = made[1]
        parameters[name] = made[0]
        steps.append(Step(*cached[key], (name,), tuple(made)))
    for name in vectors:
        stored, cut = tensor_of(name, weights[name]), layout(name)
        parameters[name] = stored
        if cut is not None:
            parameters[name] = Tensor(f"cut.{name}", stored.dtype, jax.eval_shape(cut, *specs([stored])).shape)
            kept = keep(export_program(lambda vector, cut=cut: (cut(vector),), specs([stored])))
            steps.append(Step(*kept, (name,), (parameters[name],)))
    return parameters, steps


def _cut(cut: Layout, step: Any) -> Any:
    """`step` for each part: int8 has a scale for each row of each part."""
    return lambda weight: jax.vmap(step)(cut(weight))
