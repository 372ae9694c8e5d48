"""Which workers may be asked, and in what order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pytoniq_core import Address
from workers_in_test import DENIED, NOW, NUMBER, POLICY, facts, worker

from cocoon.crypto.usage import Usage
from cocoon.gateway.choice import Experience, exclusion, order, reputation
from cocoon.wire.common import ModelTerms
from cocoon.wire.worker import WorkerStatus

TYPICAL = Usage(200, 0, 200, b"")


def why(changes: dict[str, Any], seen: Experience | None = None, **policy: Any) -> str | None:
    one = worker(1, **changes)
    return exclusion(one, NUMBER, facts(one), replace(POLICY, **policy), seen or Experience(), clock=100.0)


def test_exclusion_of_a_worker_in_order_is_none() -> None:
    assert why({}) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": int(WorkerStatus.PAUSED)}, "paused"), ({"status": int(WorkerStatus.JAILED)}, "jailed"),
        ({"status": int(WorkerStatus.UNBONDING)}, "unbonding"), ({"status": 77}, "status 77"),
        ({"lease_end": NOW}, "attestation ended"), ({"lease_end": NOW + 59}, "about to end"),
        ({"bond_nano": 0}, "bond"),
        ({"measurement": DENIED}, "denied"), ({"measurement": 5}, "not on the network's list"),
        ({"measurement": 0}, "not attested"), ({"models": {}}, "does not offer"),
        ({"endpoint": None}, "announces no endpoint"),
        ({"endpoint": None, "announced": "javascript:alert(1)"}, "no endpoint such as"),
        ({"attestation_code": 0xC0DE}, "does not know"),
        ({"models": {NUMBER: ModelTerms(10**10 + 1, 0, 0, 0, 0)}}, "dearer"),
        ({"models": {NUMBER: ModelTerms(0, 0, 10**11 + 1, 0, 0)}}, "dearer"),
        ({"models": {NUMBER: ModelTerms(0, 10**10 + 1, 0, 0, 0)}}, "dearer"),
    ],
)  # fmt: skip
def test_exclusion_of_an_unfit_worker_names_the_reason(changes: dict[str, Any], reason: str) -> None:
    said = why(changes)
    assert said is not None
    assert reason in said


def test_exclusion_follows_the_owners_policy_and_experience() -> None:
    assert why({"measurement": 5}, accepted=frozenset({5})) is None
    assert "denied" in (why({"measurement": DENIED}, accepted=frozenset({DENIED})) or "")  # nothing overrides a denial
    assert "refuses" in (why({}, refused=frozenset({1})) or "")
    assert "lied" in (why({}, Experience(lied=True)) or "")
    assert "failed a moment ago" in (why({}, Experience(resting_until=101.0)) or "")
    assert why({}, Experience(resting_until=100.0)) is None


def indices(*workers: Any, seen: dict[int, Experience] | None = None, bound: Any = None, **policy: Any) -> list[int]:
    found = order(workers, NUMBER, replace(POLICY, **policy), seen or {}, typical=TYPICAL, bound=bound or {})
    return [one.index for one in found]


def priced(index: int, nano: int, **changes: Any) -> Any:
    return worker(index, models={NUMBER: ModelTerms(nano, 0, nano, 0, 1)}, **changes)


def test_order_prefers_cheap_fast_reputable_and_open_ties_by_index() -> None:
    assert indices(priced(1, 2 * 10**9), priced(2, 10**9)) == [2, 1]
    assert indices(priced(2, 10**9), priced(1, 10**9)) == [1, 2]
    assert indices(
        priced(1, 10**9), priced(2, 10**9), seen={1: Experience(ttft_sec=3), 2: Experience(ttft_sec=0.1)}
    ) == [2, 1]
    assert indices(priced(1, 10**9, misses=3), priced(2, 10**9)) == [2, 1]
    assert indices(priced(1, 10**9), priced(2, 10**9), seen={1: Experience(failures=2)}) == [2, 1]
    assert indices(priced(1, 10**9), priced(2, 10**9), bound={2: ModelTerms(10**9, 0, 10**9, 0, 1)}) == [2, 1]


def test_order_of_a_dear_channel_goes_by_its_bound_terms_not_the_offer() -> None:
    dear = ModelTerms(9 * 10**9, 0, 9 * 10**9, 0, 1)
    assert indices(priced(1, 10**8), priced(2, 10**9), bound={1: dear}) == [2, 1]


def test_order_under_load_spreads_over_owners() -> None:
    """Two cheap workers of one busy owner come after a slightly dearer one of somebody else."""
    same = Address((0, b"\xaa" * 32))
    workers = [priced(1, 10**9, owner=same), priced(2, 10**9, owner=same), priced(3, 12 * 10**8)]
    seen = {1: Experience(in_flight=3), 2: Experience()}
    assert indices(*workers, seen=seen)[0] == 3
    assert indices(*workers, seen=seen, diversity=0.0)[0] == 2


def test_reputation_falls_with_misses_and_recovers_with_jobs() -> None:
    assert reputation(worker(1)) == 1
    assert reputation(worker(1, misses=2)) == 0.5
    assert reputation(worker(1, misses=2, jobs=990)) == pytest.approx(0.990, abs=0.001)
