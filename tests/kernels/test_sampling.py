"""Choosing tokens: by seed and position alone, and by nothing that a sort or a neighbour could change."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.kernels.engine.sampling import GREEDY, Sampling, choose, log_probabilities
from cocoon.kernels.errors import InvalidRequest

Row = npt.NDArray[np.float32]
logits = st.lists(st.integers(-99, 99), min_size=2, max_size=40).map(lambda row: np.array(row, np.float32) / 8)


def row(size: int = 1000, seed: int = 1) -> Row:
    return np.random.default_rng(seed).standard_normal(size, np.float32)


@given(logits)
def test_choose_greedily_takes_the_first_of_the_highest(
    found: Row,
) -> None:
    assert choose(found, 3, GREEDY) == list(found).index(max(found))


def test_choose_with_a_seed_depends_on_seed_and_position_only() -> None:
    sampling = Sampling(1.0, seed=7)
    assert len({choose(row(), 5, sampling) for _ in range(3)}) == 1
    assert len({choose(row(), position, sampling) for position in range(40)}) > 10
    assert len({choose(row(), 5, Sampling(1.0, seed=seed)) for seed in range(40)}) > 10


def test_choose_follows_the_distribution() -> None:
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    counts = np.zeros(4)
    for position in range(4000):
        counts[choose(np.log(weights).astype(np.float32), position, Sampling(1.0, seed=1))] += 1
    np.testing.assert_allclose(counts / 4000, weights, atol=0.03)


@settings(max_examples=200)
@given(logits, st.integers(0, 10), st.floats(0.01, 1), st.floats(0.1, 5), st.integers(0, 99))
def test_choose_with_limits_takes_one_of_the_likeliest(
    found: Row, top_k: int, top_p: float, temperature: float, at: int
) -> None:
    token = choose(found, at, Sampling(temperature, top_p, 5, top_k))
    order = np.lexsort((np.arange(len(found)), -found))
    rank = list(order).index(token)
    assert not top_k or rank < top_k
    weights = np.exp((found.astype(np.float64) - found.max()) / temperature)
    assert rank == 0 or weights[order][:rank].sum() / weights.sum() < top_p + 1e-9


def test_choose_with_a_tiny_nucleus_or_one_candidate_equals_greedy() -> None:
    for position in range(20):
        for sampling in (Sampling(1.0, 1e-9, 1), Sampling(2.0, 1.0, 1, top_k=1), Sampling(1e-9, 1.0, 1)):
            assert choose(row(), position, sampling) == int(row().argmax())


def test_choose_from_a_flat_row_reaches_every_token_within_the_nucleus() -> None:
    """Every weight is a tie: more candidates than are looked at first."""
    flat = np.zeros(2000, np.float32)
    found = {choose(flat, position, Sampling(1.0, 0.5, 3)) for position in range(300)}
    assert max(found) < 1000
    assert max(found) > 900


def test_log_probabilities_sum_to_one_and_name_the_likeliest() -> None:
    chosen, top = log_probabilities(row(50), 17, 20)
    _, everything = log_probabilities(row(50), 17, 50)
    assert math.isclose(sum(math.exp(value) for _, value in everything), 1.0)
    assert dict(everything)[17] == chosen
    assert top == everything[:20]


@pytest.mark.parametrize(
    "values",
    [
        (-1.0, 1.0, 0), (float("nan"), 1.0, 0), (1.0, 0.0, 0), (1.0, 1.1, 0), (1.0, 1.0, -1), (1.0, 1.0, 1 << 64),
        (1.0, 1.0, 0, -1),
    ],
)  # fmt: skip
def test_sampling_out_of_range_is_refused(values: tuple[float, float, int]) -> None:
    with pytest.raises(InvalidRequest):
        Sampling(*values)
