"""What takes part in `cocoon bench inference`: an engine with weights in one precision, ours or another's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..kernels.bundle.loader import open_bundle
from ..kernels.engine.model import choose_build
from ..kernels.engine.runtime import FolderCache, Runtime
from ..kernels.fetch import compiled_dir
from ..kernels.shelf import Shelved

__all__ = ["PROMPT", "Contender", "Ours", "text_logits"]

Logits = npt.NDArray[np.float32]
PROMPT = tuple(5 + i % 64 for i in range(128))  # as many tokens as in the figures of the engines it is compared with


class Contender(Protocol):
    """Times are in seconds, from tokens in to the choice of the next one."""

    @property
    def weight_bytes(self) -> int:
        """Read for every token."""
        ...

    def streams(self, count: int) -> None:
        """From now on `count` answers at once, each behind PROMPT."""
        ...

    def decode(self, steps: int) -> float:
        """Greedily, all streams together."""
        ...

    def prefill(self) -> float:
        """PROMPT, for one stream."""
        ...

    def logits(self, windows: Sequence[Sequence[int]]) -> Logits:
        """[W, L, vocabulary], after each token of each window; all have one length."""
        ...


class Ours:
    """Our engine in this process, with one build for each number of streams."""

    def __init__(self, builds: dict[int, Shelved]) -> None:
        self._builds = builds
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        assert self._runtime is not None, "call streams() first"
        return self._runtime

    @property
    def weight_bytes(self) -> int:
        runtime = self.runtime
        return sum(runtime.bundle.parameter(runtime.build, name).size_bytes for name in runtime.build.parameters)

    def streams(self, count: int) -> None:
        self._runtime = None  # first, so that two are never held
        shelved = self._builds[count]
        bundle = open_bundle(shelved.folder, expected=shelved.model_id)
        self._runtime = Runtime(bundle, choose_build(bundle, shelved.build_id), cache=FolderCache(compiled_dir()))
        self._read(0)  # what is in the other slots' caches does not change how long reading them takes

    def decode(self, steps: int) -> float:
        runtime = self.runtime
        slots, decode = runtime.build.slots, runtime.role("decode")
        tokens = np.arange(slots, dtype=np.int32) + 5
        began = time.perf_counter()
        for position in range(len(PROMPT), len(PROMPT) + steps):
            (logits,) = runtime.run(decode, tokens, np.full(slots, position, np.int32), np.int32(position))
            tokens = np.asarray(logits).argmax(axis=1).astype(np.int32)
        return time.perf_counter() - began

    def prefill(self) -> float:
        began = time.perf_counter()
        int(np.asarray(self._read(0)).argmax())
        return time.perf_counter() - began

    def logits(self, windows: Sequence[Sequence[int]]) -> Logits:
        return text_logits(self.runtime, windows)

    def _read(self, slot: int) -> Any:
        runtime = self.runtime
        chunk, prefill = runtime.build.chunk, runtime.role("prefill")
        for start in range(0, len(PROMPT), chunk):
            tokens = np.array(PROMPT[start : start + chunk], np.int32)
            (logits,) = runtime.run(prefill, tokens, np.int32(slot), np.int32(start), np.int32(chunk - 1))
        return logits


def text_logits(runtime: Runtime, windows: Sequence[Sequence[int]]) -> Logits:
    """As `Contender.logits`, a window in each slot; every token goes through `decode`."""
    slots, decode = runtime.build.slots, runtime.role("decode")
    parts = []
    for first in range(0, len(windows), slots):
        here = np.array(windows[first : first + slots], np.int32)
        padded = np.zeros((slots, here.shape[1]), np.int32)
        padded[: len(here)] = here
        rows = []
        for position, tokens in enumerate(padded.T):
            (logits,) = runtime.run(decode, tokens.copy(), np.full(slots, position, np.int32), np.int32(position))
            rows.append(np.array(logits)[: len(here)])
        parts.append(np.stack(rows, axis=1))
    return np.concatenate(parts)
