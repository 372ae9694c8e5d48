"""Attacks on a channel's money that worked elsewhere, as flows: what the victim holds is counted before and after."""

from __future__ import annotations

from dataclasses import replace

from actors import actor, key
from channel import DEPOSIT, MAX_FEE, Channel
from hostile import install, remove
from pytoniq_core import Cell
from world import TON, World

from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import BeginClose, EscrowStatus, JobStatus
from cocoon_sandbox.ledger import Ledger


def two_channels(ledger: Ledger) -> tuple[Channel, Channel]:
    """The attacker's channel and the victim's, with one worker."""
    world = World(ledger).deploy()
    worker = world.active_worker()
    return world.open_channel(worker, "attacker"), world.open_channel(worker, "victim")


def one_channel(ledger: Ledger) -> Channel:
    world = World(ledger).deploy()
    return world.open_channel(world.active_worker())


def test_top_up_while_closing_is_withdrawn_by_nobody_twice(ledger: Ledger) -> None:
    """A.1: the credit bounces at once, and closing pays the attacker no more than it brought."""
    attacker, victim = two_channels(ledger)
    held = victim.balance
    attacker.begin_close().assert_succeeded()
    attacker.top_up(TON, sender=attacker.client).assert_refused(308)
    ledger.advance(attacker.world.rules.dispute_sec)
    closed = attacker.finish_close().assert_succeeded()
    assert closed.paid(attacker.client) < DEPOSIT + attacker.open_fees
    assert victim.balance == held
    assert victim.claim(DEPOSIT).paid(victim.worker.payout) == DEPOSIT


def test_close_by_a_stranger_leaves_the_workers_voucher_good(ledger: Ledger) -> None:
    """A.2: nobody but the client starts the clock after which an unclaimed voucher is worth nothing."""
    channel = one_channel(ledger)
    for stranger in (actor("stranger"), channel.worker.operator, channel.world.governor):
        channel.send(stranger, BeginClose(1), TON).assert_refused(302)
    ledger.advance(channel.world.rules.dispute_sec)
    channel.finish_close(actor("stranger")).assert_refused(310)
    assert channel.state.status == EscrowStatus.ACTIVE
    assert channel.claim(DEPOSIT).paid(channel.worker.payout) == DEPOSIT == ledger.balance(channel.worker.payout)


def test_claim_by_an_operators_key_finds_no_pool_to_pay_from(ledger: Ledger) -> None:
    """A.3: keys of operator, worker and governance sign for an invented payee; every client keeps its deposit."""
    attacker, victim = two_channels(ledger)
    thief = actor("thief")
    held = victim.balance
    for signer in (victim.worker.session, attacker.client_key, key("governor key")):
        victim.send(thief, victim.voucher(DEPOSIT, signer=signer), TON).assert_refused(317)
    victim.send(thief, attacker.voucher(DEPOSIT), TON).assert_refused(317)
    assert (victim.balance, victim.state.claimed_nano, ledger.balance(thief)) == (held, 0, ledger.balance(thief))
    victim.begin_close().assert_succeeded()
    ledger.advance(victim.world.rules.dispute_sec)
    assert victim.finish_close().paid(victim.client) >= DEPOSIT


def test_claim_above_the_deposit_leaves_the_jobs_money_whole(ledger: Ledger) -> None:
    """A.4: the worker gets what the deposit has; the job's own money goes back to the client who posted it."""
    channel = one_channel(ledger)
    channel.post().assert_succeeded()
    assert channel.claim(3 * DEPOSIT).paid(channel.worker.payout) == DEPOSIT
    assert channel.balance >= channel.owed >= MAX_FEE
    channel.pass_deadline()
    assert channel.expire().paid(channel.client, PaymentReason.REFUND) >= MAX_FEE


def test_deliver_above_the_declared_maximum_takes_nothing(ledger: Ledger) -> None:
    """A.5: one nanoTON above is refused, the maximum is paid, the rest stays the client's."""
    channel = one_channel(ledger)
    channel.post().assert_succeeded()
    for fee in (MAX_FEE + 1, 2**64 - 1):
        channel.deliver(fee).assert_refused(323)
    assert channel.job == JobStatus.OPEN
    assert channel.deliver(MAX_FEE).assert_succeeded().paid(channel.worker.payout) == MAX_FEE
    assert channel.owed >= DEPOSIT


def test_refund_when_everybody_else_is_gone_is_complete(ledger: Ledger) -> None:
    """A.6: no grant, no acknowledgement, no second try: job and deposit come back by time alone."""
    channel = one_channel(ledger)
    channel.post().assert_succeeded()
    for address in (channel.worker.address, channel.world.registry, channel.world.slashing):
        remove(ledger, address)
    channel.pass_deadline()
    refunded = channel.expire(sender=channel.client).paid(channel.client, PaymentReason.REFUND)
    assert refunded >= MAX_FEE
    assert channel.job == JobStatus.MISSED
    channel.begin_close().assert_succeeded()
    ledger.advance(channel.world.rules.dispute_sec)
    assert channel.finish_close().paid(channel.client, PaymentReason.REFUND) >= DEPOSIT
    assert not channel.exists


