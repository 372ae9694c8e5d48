"""Equivocation: what is evidence, what is not, and what a slash takes from whom."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from actors import actor, blob, digest, key
from channel import Channel
from hostile import DEATHS
from outcome import Outcome, Paid
from pytoniq_core import Address, begin_cell
from world import TERMS, TON, WorkerSide, World

from cocoon.contracts_build import load
from cocoon.wire.common import Excesses, Kind, PaymentReason
from cocoon.wire.escrow import Receipt, SignedReceipt
from cocoon.wire.registry import ChangePolicy
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import AdoptSlashing, BeginUnbond, SlashWorker, WithdrawStake, WorkerStatus

BLACK_HOLE = Address((0, bytes(32)))
REPORTER = actor("reporter")


def evidence(
    channel: Channel, first: dict[str, object] | None = None, second: dict[str, object] | None = None
) -> SubmitEquivocation:
    """Two receipts for one seq that differ in the fee, but for the changes given."""
    a = channel.receipt(**{"fee_nano": 1, **(first or {})})
    b = channel.receipt(**{"fee_nano": 2, **(second or {})})
    identity = channel.world.deployment.escrow_identity(channel.client, channel.worker.address, channel.salt)
    return SubmitEquivocation(1, channel.worker.session.public, identity, a, b)


def report(channel: Channel, body: SubmitEquivocation | None = None, value: int | None = None) -> Outcome:
    world = channel.world
    return world.send(
        REPORTER, world.slashing, body or evidence(channel), world.evidence_fees if value is None else value
    )


@pytest.mark.parametrize("kind", [Kind.STREAM_RECEIPT, Kind.FORCED_RECEIPT])
def test_slash_least_value_takes_the_whole_stake(channel: Channel, kind: Kind) -> None:
    """P-5, S-1, W-3: a tenth to the reporter, a tenth to the client, the rest burned; the bond stays; nobody else
    pays."""
    worker, rules = channel.worker, channel.world.rules
    stake = worker.state.stake_nano
    done = report(channel, evidence(channel, {"kind": kind}, {"kind": kind})).assert_succeeded()
    reward = stake * rules.slash_reporter_bps // 10_000
    harmed = stake * rules.slash_client_bps // 10_000
    assert set(done.payments()) == {
        Paid(channel.client, PaymentReason.SLASH_REWARD, harmed),
        Paid(BLACK_HOLE, PaymentReason.BURN, stake - reward - harmed),
        Paid(REPORTER, PaymentReason.SLASH_REWARD, reward),
    }
    assert len(done.payments()) == 3
    state = worker.state
    assert (state.status, state.stake_nano, state.bond_nano) == (WorkerStatus.JAILED, 0, rules.min_bond_nano)
    assert worker.balance >= worker.owed
    assert len(done.every(Excesses)) == 1


def test_slash_self_report_never_pays(channel: Channel) -> None:
    """B.28, S-2: owner, reporter and client in one person lose at least four fifths of the stake."""
    stake = channel.worker.state.stake_nano
    done = report(channel)
    back = done.paid(REPORTER) + done.paid(channel.client)
    assert back <= stake // 5


def test_slash_amounts_round_towards_burning(world: World) -> None:
    """B.21: a stake that divides badly is still paid out to the last nano."""
    body = world.registration("odd", stake_nano=world.rules.min_stake_nano + 7)
    worker = WorkerSide(
        world, 0, actor("odd owner"), body.roles.operator_wallet, body.roles.payout, key("odd"), blob("odd")
    )
    world.send(worker.owner, world.registry, body, 20 * TON).assert_succeeded()
    worker.attest().assert_succeeded()
    channel = world.channel(worker)
    done = report(channel)
    assert sum(p.nano for p in done.payments()) == body.stake_nano
    assert done.paid(BLACK_HOLE) >= body.stake_nano * 8 // 10


def test_slash_twice_refused_and_returned_to_the_reporter(channel: Channel) -> None:
    """B.28, S-1: once; the second report costs the reporter and nobody else."""
    report(channel).assert_succeeded()
    state = channel.worker.state
    again = report(channel, evidence(channel, {"seq": 9}, {"seq": 9}))
    assert [t.exit_code for t in again.of(channel.worker.address)] == [219]
    assert channel.worker.state == state
    assert not again.payments()
    assert 0 < again.change(REPORTER) < channel.world.evidence_fees


def test_slash_order_of_the_receipts_does_not_matter(channel: Channel) -> None:
    """B.28."""
    body = evidence(channel)
    report(channel, replace(body, first=body.second, second=body.first)).assert_succeeded()
    assert channel.worker.state.status == WorkerStatus.JAILED


def test_slash_one_nano_below_the_least_value_refused(channel: Channel) -> None:
    """B.16."""
    report(channel, value=channel.world.evidence_fees - 1).assert_refused(400)


def test_slash_from_the_masterchain_refused(channel: Channel) -> None:
    """B.23."""
    world = channel.world
    world.send(actor("reporter", -1), world.slashing, evidence(channel), TON).assert_refused(406)


def test_slash_at_the_caps_succeeds_with_the_least_value(world: World, worker: WorkerSide) -> None:
    """B.16, B.17: offer and key table full, the oldest key guilty."""
    first = worker.session
    for number in range(4):
        worker.attest(key(f"rotated {number}")).assert_succeeded()
    worker.set_offer({digest(blob(f"model {n}")): TERMS for n in range(8)}, slots=8).assert_succeeded()
    worker.session = first
    channel = world.channel(worker)
    report(channel).assert_succeeded()
    assert worker.state.status == WorkerStatus.JAILED


# ---- what is no evidence ----


@pytest.mark.parametrize(
    ("first", "second", "exit_code"),
    [
        ({"fee_nano": 2}, {}, 404),
        ({"seq": 2}, {}, 403),
        ({"tag": 1}, {"tag": 1}, 401),
        ({}, {"tag": 1}, 401),
        ({"kind": Kind.FORCED_RECEIPT}, {}, 401),
        ({"kind": Kind.REJECTION}, {"kind": Kind.REJECTION}, 402),
        ({"kind": Kind.VOUCHER}, {"kind": Kind.VOUCHER}, 402),
        ({"kind": Kind.CLOSE}, {"kind": Kind.CLOSE}, 402),
        ({"kind": 6}, {"kind": 6}, 402),
        ({"kind": Kind.ATTESTATION}, {"kind": Kind.ATTESTATION}, 402),
        ({"global_id": -239}, {"global_id": -239}, 401),
        ({}, {"global_id": -239}, 401),
        ({"contract": actor("elsewhere")}, {"contract": actor("elsewhere")}, 401),
        ({}, {"contract": actor("elsewhere")}, 401),
        ({"epoch": 1}, {"epoch": 2}, 401),
        ({"key_epoch": 1}, {"key_epoch": 2}, 401),
        ({"signer": key("stranger")}, {}, 405),
        ({}, {"signer": key("stranger")}, 405),
    ],
    ids=str,
)
def test_slash_without_a_fault_refused(
    channel: Channel, first: dict[str, object], second: dict[str, object], exit_code: int
) -> None:
    """S-3, B.13, B.28: each field counts, in both receipts; a reporter without a case pays for the attempt."""
    if exit_code == 404:
        at = channel.world.ledger.now
        first, second = first | {"issued_at": at}, second | {"issued_at": at}
    report(channel, evidence(channel, first, second)).assert_refused(exit_code)
    assert channel.worker.state.status == WorkerStatus.ACTIVE


def test_slash_forced_and_streamed_receipt_of_one_seq_is_no_fault(channel: Channel) -> None:
    """E-5: separate sequence spaces: no client can provoke a double signature by forcing what it streamed."""
    body = evidence(channel, {"kind": Kind.STREAM_RECEIPT}, {"kind": Kind.FORCED_RECEIPT})
    report(channel, body).assert_refused(401)


def test_slash_receipts_of_two_incarnations_is_no_fault(channel: Channel) -> None:
    """S-3: seq starts again when a channel is opened again."""
    epoch = channel.state.epoch
    report(channel, evidence(channel, {"epoch": epoch}, {"epoch": epoch + 1})).assert_refused(401)


def test_slash_receipts_under_two_keys_is_no_fault(channel: Channel) -> None:
    """S-3: both must verify under one key."""
    report(channel, evidence(channel, {}, {"signer": key("second")})).assert_refused(405)


def test_slash_frivolous_report_costs_the_reporter(channel: Channel) -> None:
    """B.28."""
    done = report(channel, evidence(channel, {"seq": 2}), value=TON)
    assert TON - TON // 100 < done.received(REPORTER) < TON


def test_slash_named_escrow_of_another_worker_refused(world: World, worker: WorkerSide) -> None:
    """S-3: the signed domain names the escrow, and the escrow commits to its worker: nobody pays for another's
    fault."""
    innocent = world.active_worker("innocent")
    guilty = world.open_channel(worker)
    body = evidence(guilty)
    framed = replace(body, escrow=world.deployment.escrow_identity(guilty.client, innocent.address, guilty.salt))
    report(guilty, framed).assert_refused(401)
    assert innocent.state.status == WorkerStatus.ACTIVE


def test_slash_key_of_another_worker_refused_by_the_worker(world: World, worker: WorkerSide) -> None:
    """S-3: a stranger's key signs receipts that name an escrow of an honest worker."""
    channel = world.open_channel(worker)
    stranger = key("stranger")
    body = evidence(channel, {"signer": stranger}, {"signer": stranger})
    done = report(channel, replace(body, session_key=stranger.public))
    assert [t.exit_code for t in done.of(worker.address)] == [218]
    assert worker.state.status == WorkerStatus.ACTIVE
    assert done.change(REPORTER) > 0
    assert not done.payments()


