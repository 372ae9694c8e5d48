"""Unmodified clients against one sandbox: each reads, deploys a wallet, sends, sees the transaction, calls a getter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytoniq import LiteBalancer, WalletV4R2
from pytoniq_core import Address

from cocoon_sandbox.control import request
from cocoon_sandbox.treasury import Treasury

pytestmark = pytest.mark.clients

TON = 10**9
SHARD = -(1 << 63)
FRIEND = Address("0:" + "22" * 32)

type Run = Callable[..., dict[str, Any]]


@pytest.fixture
def config(place: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(place["global_config"]).read_text())
    return document


async def seen(balancer: LiteBalancer, directory: Path) -> None:
    """Wait until the client, which is told of blocks in the background, has heard of one made from now on."""
    made = request(directory, "block")["block"]
    async with asyncio.timeout(20):
        while balancer.last_mc_block.seqno < made:  # noqa: ASYNC110 - the library has no event for it
            await asyncio.sleep(0.02)


async def test_pytoniq_lite_balancer_deploys_sends_reads_and_scans(
    place: dict[str, Any], config: dict[str, Any]
) -> None:
    directory = Path(place["directory"])
    key = Treasury("balancer").key
    secret = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    async with LiteBalancer.from_config(config, trust_level=1, timeout=5) as balancer:
        first = balancer.last_mc_block.seqno
        wallet = await WalletV4R2.from_private_key(balancer, secret, version="v4r2")
        request(directory, "faucet", address=wallet.address.to_str(), nano=10 * TON)
        await seen(balancer, directory)
        await wallet.deploy_via_external()
        await seen(balancer, directory)
        await wallet.transfer(FRIEND, TON, "hello")
        await seen(balancer, directory)
        assert await wallet.get_seqno() == 2
        received = next(t for t in await balancer.get_transactions(FRIEND, 10) if t.in_msg.info.src == wallet.address)
        assert received.in_msg.info.value_coins == TON
        scanned = set()
        for seqno in range(first + 1, balancer.last_mc_block.seqno + 1):
            master, _ = await balancer.lookup_block(-1, SHARD, seqno)
            for shard in await balancer.get_all_shards_info(master):
                scanned |= {t["hash"] for t in await balancer.raw_get_block_transactions(shard)}
        assert received.cell.hash in scanned


def test_tonlib_checks_all_proofs_deploys_sends_reads_and_scans(run_python: Run) -> None:
    found = run_python("toncenter", "pytonlib_client.py")
    assert (found["absent"], found["seqno"], found["scanned"]) == ("-1", 2, True)
    assert 8 * TON < found["balance"] < 9 * TON
    assert found["received"] == [TON]
    assert found["blocks"] >= 2
    assert found["header"]
    assert found["config"]


@pytest.mark.parametrize("transport", ["lite", "http"])
def test_tonutils_deploys_sends_reads_and_scans(run_python: Run, transport: str) -> None:
    found = run_python("clients", "tonutils_client.py", transport)
    assert found["seqnos"] == [2, 2]
    assert found["received"] == [TON // 2] * 2
    assert found["config"]
    if transport == "lite":  # its HTTP client has no methods for blocks
        assert found["scanned"] >= 8
        assert found["blocks"] >= 4


def test_tonsdk_toncenter_client_deploys_sends_and_reads(run_python: Run) -> None:
    found = run_python("clients", "tonsdk_client.py")
    assert (found["before"], found["state"], found["seqno"]) == ("uninitialized", "active", 2)
    assert 8 * TON < found["balance"] < 9 * TON
    assert found["friend"]


def test_ton_client_deploys_estimates_sends_reads_and_scans(run_node: Run) -> None:
    found = run_node("ton_client.mjs")
    assert (found["deployedBefore"], found["balance"], found["seqno"]) == (False, str(10 * TON), 2)
    assert found["received"] == [str(TON), str(TON)]
    assert found["gasFee"] > 0
    assert (found["exitCode"], found["scanned"]) == (0, True)
