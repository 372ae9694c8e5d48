"""LiteChain against the sandbox's lite server: what it proves, what it survives, which lies it refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from protocol_world import TON, named_key
from pytoniq_core import Address, Builder, Cell

from cocoon.chain import LiteChain, Wallet, trace
from cocoon.chain.boc import to_boc
from cocoon.errors import ChainError, ChainUnavailable, LyingServer, MessageRefused
from cocoon.fees import PRICE_PARAMS, Prices
from cocoon_sandbox.boc import parse_boc
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.liteserver.faults import Lie, forge_balance, forge_signatures, hide_account
from cocoon_sandbox.network import Network
from cocoon_sandbox.treasury import Treasury

SOMEONE = Address((0, b"\x07" * 32))
NOBODY = Address((0, b"\x09" * 32))
SEED = b"\x05" * 32


@pytest.fixture
async def network(executor: Executor) -> AsyncIterator[Network]:
    async with Network(executor=executor, block_interval=0.2, seed=SEED) as running:
        await running.credit(SOMEONE, 3 * TON)
        yield running


@pytest.fixture
async def chain(network: Network) -> AsyncIterator[LiteChain]:
    async with await LiteChain.open(network.global_config()) as opened:
        yield opened


def tampered(answer_name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Lie:
    """A lie that alters the answers of one kind."""

    def lie(query: dict[str, Any], name: str, answer: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return name, (answer | change(answer) if name == f"liteServer.{answer_name}" else answer)

    return lie


# ---- what it proves ----


async def test_account_present_is_proven(chain: LiteChain, network: Network) -> None:
    state = await chain.account(SOMEONE)
    assert (state.status, state.balance, state.code_hash) == ("uninit", 3 * TON, None)
    assert state.last_lt == network.ledger.account(SOMEONE).last_lt
    assert chain.global_id == SANDBOX_GLOBAL_ID
    assert abs(await chain.time() - network.now()) < 5


async def test_account_absent_is_proven_absent(chain: LiteChain) -> None:
    state = await chain.account(NOBODY)
    assert (state.status, state.balance, state.last_lt) == ("nonexist", 0, 0)
    assert await chain.transactions(NOBODY) == []
    assert await chain.transactions(NOBODY, after_lt=1) == []


async def test_account_of_the_masterchain_is_proven(chain: LiteChain) -> None:
    assert (await chain.account(Address((-1, b"\x55" * 32)))).status == "nonexist"
    elector = await chain.account(Address((-1, b"\x33" * 32)))
    assert elector.status in ("active", "nonexist")


async def test_transactions_of_several_pages_are_in_order(chain: LiteChain, network: Network) -> None:
    for _ in range(20):
        await network.credit(SOMEONE, 1)
    found = await chain.transactions(SOMEONE, limit=100)
    assert len(found) == 21
    assert [item.lt for item in found] == sorted(item.lt for item in found)
    assert found[0].in_msg is not None
    assert found[0].in_msg.value == 3 * TON
    assert await chain.transactions(SOMEONE, after_lt=found[4].lt, limit=3) == found[5:8]


async def test_transactions_of_a_deleted_account_are_found_in_blocks(chain: LiteChain, network: Network) -> None:
    suicide = await network.treasury("short-lived", 5 * TON)
    await chain.next_block()
    born = (await chain.account(suicide.address)).last_lt
    message = suicide.message(network.ledger, SOMEONE, 0, mode=128 + 32, bounce=False)
    await chain.send(message)
    await chain.next_block()
    assert (await chain.account(suicide.address)).status == "nonexist"
    (last,) = await chain.transactions(suicide.address, after_lt=born)
    assert (last.exit_code, last.action_code, len(last.out_msgs)) == (0, 0, 1)
    done = await trace(chain, last)
    assert [item.account for item in done] == [suicide.address, SOMEONE]


async def test_config_prices_are_those_of_the_network(chain: LiteChain, network: Network) -> None:
    params = await chain.config((*PRICE_PARAMS, 4321))
    assert set(params) == set(PRICE_PARAMS)
    found, known = Prices.from_config(params), network.ledger.prices()
    assert (found.gas_price, found.lump, found.forward_cell) == (
        known.gas.price,
        known.forward.lump,
        known.forward.cell,
    )
    assert (found.storage_bit, found.storage_cell) == (known.storage.bit, known.storage.cell)


async def test_send_refused_gives_the_exit_code(chain: LiteChain, network: Network) -> None:
    treasury = await network.treasury("sender")
    message = treasury.message(network.ledger, SOMEONE, TON)
    await chain.send(message)
    with pytest.raises(MessageRefused, match="exit code 33") as caught:
        await chain.send(message)
    assert caught.value.exit_code == 33


async def test_next_block_waits_for_a_newer_one(chain: LiteChain) -> None:
    before = await chain.time()
    for _ in range(3):
        await chain.next_block()
    assert await chain.time() >= before


# ---- what it survives ----


async def test_server_gone_is_unavailable_until_it_is_back(chain: LiteChain, network: Network) -> None:
    await network.stop_liteserver()
    for _ in range(2):
        with pytest.raises(ChainUnavailable, match=r"does not answer|went away"):
            await chain.account(SOMEONE)
    await network.start_liteserver()
    assert (await chain.account(SOMEONE)).balance == 3 * TON


async def test_server_restarted_between_calls_is_not_noticed(chain: LiteChain, network: Network) -> None:
    await network.stop_liteserver()
    await network.start_liteserver()
    assert (await chain.account(SOMEONE)).balance == 3 * TON


async def test_server_too_slow_is_unavailable(network: Network) -> None:
    async with await LiteChain.open(network.global_config(), timeout_sec=0.3) as chain:
        network.server_faults.latency = 2.0
        with pytest.raises(ChainUnavailable, match="no answer in time"):
            await chain.account(SOMEONE)


async def test_wallet_send_survives_the_server_going_away(chain: LiteChain, network: Network) -> None:
    wallet = Wallet(named_key("survivor"))
    await network.credit(wallet.address, 5 * TON)

    async def outage() -> None:
        await network.stop_liteserver()
        await asyncio.sleep(0.3)
        await network.start_liteserver()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(wallet.send(chain, NOBODY, TON, bounce=False))
        group.create_task(outage())
    await trace(chain, sending.result())
    assert (await chain.account(NOBODY)).balance == TON
    assert await wallet.seqno(chain) == 1


async def test_close_leaves_no_task_and_fails_later_calls(network: Network) -> None:
    before = asyncio.all_tasks()
    chain = await LiteChain.open(network.global_config())
    waiting = asyncio.create_task(chain.next_block())
    await asyncio.sleep(0)
    await chain.close()
    await asyncio.wait([waiting])
    ours = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
    assert not any("lite server" in task.get_name() for task in ours)
    with pytest.raises(ChainUnavailable, match="closed"):
        await chain.account(SOMEONE)


async def test_first_server_dead_the_next_one_is_used(network: Network) -> None:
    config = network.global_config()
    dead = dict(config["liteservers"][0], port=1)
    async with await LiteChain.open(dict(config, liteservers=[dead, *config["liteservers"]])) as chain:
        assert (await chain.account(SOMEONE)).balance == 3 * TON


async def test_open_remembers_the_last_key_block(network: Network, tmp_path: Path) -> None:
    memory = tmp_path / "trust.json"
    memory.write_text("damaged")
    for _ in range(2):
        async with await LiteChain.open(network.global_config(), memory=memory) as chain:
            assert (await chain.account(SOMEONE)).balance == 3 * TON


async def test_open_with_malformed_server_says_so(network: Network) -> None:
    with pytest.raises(ChainError, match=r"lite server 0 .* is malformed"):
        await LiteChain.open(dict(network.global_config(), liteservers=[{"ip": 1}]))


@pytest.mark.parametrize("config", [{}, {"liteservers": []}, {"liteservers": [{}], "validator": {}}])
async def test_open_with_unusable_configuration_says_so(config: dict[str, Any]) -> None:
    with pytest.raises(ChainError, match="global configuration"):
        await LiteChain.open(config)


# ---- which lies it refuses ----


@pytest.mark.parametrize(
    ("lie", "named"),
    [
        (hide_account(SOMEONE), "hides account"),
        (hide_account(SOMEONE, keep_proof=False), "gave no proof"),
        (forge_balance(SOMEONE, 10**15), "is forged"),
        (tampered("accountState", lambda answer: {"proof": answer["shard_proof"]}), "proves something else"),
        (tampered("accountState", lambda answer: {"proof": b"\xb5\xee"}), "malformed"),
        (tampered("accountState", lambda answer: {"shard_proof": b""}), "gave no proof"),
        (tampered("accountState", lambda answer: {"shardblk": answer["id"]}), "not the proven one"),
    ],
    ids=["hidden", "hidden without proof", "forged balance", "other proof", "garbage", "no shard proof", "other shard"],
)
async def test_account_lie_is_named(chain: LiteChain, network: Network, lie: Lie, named: str) -> None:
    """B.27."""
    network.server_faults.lies.append(lie)
    with pytest.raises(LyingServer, match=named):
        await chain.account(SOMEONE)


async def test_server_caught_lying_is_not_asked_again(chain: LiteChain, network: Network) -> None:
    """B.27."""
    network.server_faults.lies.append(hide_account(SOMEONE))
    with pytest.raises(LyingServer, match="hides account"):
        await chain.account(SOMEONE)
    network.server_faults.lies.clear()
    with pytest.raises(LyingServer, match=r"has not lied: .*hides account"):
        await chain.account(SOMEONE)


async def test_absent_account_without_proof_of_absence_is_refused(chain: LiteChain, network: Network) -> None:
    """B.27."""
    network.server_faults.lies.append(hide_account(NOBODY, keep_proof=False))
    with pytest.raises(LyingServer, match="gave no proof"):
        await chain.account(NOBODY)


async def test_absence_proven_for_another_account_is_refused(chain: LiteChain, network: Network) -> None:
    """B.27: The proof of absence of one account is shown for another one."""
    answers: list[dict[str, Any]] = []
    network.server_faults.lies.append(tampered("accountState", lambda answer: answers.append(answer) or {}))
    await chain.account(NOBODY)
    network.server_faults.lies[:] = [tampered("accountState", lambda answer: answers[-1])]
    with pytest.raises(LyingServer):
        await chain.account(SOMEONE)


async def test_transactions_forged_are_refused(chain: LiteChain, network: Network) -> None:
    """B.27."""
    treasury = Treasury("faucet")

    def other(answer: dict[str, Any]) -> dict[str, Any]:
        cell = parse_boc(answer["transactions"])
        forged = Builder().store_uint(7, 4).store_bytes(treasury.address.hash_part).end_cell()
        return {"transactions": to_boc(forged) if cell else b""}

    network.server_faults.lies.append(tampered("transactionList", other))
    with pytest.raises(LyingServer, match="forged transaction"):
        await chain.transactions(SOMEONE)


async def test_transactions_left_out_are_missed(chain: LiteChain, network: Network) -> None:
    """B.27."""
    network.server_faults.lies.append(tampered("transactionList", lambda answer: {"transactions": b"", "ids": []}))
    with pytest.raises(LyingServer, match="leaves out"):
        await chain.transactions(SOMEONE)


async def test_config_forged_is_refused(chain: LiteChain, network: Network) -> None:
    """B.27."""
    fake = to_boc(Cell.empty())
    network.server_faults.lies.append(tampered("configInfo", lambda answer: {"config_proof": fake}))
    with pytest.raises(LyingServer, match="configuration"):
        await chain.config(PRICE_PARAMS)


async def test_block_with_forged_signatures_is_refused(chain: LiteChain, network: Network) -> None:
    """B.27."""
    network.server_faults.lies.append(forge_signatures())
    with pytest.raises(LyingServer, match="forged validator signature"):
        await chain.next_block()


async def test_block_without_enough_signatures_is_refused(chain: LiteChain, network: Network) -> None:
    """B.27."""

    def unsigned(answer: dict[str, Any]) -> dict[str, Any]:
        steps = [
            step | {"signatures": step["signatures"] | {"signatures": []}} if "signatures" in step else step
            for step in answer["steps"]
        ]
        return {"steps": steps}

    network.server_faults.lies.append(tampered("partialBlockProof", unsigned))
    with pytest.raises(LyingServer, match="is signed by 0 of"):
        await chain.next_block()


async def test_block_signed_twice_by_one_validator_is_refused(chain: LiteChain, network: Network) -> None:
    """B.27."""

    def doubled(answer: dict[str, Any]) -> dict[str, Any]:
        steps = []
        for step in answer["steps"]:
            signatures = step["signatures"]
            steps.append(step | {"signatures": signatures | {"signatures": 2 * signatures["signatures"]}})
        return {"steps": steps}

    network.server_faults.lies.append(tampered("partialBlockProof", doubled))
    with pytest.raises(LyingServer, match="one twice"):
        await chain.next_block()


def clock_from(start: float) -> Callable[[], float]:
    """A clock that shows `start` now: two networks that start with it are born at the same time."""
    began = time.monotonic()
    return lambda: start + time.monotonic() - began


async def test_fork_is_noticed(executor: Executor) -> None:
    """B.27: A second network with the same validator key and the same first blocks signs another history."""
    born = 1_800_000_000.0
    async with Network(executor=executor, block_interval=0.2, seed=SEED, clock=clock_from(born)) as network:
        await network.credit(SOMEONE, TON)
        async with await LiteChain.open(network.global_config()) as chain:
            await chain.account(SOMEONE)
            async with Network(executor=executor, block_interval=0.2, seed=SEED, clock=clock_from(born)) as other:
                assert other.global_config()["validator"] == network.global_config()["validator"]
                while other.archive.last.id.seqno <= network.archive.last.id.seqno:
                    await other.next_block()
                network.show_fork(other)
                with pytest.raises(LyingServer, match="fork"):
                    await chain.next_block()


async def test_server_of_another_network_is_refused(chain: LiteChain, network: Network, executor: Executor) -> None:
    """B.27: Its blocks may be genuine somewhere: it can't lead there from the block that is believed."""
    async with Network(executor=executor, block_interval=0.2, clock=clock_from(time.time() + 60)) as other:
        while other.archive.last.id.seqno <= network.archive.last.id.seqno:
            await other.next_block()
        network.show_fork(other)
        with pytest.raises(ChainError, match=r"not in db|fork"):
            await chain.next_block()


