"""Which masterchain blocks a quote may name: those the network shows to contracts, as young as the policy wants."""

from __future__ import annotations

import pytest
from enclaves import Enclaves, block

from cocoon.wire.attestation import QuoteVerified
from cocoon_sandbox.blocks.previous import previous_blocks

UNKNOWN = 522


def verdict(enclaves: Enclaves, head: int, seqno: int) -> int | None:
    """0, or why a quote that names block `seqno` is refused when `head` is the newest."""
    enclaves.ledger.prev_blocks = previous_blocks(block(head), block(1), block)
    quote = enclaves.quote(said=enclaves.statement(seqno=seqno))
    outcome = enclaves.verify(enclaves.evidence(quote, seqno=seqno))
    return 0 if outcome.every(QuoteVerified) else outcome.exit_code


@pytest.mark.parametrize(
    ("head", "seqno", "code"),
    [
        (5_015, 5_000, 0),  # the last of the sixteen
        (5_016, 5_000, 0),  # the first that is only among the hundredth
        (5_016, 5_001, 0),
        (5_017, 5_001, UNKNOWN),
        (5_000, 5_000, 0),
        (5_000, 3_500, 0),  # the last of the sixteen hundredth
        (5_000, 3_400, UNKNOWN),
        (5_000, 3_401, UNKNOWN),
        (5_099, 3_500, 0),
        (5_100, 3_500, UNKNOWN),
    ],
)
def test_block_counts_while_the_network_shows_it(enclaves: Enclaves, head: int, seqno: int, code: int) -> None:
    """A-2."""
    enclaves.set_policy(version=2, max_block_age=1_600).assert_succeeded()
    assert verdict(enclaves, head, seqno) == code


@pytest.mark.parametrize(("age", "code"), [(0, 0), (4, 0), (5, 0), (6, UNKNOWN), (-1, UNKNOWN)])
def test_block_counts_until_its_age_in_the_policy(enclaves: Enclaves, age: int, code: int) -> None:
    """A-2."""
    enclaves.set_policy(version=2, max_block_age=5).assert_succeeded()
    assert verdict(enclaves, 5_050, 5_050 - age) == code
