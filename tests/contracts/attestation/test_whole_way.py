"""From registration to an open channel and back, with the real Attestation and a simulated platform.

Quotes are made by a platform under a root that the network's policy names; everything else is what is deployed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from actors import actor, digest, key
from channel import DAY, DEPOSIT, MAX_FEE
from enclaves import HEAD
from network import Network
from outcome import Outcome
from world import TON, WorkerSide

from cocoon.fees import Formulas
from cocoon.wire.attestation import JudgePlatform, PlatformJudged, QuoteRefused, QuoteVerified, VerifyQuote
from cocoon.wire.codec import Struct
from cocoon.wire.common import Excesses, PaymentReason
from cocoon.wire.escrow import BindRefusal, BindRefused, JobRefusal, JobRefused, JobStatus
from cocoon.wire.registry import ChangeAttestationPolicy, DenyMeasurement
from cocoon.wire.worker import ApproveMeasurement, BeginUnbond, WithdrawStake, WorkerStatus
from cocoon_sandbox.boc import count_cells
from cocoon_sandbox.ledger import Ledger, Snapshot

REVOKED, WRONG_REPORT_DATA, BLOCK_UNKNOWN, DEBUG_ENCLAVE = 532, 521, 522, 523
DEBUG = bytes((1, 0, 0, 0x10, 0, 0, 0, 0))
_READY: list[Snapshot] = []


@pytest.fixture
def network(ledger: Ledger) -> Network:
    """All collateral is posted; no worker is registered. Made once, then restored."""
    if not _READY:
        Network.on(ledger).ready()
        _READY.append(ledger.snapshot())
    found = Network.on(ledger)
    ledger.restore(_READY[0])
    return found


def refusal(outcome: Outcome) -> int | None:
    """Why Attestation refused: exit code of the message that bounced."""
    return outcome.transactions[1].exit_code


# ---- the way there ----


def test_register_attest_offer_and_open_a_channel(ledger: Ledger) -> None:
    """P-1, A-1, W-11: collateral posted by anyone, one Attest with the least value, a verdict, a bound channel."""
    network = Network.on(ledger).ready()
    worker = network.world.register()
    done = network.attest(worker).assert_succeeded()
    verdict, state = done.one(QuoteVerified), worker.state
    assert (state.status, state.key_epoch, state.lease_end) == (WorkerStatus.ACTIVE, 1, verdict.platform.lease_end)
    assert state.people.keys == verdict.platform.keys
    assert (state.people.keys.session_key, state.people.keys.hpke_key_hash) == (
        worker.session.public,
        digest(worker.hpke),
    )
    assert state.people.keys.measurement == network.world.rules.measurements[0]
    assert (state.people.block_seqno, state.people.tcb_date) == (network.seqno, verdict.tcb_date)
    worker.set_offer().assert_succeeded()
    channel = network.world.open_channel(worker)
    assert channel.state.binding is not None
    assert channel.state.binding.keys == state.people.keys
    channel.post().assert_succeeded()
    assert channel.deliver().paid(worker.payout) == MAX_FEE // 2


def test_attest_least_value_covers_the_whole_way_and_the_rest_comes_back(network: Network) -> None:
    """B.16: five transactions; what is sized and priced for the quote holds it."""
    worker = network.world.register()
    done = network.attest(worker).assert_succeeded()
    assert done.change(worker.operator) > 0
    dear = worker.by_operator(network.request(worker), worker.attest_fees + TON).assert_succeeded()
    assert dear.change(worker.operator) >= TON + done.change(worker.operator)
    cells, bits = count_cells(next(m for m in done.messages if m.opcode == VerifyQuote.PREFIX[0]).body)
    constants = Formulas.load().constants
    assert cells <= constants["EVIDENCE_CELLS"]
    assert bits <= constants["EVIDENCE_BITS"]


def test_quote_on_its_way_bounces_as_each_receiver_requires(network: Network) -> None:
    """B.3, B.5: requests come back, verdicts don't."""
    worker = network.world.register()
    done = network.attest(worker).assert_succeeded()
    flags = {message.opcode: message.bounce for message in done.messages}
    expected: dict[type[Struct], bool] = {
        VerifyQuote: True,
        JudgePlatform: True,
        PlatformJudged: False,
        QuoteVerified: False,
        Excesses: False,
    }
    assert flags == {kind.PREFIX[0]: bounces for kind, bounces in expected.items()}