def test_slash_worker_that_does_not_exist_returns_the_change(world: World, worker: WorkerSide) -> None:
    """B.3."""
    nobody = WorkerSide(world, 77, *(actor(x) for x in "opq"), key("s"), blob("h"))
    done = report(world.channel(nobody))
    assert done.change(REPORTER) > 0


@pytest.mark.parametrize("death", ["throws", "out of gas"])
def test_slash_worker_that_fails_returns_what_is_left(channel: Channel, death: str) -> None:
    """B.3, B.7."""
    DEATHS[death](channel.world.ledger, channel.worker.address)
    done = report(channel, value=TON)
    left = done.received(REPORTER)
    assert left > TON // 2 if death == "throws" else left >= 0


def test_slash_order_from_anyone_but_slashing_refused(channel: Channel) -> None:
    """B.2, A.2."""
    thief = actor("thief")
    body = SlashWorker(1, channel.worker.session.public, thief, thief)
    for sender in (thief, channel.worker.owner, channel.world.registry, channel.address, channel.world.governor):
        channel.world.send(sender, channel.worker.address, body, TON).assert_refused(206)


# ---- keys ----


def test_slash_retired_key_until_it_lapses(world: World, worker: WorkerSide) -> None:
    """W-4, B.15: slashable to the last second of its time, and not after it."""
    old = worker.session
    channel = world.open_channel(worker)
    body = evidence(channel)
    worker.attest(key("second")).assert_succeeded()
    until = worker.state.people.slashable.old_keys[old.public]
    snapshot = world.ledger.snapshot()
    for late, status in ((0, WorkerStatus.JAILED), (1, WorkerStatus.ACTIVE)):
        world.ledger.restore(snapshot)
        world.ledger.advance(until - world.ledger.now + late)
        done = report(channel, body)
        assert worker.state.status == status
        if status == WorkerStatus.ACTIVE:
            assert [t.exit_code for t in done.of(worker.address)] == [218]