async def test_head_several_blocks_later_is_shown_to_descend(chain: LiteChain, network: Network) -> None:
    first = network.archive.last.id.seqno
    await chain.account(SOMEONE)
    while network.archive.last.id.seqno < first + 4:
        await network.next_block()
    await asyncio.sleep(0.1)
    assert (await chain.account(SOMEONE)).balance == 3 * TON


async def test_history_of_another_fork_is_noticed(chain: LiteChain, network: Network) -> None:
    """B.27: The newer block is genuine, but the server can't show that it continues the older one."""
    first = network.archive.last.id.seqno
    while network.archive.last.id.seqno < first + 4:
        await network.next_block()
    await asyncio.sleep(0.1)

    def no_way_back(answer: dict[str, Any]) -> dict[str, Any]:
        return {"steps": [step for step in answer["steps"] if "signatures" in step]}

    network.server_faults.lies.append(tampered("partialBlockProof", no_way_back))
    with pytest.raises(LyingServer, match="shows a fork"):
        await chain.account(SOMEONE)


async def test_stale_state_is_refused_in_time(network: Network) -> None:
    """B.27."""
    async with await LiteChain.open(network.global_config(), stale_after_sec=0.5) as chain:
        seqno = network.archive.last.id.seqno
        frozen = tampered("masterchainInfo", lambda answer: {"last": first["last"]})
        first: dict[str, Any] = {}
        network.server_faults.lies.append(
            tampered("masterchainInfo", lambda answer: first.setdefault("last", answer["last"]) and {})
        )
        await chain.account(SOMEONE)
        await asyncio.sleep(0.3)
        await chain.account(SOMEONE)
        network.server_faults.lies[:] = [frozen]
        await asyncio.sleep(0.6)
        with pytest.raises(ChainUnavailable, match="no new block"):
            await chain.account(SOMEONE)
        assert network.archive.last.id.seqno > seqno


