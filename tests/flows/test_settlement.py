"""Acceptance: what settles a request that shares its channel with 999 others, every transaction counted."""

from __future__ import annotations

import pytest

from cocoon.bench.existing import EXISTING_SETTLEMENT_NANO
from cocoon.bench.settlement import measure


@pytest.mark.timeout(280)
def test_settlement_of_a_thousand_requests_costs_a_hundredth_of_the_existing_networks() -> None:
    found = measure(1000, claims=4)
    # open 5, each claim 3 and the close 3, the payout and the wallets among them
    assert found.transactions >= 5 + 4 * 3 + 3
    assert found.paid_to_worker_nano > 1000 * 8_000  # each answer had tokens to pay for
    # more than the contracts' own fees of opening alone, so nothing was left out of the balances
    assert found.cost_nano > 4_000_000
    assert found.per_request_at_400_nano <= EXISTING_SETTLEMENT_NANO / 100
    assert found.meets_goal
