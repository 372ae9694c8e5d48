"""Attacks on where keys come from, as flows: who holds the hot wallet, or rewrites Attestation, goes for the stake."""

from __future__ import annotations

import hashlib

from actors import actor, blob, digest, key
from hostile import THROWS, install
from pytoniq_core import Cell
from world import MEASUREMENT, TON, WorkerSide, World

from cocoon.wire.attestation import AttestedPlatform, QuoteVerified
from cocoon.wire.common import AttestedKeys, PaymentReason
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import ApproveMeasurement, BeginUnbond, ChangeOperator, WithdrawStake, WorkerStatus
from cocoon_sandbox.ledger import Ledger

THIEF = actor("thief")
THIEFS_KEY = key("thief")


def market(ledger: Ledger) -> tuple[World, WorkerSide]:
    world = World(ledger).deploy()
    return world, world.active_worker("victim")


def forged(worker: WorkerSide, measurement: int = MEASUREMENT, hpke: Cell | None = None) -> QuoteVerified:
    """A verdict on the thief's own key, as the worker would take it if it had asked for it."""
    people, now = worker.state.people, worker.world.ledger.now
    keys = AttestedKeys(THIEFS_KEY.public, digest(hpke or worker.hpke), measurement)
    platform = AttestedPlatform(0, 0, 17, people.block_seqno + 1, now + worker.world.rules.lease_sec, keys)
    return QuoteVerified(people.attest_seq, 0, now, platform)


def rob(worker: WorkerSide) -> int:
    """The thief signs twice with its key and reports it; what the worker's stake then is."""
    channel = worker.world.channel(worker, "thief")
    receipts = [channel.receipt(signer=THIEFS_KEY, fee_nano=fee, epoch=1, key_epoch=1) for fee in (1, 2)]
    identity = worker.world.deployment.escrow_identity(THIEF, worker.address, channel.salt)
    evidence = SubmitEquivocation(1, THIEFS_KEY.public, identity, *receipts)
    done = worker.world.send(THIEF, worker.world.slashing, evidence, TON)
    assert done.paid(THIEF, PaymentReason.SLASH_REWARD) == 0, "the thief was rewarded"
    return worker.state.stake_nano


def assert_owner_leaves_with_everything(worker: WorkerSide, owed: int) -> None:
    before = worker.world.ledger.balance(worker.owner)
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    worker.world.ledger.advance(worker.world.rules.unbonding_sec)
    assert worker.by_owner(WithdrawStake(2)).assert_succeeded().paid(worker.owner) == owed
    assert worker.world.ledger.balance(worker.owner) >= before + owed


def test_stolen_hot_wallet_brings_in_no_key_to_be_slashed_for(ledger: Ledger) -> None:
    """A.20, P-5, W-11: it asks for a key of its own, with evidence of its own, and confirms it itself; the stake stays,
    the owner replaces the wallet and leaves with everything."""
    world, worker = market(ledger)
    owed, stake = worker.owed, worker.state.stake_nano
    worker.by_operator(worker.quote(THIEFS_KEY), worker.attest_fees)
    assert worker.state.people.awaited is not None
    assert worker.state.people.awaited.session_key == THIEFS_KEY.public
    for sender in (THIEF, worker.operator, world.registry, world.slashing):
        world.send(sender, worker.address, forged(worker), TON)
    assert worker.state.people.keys.session_key == worker.session.public
    assert rob(worker) == stake
    assert (worker.state.status, worker.owed) == (WorkerStatus.ACTIVE, owed)
    worker.by_owner(ChangeOperator(1, actor("another wallet"))).assert_succeeded()
    worker.by_operator(worker.quote(THIEFS_KEY), worker.attest_fees).assert_refused(204)
    assert_owner_leaves_with_everything(worker, owed)


def test_stolen_hot_wallet_cannot_approve_a_program_that_signs_twice(ledger: Ledger) -> None:
    """A.20, P-5, W-11: an enclave of the thief's own making is genuine, and verified, and not the one that the owner
    trusts the stake to."""
    _, worker = market(ledger)
    owed, stake = worker.owed, worker.state.stake_nano
    mine = int.from_bytes(hashlib.sha256(b"an image that signs whatever it is asked to").digest())
    worker.by_operator(ApproveMeasurement(1, mine)).assert_refused(203)
    worker.by_operator(worker.quote(THIEFS_KEY), worker.attest_fees)
    worker.give_verdict(forged(worker, measurement=mine)).assert_succeeded()  # what a genuine Attestation says of it
    assert rob(worker) == stake
    assert worker.state.people.keys.session_key == worker.session.public
    assert_owner_leaves_with_everything(worker, owed)


def test_replaced_attestation_brings_in_no_key_that_nobody_asked_for(ledger: Ledger) -> None:
    """A.21, P-5, W-11: a program that says yes to everything stands where the worker's policy says Attestation is; it
    confirms the thief's key whenever it likes, also while the operator awaits another."""
    world, worker = market(ledger)
    owed, stake = worker.owed, worker.state.stake_nano
    install(ledger, world.attestation, THROWS, Cell.empty())
    worker.give_verdict(forged(worker)).assert_succeeded()
    assert rob(worker) == stake
    worker.by_operator(worker.quote(key("after a reboot")), worker.attest_fees)
    worker.give_verdict(forged(worker)).assert_succeeded()
    assert rob(worker) == stake
    assert worker.state.people.keys.session_key == worker.session.public
    worker.attest(key("after a reboot")).assert_succeeded()
    assert worker.state.people.keys.session_key == worker.session.public != THIEFS_KEY.public
    assert_owner_leaves_with_everything(worker, owed)


def test_replaced_attestation_hands_no_prompts_to_a_key_of_its_own(ledger: Ledger) -> None:
    """A.21, P-1, W-11: nor another HPKE key beside the operator's session key, which prompts would be sealed to."""
    _, worker = market(ledger)
    worker.by_operator(worker.quote(key("after a reboot")), worker.attest_fees)
    verdict = worker.verdict(key("after a reboot"), hpke=blob("a key the thief reads with", 10))
    worker.give_verdict(verdict).assert_succeeded()
    assert worker.state.people.keys.hpke_key_hash == digest(worker.hpke)
    assert worker.state.people.keys.session_key == worker.session.public
