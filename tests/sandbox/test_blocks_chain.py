"""Every block of a busy network, read independently: states, money, messages, signatures, commitments."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pytoniq_core import Address
from pytoniq_core import Cell as ForeignCell
from pytoniq_core.tlb.block import Block, CurrencyCollection, ShardStateUnsplit
from pytoniq_core.tlb.config import ConfigParam34

from cocoon_sandbox.blocks.convert import to_pytoniq
from cocoon_sandbox.blocks.limits import BlockLimits
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message
from cocoon_sandbox.network import Network
from cocoon_sandbox.state.boc import one_from_boc
from cocoon_sandbox.state.cell import PRUNED, Cell, iterate
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId
from cocoon_sandbox.treasury import Treasury

TON = 10**9
CHAINS = (BASECHAIN, MASTERCHAIN)


@pytest_asyncio.fixture
async def busy(executor: Executor) -> AsyncIterator[Network]:
    """A network with small blocks, through which money went within and between both workchains."""
    ledger = Ledger(executor)
    alice = ledger.treasury("alice")
    async with Network(ledger, block_interval=5.0, seed=bytes(32), clock=lambda: 1_800_000_000.0) as net:
        small = BlockLimits(bytes=1 << 20, gas=1 << 30, lt_delta=3)
        net.collator.limits = {BASECHAIN: small, MASTERCHAIN: small}
        bob = Treasury("bob", MASTERCHAIN)
        await net.credit(bob.address, 20 * TON)
        for number in range(3):
            stranger = Address((0, bytes([number + 1]) * 32))
            await asyncio.gather(
                *(net.send(Message(x.message(net.ledger, stranger, TON, bounce=False))) for x in (alice, bob))
            )
        await net.credit(Address((0, b"\1" * 32)), TON)
        await net.settle()
        await net.next_block()  # lets each chain take what the other has imported out of its queue
        await net.next_block()
        net.ledger.check_conservation()
        yield net


def _ids(net: Network, workchain: int, first: int = 1) -> list[BlockId]:
    found = [net.archive.find(workchain, seqno) for seqno in range(first, net.archive.tip.id.seqno + 1)]
    return [block.id for block in found if block is not None]


def _block(net: Network, block: BlockId) -> Block:
    return Block.deserialize(ForeignCell.one_from_boc(net.store.boc(block)).begin_parse())


def _grams(amount: CurrencyCollection) -> int:
    grams: int = amount.grams
    return grams


async def test_each_block_has_the_hashes_that_name_it(busy: Network) -> None:
    for workchain in CHAINS:
        for block in _ids(busy, workchain):
            boc = busy.store.boc(block)
            assert hashlib.sha256(boc).digest() == block.file_hash
            assert ForeignCell.one_from_boc(boc).hash == block.root_hash


async def test_each_state_update_leads_from_the_previous_state_to_the_next(busy: Network) -> None:
    for workchain in CHAINS:
        state = busy.archive.state(_ids(busy, workchain, 0)[0]).root
        for block in _ids(busy, workchain):
            update = one_from_boc(busy.store.boc(block)).refs[2]
            assert update.refs[0].hash_at(0) == state.hash
            state = _apply(update.refs[1], {cell.hash: cell for cell in iterate([state])})
            assert state == busy.archive.state(block).root


def _apply(shown: Cell, known: dict[bytes, Cell]) -> Cell:
    if shown.kind == PRUNED:
        return known[shown.hash_at(0)]
    return Cell(shown.data, shown.bits, tuple(_apply(ref, known) for ref in shown.refs), shown.kind)


async def test_each_block_refers_to_the_one_before_and_times_grow(busy: Network) -> None:
    for workchain in CHAINS:
        blocks = _ids(busy, workchain, 0)
        end_lt = utime = 0
        for previous, block in pairwise(blocks):
            info = _block(busy, block).info
            assert (info.prev_ref.prev.root_hash, info.prev_ref.prev.file_hash) == (
                previous.root_hash,
                previous.file_hash,
            )
            assert info.seqno == previous.seqno + 1 == block.seqno
            assert end_lt <= info.start_lt < info.end_lt
            assert utime <= info.gen_utime
            end_lt, utime = info.end_lt, info.gen_utime


async def test_each_masterchain_block_commits_the_basechain_block_of_its_number(busy: Network) -> None:
    for master, shard in zip(_ids(busy, MASTERCHAIN), _ids(busy, BASECHAIN), strict=True):
        described = _block(busy, master).extra.custom.shard_hashes[0].list[0]
        assert (described.seq_no, described.root_hash, described.file_hash) == (
            shard.seqno,
            shard.root_hash,
            shard.file_hash,
        )
        header = _block(busy, shard).info
        assert (described.start_lt, described.end_lt) == (header.start_lt, header.end_lt)
        assert header.master_ref.master.seqno == master.seqno - 1


async def test_each_masterchain_block_is_signed_by_the_validator_of_the_key_block(busy: Network) -> None:
    first = _block(busy, _ids(busy, MASTERCHAIN)[0])
    assert first.info.key_block
    validators = ConfigParam34.deserialize(first.extra.custom.config.config[34]).cur_validators
    key = Ed25519PublicKey.from_public_bytes(validators.list[0].public_key.pubkey)
    for block in _ids(busy, MASTERCHAIN):
        stored = busy.archive.find(MASTERCHAIN, block.seqno)
        assert stored is not None
        key.verify(stored.signature, b"\x70\x6e\x0b\xc5" + block.root_hash + block.file_hash)
        with pytest.raises(InvalidSignature):
            key.verify(stored.signature, b"\x70\x6e\x0b\xc5" + block.file_hash + block.root_hash)
        assert _block(busy, block).info.key_block == (block.seqno == 1)


async def test_each_block_accounts_for_all_money(busy: Network) -> None:
    for workchain in CHAINS:
        for block in _ids(busy, workchain):
            flow = _block(busy, block).value_flow
            state = ShardStateUnsplit.deserialize(_foreign(busy.archive.state(block).root).begin_parse())
            came = _grams(flow.from_prev_blk) + _grams(flow.imported) + _grams(flow.fees_imported)
            went = _grams(flow.to_next_blk) + _grams(flow.exported) + _grams(flow.fees_collected)
            assert came == went
            assert _grams(flow.to_next_blk) == _grams(state.total_balance)
            assert flow.type_ == "value_flow"


async def test_fees_of_basechain_blocks_reach_the_masterchain(busy: Network) -> None:
    collected = 0
    for master, shard in zip(_ids(busy, MASTERCHAIN), _ids(busy, BASECHAIN), strict=True):
        earned = _grams(_block(busy, shard).value_flow.fees_collected)
        flow = _block(busy, master).value_flow
        assert _grams(flow.fees_imported) == earned
        collected += _grams(flow.fees_collected)
    state = ShardStateUnsplit.deserialize(_foreign(busy.archive.state(busy.archive.tip.id).root).begin_parse())
    assert _grams(state.total_validator_fees) == collected == busy.ledger.burned_fees


def _foreign(cell: Cell) -> ForeignCell:
    return to_pytoniq(cell)


async def test_each_message_leaves_once_and_arrives_once(busy: Network) -> None:
    left: dict[int, str] = {}
    arrived: dict[int, str] = {}
    dequeued: set[int] = set()
    for seqno in range(1, busy.archive.tip.id.seqno + 1):
        for workchain in CHAINS:
            found = busy.archive.find(workchain, seqno)
            assert found is not None
            extra = _block(busy, found.id).extra
            for key, sent in extra.out_msg_descr[0].items():
                if sent.type_ in ("msg_export_deq", "msg_export_deq_imm"):
                    assert key not in dequeued
                    dequeued.add(key)
                else:
                    assert key not in left
                    left[key] = sent.type_
            for key, received in extra.in_msg_descr[0].items():
                assert key not in arrived
                assert received.type_ == "msg_import_ext" or key in left
                arrived[key] = received.type_
    assert set(arrived.values()) == {"msg_import_ext", "msg_import_imm", "msg_import_fin"}
    assert set(left.values()) == {"msg_export_imm", "msg_export_new"}
    assert {key for key, kind in left.items() if kind == "msg_export_new"} == dequeued
    assert set(left) == {key for key, kind in arrived.items() if kind != "msg_import_ext"}
    for workchain in CHAINS:
        assert busy.archive.state(_ids(busy, workchain)[-1]).state.queue is None


async def test_each_transaction_is_in_the_account_block_of_its_account(busy: Network) -> None:
    total = 0
    for workchain in CHAINS:
        for block in _ids(busy, workchain):
            extra = _block(busy, block).extra
            for account, entry in extra.account_blocks[0].items():
                for lt, transaction in entry.transactions[0].items():
                    stored = busy.store.transaction(workchain, account.to_bytes(32, "big"), lt)
                    assert stored is not None
                    assert stored.hash == transaction.cell.hash
                    assert stored.seqno == block.seqno
                    total += 1
            for key, received in extra.in_msg_descr[0].items():
                caused = busy.store.transaction_by_message(key.to_bytes(32, "big"))
                assert caused is not None
                assert caused.hash == received.transaction.cell.hash
    assert total == 2 + 3 * 4 + 2


async def test_blocks_with_a_limit_go_on_in_the_next(busy: Network) -> None:
    sizes = [len(_block(busy, block).extra.account_blocks[0]) for block in _ids(busy, BASECHAIN)]
    assert max(sizes) <= 3
    assert sum(1 for size in sizes if size) > 3


async def test_empty_block_costs_the_same_with_many_accounts(executor: Executor) -> None:
    def cost(accounts: int) -> int:
        ledger = Ledger(executor)
        for number in range(accounts):
            ledger.credit(Address((0, number.to_bytes(4, "big") * 8)), TON)
        return len(asyncio.run(_empty_block(ledger)))

    few, many = await asyncio.gather(asyncio.to_thread(cost, 10), asyncio.to_thread(cost, 1000))
    assert abs(few - many) < 64


async def _empty_block(ledger: Ledger) -> bytes:
    async with Network(ledger, block_interval=5.0) as net:
        seqno = await net.next_block()
        found = net.archive.find(BASECHAIN, seqno)
        assert found is not None
        return net.store.boc(found.id)
