"""What comes back is believed only when it is the very message that was sent: opcode, length, epoch, sequence number.

Each genuine bounce is taken from the network, then changed in one way at a time. A handler never throws, never sends a
bounceable message, and does nothing but for the genuine one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from actors import actor
from channel import MAX_FEE, REQUEST
from hostile import make_throwing
from mail import internal
from pytoniq_core import Address, Cell, begin_cell
from stages import deployed_world, open_channel
from test_slashing import evidence
from world import TON, World

from cocoon.wire.escrow import PostJob
from cocoon.wire.worker import BindEscrow
from cocoon_sandbox.ledger import Ledger, Snapshot
from cocoon_sandbox.message import Message
from cocoon_sandbox.transaction import Transaction


@dataclass(frozen=True)
class Returned:
    """A genuine bounce on its way to `contract`, and how many bits of what was sent the handler needs."""

    world: World
    message: Message
    needed_bits: int
    start: Snapshot

    @property
    def contract(self) -> Address:
        assert isinstance(self.message.dst, Address)
        return self.message.dst

    def deliver(self, body: Cell, sender: Address | None = None) -> Transaction:
        """Deliver it with another body or sender, from the same state."""
        ledger = self.world.ledger
        ledger.restore(self.start)
        source = sender or self.message.src
        assert isinstance(source, Address)
        ledger.enqueue(internal(ledger, source, self.contract, TON, body, bounce=False, bounced=True))
        return self.world.step()

    def assert_ignored(self, body: Cell, sender: Address | None = None) -> None:
        before = self.world.ledger.account(self.contract)
        transaction = self.deliver(body, sender)
        after = self.world.ledger.account(self.contract)
        assert transaction.exit_code == 0, f"threw {transaction.exit_code}"
        assert transaction.success
        assert not transaction.out_msgs
        assert after.status == "active"
        assert (before.data and before.data.hash) == (after.data and after.data.hash)


def returned(world: World, needed_bits: int) -> Returned:
    """Run until the first bounce is next, and keep the state before it."""
    while not world.ledger.pending[0].bounced:
        world.step()
    message = world.ledger.pending[0]
    world.ledger.drop()
    return Returned(world, message, needed_bits, world.ledger.snapshot())


def opening(ledger: Ledger) -> Returned:
    """Escrow: BindEscrow, refused by a Worker that throws. Opcode, epoch."""
    world = deployed_world(ledger)
    worker = world.active_worker()
    make_throwing(ledger, worker.address)
    channel = world.channel(worker)
    init = world.deployment.escrow_state_init(channel.client, worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return returned(world, 32 + 64)


def admission(ledger: Ledger) -> Returned:
    """Escrow: AdmitJob. Opcode, epoch, sequence number."""
    channel = open_channel(ledger)
    make_throwing(ledger, channel.worker.address)
    world = channel.world
    world.put(channel.client, channel.address, PostJob(3, MAX_FEE, 60, REQUEST), MAX_FEE + channel.post_fees)
    return returned(world, 32 + 64 + 32)


def confirmation(ledger: Ledger) -> Returned:
    """Worker: ConfirmBind. Opcode, worker index, epoch, escrow."""
    world = deployed_world(ledger)
    worker = world.active_worker()
    make_throwing(ledger, world.registry)
    channel = world.channel(worker)
    init = world.deployment.escrow_state_init(channel.client, worker.address)
    world.put(channel.client, channel.address, channel.opening(), 2 * TON, state_init=init)
    return returned(world, 32 + 64 + 64 + 267)


def initialisation(ledger: Ledger) -> Returned:
    """Registry: InitWorker. Opcode, query id, owner."""
    world = deployed_world(ledger)
    make_throwing(ledger, world.deployment.worker(0))
    world.put(actor("owner"), world.registry, world.registration(), 30 * TON)
    return returned(world, 32 + 64 + 267)


def slash(ledger: Ledger) -> Returned:
    """Slashing: SlashWorker. Opcode, query id, session key, reporter."""
    channel = open_channel(ledger)
    make_throwing(ledger, channel.worker.address)
    world = channel.world
    world.put(actor("reporter"), world.slashing, evidence(channel), TON)
    return returned(world, 32 + 64 + 256 + 267)


def quote(ledger: Ledger) -> Returned:
    """Worker: VerifyQuote. Opcode, attestSeq; as much as any bounce must have."""
    world = deployed_world(ledger)
    worker = world.active_worker()
    make_throwing(ledger, world.attestation)
    world.put(worker.operator, worker.address, worker.quote(), TON)
    return returned(world, 32 + 64 + 64 + 267)


BOUNCES: dict[str, Callable[[Ledger], Returned]] = {
    "opening": opening,
    "admission": admission,
    "confirmation": confirmation,
    "initialisation": initialisation,
    "slash": slash,
    "quote": quote,
}


@pytest.fixture(params=list(BOUNCES))
def bounce(request: pytest.FixtureRequest, ledger: Ledger) -> Returned:
    return BOUNCES[str(request.param)](ledger)


def is_rich(body: Cell) -> bool:
    return bool(body.begin_parse().load_uint(32) == 0xFFFFFFFE)


def sent_bits(body: Cell) -> str:
    """The part of a bounce's body that is what was sent."""
    bits: str = body.refs[0].bits.to01() if is_rich(body) else body.bits.to01()[32:]
    return bits


