"""A network's life: money, time, restarts, kills, snapshots, faults on demand, an executor that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pytoniq import LiteClient
from pytoniq_core import Address, Builder, Cell

from cocoon_sandbox.blocks.faults import DELIVER, DROP, delay, repeat
from cocoon_sandbox.blocks.resume import Damaged
from cocoon_sandbox.errors import LedgerError, MessageRejected, SandboxError
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message, build_external, state_init
from cocoon_sandbox.network import Network
from cocoon_sandbox.treasury import Treasury

TON = 10**9
FRIEND = Address((0, b"\x22" * 32))
OTHER = Address((0, b"\x33" * 32))


@pytest_asyncio.fixture
async def net(executor: Executor) -> AsyncIterator[Network]:
    start = time.time()  # the clock stands still but for `advance`, so balances are round
    async with Network(Ledger(executor), block_interval=1.0, clock=lambda: start) as network:
        yield network
        network.ledger.check_conservation()


def payment(net: Network, payer: Treasury, to: Address, nano: int) -> Message:
    return Message(payer.message(net.ledger, to, nano, bounce=False))


async def test_start_makes_two_blocks_and_the_first_is_the_key_block(net: Network) -> None:
    assert net.archive.tip.id.seqno >= 2
    config = net.global_config()
    assert config["validator"]["init_block"]["seqno"] == 1
    assert config["validator"]["zero_state"]["seqno"] == 0


async def test_heartbeat_makes_blocks_without_messages(executor: Executor) -> None:
    async with Network(Ledger(executor), block_interval=0.02) as net:
        assert await net.wait_for(net.archive.tip.id.seqno + 3, 5.0)
        assert not await net.wait_for(1 << 30, 0.01)


async def test_credit_arrives_as_a_real_transaction(net: Network) -> None:
    await net.credit(FRIEND, 3 * TON)
    account = net.ledger.account(FRIEND)
    assert account.balance == 3 * TON
    stored = net.store.transaction(0, FRIEND.hash_part, account.last_lt)
    assert stored is not None
    assert stored.hash == account.last_hash


async def test_message_is_in_a_stored_block_when_send_returns(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    message = payment(net, alice, FRIEND, TON)
    await net.send(message)
    stored = net.store.transaction_by_message(message.hash)
    assert stored is not None
    assert stored.seqno <= net.archive.tip.id.seqno


async def test_message_sent_twice_is_rejected_the_second_time(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    message = payment(net, alice, FRIEND, TON)
    await net.send(message)
    with pytest.raises(MessageRejected) as got:
        await net.send(message)
    assert got.value.exit_code == 33


async def test_same_message_from_two_senders_at_once_is_accepted_once(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    message = payment(net, alice, FRIEND, TON)
    results = await asyncio.gather(net.send(message), net.send(message), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["MessageRejected", "NoneType"]


@pytest.mark.parametrize("workchain", [5, -2])
async def test_message_to_an_unknown_workchain_is_refused(net: Network, workchain: int) -> None:
    with pytest.raises(SandboxError, match="workchain"):
        await net.send(Message(build_external(dst=Address((workchain, bytes(32))))))


async def test_time_travel_moves_blocks_and_storage_fees(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    await net.send(payment(net, alice, FRIEND, TON))
    before = net.archive.tip.gen_utime
    await net.advance(365 * 86_400)
    assert net.archive.tip.gen_utime >= before + 365 * 86_400
    await net.send(payment(net, alice, FRIEND, TON))
    await net.settle()
    newest = net.store.transaction(0, alice.address.hash_part, net.ledger.account(alice.address).last_lt)
    assert newest is not None
    assert net.ledger.account(alice.address).last_paid >= before + 365 * 86_400
    with pytest.raises(LedgerError, match="backwards"):
        await net.advance(-1)


async def test_rollback_undoes_everything_since_the_snapshot(net: Network) -> None:
    await net.credit(FRIEND, TON)
    point = await net.snapshot()
    block = net.archive.find(-1, point.seqno)
    await net.credit(FRIEND, TON)
    await net.credit(OTHER, TON)
    await net.advance(1000)
    await net.rollback(point)
    assert net.archive.tip == block
    assert net.ledger.balance(FRIEND) == TON
    assert net.ledger.balance(OTHER) == 0
    await net.credit(OTHER, 2 * TON)
    async with LiteClient.from_config(net.global_config(), trust_level=1) as client:
        assert (await client.get_account_state(OTHER)).balance == 2 * TON
        assert len(await client.get_transactions(OTHER, 5)) == 1


async def test_network_with_a_directory_goes_on_after_a_restart(executor: Executor, tmp_path: Path) -> None:
    async with Network(executor=executor, data_dir=tmp_path) as net:
        await net.credit(FRIEND, TON)
        await net.credit(Treasury("m", -1).address, TON)
        await net.advance(5000)
        config, tip, now = net.global_config(), net.archive.tip, net.now()
    async with Network(executor=executor, data_dir=tmp_path) as net:
        assert net.global_config() == config
        assert net.archive.tip == tip
        assert now <= net.now() <= now + 60
        assert net.ledger.balance(FRIEND) == TON
        await net.credit(FRIEND, TON)
        net.ledger.check_conservation()
        async with LiteClient.from_config(config, trust_level=1) as client:
            assert (await client.get_account_state(FRIEND)).balance == net.ledger.balance(FRIEND) > 1.9 * TON
            assert len(await client.get_transactions(FRIEND, 5)) == 2


async def test_directory_serves_one_network_at_a_time(executor: Executor, tmp_path: Path) -> None:
    async with Network(executor=executor, data_dir=tmp_path):
        with pytest.raises(SandboxError, match="another network runs"):
            await Network(executor=executor, data_dir=tmp_path).start()
    async with Network(executor=executor, data_dir=tmp_path) as net:
        await net.next_block()


async def test_port_that_is_taken_is_an_error(net: Network, executor: Executor) -> None:
    with pytest.raises(SandboxError, match="choose another port"):
        await Network(Ledger(executor), port=net.port).start()


async def test_contracts_see_previous_blocks_and_global_id(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    code = net.executor.compile_tolk("witness.tolk", {"witness.tolk": WITNESS}).code
    init = state_init(code, Cell.empty())
    witness = Address((0, init.hash))
    before = net.archive.tip
    message = alice.message(net.ledger, witness, TON, state_init=init)
    await net.send(Message(message))
    await net.settle()
    data = net.ledger.account(witness).data
    assert data is not None
    stored = data.begin_parse()
    assert stored.load_int(32) == -217
    seqno, digest = stored.load_uint(32), stored.load_bytes(32)
    block = net.archive.find(-1, seqno)
    assert block is not None
    assert seqno >= before.id.seqno
    assert digest == block.id.root_hash
    async with LiteClient.from_config(net.global_config()) as client:
        now = client.last_mc_block
        seen = await client.run_get_method(witness, "lastBlock", [])
        assert seen == [now.seqno, int.from_bytes(now.root_hash, "big")]


async def test_directory_whose_accounts_were_changed_is_refused(executor: Executor, tmp_path: Path) -> None:
    async with Network(executor=executor, data_dir=tmp_path) as net:
        await net.credit(FRIEND, TON)
        await net.credit(OTHER, TON)
    database = sqlite3.connect(tmp_path / "chain.sqlite")
    database.execute("DELETE FROM accounts WHERE account = ?", (FRIEND.hash_part,))
    database.commit()
    database.close()
    with pytest.raises(Damaged, match="last block"):
        await Network(executor=executor, data_dir=tmp_path).start()


WITNESS = """
fun globalId(): int asm "GLOBALID";
fun lastSeqno(): int asm "PREVMCBLOCKS" "0 INDEX" "2 INDEX";
fun lastHash(): int asm "PREVMCBLOCKS" "0 INDEX" "3 INDEX";