def test_slash_unbonding_stake_until_the_last_second(channel: Channel) -> None:
    """B.28, P-5: leaving does not help."""
    worker = channel.worker
    body = evidence(channel)
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.unbonding_sec - 1)
    report(channel, body).assert_succeeded()
    assert worker.state.stake_nano == 0
    channel.world.ledger.advance(1)
    done = worker.by_owner(WithdrawStake(2)).assert_succeeded()
    assert done.paid(worker.owner) == channel.world.rules.min_bond_nano


def test_slash_after_the_stake_left_takes_nothing_but_jails(channel: Channel) -> None:
    """S-1: at most the stake; the key is dead for good."""
    worker = channel.worker
    body = evidence(channel)
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    channel.world.ledger.advance(channel.world.rules.unbonding_sec)
    worker.by_owner(WithdrawStake(2)).assert_succeeded()
    done = report(channel, body)
    assert not done.payments()
    assert worker.state.status == WorkerStatus.JAILED
    assert worker.balance >= 0


def test_slash_under_the_zero_key_of_a_pending_worker_refused(world: World) -> None:
    """B.14: a worker without keys has session key 0, a point of order 4 that accepts signatures anyone can write
    down."""
    worker = world.register()
    channel = world.channel(worker)
    body = evidence(channel)
    forged = [forge_under_zero_key(body.first.receipt, world), forge_under_zero_key(body.second.receipt, world)]
    done = report(channel, replace(body, session_key=0, first=forged[0], second=forged[1]))
    state = worker.state
    assert (state.status, state.stake_nano) == (WorkerStatus.PENDING, world.rules.min_stake_nano)
    assert not done.payments()


