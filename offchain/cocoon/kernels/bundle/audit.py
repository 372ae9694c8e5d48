"""Looking into a program before it is compiled: what it may contain is listed, everything else is refused.

StableHLO as such has no I/O. What could have is left out of the list: infeed, outfeed, send, recv, collectives,
tokens, and custom calls, of which only some without side effects are named. Random numbers of the device are left out,
too: they would not replay. This runs in the sandboxed process, since the parser is a large body of C++.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax import export as jax_export
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from ..errors import BundleInvalid
from .limits import Limits
from .loader import Bundle
from .manifest import Build, Step, Tensor
from .safetensors import NUMPY

__all__ = ["CUSTOM_CALLS", "OPERATIONS", "Audited", "audit", "audit_build", "audit_step"]

_STABLEHLO = """
    abs add and atan2 bitcast_convert broadcast_in_dim case cbrt ceil clamp compare complex composite
    concatenate constant convert convolution cosine count_leading_zeros custom_call divide dot_general
    dynamic_slice dynamic_update_slice exponential exponential_minus_one floor gather imag iota is_finite log
    log_plus_one logistic map maximum minimum multiply negate not optimization_barrier or pad popcnt power real
    reduce reduce_precision reduce_window remainder reshape return reverse round_nearest_afz round_nearest_even
    rsqrt scatter select shift_left shift_right_arithmetic shift_right_logical sign sine slice sort sqrt
    subtract tan tanh transpose while xor
"""
OPERATIONS = frozenset(
    {"builtin.module", "func.func", "func.call", "func.return"} | {f"stablehlo.{name}" for name in _STABLEHLO.split()}
)
CUSTOM_CALLS = frozenset({"mhlo.erf", "mhlo.topk", "Sharding"})
_PARTS = re.compile(r"tensor<((?:\d+x)*)([a-z]+\d*[A-Z0-9a-z]*)>\Z")
_BITS = {"i1": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}
_ALLOWED_ELEMENTS = re.compile(r"(?:u?i(?:1|8|16|32|64)|b?f16|f32|f64)\Z")


@dataclass(frozen=True, slots=True)
class Audited:
    """A program that may be compiled. what: how errors name it."""

    sha256: str
    what: str
    arguments: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    exported: jax_export.Exported


def audit_build(bundle: Bundle, build: Build) -> list[Audited]:
    """The build's programs, in order. Raises BundleInvalid or BundleUnavailable."""
    parameters = [bundle.parameter(build, name) for name in build.parameters]
    return [
        _audited(
            bundle,
            f"{program.role} program",
            (program.sha256, program.bytes),
            (*parameters, *build.state, *program.inputs),
            (*program.outputs, *build.state),
        )
        for program in build.programs
    ]


def audit_step(bundle: Bundle, build: Build, step: Step) -> Audited:
    """As `audit_build`, for a step."""
    inputs = tuple(bundle.parameter(build, name) for name in step.inputs)
    return _audited(bundle, "step", (step.sha256, step.bytes), inputs, step.outputs)


def _audited(
    bundle: Bundle, what: str, file: tuple[str, int], arguments: tuple[Tensor, ...], results: tuple[Tensor, ...]
) -> Audited:
    name = f"{what} {file[0][:12]}"
    exported = audit(bundle.program(*file), arguments, results, bundle.limits, name)
    return Audited(file[0], name, arguments, results, exported)


