"""The agent's kernel is a bundle, and takes any request a stranger may think of."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cocoon.agent.engine_kernel import EngineKernel
from cocoon.agent.errors import SetupError
from cocoon.agent.main import load_kernel
from cocoon.kernels.bundle.loader import read_manifest
from cocoon.kernels.errors import RequestError


@pytest.fixture(scope="module")
def kernel(tiny_bundle: Path) -> Iterator[EngineKernel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COCOON_CACHE", str(tiny_bundle.parent / "cache"))
        made = load_kernel(str(tiny_bundle))
    assert isinstance(made, EngineKernel)
    yield made
    made.close()


def test_kernel_by_a_bundles_folder_is_served_from_its_own_process(tiny_bundle: Path, kernel: EngineKernel) -> None:
    assert kernel.model_id == read_manifest(tiny_bundle).model_id
    request = {"prompt": "hello " * 8, "temperature": 1, "seed": 3}
    first, second = (kernel.complete(request, max_tokens=4, cancel=threading.Event(), owner="escrow") for _ in range(2))
    assert first.body == second.body
    assert (first.cached_tokens, second.cached_tokens > 0) == (0, True)


VALUES: list[Any] = [
    None, True, 0, 1, -1, 2**31, 2**64, 2**200, 10**400, 0.5, -0.5, 1e308, float("inf"), float("nan"), "", "x",
    "\ud800", "\0", "<|im_end|>", "é" * 300, "x" * 5000, [], ["stop"], [""], ["x"] * 17, [None], [[]], {},
    {"role": "user"},
    [{"role": "user", "content": "hello"}], [{"role": "system", "content": "\ufdd0"}],
    [{"role": "assistant", "content": "x" * 400}], [{"role": "tool", "content": "x"}],
    [{"role": "user", "content": "x"}] * 200, {"$": {"$": {}}},
]  # fmt: skip
FIELDS = ["messages", "prompt", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "unheard_of"]


def test_requests_drawn_by_lot_are_answered_or_refused_and_never_end_the_process(kernel: EngineKernel) -> None:
    draw = random.Random(23)
    answered = refused = 0
    for _ in range(1500):
        request: dict[str, Any] = {"prompt": "hello"} if draw.random() < 0.6 else {}
        for name in draw.sample(FIELDS, draw.choice([0, 1, 1, 2, 3])):
            request[name] = draw.choice(VALUES)
        try:
            kernel.count_tokens(request)
            done = kernel.complete(request, max_tokens=2, cancel=threading.Event())
        except RequestError as error:
            refused += bool(str(error))
        else:
            assert 1 <= done.completion_tokens <= 2
            answered += 1
    assert answered > 100
    assert refused > 500
    assert kernel._engine.crashes == 0


def test_kernel_by_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="a bundle's folder"):
        load_kernel(str(tmp_path))
