"""Attacks on rules, keys and upkeep that worked elsewhere, as flows: what the victim holds is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actors import actor, key
from channel import DAY, DEPOSIT, MAX_FEE, RESPONSE
from hostile import make_throwing
from pytoniq_core import Address, Cell
from samples import escrow_messages, registry_messages, slashing_messages, worker_messages
from world import TERMS, TON, WorkerSide, World

from cocoon.bench.rent import GOAL_NANO
from cocoon.crypto.usage import Usage
from cocoon.fees import Formulas
from cocoon.wire.common import PaymentReason
from cocoon.wire.escrow import BindRefusal, BindRefused, DeliverJob
from cocoon.wire.registry import AcceptOwnership, ChangePolicy, ExecuteChange, OfferOwnership, ProposeChange
from cocoon.wire.worker import BeginUnbond, SetOffer, WithdrawStake
from cocoon_sandbox.errors import MessageRejected
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import build_external

YEAR = 365 * DAY


def market(ledger: Ledger) -> tuple[World, WorkerSide]:
    world = World(ledger).deploy()
    return world, world.active_worker()


def assert_leaves_with_everything(worker: WorkerSide) -> None:
    """The owner takes out stake and bond, whatever became of the Registry."""
    owed = worker.owed
    worker.by_owner(BeginUnbond(1)).assert_succeeded()
    worker.world.ledger.advance(worker.world.rules.unbonding_sec)
    assert worker.by_owner(WithdrawStake(2)).paid(worker.owner) == owed


def test_open_worker_that_attested_nothing_returns_the_deposit(ledger: Ledger) -> None:
    """A.11: without a verdict there are no keys, whatever the operator offers: no channel is bound, the client has its
    deposit back and has sent no request."""
    world, _ = market(ledger)
    worker = world.register("unattested")
    worker.by_operator(worker.quote(), worker.attest_fees)  # its quote was refused
    worker.set_offer().assert_succeeded()
    channel = world.channel(worker, "victim")
    opened = channel.open()
    assert opened.one(BindRefused).reason == BindRefusal.NOT_ACTIVE
    assert opened.paid(channel.client, PaymentReason.REFUND) > DEPOSIT
    assert not channel.exists


def test_change_of_power_in_one_step_is_refused_and_reaches_no_money(ledger: Ledger) -> None:
    """A.12: no message changes code; ownership and policy move only after the public delay, and whoever governs then,
    every client and worker still takes out what is its own."""
    world, worker = market(ledger)
    channel = world.open_channel(worker, "victim")
    heir = actor("heir")
    world.govern(ProposeChange(1, OfferOwnership(heir).to_cell())).assert_succeeded()
    ledger.advance(world.rules.change_delay_sec - 1)
    world.execute().assert_refused(148)
    assert world.registry_state.proposed_owner is None
    ledger.advance(1)
    world.execute().assert_succeeded()
    world.send(heir, world.registry, AcceptOwnership(2), TON).assert_succeeded()
    harsh = world.policy(2, miss_penalty_nano=2 * TON, dispute_sec=20 * DAY, max_term_sec=DAY, notice_sec=0)
    world.send(heir, world.registry, ProposeChange(3, ChangePolicy(harsh).to_cell()), TON).assert_succeeded()
    ledger.advance(world.rules.change_delay_sec)
    world.execute().assert_succeeded()
    world.sync(worker).assert_succeeded()
    assert channel.claim(DEPOSIT // 4).paid(worker.payout) == DEPOSIT // 4
    channel.begin_close()
    ledger.advance(world.rules.dispute_sec)
    assert channel.finish_close().paid(channel.client) >= DEPOSIT - DEPOSIT // 4
    assert_leaves_with_everything(worker)


def test_registry_that_answers_nobody_keeps_no_ones_money(ledger: Ledger) -> None:
    """A.13: there is one build and no upgrade; even with the Registry unreadable, clients and workers get out."""
    world, worker = market(ledger)
    channel = world.open_channel(worker, "victim")
    make_throwing(ledger, world.registry)
    world.send(actor("anyone"), world.registry, ExecuteChange(2, {}), TON).assert_refused(42)
    assert channel.claim(DEPOSIT // 4).paid(worker.payout) == DEPOSIT // 4
    channel.begin_close().assert_succeeded()
    ledger.advance(world.rules.dispute_sec)
    assert channel.finish_close().paid(channel.client) >= DEPOSIT - DEPOSIT // 4
    assert_leaves_with_everything(worker)


@pytest.mark.parametrize(
    "field", ["prompt_nano", "cached_nano", "completion_nano", "floor_fee_nano", "min_duration_sec"]
)
def test_offer_dearer_than_accepted_binds_nobody_and_changes_no_channel(field: str, ledger: Ledger) -> None:
    """A.15: a worker prices itself out of reach; who did not accept it gets the deposit back, who is bound already
    has its job done at the price of then."""
    world, worker = market(ledger)
    bound = world.open_channel(worker, "victim")
    dear = replace(TERMS, **{field: 2**32 - 1 if field == "min_duration_sec" else 2**64 - 1})
    worker.set_offer({next(iter(worker.state.models)): dear}).assert_succeeded()
    late = world.channel(worker, "latecomer")
    refused = late.open()
    assert refused.one(BindRefused).reason == BindRefusal.PRICE_TOO_HIGH
    assert refused.paid(late.client, PaymentReason.REFUND) > DEPOSIT
    bound.post().assert_succeeded()
    assert bound.deliver(MAX_FEE).assert_succeeded().paid(worker.payout) == MAX_FEE
    assert bound.claim(DEPOSIT).paid(worker.payout) == DEPOSIT


def test_external_messages_replayed_cost_no_contract_anything(ledger: Ledger) -> None:
    """A.16, B.10, B.11: there is nothing to replay: no contract accepts a message from outside, signed or not."""
    world, worker = market(ledger)
    channel = world.open_channel(worker)
    contracts: dict[Address, list[Cell]] = {
        world.registry: [body.to_cell() for body in registry_messages(channel)],
        worker.address: [body.to_cell() for body in worker_messages(channel)],
        channel.address: [body.to_cell() for body in escrow_messages(channel)],
        world.slashing: [body.to_cell() for body in slashing_messages(channel)],
    }
    for address, bodies in contracts.items():
        before = ledger.account(address)
        for body in [*bodies, Cell.empty()]:
            for _ in range(2):
                with pytest.raises(MessageRejected):
                    ledger.send(build_external(dst=address, body=body))
        assert ledger.account(address).state_hash == before.state_hash


def test_key_lost_with_its_machine_costs_the_worker_no_earnings(ledger: Ledger) -> None:
    """A.17: vouchers signed for the lost key are paid after the channel has been rebound to the new one; payouts go
    to the cold address, which the lost machine never held."""
    world, worker = market(ledger)
    channel = world.open_channel(worker)
    voucher = channel.voucher(DEPOSIT // 2)
    worker.attest(key("after the fire")).assert_succeeded()
    channel.rebind().assert_succeeded()
    binding = channel.state.binding
    assert binding is not None
    assert binding.keys.session_key == worker.session.public
    paid = channel.send(actor("anyone"), voucher, channel.claim_fees).assert_succeeded()
    assert paid.paid(worker.payout) == DEPOSIT // 2 == ledger.balance(worker.payout)
    assert channel.claim(DEPOSIT).paid(worker.payout) == DEPOSIT // 2


def test_commitments_on_chain_are_salted() -> None:
    """A.17: equal token counts give unlike commitments, and no count can be found by trying."""
    same = [Usage(12, 0, 34) for _ in range(3)]
    assert len({usage.commitment for usage in same}) == 3
    assert len({usage.salt for usage in same}) == 3
    assert all(len(usage.salt) == 32 for usage in same)


def test_every_message_between_contracts_has_the_gas_it_needs(ledger: Ledger) -> None:
    """A.18: a whole life at the least values: no contract is told anything that it can't afford to hear, and the
    worker's slot is free and counted after each job."""
    world, worker = market(ledger)
    channel = world.channel(worker)
    contracts = {world.registry, world.slashing, worker.address, channel.address}
    outcomes = [channel.open(), channel.claim(DEPOSIT // 4)]
    for end in (channel.deliver, channel.reject):
        outcomes += [channel.post(), end()]
    outcomes.append(channel.post())
    channel.pass_deadline()
    outcomes.append(channel.expire())
    outcomes.append(channel.close_cooperatively(DEPOSIT // 2))
    heard = [done for outcome in outcomes for done in outcome.transactions if done.account in contracts]
    between = [done for done in heard if done.in_msg is not None and done.in_msg.src in contracts]
    assert len(between) >= 10
    for done in heard:
        assert done.success, f"not heard: {done!r}"
    state = worker.state
    assert (state.jobs, state.rejections, state.misses, state.open_count) == (1, 1, 1, 0)


def test_delivery_whose_notice_is_lost_is_paid_all_the_same(ledger: Ledger) -> None:
    """A.18: the payment does not wait for the Worker to hear of it, and the lost notice's value is nobody's loss."""
    world, worker = market(ledger)
    channel = world.open_channel(worker)
    channel.post().assert_succeeded()
    body = DeliverJob(1, False, channel.forced_receipt(MAX_FEE), RESPONSE)
    world.put(worker.operator, channel.address, body, channel.end_job_fees)
    delivered = world.step()
    (notice,) = [at for at, sent in enumerate(ledger.pending) if sent.dst == worker.address]
    ledger.drop(notice)
    world.run()
    assert sum(message.value for message in delivered.out_msgs if message.dst == worker.payout) == MAX_FEE
    assert channel.balance >= channel.owed >= DEPOSIT


def test_resting_channel_costs_rent_and_no_message(ledger: Ledger) -> None:
    """A.19: nothing happens for the whole term and the margin: no message is sent, and what was paid at opening for
    rent covers it, so that client and worker still get all that is theirs."""
    world, worker = market(ledger)
    channel = world.open_channel(worker, term_sec=30 * DAY)
    held, moved = channel.balance, len(ledger.pending)
    ledger.advance(119 * DAY)
    assert (channel.balance, len(ledger.pending)) == (held, moved)
    claimed = channel.claim(DEPOSIT // 2).assert_succeeded()
    assert claimed.first.storage_fees <= GOAL_NANO * 119 * DAY // YEAR
    assert claimed.paid(worker.payout) == DEPOSIT // 2
    closed = channel.finish_close().assert_succeeded()
    assert closed.paid(channel.client) >= DEPOSIT // 2


def test_resting_worker_costs_rent_and_keeps_its_stake(ledger: Ledger) -> None:
    """A.19: a worker that does nothing pays storage out of what was prepaid for it, for as long as that was meant."""
    world, worker = market(ledger)
    owed = worker.owed
    ledger.advance(Formulas.load().constants["WORKER_RENT_SEC"] - DAY)
    touched = worker.by_operator(SetOffer(1, 0, {})).assert_succeeded()
    assert touched.first.storage_fees > 0
    assert worker.balance >= owed
    assert_leaves_with_everything(worker)
    assert world.registry_state.next_index == 1