def test_close_cooperatively_pays_the_worker_before_the_account_goes(ledger: Ledger) -> None:
    """A.7: what both signed reaches the worker in the transaction that deletes the account, even a wallet without
    code; another client's channel is not touched."""
    attacker, victim = two_channels(ledger)
    held = victim.balance
    closed = attacker.close_cooperatively(DEPOSIT // 2, sender=attacker.client)
    assert len(closed.of(attacker.address)) == 1
    assert not attacker.exists
    assert ledger.balance(attacker.worker.payout) == DEPOSIT // 2
    assert DEPOSIT // 2 <= closed.paid(attacker.client) < DEPOSIT
    assert victim.balance == held


def test_claim_with_unsigned_fields_changed_still_pays_the_worker(ledger: Ledger) -> None:
    """A.8: the front-runner chooses query id, change and its own address; the whole payout arrives, the change it
    attached is all it can direct."""
    channel = one_channel(ledger)
    thief = actor("thief")
    genuine = channel.voucher(DEPOSIT // 2)
    for field in ("cumulative_nano", "receipt_chain"):
        altered = replace(genuine, **{field: getattr(genuine, field) + 1})
        channel.send(thief, altered, channel.claim_fees).assert_refused(317)
    copied = channel.send(thief, replace(genuine, query_id=2**64 - 1, excess_to_payout=True), channel.claim_fees)
    assert copied.assert_succeeded().paid(channel.worker.payout) >= DEPOSIT // 2
    assert copied.paid(thief) == copied.change(thief) == 0
    channel.send(channel.worker.operator, genuine, channel.claim_fees).assert_refused(324)


def test_open_a_worker_that_does_not_exist_returns_the_deposit(ledger: Ledger) -> None:
    """A.9: the bounce ends the opening and pays everything back; a second try works as the first did."""
    world = World(ledger).deploy()
    worker = world.active_worker()
    channel = world.open_channel(worker)
    absent = replace(worker, index=worker.index + 7)
    for _ in range(2):
        opened = world.channel(absent, "victim").open()
        assert opened.paid(actor("victim"), PaymentReason.REFUND) > DEPOSIT
        assert not world.channel(absent, "victim").exists
    assert channel.owed == DEPOSIT


def test_claim_after_the_signer_has_turned_away_is_paid(ledger: Ledger) -> None:
    """A.10: the client signs no more, closes as fast as it can and answers nobody; the voucher in hand is money."""
    channel = one_channel(ledger)
    voucher = channel.voucher(DEPOSIT // 2)
    channel.begin_close().assert_succeeded()
    remove(ledger, channel.worker.address)
    ledger.advance(channel.world.rules.dispute_sec - 1)
    channel.finish_close().assert_refused(310)
    paid = channel.send(channel.worker.operator, voucher, channel.claim_fees).assert_succeeded()
    assert paid.paid(channel.worker.payout) == DEPOSIT // 2 == ledger.balance(channel.worker.payout)


def test_claim_by_a_stranger_gives_the_stranger_its_change_and_closing_leaves_no_coin(ledger: Ledger) -> None:
    """A.14: a thousand times too much is attached, everything beyond the gas returns; the closed account is empty."""
    channel = one_channel(ledger)
    helper = actor("helper")
    claimed = channel.send(helper, channel.voucher(DEPOSIT // 2), TON).assert_succeeded()
    assert TON - channel.claim_fees <= claimed.change(helper) < TON
    channel.begin_close().assert_succeeded()
    ledger.advance(channel.world.rules.dispute_sec)
    closed = channel.send(helper, channel.closing(DEPOSIT // 2), TON).assert_succeeded()
    assert TON - channel.close_fees <= closed.change(helper) < TON
    assert closed.paid(channel.client) >= DEPOSIT // 2
    assert ledger.balance(channel.address) == 0


def test_close_or_destroy_while_a_job_is_open_refused(ledger: Ledger) -> None:
    """B.19, A.7: no way of closing carries away what a job still owes to one side or the other."""
    channel = one_channel(ledger)
    channel.post().assert_succeeded()
    worker_wants = channel.forced_receipt(MAX_FEE)
    channel.begin_close().assert_succeeded()
    ledger.advance(channel.world.rules.dispute_sec)
    channel.finish_close().assert_refused(311)
    channel.close_cooperatively(0).assert_refused(311)
    channel.release(0).assert_refused(311)
    assert channel.balance >= channel.owed
    assert channel.deliver(worker_wants.receipt.fee_nano).paid(channel.worker.payout) == MAX_FEE
    assert channel.finish_close().paid(channel.client) >= DEPOSIT


def test_expire_unaffordable_refund_keeps_the_job_until_the_money_is_there(ledger: Ledger) -> None:
    """B.9, B.11: a payment that can't be made undoes the transaction, three times over; nothing is marked as paid."""
    channel = one_channel(ledger)
    world = channel.world
    channel.post().assert_succeeded()
    channel.pass_deadline()
    account = ledger.account(channel.address)
    assert account.code is not None
    assert account.data is not None
    world.watch = False  # the poverty is this test's doing
    install(ledger, channel.address, account.code, account.data, balance=MAX_FEE // 4)
    before = channel.state
    for _ in range(3):
        failed = channel.expire()
        assert failed.first.action_code == 37
        assert channel.state == before
        assert failed.paid(channel.client) == 0
    world.send(actor("helper"), channel.address, Cell.empty(), TON).assert_succeeded()
    assert channel.expire().paid(channel.client, PaymentReason.REFUND) >= MAX_FEE
