"""`pytoniq` clients, unmodified, at every trust level: connect, read, deploy, send, call getters, scan blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pytoniq import LiteBalancer, LiteClient, WalletV4R2
from pytoniq.liteclient.client import LiteServerError
from pytoniq_core import Address
from pytoniq_core.tl.block import BlockIdExt

from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.network import Network
from cocoon_sandbox.treasury import Treasury

TON = 10**9
SHARD = -(1 << 63)
FRIEND = Address((0, b"\x22" * 32))
NOBODY = Address((0, b"\x33" * 32))


@pytest_asyncio.fixture
async def net(executor: Executor) -> AsyncIterator[Network]:
    start = time.time()  # the clock stands still, so storage costs nothing and balances are round
    async with Network(Ledger(executor), block_interval=1.0, clock=lambda: start) as network:
        yield network


@pytest_asyncio.fixture(params=[2, 1, 0], ids=lambda level: f"trust_level={level}")
async def client(
    net: Network, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LiteClient]:
    monkeypatch.chdir(tmp_path)  # at trust level 0 the client keeps a .blockstore in the working directory
    lite_client = LiteClient.from_config(net.global_config(), trust_level=request.param)
    async with lite_client:
        yield lite_client


async def wallet(client: LiteClient, net: Network) -> WalletV4R2:
    """A deployed wallet with 10 TON."""
    key = Treasury("client").key  # pytoniq takes the seed and the public key in one string
    secret = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    made = await WalletV4R2.from_private_key(client, secret, version="v4r2")
    await net.credit(made.address, 10 * TON)
    await made.deploy_via_external()
    await caught_up(client, net)
    await made.update()
    assert made.is_active
    return made


async def caught_up(client: LiteClient, net: Network) -> None:
    """Settle the network and have the client hear of its last block."""
    await net.settle()
    await client.update_last_blocks()
    assert client.last_mc_block.seqno >= net.archive.tip.id.seqno - 1


async def test_wallet_is_deployed_pays_and_is_read_back(client: LiteClient, net: Network) -> None:
    sender = await wallet(client, net)
    assert await sender.get_seqno() == 1
    await sender.transfer(FRIEND, TON, "hello")
    await caught_up(client, net)
    state = await client.get_account_state(FRIEND)
    assert state.balance == TON
    received = (await client.get_transactions(FRIEND, 10))[0]
    assert received.in_msg.info.value_coins == TON
    assert received.in_msg.info.src == sender.address
    assert len(await client.get_transactions(sender.address, 10)) == 3
    assert await sender.get_seqno() == 2
    account, shard_account = await client.raw_get_account_state(sender.address)
    assert account is not None
    assert shard_account is not None
    newest = (await client.get_transactions(sender.address, 1))[0]
    assert shard_account.last_trans_lt == newest.lt


async def test_absent_account_is_none_and_simple_state_is_empty(client: LiteClient) -> None:
    assert await client.raw_get_account_state(NOBODY) == (None, None)
    assert (await client.get_account_state(NOBODY)).is_uninitialized()


async def test_block_scan_finds_every_transaction_once(client: LiteClient, net: Network) -> None:
    await net.credit(FRIEND, TON)
    await net.credit(NOBODY, 2 * TON)
    await caught_up(client, net)
    found: list[tuple[str, int]] = []
    for seqno in range(1, client.last_mc_block.seqno + 1):
        master, _ = await client.lookup_block(-1, SHARD, seqno)
        for shard in await client.get_all_shards_info(master):
            listed = await client.raw_get_block_transactions(shard)
            whole = await client.raw_get_block_transactions_ext(shard, count=1)
            assert [item["hash"] for item in listed] == [transaction.cell.hash for transaction in whole]
            found += [(transaction.account_addr_hex, transaction.lt) for transaction in whole]
            for transaction in whole:
                address = Address((0, bytes.fromhex(transaction.account_addr_hex)))
                single = await client.get_one_transaction(address, transaction.lt, shard)
                assert single.cell.hash == transaction.cell.hash
            missing = await client.get_one_transaction(NOBODY, 7, shard)
            assert missing is None
        assert (await client.raw_get_block(master)).info.seqno == seqno
    faucet = Treasury("faucet").address.hash_part.hex()
    assert len(found) == len(set(found))
    assert sorted(account for account, _ in found) == sorted(
        [faucet, faucet, FRIEND.hash_part.hex(), NOBODY.hash_part.hex()]
    )


async def test_header_and_lookup_by_seqno_lt_and_time_name_the_same_block(client: LiteClient, net: Network) -> None:
    await net.credit(FRIEND, TON)
    await caught_up(client, net)
    transaction = (await client.get_transactions(FRIEND, 1))[0]
    by_lt, header = await client.lookup_block(0, SHARD, lt=transaction.lt)
    assert header.info.start_lt <= transaction.lt < header.info.end_lt
    by_seqno, _ = await client.lookup_block(0, SHARD, seqno=by_lt.seqno)
    assert by_seqno == by_lt
    by_time, timed = await client.lookup_block(0, SHARD, utime=header.info.gen_utime)
    assert timed.info.gen_utime == header.info.gen_utime
    assert by_time.seqno <= by_lt.seqno
    raw = await client.raw_get_block_header(by_lt)
    assert raw.info.seqno == by_lt.seqno


async def test_config_and_shards_are_read_with_their_proofs(client: LiteClient) -> None:
    config = await client.get_config_all()
    assert config[8].version == 13
    some = await client.get_config_params([34, 21])
    assert set(some) == {8, 34, 21}
    assert some[34].cur_validators.total == 1
    shard = await client.raw_get_shard_info()
    assert shard.seq_no == client.last_mc_block.seqno
    assert (await client.raw_get_all_shards_info())[0].list[0].seq_no == client.last_mc_block.seqno


async def test_server_answers_small_questions(client: LiteClient, net: Network) -> None:
    assert (await client.get_time())["now"] == net.now()
    assert (await client.get_version())["version"] == 0x101
    sizes = await client.get_out_msg_queue_sizes()
    assert [(shard["id"]["workchain"], shard["size"]) for shard in sizes["shards"]] == [(-1, 0), (0, 0)]
    assert (await client.get_masterchain_info_ext())["last"]["seqno"] == net.archive.tip.id.seqno
    digest = b"\x07" * 32
    assert await client.get_libraries([digest]) == {digest.hex(): None}


async def test_state_of_an_earlier_block_is_still_served(client: LiteClient, net: Network) -> None:
    before = client.last_mc_block
    await net.credit(FRIEND, TON)
    await caught_up(client, net)
    assert await client.raw_get_account_state(FRIEND, before) == (None, None)
    account, _ = await client.raw_get_account_state(FRIEND)
    assert account.storage.balance.grams == TON


async def test_rejected_message_is_an_error_with_its_exit_code(client: LiteClient, net: Network) -> None:
    sender = await wallet(client, net)
    message = sender.create_external_msg(dest=sender.address).serialize().to_boc()
    with pytest.raises(
        LiteServerError, match=r"cannot apply external message to current state.*\n.*\nexitcode=9"
    ) as got:
        await client.raw_send_message(message)
    assert got.value.code == 0


@pytest.mark.parametrize(
    ("message", "said"),
    [(b"rubbish", "failed to parse external message"), (b"", "failed to parse external message")],
)
async def test_rubbish_message_is_an_error(client: LiteClient, message: bytes, said: str) -> None:
    with pytest.raises(LiteServerError, match=said):
        await client.raw_send_message(message)


async def test_unknown_block_is_error_651(client: LiteClient) -> None:
    with pytest.raises(LiteServerError) as got:
        await client.lookup_block(-1, SHARD, 1_000_000)
    assert got.value.code == 651
    forged = BlockIdExt(-1, SHARD, 1, b"\1" * 32, b"\2" * 32)
    with pytest.raises(LiteServerError) as got:
        await client.raw_get_block(forged)
    assert got.value.code == 651


async def test_wait_for_a_far_block_ends_with_error_652(client: LiteClient) -> None:
    with pytest.raises(LiteServerError) as got:
        await client.wait_masterchain_seqno(1_000_000, 50, "getMasterchainInfo")
    assert got.value.code == 652


async def test_getter_of_an_absent_account_has_exit_code_minus_256(client: LiteClient) -> None:
    with pytest.raises(Exception, match="-256"):
        await client.run_get_method(NOBODY, "seqno", [])


async def test_server_that_stops_and_starts_again_is_reached_at_the_same_address(net: Network) -> None:
    config = net.global_config()
    first = LiteClient.from_config(config)
    await first.connect()
    await net.stop_liteserver()
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await LiteClient.from_config(config, timeout=1).connect()
    await net.start_liteserver()
    await first.reconnect(retry_delay=0)
    assert (await first.get_masterchain_info())["last"]["seqno"] >= 2
    await first.close()


async def test_balancer_reads_through_the_network(net: Network) -> None:
    await net.credit(FRIEND, TON)
    async with LiteBalancer.from_config(net.global_config(), trust_level=1, timeout=5) as balancer:
        assert (await balancer.get_account_state(FRIEND)).balance == TON


async def test_many_clients_are_answered_at_once(net: Network) -> None:
    await net.credit(FRIEND, TON)

    async def read() -> int:
        async with LiteClient.from_config(net.global_config(), trust_level=1) as client:
            states = await asyncio.gather(*(client.get_account_state(FRIEND) for _ in range(10)))
            return sum(state.balance for state in states)

    assert await asyncio.gather(*(read() for _ in range(8))) == [10 * TON] * 8
