"""The measure of how far a precision is from float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cocoon.bench.inference import compare, kl_divergence
from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.engine.runtime import Runtime


def test_kl_divergence_of_known_distributions() -> None:
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    expected = (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)) / 2
    found = kl_divergence(np.log(p).astype(np.float32), (np.log(q) + 3).astype(np.float32))
    assert found == pytest.approx(expected, rel=1e-5)


def test_compare_of_a_build_with_itself_finds_no_distance(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    runtime = Runtime(bundle, bundle.manifest.builds[0])
    found = compare(runtime, runtime)
    assert found == {"kl": 0.0, "greedy_agreement": 1.0, "perplexity_ratio": 1.0, "largest_logit_error": 0.0}
