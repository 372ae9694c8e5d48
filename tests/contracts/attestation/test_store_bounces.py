"""What Attestation makes of a message to a store that comes back: who is told, and with what."""

from __future__ import annotations

import pytest
from enclaves import POSTER, TON, WORKER, Enclaves
from mail import internal
from pytoniq_core import Cell, begin_cell

from cocoon.wire.attestation import JudgePlatform, QuoteRefused, StoreTcb
from cocoon.wire.common import Excesses
from cocoon_sandbox.transaction import Transaction

COMPUTE_PHASE, ANY_CODE, NO_STATE = 1, 561, 0
OPCODES = {"judge": JudgePlatform.PREFIX[0], "store": StoreTcb.PREFIX[0]}


def returned(opcode: int, *, phase: int = COMPUTE_PHASE, code: int = ANY_CODE, cut: int = 0) -> Cell:
    """The shortest rich bounce that says all that counts: why, and the message's number and person; `cut` bits less of
    the message."""
    person = WORKER if opcode == OPCODES["judge"] else POSTER
    sent = begin_cell().store_uint(opcode, 32).store_uint(7, 64).store_address(person).end_cell()
    if cut:
        sent = begin_cell().store_bits(sent.bits.to01()[:-cut]).end_cell()
    return begin_cell().store_uint(0xFFFFFFFE, 32).store_uint(phase, 8).store_int(code, 32).store_ref(sent).end_cell()


def deliver(enclaves: Enclaves, body: Cell) -> Transaction:
    message = internal(enclaves.ledger, enclaves.store, enclaves.address, TON, body, bounce=False, bounced=True)
    enclaves.ledger.enqueue(message)
    before = enclaves.ledger.account(enclaves.address).data
    first, *_ = enclaves.ledger.run()
    assert enclaves.ledger.account(enclaves.address).data == before
    return first


@pytest.mark.parametrize(
    ("phase", "code", "error"), [(COMPUTE_PHASE, ANY_CODE, ANY_CODE), (COMPUTE_PHASE, -14, -14), (NO_STATE, -1, 557)]
)
def test_worker_is_told_why_the_store_refused(enclaves: Enclaves, phase: int, code: int, error: int) -> None:
    """B.5: with the whole rest of the value, and from no balance but the message's. A store that is not there holds
    nothing."""
    before = enclaves.ledger.balance(enclaves.address)
    done = deliver(enclaves, returned(OPCODES["judge"], phase=phase, code=code))
    (told,) = done.out_msgs
    assert QuoteRefused.from_cell(told.body) == QuoteRefused(7, error)
    assert (told.dst, told.bounce) == (WORKER, False)
    assert enclaves.ledger.balance(enclaves.address) == before


def test_poster_gets_everything_back(enclaves: Enclaves) -> None:
    """B.5."""
    before = enclaves.ledger.balance(enclaves.address)
    (change,) = deliver(enclaves, returned(OPCODES["store"])).out_msgs
    assert Excesses.from_cell(change.body) == Excesses(7)
    assert (change.dst, change.bounce) == (POSTER, False)
    assert enclaves.ledger.balance(enclaves.address) == before


@pytest.mark.parametrize("kind", OPCODES)
def test_bounce_that_says_less_is_ignored(enclaves: Enclaves, kind: str) -> None:
    """B.5: one bit less of the reason or of the message, no message at all, another opcode: nobody to answer."""
    whole = returned(OPCODES[kind])
    reason, sent = whole.bits.to01(), whole.refs[0]
    assert len(deliver(enclaves, whole).out_msgs) == 1
    for body in (
        begin_cell().store_bits(reason).end_cell(),
        begin_cell().store_bits(reason[:-1]).store_ref(sent).end_cell(),
        returned(OPCODES[kind], cut=1),
        returned(OPCODES[kind] ^ 0x10),
    ):
        done = deliver(enclaves, body)
        assert (done.exit_code, done.out_msgs) == (0, [])
