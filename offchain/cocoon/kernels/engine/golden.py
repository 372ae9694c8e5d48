"""Does a build compute the model? Its outputs are compared with the golden ones that the model's id stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.loader import Bundle
from ..bundle.manifest import Build
from ..errors import BundleInvalid
from .runtime import Runtime

__all__ = ["check_golden", "deviation"]

Arrays = dict[str, npt.NDArray[Any]]


def check_golden(bundle: Bundle, build: Build, runtime: Runtime | None = None) -> float:
    """The greatest difference, as a fraction of the greatest golden output. Raises BundleInvalid beyond tolerance."""
    running = Runtime(bundle, build) if runtime is None else runtime
    found = deviation(running)
    running.reset()
    allowed = bundle.core.tolerance.millionths / 1e6
    if not found <= allowed:
        raise BundleInvalid(f"build {build.id[:12]} is {found:.2%} off the golden outputs, {allowed:.2%} are allowed")
    return found


def deviation(runtime: Runtime) -> float:
    """As `check_golden`, without judging it."""
    return _generate(runtime) if runtime.bundle.core.kind == "generate" else _map(runtime)


def _generate(runtime: Runtime) -> float:
    """Prefills all but the last tokens, decodes those, and compares the highest logits of each of these positions."""
    golden, build = runtime.bundle.golden, runtime.build
    if not {"tokens", "ids", "logits"} <= golden.keys() or runtime.bundle.core.generate is None:
        raise BundleInvalid("golden.safetensors lacks tokens, ids or logits")
    tokens, ids, expected = golden["tokens"], golden["ids"], golden["logits"]
    shaped = tokens.ndim == 1 and ids.ndim == 2 and ids.shape == expected.shape
    if not shaped or not len(ids) <= len(tokens) <= build.capacity:
        raise BundleInvalid("golden.safetensors has tokens, ids or logits of shapes that don't fit each other")
    if min(tokens.min(), ids.min()) < 0 or max(tokens.max(), ids.max()) >= runtime.bundle.core.generate.vocabulary:
        raise BundleInvalid("golden.safetensors has tokens outside the vocabulary")
    filled = len(tokens) - (len(ids) - 1)
    rows = []
    prefill, decode = runtime.role("prefill"), runtime.role("decode")
    for start in range(0, filled, build.chunk):
        part = tokens[start : min(start + build.chunk, filled)]
        padded = np.zeros(build.chunk, np.int32)
        padded[: len(part)] = part
        (logits,) = runtime.run(prefill, padded, np.int32(0), np.int32(start), np.int32(len(part) - 1))
    rows.append(np.asarray(logits))
    for position in range(filled, len(tokens)):
        now, at = np.zeros(build.slots, np.int32), np.zeros(build.slots, np.int32)
        now[0], at[0] = tokens[position], position
        (logits,) = runtime.run(decode, now, at, np.int32(position))
        rows.append(np.asarray(logits)[0])
    found = np.stack([row[top] for row, top in zip(rows, ids, strict=True)])
    return _difference(found, expected)


def _map(runtime: Runtime) -> float:
    """Runs every program whose inputs have the shapes of the golden ones, at least one."""
    core, golden = runtime.bundle.core, runtime.bundle.golden
    worst, ran = 0.0, 0
    for index, program in enumerate(runtime.build.programs):
        if all(t.name in golden and golden[t.name].shape == t.shape for t in (*program.inputs, *program.outputs)):
            results = runtime.run(index, *(golden[tensor.name] for tensor in program.inputs))
            ran += 1
            for tensor, result in zip(program.outputs, results, strict=True):
                worst = max(worst, _difference(np.asarray(result), golden[tensor.name]))
    if not ran:
        raise BundleInvalid(f"no program takes the shapes of the golden inputs of {core.name}")
    return worst


def _difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    wide = expected.astype(np.float64)
    scale = max(float(np.max(np.abs(wide))), 1e-30)
    difference = float(np.max(np.abs(found.astype(np.float64) - wide))) / scale
    return difference if np.isfinite(difference) else float("inf")
