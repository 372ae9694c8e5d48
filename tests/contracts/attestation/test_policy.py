"""Who sets the policy, within which bounds, and what a change does to what is kept. Bounces: nobody is left waiting."""

from __future__ import annotations

from typing import Any

import pytest
from enclaves import NOW, POSTER, REGISTRY, TON, WORKER, Enclaves
from mail import internal
from pytoniq_core import Address, Builder, Cell, begin_cell

from cocoon.attestation.p256 import B, P
from cocoon.attestation.platform import SimulatedIntel
from cocoon.wire.attestation import QuoteRefused, QuoteVerified
from cocoon.wire.common import Excesses
from cocoon_sandbox.ledger import Ledger

SEPT_VE_DISABLE, DEBUG, MIGRATABLE = 0x10_0000_0000, 1 << 56, 0x20_0000_0000


def test_before_the_first_policy_everything_else_is_refused(ledger: Ledger) -> None:
    enclaves = Enclaves.on(ledger)
    empty = begin_cell().end_cell()
    enclaves.send(POSTER, enclaves.address, empty, init=enclaves._init).assert_succeeded()
    for body in enclaves.collateral_messages():
        enclaves.post(body).assert_refused(500)
    enclaves.verify().assert_refused(500)


def test_first_policy_from_anyone_but_the_registry_is_refused(ledger: Ledger) -> None:
    """A-6."""
    enclaves = Enclaves.on(ledger)
    enclaves.send(POSTER, enclaves.address, begin_cell().end_cell(), init=enclaves._init).assert_succeeded()
    enclaves.set_policy(sender=WORKER).assert_refused(501)
    enclaves.set_policy(sender=Address((-1, REGISTRY.hash_part))).assert_refused(501)
    enclaves.set_policy(lease_sec=0).assert_refused(503)
    enclaves.set_policy().assert_succeeded()


def test_later_policy_from_anyone_but_the_registry_is_refused(enclaves: Enclaves) -> None:
    """A-6."""
    enclaves.set_policy(sender=WORKER, version=2).assert_refused(501)


def test_policy_of_no_greater_version_is_refused(enclaves: Enclaves) -> None:
    enclaves.set_policy(version=1).assert_refused(502)
    enclaves.set_policy(version=0).assert_refused(502)
    enclaves.set_policy(version=3).assert_succeeded()
    enclaves.set_policy(version=2).assert_refused(502)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lease_sec": 0}, 503),
        ({"lease_sec": 366 * 86_400 + 1}, 503),
        ({"max_block_age": 1_601}, 503),
        ({"accepted_statuses": 0b1000000}, 503),
        ({"accepted_statuses": 0b10000000}, 503),
        ({"forbidden_attributes": SEPT_VE_DISABLE}, 503),
        ({"required_attributes": 1, "forbidden_attributes": 1}, 503),
        ({"required_attributes": DEBUG}, 503),
        ({"required_attributes": MIGRATABLE}, 503),
        ({"root_key_x": 1}, 512),
        ({"root_key_y": (1 << 256) - 1}, 512),
    ],
    ids=str,
)  # fmt: skip
def test_policy_out_of_bounds_is_refused(enclaves: Enclaves, changes: dict[str, Any], code: int) -> None:
    """A-3: Debug, migration and revoked platforms are out of governance's reach."""
    enclaves.set_policy(version=2, **changes).assert_refused(code)