def audit(
    data: bytes, arguments: Sequence[Tensor], results: Sequence[Tensor], limits: Limits, what: str
) -> jax_export.Exported:
    """The program, ready to be compiled. arguments, results: what the manifest says. Raises BundleInvalid."""
    try:
        exported = jax_export.deserialize(bytearray(data))
    except Exception as error:  # the parser of a format, on hostile bytes
        raise BundleInvalid(f"{what} is no exported program: {type(error).__name__} {str(error)[:120]}") from error
    if (
        exported.nr_devices != 1
        or exported.disabled_safety_checks
        or exported.ordered_effects
        or exported.unordered_effects
    ):
        raise BundleInvalid(f"{what} wants several devices, side effects, or checks switched off")
    _check_signature(exported.in_avals, arguments, f"{what}: argument")
    _check_signature(exported.out_avals, results, f"{what}: result")
    if tuple(exported.module_kept_var_idx) != tuple(range(len(arguments))):
        raise BundleInvalid(f"{what} does not take all of its arguments")
    try:
        with ir.Context() as context:
            module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
            _Walk(limits, what).run(module.operation)
    except BundleInvalid:
        raise
    except Exception as error:  # as above
        raise BundleInvalid(f"{what} holds no StableHLO: {type(error).__name__} {str(error)[:120]}") from error
    return exported


def _check_signature(avals: Sequence[Any], tensors: Sequence[Tensor], what: str) -> None:
    if len(avals) != len(tensors):
        raise BundleInvalid(f"{what}s: the program has {len(avals)}, the manifest {len(tensors)}")
    for index, (aval, tensor) in enumerate(zip(avals, tensors, strict=True)):
        if aval.dtype != NUMPY[tensor.dtype] or tuple(aval.shape) != tensor.shape:
            raise BundleInvalid(
                f"{what} {index} ({tensor.name}) is {aval.dtype}{list(aval.shape)}, "
                f"the manifest says {tensor.dtype}{list(tensor.shape)}"
            )


class _Walk:
    """Visits every operation, however deep."""

    def __init__(self, limits: Limits, what: str) -> None:
        self._limits, self._what, self._count = limits, what, 0
        self._known: dict[str, int] = {}

    def run(self, operation: Any) -> None:
        pending = [operation]
        while pending:
            current = pending.pop()
            self._check(current)
            for region in current.regions:
                for block in region.blocks:
                    for argument in block.arguments:
                        self._size(argument.type, current.name)
                    pending.extend(inner.operation for inner in block.operations)

    def _check(self, operation: Any) -> None:
        self._count += 1
        if self._count > self._limits.operations:
            raise BundleInvalid(f"{self._what} has more than {self._limits.operations} operations")
        name = operation.name
        if name not in OPERATIONS:
            raise BundleInvalid(f"{self._what} uses {name[:60]}, which kernels may not")
        if name == "stablehlo.custom_call":
            target = ir.StringAttr(operation.attributes["call_target_name"]).value
            if target not in CUSTOM_CALLS:
                raise BundleInvalid(
                    f"{self._what} calls {target[:60]!r}: only {', '.join(sorted(CUSTOM_CALLS))} may be"
                )
            if "has_side_effect" in operation.attributes and ir.BoolAttr(operation.attributes["has_side_effect"]).value:
                raise BundleInvalid(f"{self._what} calls {target!r} for a side effect")
        for result in operation.results:
            self._size(result.type, name)
        if name == "stablehlo.constant":
            value = ir.DenseElementsAttr(operation.attributes["value"])
            size = self._size(operation.results[0].type, name)
            if not value.is_splat and size > self._limits.constant_bytes:
                raise BundleInvalid(f"{self._what} holds a constant of {size} bytes: weights are arguments")

    def _size(self, kind: Any, name: str) -> int:
        """Bytes of a value. Raises BundleInvalid for anything but a tensor within the limit."""
        text = str(kind)
        if text not in self._known:
            parts = _PARTS.match(text)
            if parts is None or not _ALLOWED_ELEMENTS.match(parts[2]):
                raise BundleInvalid(f"{self._what}: {name} has a value of type {text[:60]}, which kernels may not")
            bits = _BITS.get(parts[2]) or int(parts[2].lstrip("uib"))
            self._known[text] = math.prod(int(dim) for dim in parts[1].split("x")[:-1]) * bits // 8
        size = self._known[text]
        if size > self._limits.memory_bytes:
            raise BundleInvalid(f"{self._what}: {name} makes {size} bytes, {self._limits.memory_bytes} are allowed")
        return size
