"""Every message ends where its layout ends: one bit or reference more, and it is refused at once."""

from __future__ import annotations

from channel import Channel
from pytoniq_core import Cell, begin_cell
from samples import escrow_messages, registry_messages, slashing_messages, worker_messages
from world import TON

from cocoon.wire.escrow import OpenEscrow
from cocoon.wire.worker import InitWorker

CELL_UNDERFLOW = 9
# Of the first message of a contract; later it is refused for what it is.
FIRST = (OpenEscrow, InitWorker)


def longer(body: Cell) -> list[Cell]:
    found = []
    if len(body.bits) < 1023:
        found.append(begin_cell().store_cell(body).store_bit(1).end_cell())
    if len(body.refs) < 4:
        found.append(begin_cell().store_cell(body).store_ref(Cell.empty()).end_cell())
    return found


def test_trailing_data_of_any_message_is_refused_whoever_sends_it(job: Channel) -> None:
    """B.22: not for the sender, not for the state: for its length."""
    world = job.world
    targets = {
        job.address: escrow_messages(job),
        job.worker.address: worker_messages(job),
        world.registry: registry_messages(job),
        world.slashing: slashing_messages(job),
    }
    start = world.ledger.snapshot()
    for address, messages in targets.items():
        for message in messages:
            if isinstance(message, FIRST):
                continue
            bodies = longer(message.to_cell())
            assert bodies
            for body in bodies:
                done = world.send(job.worker.owner, address, body, TON)
                assert done.exit_code == CELL_UNDERFLOW, f"{type(message).__name__}: {done}"
                assert not done.changed
                world.ledger.restore(start)


def test_trailing_data_of_the_first_message_is_refused(job: Channel) -> None:
    """B.22: a channel that is opened, a worker that is registered."""
    world = job.world
    channel = world.channel(job.worker, "another client")
    for body in longer(channel.opening().to_cell()):
        assert channel.open(body).exit_code == CELL_UNDERFLOW
