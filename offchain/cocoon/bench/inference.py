"""What the engine is worth beside others: tokens per second by number of streams, and how far each is from float32.

Contenders take turns, round by round, so that whatever else the machine does hits all of them; figures are medians.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..kernels.engine.runtime import device_name
from ..kernels.engine.tokenizer import Tokenizer
from ..kernels.fetch import SMOLLM2_135M_INSTRUCT, fetch
from ..kernels.shelf import find_bundle
from .contender import PROMPT, Contender, Ours
from .distance import distance, page_windows
from .peers import PEERS, PeerFailed, PeerKind, open_peers

__all__ = ["FULL", "QUICK", "bandwidth", "measure", "ratios"]

type Rates = dict[tuple[str, int], list[float]]
QUICK, FULL = 3, 15  # rounds
_STEPS = 8  # decoded per round
_BANDWIDTH_BYTES = 256 << 20
_WINDOW = 64  # tokens of the page that are read in one piece
_WINDOWS = 8
_REFERENCE = "f32"


def measure(
    model: str = "smollm2-135m-instruct",
    precisions: Sequence[Any] = ("f32", "bf16", "int8"),
    streams: Sequence[int] = (1, 4, 8, 16),
    *,
    rounds: int = QUICK,
    kinds: Sequence[PeerKind] = PEERS,
    python: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Everything, as JSON. Builds and peers that are not in the cache are made first; python: what peers are made with.

    A peer that fails is named under `absent`, with the reason.
    """
    load = [os.getloadavg()[0]]
    builds = {}
    for precision in precisions:
        for count in streams:
            progress(f"building {precision}, {count} slots")
            builds[precision, count] = find_bundle(model, precision=precision, slots=count)
    ours = {name: Ours({count: builds[name, count] for count in streams}) for name in precisions}
    peers, absent = open_peers(fetch(SMOLLM2_135M_INSTRUCT), kinds=kinds, python=python, progress=progress)
    try:
        running: dict[str, Contender] = {**ours, **peers}
        read: list[float] = []
        decoded, prefilled = _race(running, absent, streams, rounds, progress, lambda: read.append(bandwidth()))
        sizes = {name: contender.weight_bytes for name, contender in running.items()}
        memory = max(read)  # of all rounds: what else runs can only take from it
        progress("distance from float32")
        distances = _distances(running, absent, ours)
    finally:
        for peer in peers.values():
            peer.close()
    load.append(os.getloadavg()[0])
    tables = {"decode": _table(decoded), "prefill": _table(prefilled)}
    names = [name for name in peers if name not in absent]
    return {
        "model": model,
        "model_id": next(iter(builds.values())).model_id.hex(),
        "device": device_name(),
        "cores": os.cpu_count(),
        "load_average": [round(value, 1) for value in load],
        "rounds": rounds,
        "peers": {name: peers[name].version for name in names},
        "absent": absent,
        "bandwidth_gb_per_s": round(memory / 1e9, 2),
        "decode_tokens_per_s": tables["decode"],
        "prefill_tokens_per_s": tables["prefill"],
        "first_token_ms": {
            name: {count: round(1000 * len(PROMPT) / rate, 1) for count, rate in row.items()}
            for name, row in tables["prefill"].items()
        },
        "bandwidth_fraction": {
            name: {count: round(rate / int(count) * sizes[name] / memory, 3) for count, rate in row.items()}
            for name, row in tables["decode"].items()
        },
        "ratio_to_best_peer": {
            what: ratios({name: table[name] for name in precisions}, {name: table[name] for name in names})
            for what, table in tables.items()
        },
        "distance": distances,
    }


def ratios(
    ours: Mapping[str, Mapping[str, float]], theirs: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Each of our rates by the best of theirs in the same column, and `best_peer`'s names. Empty without peers."""
    if not theirs:
        return {}
    columns = next(iter(ours.values()))
    best = {count: max(theirs, key=lambda name: theirs[name][count]) for count in columns}
    found: dict[str, Any] = {
        name: {count: round(rate / theirs[best[count]][count], 3) for count, rate in row.items()}
        for name, row in ours.items()
    }
    return found | {"best_peer": best}


def _race(
    running: dict[str, Contender],
    absent: dict[str, str],
    streams: Sequence[int],
    rounds: int,
    progress: Callable[[str], None],
    between: Callable[[], None],
) -> tuple[Rates, Rates]:
    """Decode rates by contender and number of streams, and prefill rates by contender and length of the prompt: it is
    read by one stream, whatever the others do, so all rounds count together. Takes those that fail out of `running`.

    between: called before each round.
    """
    decoded: Rates = {}
    prefilled: Rates = {}
    for count in streams:
        for turn in range(rounds + 1):  # the first one warms up
            between()
            for name, contender in list(running.items()):
                progress(f"{count} streams, round {turn}, {name}")
                try:
                    if turn == 0:
                        contender.streams(count)
                    read, spoke = contender.prefill(), contender.decode(_STEPS)
                except PeerFailed as error:
                    absent[name] = str(error)
                    del running[name]
                    continue
                if turn:
                    prefilled.setdefault((name, len(PROMPT)), []).append(len(PROMPT) / read)
                    decoded.setdefault((name, count), []).append(count * _STEPS / spoke)
    present = running.keys()
    return (
        {key: rates for key, rates in decoded.items() if key[0] in present},
        {key: rates for key, rates in prefilled.items() if key[0] in present},
    )


def _distances(
    running: Mapping[str, Contender], absent: dict[str, str], ours: Mapping[str, Ours]
) -> dict[str, dict[str, float]]:
    """Of every contender from our float32, over a page; that of another engine in float32 says how exact we are."""
    if _REFERENCE not in ours:
        return {}
    reference = ours[_REFERENCE]
    text = reference.runtime.bundle.tokenizer
    assert text is not None
    windows = page_windows(Tokenizer(text).encode, _WINDOWS, _WINDOW)
    expected = reference.logits(windows)  # type: ignore[arg-type]
    found = {}
    for name, contender in running.items():
        if contender is reference:
            continue
        try:
            logits = contender.logits(windows)  # type: ignore[arg-type]
        except PeerFailed as error:
            absent[name] = f"its logits: {error}"
            continue
        found[name] = distance(expected, logits[..., : expected.shape[-1]], windows)
    return found


def bandwidth() -> float:
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


def _table(found: Rates) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for (name, count), rates in found.items():
        table.setdefault(name, {})[str(count)] = round(statistics.median(rates), 1)
    return table