async def test_master_block_of_any_number_is_the_networks(chain: LiteChain, network: Network) -> None:
    while network.archive.last.id.seqno < 8:
        await network.next_block()
    await asyncio.sleep(0.1)
    newest = await chain.master_block()
    for seqno in (1, 3, newest.seqno - 1, newest.seqno):
        found, stored = await chain.master_block(seqno), network.archive.find(-1, seqno)
        assert stored is not None
        assert (found.seqno, found.root_hash, found.file_hash) == (seqno, stored.id.root_hash, stored.id.file_hash)
    for absent in (0, newest.seqno + 1000):
        with pytest.raises(ChainError, match="there is no masterchain block"):
            await chain.master_block(absent)


@pytest.mark.parametrize("back", [1, 4])
@pytest.mark.parametrize("field", ["root_hash", "file_hash", "seqno"])
async def test_master_block_of_an_earlier_number_with_other_hashes_is_noticed(
    chain: LiteChain, network: Network, back: int, field: str
) -> None:
    """B.27: what a quote names must be what contracts see, or its gas is lost."""
    while network.archive.last.id.seqno < 8:
        await network.next_block()
    await asyncio.sleep(0.1)

    def other(answer: dict[str, Any]) -> dict[str, Any]:
        named = dict(answer["id"])
        named[field] = named[field] + 1 if field == "seqno" else b"\x11" * 32
        return {"id": named}

    network.server_faults.lies.append(tampered("blockHeader", other))
    newest = await chain.master_block()
    with pytest.raises(ChainError, match=r"fork|names another|not in db|no such block"):
        await chain.master_block(newest.seqno - back)
