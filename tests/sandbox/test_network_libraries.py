"""Code that lies in a masterchain library: found by transactions as by getters."""

from __future__ import annotations

import time

from pytoniq_core import Address, Builder, Cell

from cocoon_sandbox.blocks.faults import DELIVER, DROP
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message, state_init
from cocoon_sandbox.network import Network

TON = 10**9
PUBLISHER = """
fun publish(code: cell, mode: int): void asm "SETLIBCODE"
fun onInternalMessage(in: InMessage) {
    var body = in.body;
    publish(body.loadRef(), 2);
}
"""
SOURCE = """
fun onInternalMessage(in: InMessage) {
    if (in.body.isEmpty()) { return; }
    contract.setData(beginCell().storeUint(42, 32).endCell());
}
get fun answer(): int { return 42; }
"""


def library_cell(code: Cell) -> Cell:
    """The exotic cell that stands for `code`."""
    bits = Builder().store_uint(2, 8).store_bytes(code.hash).end_cell().bits
    return Cell(bits, [], 2)


async def test_transaction_runs_code_published_as_a_masterchain_library(executor: Executor) -> None:
    code = executor.compile_tolk("code.tolk", {"code.tolk": SOURCE}).code
    start = time.time()
    async with Network(Ledger(executor), block_interval=1.0, clock=lambda: start) as net:
        payer = await net.treasury("payer", 1000 * TON)
        init = state_init(executor.compile_tolk("p.tolk", {"p.tolk": PUBLISHER}).code, Builder().end_cell())
        body = Builder().store_ref(code).end_cell()
        await net.send(Message(payer.message(net.ledger, Address((-1, init.hash)), 50 * TON, body, state_init=init)))
        await net.settle()

        user = state_init(library_cell(code), Builder().end_cell())
        address = Address((0, user.hash))
        body = Builder().store_uint(7, 32).end_cell()
        await net.send(Message(payer.message(net.ledger, address, TON, body, state_init=user)))
        await net.settle()
        account = net.ledger.account(address)
        assert account.status == "active"
        assert account.data is not None
        assert account.data.begin_parse().load_uint(32) == 42


async def test_rollback_forgets_what_faults_decided_since(executor: Executor) -> None:
    start = time.time()
    async with Network(Ledger(executor), block_interval=1.0, clock=lambda: start) as net:
        payer, friend = await net.treasury("payer"), Address((0, b"\x22" * 32))
        point = await net.snapshot()
        net.message_faults.internal = lambda message: DROP if message.dst == friend else DELIVER
        await net.send(Message(payer.message(net.ledger, friend, TON, bounce=False)))
        await net.settle()
        assert net.ledger.balance(friend) == 0
        await net.rollback(point)
        net.message_faults.internal = None
        await net.send(Message(payer.message(net.ledger, friend, TON, bounce=False)))  # the very same message
        await net.settle()
        assert net.ledger.balance(friend) == TON
        assert net.collator.schedule.undeliverable == set()
