"""Every message of every contract, damaged: too long, too short, the wrong opcode, nested cells with something
extra."""

from __future__ import annotations

import pytest
from channel import Channel
from pytoniq_core import Address, Cell, begin_cell
from samples import escrow_messages, registry_messages, slashing_messages, worker_messages
from test_authorization import actors
from world import TON

from cocoon.wire.codec import Struct

# Cells that a message carries for others; Escrow and Worker look at nothing but a hash.
OPAQUE = {"PostJob": {0}, "DeliverJob": {1}, "Attest": {0, 1, 2}}
# Opaque to the receiver, but read by the next contract in line, which then refuses: see the tests named.
DEFERRED = {
    "OpenEscrow": "test_open_malformed_maximum_prices_refunded",
    "ConfirmBind": "built by the Worker's own code",
    "BindConfirmed": "built by the Worker's own code",
    "UpdatePolicy": "checked by the Registry: test_propose_change_with_trailing_data_refused",
}


def targets(channel: Channel) -> list[tuple[Address, list[Struct]]]:
    world = channel.world
    return [
        (channel.address, escrow_messages(channel)),
        (channel.worker.address, worker_messages(channel)),
        (world.registry, registry_messages(channel)),
        (world.slashing, slashing_messages(channel)),
    ]


# Everybody whom some message is allowed to; what they all are refused, a stranger is.
ROLES = ("client", "operator", "owner", "governor", "registry", "attestation", "worker", "escrow")


def assert_nobody_changes(
    channel: Channel, address: Address, body: Cell, what: str, senders: tuple[str, ...] = ROLES
) -> None:
    """Whoever sends it, the data stays, and nothing is sent but a bounce."""
    world = channel.world
    start = world.ledger.snapshot()
    before = world.ledger.account(address).data
    assert before is not None
    cast = actors(channel)
    for name in senders:
        sender = cast[name]
        world.put(sender, address, body, 20 * TON)
        transaction = world.step()
        after = world.ledger.account(address)
        assert after.data is not None, f"{what} from {name} destroyed the account"
        assert after.data.hash == before.hash, f"{what} from {name} changed data"
        assert transaction.aborted, f"{what} from {name}: {transaction!r}"
        assert all(message.bounced for message in transaction.out_msgs)
        world.ledger.restore(start)


def damaged(cell: Cell) -> dict[str, Cell]:
    longer = begin_cell().store_cell(cell)
    found = {}
    if longer.available_bits:
        found["a trailing bit"] = begin_cell().store_cell(cell).store_bit(1).end_cell()
    if longer.available_refs:
        found["a trailing reference"] = begin_cell().store_cell(cell).store_ref(Cell.empty()).end_cell()
    if len(cell.bits):
        shorter = begin_cell().store_bits(cell.bits[:-1])
        for ref in cell.refs:
            shorter.store_ref(ref)
        found["a missing bit"] = shorter.end_cell()
    if cell.refs:
        fewer = begin_cell().store_bits(cell.bits)
        for ref in cell.refs[:-1]:
            fewer.store_ref(ref)
        found["a missing reference"] = fewer.end_cell()
    return found


def test_damaged_bodies_change_nothing_from_anybody(job: Channel) -> None:
    """B.22, B.24."""
    for address, messages in targets(job):
        for body in messages:
            for damage, cell in damaged(body.to_cell()).items():
                assert_nobody_changes(job, address, cell, f"{type(body).__name__} with {damage}")


def test_damaged_nested_cells_change_nothing_from_anybody(job: Channel) -> None:
    """B.22: cells inside the body are exactly what they should be, too."""
    for address, messages in targets(job):
        for body in messages:
            name = type(body).__name__
            if name in DEFERRED:
                continue
            cell = body.to_cell()
            for index, ref in enumerate(cell.refs):
                if index in OPAQUE.get(name, set()):
                    continue
                for damage, worse in damaged(ref).items():
                    rebuilt = begin_cell().store_bits(cell.bits)
                    for position, other in enumerate(cell.refs):
                        rebuilt.store_ref(worse if position == index else other)
                    assert_nobody_changes(job, address, rebuilt.end_cell(), f"{name}, reference {index} with {damage}")


def test_neighbouring_opcodes_are_unknown(job: Channel) -> None:
    """B.24: state unchanged, exit code 0xFFFF."""
    world = job.world
    for address, messages in targets(job):
        known = {type(body).PREFIX[0] for body in messages} | {0xC0C00101}
        for opcode in {(code & ~0xFF) + low for code in known for low in range(0x20)} - known:
            if address == world.registry and opcode == 0xC0C00101:
                continue
            body = begin_cell().store_uint(opcode, 32).store_uint(0, 64).end_cell()
            done = world.send(job.client, address, body, TON)
            done.assert_refused(0xFFFF)


@pytest.mark.parametrize("bits", [1, 8, 31])
def test_bodies_too_short_for_an_opcode_change_nothing(job: Channel, bits: int) -> None:
    """B.24."""
    for address, _ in targets(job):
        assert_nobody_changes(job, address, begin_cell().store_uint(0, bits).end_cell(), f"{bits} bits")


def test_messages_of_one_contract_are_unknown_to_the_others(job: Channel) -> None:
    """B.24: opcodes are unique across the protocol, so nothing can be confused for anything."""
    by_address = targets(job)
    for address, messages in by_address:
        own = {type(body).PREFIX[0] for body in messages}
        for _, others in by_address:
            for body in others:
                if type(body).PREFIX[0] not in own:
                    assert_nobody_changes(job, address, body.to_cell(), type(body).__name__, ("client", "worker"))


def test_no_actions_are_left_over_by_a_bounceless_refusal(job: Channel) -> None:
    """B.20: a refused message without the bounce flag leaves its money, and takes nothing."""
    world = job.world
    for address, messages in targets(job):
        for body in messages:
            start = world.ledger.snapshot()
            cell = (
                begin_cell().store_cell(body.to_cell()).store_bit(1).end_cell()
                if len(body.to_cell().bits) < 1023
                else None
            )
            if cell is not None:
                done = world.send(world.governor, address, cell, TON, bounce=False)
                assert not done.changed
                assert not done.messages
                assert done.balance_after > done.balance_before
            world.ledger.restore(start)