def test_policy_with_unreduced_root_key_is_refused(enclaves: Enclaves) -> None:
    """x + p satisfies the curve equation as x does; no verifier takes it for a key."""
    x = next(x for x in range(1, 100) if pow(x**3 - 3 * x + B, (P - 1) // 2, P) == 1)
    y = pow(x**3 - 3 * x + B, (P + 1) // 4, P)
    enclaves.set_policy(version=2, root_key_x=x + P, root_key_y=y).assert_refused(512)


@pytest.mark.parametrize(
    "changes", [{"lease_sec": 366 * 86_400}, {"max_block_age": 1_600}, {"accepted_statuses": 0b111111}], ids=str
)
def test_policy_at_its_bounds_is_taken(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    enclaves.set_policy(version=2, **changes).assert_succeeded()


def test_policy_of_another_root_forgets_what_the_old_one_signed(enclaves: Enclaves) -> None:
    """A-6."""
    enclaves.set_policy(version=2, root_key=SimulatedIntel(b"another", NOW).root.public_key).assert_succeeded()
    state = enclaves.state
    assert (state.platform_ca, state.processor_ca, state.trust_epoch) == (None, None, 1)
    shared = state.shared
    assert (shared.signer, shared.root_crl, shared.identity, shared.other_identity) == (None, None, None, None)
    enclaves.verify().assert_refused(543)


def test_policy_of_the_same_root_keeps_everything(enclaves: Enclaves) -> None:
    enclaves.set_policy(version=2, lease_sec=100).assert_succeeded()
    assert enclaves.verify().one(QuoteVerified).platform.lease_end == NOW + 100


def test_policy_with_trailing_data_is_refused(enclaves: Enclaves) -> None:
    body = Builder().store_uint(0xC0C00601, 32).store_uint(0, 64)
    body.store_ref(Builder().store_cell(enclaves.policy(version=2).to_cell()).store_bit(0).end_cell())
    enclaves.send(REGISTRY, enclaves.address, body.end_cell()).assert_refused(9)


def bounced(enclaves: Enclaves, original: Cell, phase: int = 1, exit_code: int = 564, info: bool = True) -> Any:
    body = Builder().store_uint(0xFFFFFFFE, 32).store_ref(original)
    if info:
        body.store_ref(begin_cell().end_cell()).store_uint(phase, 8).store_int(exit_code, 32).store_bit(0)
    message = internal(
        enclaves.ledger, enclaves.store, enclaves.address, TON, body.end_cell(), bounce=False, bounced=True
    )
    enclaves.ledger.enqueue(message)
    return enclaves.ledger.run()


def test_bounced_judgement_tells_the_worker_why(enclaves: Enclaves) -> None:
    original = (
        Builder().store_uint(0xC0C00702, 32).store_uint(77, 64).store_address(WORKER).store_uint(0, 200).end_cell()
    )
    for phase, exit_code, told in ((1, 564, 564), (0, -1, 557), (1, -14, -14)):
        (sent,) = bounced(enclaves, original, phase, exit_code)[0].out_msgs
        refused = QuoteRefused.from_cell(sent.body)
        assert (sent.dst, sent.bounce, refused.attest_seq, refused.error) == (WORKER, False, 77, told)


def test_bounced_tcb_returns_the_value_to_the_poster(enclaves: Enclaves) -> None:
    original = Builder().store_uint(0xC0C00701, 32).store_uint(9, 64).store_address(POSTER).store_uint(0, 64).end_cell()
    (sent,) = bounced(enclaves, original, 1, 554)[0].out_msgs
    assert (sent.dst, sent.bounce, Excesses.from_cell(sent.body).query_id) == (POSTER, False, 9)


@pytest.mark.parametrize("bits", [0, 31, 32, 96, 362])
def test_bounce_that_makes_no_sense_does_nothing_and_never_throws(enclaves: Enclaves, bits: int) -> None:
    before = enclaves.ledger.account(enclaves.address).data
    for info in (True, False):
        (transaction, *_) = bounced(enclaves, Builder().store_bits("0" * bits).end_cell(), info=info)
        assert transaction.success
        assert not transaction.out_msgs
    (transaction, *_) = bounced(enclaves, Builder().store_uint(1, 32).store_uint(0, 400).end_cell())
    assert transaction.success
    assert not transaction.out_msgs
    after = enclaves.ledger.account(enclaves.address).data
    assert before is not None
    assert after is not None
    assert before.hash == after.hash
