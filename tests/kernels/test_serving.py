"""The agent's kernel is a bundle."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cocoon.agent.errors import SetupError
from cocoon.agent.kernel import EngineKernel
from cocoon.agent.main import load_kernel
from cocoon.kernels.shelf import model_id_of


def test_kernel_by_a_bundles_folder_is_served_from_its_own_process(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCOON_CACHE", str(tiny_bundle.parent / "cache"))
    kernel = load_kernel(str(tiny_bundle))
    assert isinstance(kernel, EngineKernel)
    assert kernel.model_id == model_id_of(tiny_bundle)
    request = {"prompt": "hello " * 8, "temperature": 1, "seed": 3}
    first, second = (kernel.complete(request, max_tokens=4, cancel=threading.Event(), owner="escrow") for _ in range(2))
    assert first.body == second.body
    assert (first.cached_tokens, second.cached_tokens > 0) == (0, True)
    kernel.close()


def test_kernel_by_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="a bundle's folder"):
        load_kernel(str(tmp_path))