fun onInternalMessage(in: InMessage) {
    contract.setData(
        beginCell().storeInt(globalId(), 32).storeUint(lastSeqno(), 32).storeUint(lastHash(), 256).endCell()
    );
}

get fun lastBlock(): (int, int) {
    return (lastSeqno(), lastHash());
}
"""

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from cocoon_sandbox.message import Message
from cocoon_sandbox.network import Network
from cocoon_sandbox.treasury import Treasury
from pytoniq_core import Address

async def main():
    async with Network(data_dir=Path(sys.argv[1]), block_interval=0.05) as net:
        payers = [await net.treasury(f"payer {i}", 10**10) for i in range(5)]
        async def pay(payer, to):
            while True:
                message = Message(payer.message(net.ledger, Address((0, bytes([to]) * 32)), 10**7, bounce=False))
                await net.send(message)
                print(message.hash.hex(), flush=True)
        await asyncio.gather(*(pay(payer, i) for i, payer in enumerate(payers)))

asyncio.run(main())
"""


async def test_network_killed_amid_payments_loses_no_accepted_message(executor: Executor, tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    accepted = [(await child.stdout.readline()).strip() for _ in range(25)]
    child.kill()
    accepted += [line for line in (await child.stdout.read()).split(b"\n") if len(line) == 64]
    assert await child.wait() == -signal.SIGKILL
    async with Network(executor=executor, data_dir=tmp_path) as net:
        for digest in accepted:
            assert net.store.transaction_by_message(bytes.fromhex(digest.decode())) is not None
        await net.settle()
        net.ledger.check_conservation()
        await net.credit(OTHER, TON)


async def test_lost_message_never_arrives_and_its_money_is_counted_as_lost(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    net.message_faults.internal = lambda message: DROP if message.dst == FRIEND else DELIVER
    await net.send(payment(net, alice, FRIEND, TON))
    await net.settle()
    assert net.ledger.balance(FRIEND) == 0
    assert net.ledger.lost > TON
    await net.credit(OTHER, TON)
    assert net.ledger.balance(OTHER) == TON


async def test_delayed_message_arrives_that_many_blocks_later(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    net.message_faults.internal = lambda message: delay(3)
    message = payment(net, alice, FRIEND, TON)
    await net.send(message)
    assert net.ledger.balance(FRIEND) == 0
    await net.settle()
    sent = net.store.transaction_by_message(message.hash)
    arrived = net.store.transaction(0, FRIEND.hash_part, net.ledger.account(FRIEND).last_lt)
    assert sent is not None
    assert arrived is not None
    assert arrived.seqno == sent.seqno + 3


async def test_reordered_messages_arrive_newest_first(net: Network) -> None:
    payers = [await net.treasury(f"payer {number}", 5 * TON) for number in range(3)]
    net.message_faults.internal = lambda message: delay(1)
    net.message_faults.order = lambda messages: len(messages) - 1
    places = [Address((0, bytes([number + 1]) * 32)) for number in range(3)]
    await asyncio.gather(*(net.send(payment(net, payer, to, TON)) for payer, to in zip(payers, places, strict=True)))
    await net.settle()
    arrivals = [net.ledger.account(place).last_lt for place in places]
    assert arrivals == sorted(arrivals, reverse=True)


async def test_lost_external_message_is_accepted_and_does_nothing(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    message = payment(net, alice, FRIEND, TON)
    net.message_faults.external = lambda message: DROP
    await net.send(message)
    await net.settle()
    assert net.store.transaction_by_message(message.hash) is None
    net.message_faults.external = None
    await net.send(message)


async def test_repeated_external_message_is_executed_once_by_a_wallet(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    net.message_faults.external = lambda message: repeat(3)
    await net.send(payment(net, alice, FRIEND, TON))
    await net.settle()
    assert net.ledger.balance(FRIEND) == TON


async def test_executor_that_is_killed_costs_nothing(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    pid = net.executor.child_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await net.send(payment(net, alice, FRIEND, TON))
    await net.settle()
    assert net.ledger.balance(FRIEND) == TON


async def test_message_that_traps_the_executor_is_refused_and_others_go_on(net: Network) -> None:
    alice = await net.treasury("alice", 5 * TON)
    nested = Cell.empty()
    for _ in range(1000):
        nested = Builder().store_ref(nested).end_cell()
    trap = Message(build_external(dst=alice.address, body=nested))
    good = payment(net, alice, FRIEND, TON)
    results = await asyncio.gather(net.send(trap), net.send(good), return_exceptions=True)
    assert isinstance(results[0], SandboxError)
    assert results[1] is None


async def test_state_does_not_grow_without_bound(executor: Executor) -> None:
    async with Network(Ledger(executor), block_interval=5.0) as net:
        net.archive.states.budget = 20_000
        for _ in range(20):
            await net.next_block()
        assert len(net.archive.states) < 20
        found = net.archive.find(-1, 3)
        assert found is not None
        with pytest.raises(SandboxError, match="only those of recent blocks"):
            net.archive.state(found.id)