def forge_under_zero_key(receipt: Receipt, world: World) -> SignedReceipt:
    """A signature (R = identity, S = 0) that verifies under the all-zero key whenever h = SHA-512(R, A, M) is 0 mod
    4."""
    identity_point = (1).to_bytes(32, "little")
    order = 2**252 + 27742317777372353535851937790883648493
    for nonce in range(1000):
        candidate = replace(receipt, issued_at=world.ledger.now + nonce)
        message = candidate.to_cell().hash
        challenge = int.from_bytes(hashlib.sha512(identity_point + bytes(32) + message).digest(), "little") % order
        if challenge % 4 == 0:
            return SignedReceipt(candidate, identity_point + bytes(32))
    raise AssertionError("one nonce in four should do")


# ---- bodies ----


def test_unknown_opcode_and_short_body_refused(world: World) -> None:
    """B.24."""
    for body in (begin_cell().store_uint(5, 32).end_cell(), begin_cell().store_uint(1, 3).end_cell()):
        world.send(REPORTER, world.slashing, body, TON).assert_refused(0xFFFF)


def test_empty_body_is_kept_as_rent(world: World) -> None:
    """B.24."""
    done = world.send(REPORTER, world.slashing, begin_cell().end_cell(), TON).assert_succeeded()
    assert not done.messages
    assert not done.changed


def test_get_slashing_data_names_the_escrow_code(world: World) -> None:
    code = load("Escrow")
    assert world.ledger.get(world.slashing, "get_slashing_data") == [int.from_bytes(code.code.hash, "big"), code.depth]


# ---- another Slashing, by the owner's choice ----


def with_new_slashing(world: World, slashing: Address) -> None:
    """The policy names another Slashing from now on."""
    policy = world.policy(2)
    world.adopt(ChangePolicy(replace(policy, children=replace(policy.children, slashing=slashing)))).assert_succeeded()


def test_adopted_slashing_may_slash_and_the_first_still_may(channel: Channel) -> None:
    """S-4: new kinds of evidence are added to the old ones, never put in their place."""
    world, worker = channel.world, channel.worker
    newer = actor("newer slashing")
    with_new_slashing(world, newer)
    world.sync(worker).assert_succeeded()
    order = SlashWorker(1, worker.session.public, REPORTER, channel.client)
    world.send(newer, worker.address, order, TON).assert_refused(206)
    worker.by_owner(AdoptSlashing(1, newer)).assert_succeeded()
    start = world.ledger.snapshot()
    for slashing in (newer, world.slashing):
        world.ledger.restore(start)
        world.send(slashing, worker.address, order, TON).assert_succeeded()
        assert worker.state.status == WorkerStatus.JAILED


def test_adopt_slashing_by_anyone_but_the_owner_refused(channel: Channel) -> None:
    """S-4, P-6: governance can name another Slashing; whether a worker stands under it is its owner's choice."""
    world, worker = channel.world, channel.worker
    for sender in (worker.operator, world.governor, actor("thief")):
        world.send(sender, worker.address, AdoptSlashing(1, actor("newer slashing")), TON).assert_refused(203)


def test_adopt_slashing_twice_refused(channel: Channel) -> None:
    """S-4: the list of who may slash has two places at most."""
    world, worker = channel.world, channel.worker
    for number in (1, 2):
        policy = world.policy(1 + number)
        newer = actor(f"slashing {number}")
        world.adopt(ChangePolicy(replace(policy, children=replace(policy.children, slashing=newer)))).assert_succeeded()
        world.sync(worker).assert_succeeded()
        done = worker.by_owner(AdoptSlashing(number, newer))
        done.assert_succeeded() if number == 1 else done.assert_refused(224)


def test_adopt_slashing_that_is_not_the_policys_refused(channel: Channel) -> None:
    """S-4: an owner never adopts what it did not name, nor spends the place on the one it is under already."""
    world, worker = channel.world, channel.worker
    worker.by_owner(AdoptSlashing(1, world.slashing)).assert_refused(225)
    with_new_slashing(world, actor("newer slashing"))
    world.sync(worker).assert_succeeded()
    worker.by_owner(AdoptSlashing(1, actor("expected slashing"))).assert_refused(225)
    worker.by_owner(AdoptSlashing(1, world.slashing)).assert_refused(225)