def test_attest_before_collateral_is_posted_returns_the_change(ledger: Ledger) -> None:
    """A-4, W-12."""
    network = Network.on(ledger).deploy()
    worker = network.world.register()
    done = network.attest(worker)
    assert_refused(worker, done)
    assert worker.state.status == WorkerStatus.PENDING


def test_renewal_keeps_the_key_and_rotation_retires_it(network: Network) -> None:
    """W-4, W-12: each quote under the next number, about a later block."""
    worker = network.active_worker()
    first = worker.state.lease_end
    network.world.ledger.advance(DAY)
    network.attest(worker).assert_succeeded()
    state = worker.state
    assert (state.key_epoch, state.lease_end, state.people.attest_seq) == (1, first + DAY, 2)
    old, later = worker.session, key("after the reboot")
    network.attest(worker, later).assert_succeeded()
    assert worker.state.key_epoch == 2
    assert worker.state.people.keys.session_key == later.public
    assert set(worker.state.people.slashable.old_keys) == {old.public}


def test_quote_about_the_same_block_again_renews_nothing(network: Network) -> None:
    """W-12: Attestation has no objection; the Worker has."""
    worker = network.active_worker()
    before = worker.state
    done = network.attest(worker, seqno=network.seqno)
    assert len(done.every(QuoteVerified)) == 1
    after = worker.state
    assert (after.lease_end, after.people.keys) == (before.lease_end, before.people.keys)
    assert done.change(worker.operator) > 0


# ---- refused ----


def assert_refused(worker: WorkerSide, done: Outcome, code: int | None = None) -> None:
    """No keys came in, nobody else has any of it, and the operator has what was left."""
    people = worker.state.people
    assert not done.every(QuoteVerified)
    if code is not None:
        assert refusal(done) == code
    assert [body.query_id for body in done.every(Excesses)] == [people.attest_seq]
    assert 0 < done.change(worker.operator) < worker.attest_fees
    assert worker.balance >= worker.owed


@pytest.mark.parametrize(
    ("flaws", "code"),
    [
        ({"td_attributes": DEBUG}, DEBUG_ENCLAVE),
        ({"worker": actor("another worker")}, WRONG_REPORT_DATA),
        ({"registry": actor("another registry")}, WRONG_REPORT_DATA),
        ({"attest_seq": 7}, WRONG_REPORT_DATA),
        ({"session_key": 5}, WRONG_REPORT_DATA),
        ({"hpke_key_hash": 5}, WRONG_REPORT_DATA),
        ({"seqno": HEAD - 1_001}, BLOCK_UNKNOWN),
        ({"seqno": HEAD + 1}, BLOCK_UNKNOWN),
    ],
    ids=lambda flaws: next(iter(flaws)) if isinstance(flaws, dict) else "",
)
def test_attest_with_a_quote_of_something_else_returns_the_change(
    network: Network, flaws: dict[str, Any], code: int
) -> None:
    """A-2, A-3, A.11, W-12: the debug enclave, another worker's quote, an old block: through the Worker, priced and
    refused."""
    worker = network.active_worker()
    before = worker.state
    done = network.attest(worker, key("later"), **flaws)
    assert_refused(worker, done, code)
    after = worker.state
    assert (after.people.keys, after.key_epoch, after.lease_end) == (before.people.keys, 1, before.lease_end)
    network.attest(worker, key("later")).assert_succeeded()
    assert worker.state.key_epoch == 2


def test_attest_from_a_platform_below_the_policy_returns_the_change_with_the_refusal(network: Network) -> None:
    """A-1, W-12: judged by the store of its family, which does not know this TDX module."""
    worker = network.world.register()
    done = network.attest(worker, tee_tcb_svn=bytes((0, 9)) + bytes(14))
    assert len(done.every(QuoteRefused)) == 1
    assert_refused(worker, done)


def test_quote_of_another_image_than_the_owner_approved_is_verified_and_not_taken(network: Network) -> None:
    """W-11: genuine hardware, a fresh quote, a listed network: and still another program."""
    worker = network.active_worker()
    before = worker.state.people.keys
    done = network.attest(worker, key("later"), mr_td=bytes([7]) * 48).assert_succeeded()
    image = done.one(QuoteVerified).platform.keys.measurement
    assert worker.state.people.keys == before
    assert done.change(worker.operator) > 0
    worker.by_owner(ApproveMeasurement(1, image)).assert_succeeded()
    network.attest(worker, key("later"), mr_td=bytes([7]) * 48).assert_succeeded()
    assert worker.state.people.keys.measurement == image


# ---- who may not be bound any more finishes what it holds ----


