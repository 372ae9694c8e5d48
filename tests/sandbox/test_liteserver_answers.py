"""Answers that `pytoniq` has no call for, read field by field; malformed clients; and every lie on demand."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pytoniq import LiteClient
from pytoniq.liteclient.client import LiteClientError
from pytoniq_core import Address
from pytoniq_core import Cell as ForeignCell
from pytoniq_core.crypto.crc import crc16
from pytoniq_core.proof.check_proof import ProofError
from pytoniq_core.tlb.block import Block

from cocoon_sandbox.blocks.faults import delay
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.liteserver.faults import forge_balance, forge_getter, forge_signatures, hide_account
from cocoon_sandbox.liteserver.ids import block_tl
from cocoon_sandbox.liteserver.tl import Schema, TlError, lite_schema
from cocoon_sandbox.message import Message
from cocoon_sandbox.network import Network
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import from_boc, one_from_boc
from cocoon_sandbox.state.builder import Slice
from cocoon_sandbox.state.cell import MERKLE_PROOF, Cell
from cocoon_sandbox.tlb.augment import KEY_MAX_LT
from cocoon_sandbox.tlb.ids import BlockId

TON = 10**9
FULL = -(1 << 63)
FRIEND = Address((0, b"\x22" * 32))
NOBODY = Address((0, b"\x33" * 32))
SCHEMA = lite_schema()


@pytest_asyncio.fixture
async def net(executor: Executor) -> AsyncIterator[Network]:
    """A network with a few payments, an account in each workchain."""
    start = time.time()  # the clock stands still, so storage costs nothing and balances are round
    async with Network(Ledger(executor), block_interval=1.0, clock=lambda: start) as network:
        await network.credit(FRIEND, TON)
        await network.credit(Address((-1, b"\x44" * 32)), TON)
        await network.credit(FRIEND, TON)
        yield network


async def ask(net: Network, method: str, **fields: Any) -> dict[str, Any]:
    """One query straight to the server, without a connection."""
    query = SCHEMA.dump("liteServer.query", data=SCHEMA.dump(f"liteServer.{method}", **fields))
    return SCHEMA.load(await net.server.answer(query))


def tip(net: Network) -> BlockId:
    return net.archive.tip.id


def account(address: Address) -> dict[str, Any]:
    return {"workchain": address.wc, "id": address.hash_part}


def checked(proof: Cell, root_hash: bytes) -> Cell:
    """The tree a Merkle proof shows, which must hash to `root_hash`."""
    assert proof.kind == MERKLE_PROOF
    assert proof.data[1:33] == proof.refs[0].hash_at(0) == root_hash
    return proof.refs[0]


def state_hash(block: Cell) -> bytes:
    return block.refs[2].refs[1].hash_at(0)


async def test_account_state_pruned_proves_balance_without_code(net: Network) -> None:
    faucet = (await net.treasury("faucet")).address
    whole = await ask(net, "getAccountState", id=block_tl(tip(net)), account=account(faucet))
    pruned = await ask(net, "getAccountStatePrunned", id=block_tl(tip(net)), account=account(faucet))
    shown = checked(one_from_boc(pruned["state"]), one_from_boc(whole["state"]).hash)
    assert shown.data == one_from_boc(whole["state"]).data
    assert len(pruned["state"]) < len(whole["state"]) / 2


async def test_absent_account_comes_with_a_proof_of_absence(net: Network) -> None:
    answer = await ask(net, "getAccountState", id=block_tl(tip(net)), account=account(NOBODY))
    assert answer["state"] == b""
    block, state = from_boc(answer["proof"])
    shard = answer["shardblk"]
    shown = checked(state, state_hash(checked(block, shard["root_hash"])))
    accounts = dictionary.parse(shown.refs[1].refs[0], 256)
    assert int.from_bytes(NOBODY.hash_part, "big") not in accounts
    assert len(from_boc(answer["shard_proof"])) == 2


async def test_newest_state_is_served_without_naming_a_block(net: Network) -> None:
    anything = {"workchain": -1, "shard": FULL, "seqno": -1, "root_hash": bytes(32), "file_hash": bytes(32)}
    answer = await ask(net, "getAccountState", id=anything, account=account(FRIEND))
    assert answer["id"]["seqno"] == tip(net).seqno
    assert answer["state"]


async def test_masterchain_account_needs_no_shard_proof(net: Network) -> None:
    address = Address((-1, b"\x44" * 32))
    answer = await ask(net, "getAccountState", id=block_tl(tip(net)), account=account(address))
    assert answer["shard_proof"] == b""
    assert answer["shardblk"]["root_hash"] == tip(net).root_hash
    assert answer["state"]


async def test_block_proof_forward_is_signed_by_the_key_blocks_validator(net: Network) -> None:
    first = net.archive.find(-1, 1)
    assert first is not None
    query = {"mode": 1, "known_block": block_tl(first.id), "target_block": block_tl(tip(net))}
    answer = await ask(net, "getBlockProof", **query)
    (step,) = answer["steps"]
    assert step["@type"] == "liteServer.blockLinkForward"
    key_block = checked(one_from_boc(step["config_proof"]), first.id.root_hash)
    checked(one_from_boc(step["dest_proof"]), tip(net).root_hash)
    config = key_block.refs[3].refs[3].refs[-1]
    validators = dictionary.parse(config, 32)[34].ref()
    assert net.validator.public_key in dictionary.parse(validators.refs[0], 16)[0].rest().cell().data
    (signature,) = step["signatures"]["signatures"]
    key = Ed25519PublicKey.from_public_bytes(net.validator.public_key)
    key.verify(signature["signature"], b"\x70\x6e\x0b\xc5" + tip(net).root_hash + tip(net).file_hash)


@pytest.mark.parametrize("older", [0, 1, 2])
async def test_block_proof_backward_shows_the_older_block_in_the_state(net: Network, older: int) -> None:
    block = net.archive.find(-1, older)
    assert block is not None
    query = {"mode": 1, "known_block": block_tl(tip(net)), "target_block": block_tl(block.id)}
    (step,) = (await ask(net, "getBlockProof", **query))["steps"]
    assert step["@type"] == "liteServer.blockLinkBack"
    newer = checked(one_from_boc(step["proof"]), tip(net).root_hash)
    state = checked(one_from_boc(step["state_proof"]), state_hash(newer))
    entry = dictionary.parse(state.refs[3].refs[2].refs[0], 32, KEY_MAX_LT)[older]
    assert entry.bit() == (older <= 1)
    entry.uint(64)
    assert (entry.uint(32), entry.raw(32)) == (older, block.id.root_hash)
    assert step["to_key_block"] == (older <= 1)


async def test_block_proof_from_an_ordinary_block_goes_back_to_the_key_block_first(net: Network) -> None:
    second = net.archive.find(-1, 2)
    assert second is not None
    answer = await ask(net, "getBlockProof", mode=0, known_block=block_tl(second.id))
    assert [step["@type"] for step in answer["steps"]] == [
        "liteServer.blockLinkBack",
        "liteServer.blockLinkForward",
    ]
    assert answer["to"]["seqno"] == tip(net).seqno
    assert answer["complete"]


async def test_block_proof_from_the_zerostate_uses_its_configuration(net: Network) -> None:
    query = {"mode": 1, "known_block": block_tl(net.zerostate), "target_block": block_tl(tip(net))}
    steps = (await ask(net, "getBlockProof", **query))["steps"]
    assert [step["to"]["seqno"] for step in steps] == [1, tip(net).seqno]
    checked(one_from_boc(steps[0]["config_proof"]), net.zerostate.root_hash)


async def test_lookup_with_proof_links_the_block_to_the_clients_masterchain_block(net: Network) -> None:
    found = net.store.transaction(0, FRIEND.hash_part, net.ledger.account(FRIEND).last_lt)
    assert found is not None
    await net.next_block()
    answer = await ask(
        net,
        "lookupBlockWithProof",
        mode=2,
        id={"workchain": 0, "shard": FULL, "seqno": 0},
        mc_block_id=block_tl(tip(net)),
        lt=found.lt,
    )
    assert answer["id"]["seqno"] == found.seqno
    assert answer["mc_block_id"]["seqno"] == found.seqno < tip(net).seqno
    client_block = checked(one_from_boc(answer["client_mc_state_proof"]), tip(net).root_hash)
    checked(one_from_boc(answer["mc_block_proof"]), state_hash(client_block))
    checked(one_from_boc(answer["shard_links"][0]["proof"]), answer["mc_block_id"]["root_hash"])
    checked(one_from_boc(answer["header"]), answer["id"]["root_hash"])
    assert answer["prev_header"]


async def test_shard_block_proof_shows_the_shard_in_its_masterchain_block(net: Network) -> None:
    block = net.archive.find(0, 3)
    assert block is not None
    answer = await ask(net, "getShardBlockProof", id=block_tl(block.id))
    checked(one_from_boc(answer["links"][0]["proof"]), answer["masterchain_id"]["root_hash"])
    shown = Block.deserialize(ForeignCell.one_from_boc(answer["links"][0]["proof"])[0].begin_parse())
    described = shown.extra.custom.shard_hashes[0].list[0]
    assert (described.seq_no, described.root_hash) == (block.id.seqno, block.id.root_hash)


async def test_libraries_with_proof_prove_absence(net: Network) -> None:
    query = {"id": block_tl(tip(net)), "mode": 0, "library_list": [b"\7" * 32, b"\7" * 32]}
    answer = await ask(net, "getLibrariesWithProof", **query)
    assert answer["result"] == []
    block = checked(one_from_boc(answer["state_proof"]), tip(net).root_hash)
    checked(one_from_boc(answer["data_proof"]), state_hash(block))


@pytest.mark.parametrize("reverse", [False, True])
async def test_transactions_of_a_block_are_listed_page_by_page(net: Network, reverse: bool) -> None:
    payers = [await net.treasury(f"payer {number}") for number in range(3)]
    await asyncio.gather(*(net.send(Message(x.message(net.ledger, FRIEND, TON, bounce=False))) for x in payers))
    await net.settle()
    found = net.store.transaction(0, payers[0].address.hash_part, net.ledger.account(payers[0].address).last_lt)
    assert found is not None
    block = net.archive.find(0, found.seqno)
    assert block is not None
    mode = 39 | (64 if reverse else 0)
    whole = await ask(net, "listBlockTransactions", id=block_tl(block.id), mode=mode, count=100)
    places = [(item["account"], item["lt"]) for item in whole["ids"]]
    assert places == sorted(places, reverse=reverse)
    assert len(places) == 6
    assert not whole["incomplete"]
    paged: list[tuple[bytes, int]] = []
    after: dict[str, Any] = {}
    while True:
        page = await ask(
            net, "listBlockTransactions", id=block_tl(block.id), mode=mode | (128 if after else 0), count=2, after=after
        )
        checked(one_from_boc(page["proof"]), block.id.root_hash)
        paged += [(item["account"], item["lt"]) for item in page["ids"]]
        if not page["incomplete"]:
            break
        after = {"account": paged[-1][0], "lt": paged[-1][1]}
    assert paged == places


async def test_config_of_the_last_key_block_is_proved_by_that_block(net: Network) -> None:
    answer = await ask(net, "getConfigParams", mode=0x8000, id=block_tl(tip(net)), param_list=[34])
    assert answer["id"]["seqno"] == 1
    shown = checked(one_from_boc(answer["config_proof"]), answer["id"]["root_hash"])
    assert 34 in dictionary.parse(shown.refs[3].refs[3].refs[-1], 32)


async def test_queue_size_is_proved_by_the_state(net: Network) -> None:
    alice = await net.treasury("alice")
    net.message_faults.internal = lambda message: delay(2)
    await net.send(Message(alice.message(net.ledger, FRIEND, TON, bounce=False)))
    shard = net.archive.find(0, tip(net).seqno)
    assert shard is not None
    answer = await ask(net, "getBlockOutMsgQueueSize", mode=1, id=block_tl(shard.id))
    assert answer["size"] == 1
    block, state = from_boc(answer["proof"])
    info = Slice(checked(state, state_hash(checked(block, shard.id.root_hash))).refs[0])
    assert info.left == 1 + 64 + 1 + 1 + 4 + 1 + 64 + 1 + 48
    info.uint(info.left - 48)
    assert info.uint(48) == 1


@pytest.mark.parametrize("method", ["getBlockHeader", "listBlockTransactions", "getAllShardsInfo", "getAccountState"])
async def test_zerostate_asked_for_as_a_block_is_error_651(net: Network, method: str) -> None:
    fields = {"id": block_tl(net.zerostate), "mode": 39, "count": 5, "account": account(FRIEND)}
    answer = await ask(net, method, **fields)
    assert (answer["@type"], answer["code"]) == ("liteServer.error", 651)


async def test_server_stops_though_a_client_reads_nothing(net: Network) -> None:
    async with LiteClient.from_config(net.global_config()) as client:
        client.listener.cancel()
        for _ in range(200):
            query, _ = client.serialize_adnl_ls_query(
                client.schemas.get_by_name("liteServer.getConfigAll"), {"mode": 0, "id": client.last_mc_block.to_dict()}
            )
            client.writer.write(client.encrypt(client.serialize_packet(query)))
        await asyncio.wait_for(net.stop_liteserver(), 5)
        await net.start_liteserver()


async def test_zerostate_is_served_with_its_file_hash(net: Network) -> None:
    answer = await ask(net, "getState", id=block_tl(net.zerostate))
    assert (answer["root_hash"], answer["file_hash"]) == (net.zerostate.root_hash, net.zerostate.file_hash)
    assert one_from_boc(answer["data"]).hash == net.zerostate.root_hash


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("getTransactions", {"count": 5, "account": account(FRIEND), "lt": 5, "hash": bytes(32)}, 0),
        ("getBlockProof", {"mode": 0, "known_block": block_tl(BlockId(0, 1, bytes(32), bytes(32)))}, 0),
        ("lookupBlock", {"mode": 3, "id": {"workchain": 0, "shard": FULL, "seqno": 1}, "lt": 1}, 0),
        ("lookupBlock", {"mode": 1, "id": {"workchain": 7, "shard": FULL, "seqno": 1}}, 651),
        ("getBlock", {"id": block_tl(BlockId(-1, 99, bytes(32), bytes(32)))}, 651),
        ("getValidatorStats", {"mode": 0, "id": block_tl(BlockId(-1, 1, bytes(32), bytes(32))), "limit": 1}, 621),
    ],
)
async def test_impossible_query_is_an_error(net: Network, method: str, fields: dict[str, Any], code: int) -> None:
    answer = await ask(net, method, **fields)
    assert answer["@type"] == "liteServer.error"
    assert answer["code"] == code
    assert answer["message"]


@pytest.mark.parametrize("payload", [b"", b"\1\2\3\4", SCHEMA.dump("liteServer.getTime"), bytes(range(100))])
async def test_payload_that_is_no_query_is_a_protocol_error(net: Network, payload: bytes) -> None:
    answer = SCHEMA.load(await net.server.answer(payload))
    assert (answer["@type"], answer["code"]) == ("liteServer.error", 621)


async def test_peer_that_does_not_know_the_server_is_dropped_and_others_are_served(net: Network) -> None:
    reader, writer = await asyncio.open_connection(net.host, net.port)
    writer.write(os.urandom(256))
    assert await reader.read() == b""
    writer.close()
    async with LiteClient.from_config(net.global_config()) as client:
        client.writer.write(os.urandom(64))  # after the handshake, bytes that decrypt to nonsense
        with pytest.raises((LiteClientError, ConnectionError)):
            await client.get_time()
    async with LiteClient.from_config(net.global_config()) as client:
        assert (await client.get_time())["now"]


async def test_schema_reads_back_what_it_writes() -> None:
    fields = {"mode": 5, "id": block_tl(BlockId(-1, 7, b"\1" * 32, b"\2" * 32)), "param_list": [1, -5, 34]}
    assert SCHEMA.load(SCHEMA.dump("liteServer.getConfigParams", **fields)) | fields
    for size in (0, 1, 3, 253, 254, 255, 70_000):
        data = bytes(size)
        assert SCHEMA.load(SCHEMA.dump("liteServer.sendMessage", body=data))["body"] == data
    with pytest.raises(TlError):
        SCHEMA.load(SCHEMA.dump("liteServer.sendMessage", body=b"abc")[:-1])
    assert isinstance(SCHEMA, Schema)


@pytest_asyncio.fixture
async def client(net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiteClient]:
    monkeypatch.chdir(tmp_path)
    async with LiteClient.from_config(net.global_config(), trust_level=0) as lite_client:
        yield lite_client


async def test_forged_balance_does_not_fit_its_proof(net: Network, client: LiteClient) -> None:
    assert (await client.get_account_state(FRIEND)).balance == 2 * TON
    net.server_faults.lies.append(forge_balance(FRIEND, 9 * TON))
    with pytest.raises(ProofError, match="account state proof invalid"):
        await client.get_account_state(FRIEND)


async def test_hidden_account_still_has_the_proof_that_shows_it(net: Network) -> None:
    net.server_faults.lies.append(hide_account(FRIEND))
    answer = await ask(net, "getAccountState", id=block_tl(tip(net)), account=account(FRIEND))
    assert answer["state"] == b""
    shown = from_boc(answer["proof"])[1].refs[0]
    assert int.from_bytes(FRIEND.hash_part, "big") in dictionary.parse(shown.refs[1].refs[0], 256)
    net.server_faults.lies[:] = [hide_account(FRIEND, keep_proof=False)]
    answer = await ask(net, "getAccountState", id=block_tl(tip(net)), account=account(FRIEND))
    assert answer["proof"] == answer["state"] == b""


async def test_forged_getter_result_is_what_the_client_sees(net: Network, client: LiteClient) -> None:
    faucet = (await net.treasury("faucet")).address
    assert await client.run_get_method(faucet, "seqno", []) == [3]
    method = int.from_bytes(crc16(b"seqno"), "big") | 0x10000
    net.server_faults.lies.append(forge_getter(faucet, method, 77))
    assert await client.run_get_method(faucet, "seqno", []) == [77]


async def test_forged_signatures_are_refused_at_trust_level_zero(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net.server_faults.lies.append(forge_signatures())
    with pytest.raises((ProofError, LiteClientError)):
        await LiteClient.from_config(net.global_config(), trust_level=0).connect()


async def test_stale_server_shows_an_earlier_chain(net: Network, client: LiteClient) -> None:
    net.server_faults.lag = 2
    assert (await client.get_masterchain_info())["last"]["seqno"] == tip(net).seqno - 2


async def test_slow_server_answers_late(net: Network, client: LiteClient) -> None:
    net.server_faults.latency = 0.2
    start = asyncio.get_running_loop().time()
    await client.get_time()
    assert asyncio.get_running_loop().time() - start >= 0.2


async def test_fork_of_a_network_has_the_same_beginning_and_another_end(executor: Executor) -> None:
    def twin() -> Network:
        return Network(Ledger(executor), block_interval=5.0, seed=b"\5" * 32, clock=lambda: 1_800_000_000.0)

    async with twin() as honest, twin() as forked:
        assert honest.zerostate == forked.zerostate
        assert honest.archive.find(-1, 2) == forked.archive.find(-1, 2)
        await honest.credit(FRIEND, TON)
        await forked.credit(NOBODY, TON)
        async with LiteClient.from_config(honest.global_config(), trust_level=1) as client:
            assert (await client.get_account_state(FRIEND)).balance == TON
            honest.show_fork(forked)
            await client.update_last_blocks()
            assert (await client.get_account_state(NOBODY)).balance == TON
            assert (await client.get_account_state(FRIEND)).balance == 0
