"""What the engine is worth: tokens per second by precision and number of streams, and how far each is from float32.

Builds take turns, round by round, so that whatever else the machine does hits all of them; figures are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.bundle.loader import open_bundle
from ..kernels.engine.model import choose_build
from ..kernels.engine.runtime import FolderCache, Runtime, device_name
from ..kernels.fetch import compiled_dir
from ..kernels.shelf import Shelved, find_bundle

__all__ = ["compare", "kl_divergence", "measure"]

Logits = npt.NDArray[np.float32]
_ROUNDS = 3
_STEPS = 8  # decoded per round
_PREFILLED = 128  # tokens, as in the figures of the engines it is compared with
_BANDWIDTH_BYTES = 256 << 20
_TEXT_TOKENS = 192


def measure(
    model: str = "smollm2-135m-instruct",
    precisions: Sequence[Any] = ("f32", "bf16", "int8"),
    streams: Sequence[int] = (1, 4, 8, 16),
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Everything, as JSON. Builds that are not in the cache are made first."""
    shelved: dict[tuple[str, int], Shelved] = {}
    for precision in precisions:
        for count in streams:
            progress(f"building {precision}, {count} slots")
            shelved[precision, count] = find_bundle(model, precision=precision, slots=count)
    decoded: dict[tuple[str, int], list[float]] = {key: [] for key in shelved}
    prefilled: dict[tuple[str, int], list[float]] = {key: [] for key in shelved}
    sizes: dict[str, int] = {}
    for count in streams:
        running = {precision: _open(shelved[precision, count]) for precision in precisions}
        for turn in range(_ROUNDS + 1):  # the first one warms up
            for precision, runtime in running.items():
                progress(f"{count} streams, round {turn}, {precision}")
                rates = _prefill_rate(runtime), _decode_rate(runtime)
                if turn:
                    prefilled[precision, count].append(rates[0])
                    decoded[precision, count].append(rates[1])
        sizes |= {precision: _parameter_bytes(runtime) for precision, runtime in running.items()}
    progress("memory bandwidth")
    bandwidth = _bandwidth()
    progress("distance from float32")
    return {
        "model": model,
        "model_id": next(iter(shelved.values())).model_id.hex(),
        "device": device_name(),
        "bandwidth_gb_per_s": round(bandwidth / 1e9, 2),
        "decode_tokens_per_s": _table(decoded),
        "prefill_tokens_per_s": _table(prefilled),
        "first_token_ms": {
            name: {count: round(1000 * _PREFILLED / rate, 1) for count, rate in row.items()}
            for name, row in _table(prefilled).items()
        },
        "bandwidth_fraction": {
            name: round(row[str(streams[0])] / streams[0] * sizes[name] / bandwidth, 3)
            for name, row in _table(decoded).items()
        },
        "distance": {
            precision: compare(_open(shelved["f32", streams[0]]), _open(shelved[precision, streams[0]]))
            for precision in precisions
            if precision != "f32" and "f32" in precisions
        },
    }


def compare(reference: Runtime, other: Runtime) -> dict[str, float]:
    """KL divergence and perplexities over one text, which the reference writes by itself, greedily."""
    tokens = [1, 2, 3]
    rows = []
    for position in range(_TEXT_TOKENS):
        rows.append(_logits(reference, tokens[position], position))
        if position + 1 == len(tokens):
            tokens.append(int(rows[-1].argmax()))
    expected = np.stack(rows)
    found = np.stack([_logits(other, token, position) for position, token in enumerate(tokens[:_TEXT_TOKENS])])
    # greedy choices would flatter: each next token is drawn from the reference's distribution, the same for both
    draw = np.random.default_rng(1)
    text = [int(draw.choice(row.shape[0], p=_probabilities(row))) for row in expected]
    perplexities = [_perplexity(part, text) for part in (expected, found)]
    return {
        "kl": round(kl_divergence(expected, found), 6),
        "greedy_agreement": round(float((expected.argmax(1) == found.argmax(1)).mean()), 4),
        "perplexity_ratio": round(perplexities[1] / perplexities[0], 5),
        "largest_logit_error": round(float(np.abs(expected - found).max()), 4),
    }


def kl_divergence(expected: Logits, found: Logits) -> float:
    """Mean over rows of KL(expected ‖ found), in nats."""
    p, q = _log_softmax(expected), _log_softmax(found)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def _open(shelved: Shelved) -> Runtime:
    bundle = open_bundle(shelved.folder, expected=shelved.model_id)
    return Runtime(bundle, choose_build(bundle, shelved.build_id), cache=FolderCache(compiled_dir()))


def _logits(runtime: Runtime, token: int, position: int) -> Logits:
    now, at = np.zeros(runtime.build.slots, np.int32), np.zeros(runtime.build.slots, np.int32)
    now[0], at[0] = token, position
    (logits,) = runtime.run(runtime.role("decode"), now, at, np.int32(position))
    row: Logits = np.asarray(logits)[0].copy()
    return row


def _decode_rate(runtime: Runtime) -> float:
    """Tokens per second of all slots together, behind the prompts that `_prefill_rate` has read."""
    slots, decode = runtime.build.slots, runtime.role("decode")
    tokens = np.arange(slots, dtype=np.int32) + 5
    began = time.perf_counter()
    for step in range(_STEPS):
        position = _PREFILLED + step
        (logits,) = runtime.run(decode, tokens, np.full(slots, position, np.int32), np.int32(position))
        tokens = np.asarray(logits).argmax(axis=1).astype(np.int32)
    return slots * _STEPS / (time.perf_counter() - began)


def _prefill_rate(runtime: Runtime) -> float:
    """Tokens per second of one prompt."""
    chunk, prefill = runtime.build.chunk, runtime.role("prefill")
    tokens = np.arange(chunk, dtype=np.int32) + 5
    began = time.perf_counter()
    for start in range(0, _PREFILLED, chunk):
        (logits,) = runtime.run(prefill, tokens, np.int32(0), np.int32(start), np.int32(chunk - 1))
    np.asarray(logits)
    return _PREFILLED / (time.perf_counter() - began)


def _parameter_bytes(runtime: Runtime) -> int:
    return sum(runtime.bundle.parameter(runtime.build, name).size_bytes for name in runtime.build.parameters)


def _bandwidth() -> float:
    """Bytes per second that all cores together read from memory."""
    import jax

    numbers = jax.numpy.ones(_BANDWIDTH_BYTES // 4, jax.numpy.float32)
    add = jax.jit(lambda x: x.sum())
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        add(numbers).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return _BANDWIDTH_BYTES / best


def _table(found: dict[tuple[str, int], list[float]]) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for (precision, count), rates in found.items():
        table.setdefault(precision, {})[str(count)] = round(statistics.median(rates), 1)
    return table


def _log_softmax(rows: Logits) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return result


def _probabilities(row: Logits) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.exp(_log_softmax(row[None]))[0]
    return found


def _perplexity(rows: Logits, text: list[int]) -> float:
    return float(np.exp(-_log_softmax(rows)[np.arange(len(text)), text].mean()))
