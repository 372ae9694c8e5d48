"""Runs one build over several devices, in a process that has them: see `test_mesh.py`.

Arguments as JSON: folder, build, devices (of this process), out; process, processes, address if there are several.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

WINDOWS = np.random.default_rng(1).integers(3, 259, (3, 20)).astype(np.int32)


def outputs(runtime: Any) -> dict[str, Any]:
    """Logits by decode and by prefill, and the tokens of two answers under continuous batching."""
    from tiny import tiny_tokenizer

    from cocoon.bench.contender import text_logits
    from cocoon.kernels.engine.batcher import Batcher
    from cocoon.kernels.engine.request import GenerateRequest, Token
    from cocoon.kernels.engine.tokenizer import Tokenizer

    decoded = text_logits(runtime, WINDOWS)  # type: ignore[arg-type]
    (read,) = runtime.run(runtime.role("prefill"), WINDOWS[0, :16].copy(), np.int32(1), np.int32(0), np.int32(15))
    batcher = Batcher(runtime, Tokenizer(tiny_tokenizer()))
    tokens: list[list[int]] = [[], []]
    for window, said in zip(WINDOWS[:2], tokens, strict=True):

        def emit(event: Any, said: list[int] = said) -> None:
            if isinstance(event, Token):
                said.append(event.id)

        batcher.submit(GenerateRequest(tuple(map(int, window)), 8), emit)
    while batcher.busy:
        batcher.step()
    return {"decoded": decoded, "read": np.asarray(read), "tokens": np.array(tokens)}


def main() -> None:
    order = json.loads(sys.argv[1])
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={order['devices']}"
    import jax

    from cocoon.bench.contender import text_logits
    from cocoon.kernels.bundle.loader import open_bundle
    from cocoon.kernels.engine.model import choose_build
    from cocoon.kernels.engine.runtime import Runtime

    if order.get("processes", 1) > 1:
        jax.distributed.initialize(order["address"], order["processes"], order["process"])
    bundle = open_bundle(Path(order["folder"]))
    runtime = Runtime(bundle, choose_build(bundle, order["build"]))
    placement = runtime.placement
    found = outputs(runtime)
    if placement.local > 1:  # the last device alone
        last = Runtime(bundle, runtime.build, devices=jax.devices()[-1:])
        found["elsewhere"] = text_logits(last, WINDOWS)  # type: ignore[arg-type]
    np.savez(
        order["out"],
        devices=len(placement.devices),
        local=placement.local,
        memory=runtime.memory_bytes,
        collectives="all-reduce" in runtime.programs[0].call.as_text(),
        **found,
    )


if __name__ == "__main__":
    main()