def with_sent(body: Cell, bits: str) -> Cell:
    """The same bounce of another message."""
    sent = begin_cell().store_bits(bits)
    if not is_rich(body):
        return begin_cell().store_bits(body.bits.to01()[:32]).store_bits(bits).end_cell()
    changed = begin_cell().store_bits(body.bits.to01()).store_ref(sent.end_cell())
    for ref in body.refs[1:]:
        changed = changed.store_ref(ref)
    return changed.end_cell()


def test_genuine_bounce_returns_the_money_of_whoever_waits_for_it(bounce: Returned) -> None:
    """B.3: the handler needs no more than it reads."""
    body = bounce.message.body
    assert len(bounce.deliver(body).out_msgs) == 1
    shortest = with_sent(body, sent_bits(body)[: bounce.needed_bits])
    (message,) = bounce.deliver(shortest).out_msgs
    assert not message.bounce


def test_shorter_bounce_is_ignored_at_every_length(bounce: Returned) -> None:
    """B.5: a bit too few, or none at all, and the handler neither throws nor acts."""
    body = bounce.message.body
    for length in range(bounce.needed_bits):
        if length % 16 in (0, 1, 15) or bounce.needed_bits - length < 40:
            bounce.assert_ignored(with_sent(body, sent_bits(body)[:length]))
    # The network always brings the old-style prefix whole.
    for length in range(33) if is_rich(body) else (32,):
        bounce.assert_ignored(begin_cell().store_bits(body.bits.to01()[:length]).end_cell())


@pytest.mark.parametrize("bounce", [name for name in BOUNCES if name != "slash"], indirect=True)
def test_bounce_of_another_message_is_ignored(bounce: Returned) -> None:
    """B.4: the same length, the opcode off by one bit. Slashing sends only one kind of message that comes back so."""
    body = bounce.message.body
    sent = sent_bits(body)
    for bit in (0, 15, 31):
        other = sent[:bit] + ("1" if sent[bit] == "0" else "0") + sent[bit + 1 :]
        bounce.assert_ignored(with_sent(body, other))


@pytest.mark.parametrize("bounce", ["confirmation", "initialisation", "slash", "quote"], indirect=True)
def test_rich_bounce_without_the_original_is_ignored(bounce: Returned) -> None:
    """B.5: it has to bring along what was sent, and say that it does."""
    body = bounce.message.body
    bounce.assert_ignored(begin_cell().store_bits(body.bits.to01()).end_cell())
    bounce.assert_ignored(begin_cell().store_uint(0xFFFFFFFE, 32).end_cell())
    old_style = begin_cell().store_uint(0xFFFFFFFF, 32).store_bits(body.bits.to01()[32:])
    bounce.assert_ignored(old_style.store_ref(body.refs[0]).end_cell())


def test_bounce_before_the_first_message_of_an_escrow_is_ignored(ledger: Ledger) -> None:
    """B.5: there is nothing to give back yet."""
    genuine = opening(ledger)
    world = genuine.world
    ledger.restore(genuine.start)
    channel = world.channel(world.workers[0], "another client")
    init = world.deployment.escrow_state_init(channel.client, world.workers[0].address)
    world.send(actor("anyone"), channel.address, Cell.empty(), TON, state_init=init).assert_succeeded()
    source = world.workers[0].address
    ledger.enqueue(internal(ledger, source, channel.address, TON, genuine.message.body, bounce=False, bounced=True))
    transaction = world.step()
    assert transaction.exit_code == 0
    assert not transaction.out_msgs


def test_bounced_opening_of_an_active_channel_is_ignored(ledger: Ledger) -> None:
    """B.6: the right epoch, but the channel is open by now."""
    channel = open_channel(ledger)
    sent = (
        begin_cell().store_uint(0xFFFFFFFF, 32).store_uint(BindEscrow.PREFIX[0], 32).store_uint(channel.state.epoch, 64)
    )
    body = sent.store_uint(0, 160).end_cell()
    state = channel.state
    source = channel.worker.address
    ledger.enqueue(internal(ledger, source, channel.address, TON, body, bounce=False, bounced=True))
    assert not channel.world.step().out_msgs
    assert channel.state == state
