"""Other engines in processes of their own, each in a virtual environment in the cache with pinned requirements.

What can't be installed or started is not left out in silence: `open_peers` says why.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cocoon_sandbox.errors import ToolchainError
from cocoon_sandbox.venvs import python_with

from ..kernels.fetch import cache_dir
from .contender import PROMPT, Logits

__all__ = ["PEERS", "Peer", "PeerFailed", "PeerKind", "open_peers"]

_PROGRAMS = Path(__file__).with_name("peer")
_INSTALL_SEC = 3600.0  # llama.cpp is compiled: some five minutes on two free cores
_START_SEC, _ANSWER_SEC = 1800.0, 300.0  # starting may convert the model, once


class PeerFailed(Exception):
    """A peer can't be installed, or its process broke off. Says why."""


@dataclass(frozen=True, slots=True)
class PeerKind:
    """program: a module of `peer`. forms: precisions it is measured in. variables: for building it."""

    name: str
    program: str
    requirements: str
    forms: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()


PEERS = (
    PeerKind(
        "llama.cpp",
        "llama",
        "requirements_llama.txt",
        ("shipped", "Q8_0", "BF16", "F32"),
        (("CMAKE_ARGS", "-DLLAVA_BUILD=OFF"),),  # pictures and sound: half of the compiling
    ),
    PeerKind("transformers", "transformers_torch", "requirements_torch.txt", ("f32", "bf16")),
)


class Peer:
    """A Contender in another process. Methods raise PeerFailed."""

    def __init__(self, python: Path, kind: PeerKind, form: str, model: Path, threads: int) -> None:
        self._name = f"{kind.name} {form}"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe nobody reads would fill up
        # Threads that wait by spinning would take time from whoever's turn it is.
        settings = {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [str(python), "-m", f"{_PROGRAMS.name}.{kind.program}"],
            cwd=_PROGRAMS.parent,
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        folder = cache_dir() / "peer-models"
        start = {"model": str(model), "form": form, "folder": str(folder), "prompt": PROMPT, "threads": threads}
        try:
            about = self._say(start, _START_SEC)
        except PeerFailed:
            self.close()
            raise
        self.weight_bytes, self.version = int(about["weight_bytes"]), str(about["version"])

    def streams(self, count: int) -> None:
        self._ask("streams", count=count)

    def decode(self, steps: int) -> float:
        return float(self._ask("decode", steps=steps))

    def prefill(self) -> float:
        return float(self._ask("prefill"))

    def logits(self, windows: Sequence[Sequence[int]]) -> Logits:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "logits.npy"
            self._ask("logits", windows=np.asarray(windows).tolist(), path=str(path))
            found: Logits = np.load(path)
            return found

    def greedy(self, tokens: Sequence[int], count: int) -> dict[str, Any]:
        """`tokens` that follow, `top_logits` of the first, and the `least_margin` between the two best of all."""
        found: dict[str, Any] = self._ask("greedy", tokens=list(tokens), count=count)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, op: str, **arguments: Any) -> Any:
        return self._say({"op": op, **arguments}, _ANSWER_SEC)

    def _say(self, order: dict[str, Any], patience: float) -> Any:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise PeerFailed(self._last_words()) from error
        if not select.select([process.stdout], [], [], patience)[0]:
            raise PeerFailed(f"{self._name} did not answer within {patience:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise PeerFailed(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f"{self._name} ended: {lines[-1][:300] if lines else 'it said nothing'}"


def open_peers(
    model: Path,
    *,
    kinds: Sequence[PeerKind] = PEERS,
    python: Path | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Peer], dict[str, str]]:
    """Peers by name, and for each that is absent the reason. model: a GGUF file. python: to make environments with."""
    peers: dict[str, Peer] = {}
    absent: dict[str, str] = {}
    for kind in kinds:
        names = {form: f"{kind.name} {form}" for form in kind.forms}
        try:
            requirements = (_PROGRAMS / kind.requirements).read_text()
            installed = python_with(
                f"peer-{kind.program}",
                requirements,
                progress,
                base=python,
                variables=dict(kind.variables),
                timeout_s=_INSTALL_SEC,
            )
        except ToolchainError as error:
            absent |= dict.fromkeys(names.values(), f"it can't be installed: {error}")
            continue
        for form, name in names.items():
            progress(f"starting {name}")
            try:
                peers[name] = Peer(installed, kind, form, model, threads or os.cpu_count() or 1)
            except PeerFailed as error:
                absent[name] = str(error)
    return peers, absent