def assert_finishes_what_it_holds(worker: WorkerSide, job: Any) -> None:
    """The admitted job, the vouchers, the stake."""
    assert job.deliver().assert_succeeded().paid(worker.payout) == MAX_FEE // 2
    assert job.claim(DEPOSIT // 2).assert_succeeded().paid(worker.payout) == DEPOSIT // 2
    owed = worker.owed
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    worker.world.ledger.advance(worker.world.rules.unbonding_sec)
    assert worker.by_owner(WithdrawStake(2)).paid(worker.owner) == owed


def assert_bound_by_nobody(worker: WorkerSide, reason: BindRefusal) -> None:
    late = worker.world.channel(worker, "latecomer")
    done = late.open()
    assert done.one(BindRefused).reason == reason
    assert done.paid(late.client, PaymentReason.REFUND) > DEPOSIT
    assert not late.exists


def test_worker_whose_lease_lapsed_is_bound_by_nobody_and_finishes(network: Network) -> None:
    """P-1, P-3."""
    worker = network.active_worker()
    lease = network.world.rules.lease_sec
    job = network.world.open_channel(worker, term_sec=20 * DAY)
    other = network.world.open_channel(worker, "another", term_sec=20 * DAY)
    job.post(duration=10 * DAY).assert_succeeded()
    network.world.ledger.advance(lease)
    assert_bound_by_nobody(worker, BindRefusal.LEASE_EXPIRED)
    refused = other.post()
    assert refused.one(JobRefused).reason == JobRefusal.LEASE_EXPIRED
    assert refused.paid(other.client, PaymentReason.REFUND) >= MAX_FEE
    assert other.job == JobStatus.NONE
    assert_finishes_what_it_holds(worker, job)


def test_worker_whose_measurement_is_denied_is_bound_by_nobody_and_finishes(network: Network) -> None:
    """P-1, P-3, R-3: at once, whatever a client accepts; the channel that is open goes on, with new jobs too."""
    worker = network.active_worker()
    image = network.world.rules.measurements[0]
    job = network.world.open_channel(worker)
    network.world.govern(DenyMeasurement(1, image)).assert_succeeded()
    assert_bound_by_nobody(worker, BindRefusal.MEASUREMENT_DENIED)
    late = network.world.channel(worker, "latecomer")
    named = late.open(late.opening(accepted_measurement=image))
    assert named.one(BindRefused).reason == BindRefusal.MEASUREMENT_DENIED
    job.post().assert_succeeded()
    assert_finishes_what_it_holds(worker, job)


def test_worker_whose_platform_is_revoked_is_bound_until_its_lease_ends_and_finishes(network: Network) -> None:
    """P-1, P-3, A-4: no renewal, so no binding once the lease is over."""
    worker = network.active_worker()
    job = network.world.open_channel(worker, term_sec=20 * DAY)
    network.revoke_platform()
    assert_refused(worker, network.attest(worker), REVOKED)
    assert_refused(worker, network.attest(worker, key("another")), REVOKED)
    network.world.open_channel(worker, "in time")
    job.post(duration=10 * DAY).assert_succeeded()
    network.world.ledger.advance(network.world.rules.lease_sec)
    assert_bound_by_nobody(worker, BindRefusal.LEASE_EXPIRED)
    assert_finishes_what_it_holds(worker, job)


def test_worker_below_a_stricter_policy_keeps_its_lease_and_gets_no_other(network: Network) -> None:
    """P-6, R-8: what was verified stays verified until the lease ends; the next quote is judged by the new rules."""
    worker = network.active_worker()
    world = network.world
    stricter = replace(world.attestation_policy(2), min_evaluation_number=18)
    world.adopt(ChangeAttestationPolicy(stricter)).assert_succeeded()
    before = worker.state
    world.sync_attestation().assert_succeeded()
    assert worker.state == before
    done = network.attest(worker)
    assert_refused(worker, done, 555)


# ---- races ----


def test_verdict_after_the_owner_left_is_not_taken(network: Network) -> None:
    """W-12: the quote is on its way while the stake leaves."""
    worker = network.active_worker()
    world, ledger = network.world, network.world.ledger
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    ledger.advance(world.rules.unbonding_sec)
    body = network.request(worker, key("later"))
    before = worker.state.people.keys
    world.put(worker.operator, worker.address, body, worker.attest_fees)
    world.step()
    worker.by_owner(WithdrawStake(2)).assert_succeeded()
    world.run()
    assert (worker.state.status, worker.state.people.keys) == (WorkerStatus.CLOSED, before)
