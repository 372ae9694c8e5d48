"""What the sandbox costs: transfers against plain @ton/sandbox in Node, requests with proofs, blocks, memory.

The same signed transfers go through plain `@ton/sandbox` (no blocks, no proofs, no server), the sandbox's ledger (the
same executor across a pipe, no blocks) and a whole network, a quarter of them at a time and in turn, so that whatever
else the machine does hits all three. The ledger's figure shows where the difference goes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pytoniq import LiteClient
from pytoniq_core import Address

from cocoon_sandbox import toolchain
from cocoon_sandbox.boc import parse_boc, to_boc
from cocoon_sandbox.config import network_config
from cocoon_sandbox.executor import Executor, method_id
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.network import Network
from cocoon_sandbox.stack import encode_stack

from ..errors import CocoonError
from .subject import funded_ledger
from .transfers import FUNDS_NANO, Transfers, make_quarters

__all__ = ["BenchError", "measure"]

_PEER = Path(__file__).with_name("peer.mjs")
_REQUESTS = 2_000
_GETTER_CALLS = 300
_EMPTY_BLOCKS = 40
_STARTS = 3
_SERVED_ACCOUNTS = 10_000
_EMPTY_BLOCK_ACCOUNTS = (10, 1_000, 10_000)


class BenchError(CocoonError):
    """A part of the measurement that could not be run."""


def measure(transactions: int = 10_000, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Everything, as JSON; `transactions` is how many the transfers make in each of the three."""
    progress("transfers in Node, ledger and network; requests")
    transfers, requests, memory = asyncio.run(_compared(transactions))
    progress("empty blocks")
    empty = {str(accounts): asyncio.run(_empty_blocks(accounts)) for accounts in _EMPTY_BLOCK_ACCOUNTS}
    progress("starting")
    return {
        "transfers": transfers,
        "requests": requests,
        "empty_block_ms": empty,
        "start_s": _starts(),
        "memory": memory,
    }


async def _compared(transactions: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Transfers per second of all three, then requests to the network, and its memory after each quarter."""
    now = int(time.time())
    quarters = make_quarters(transactions, now)
    subject = (sys.executable, "-m", "cocoon.bench.subject", str(_SERVED_ACCOUNTS), str(transactions), str(now))
    node = (str(toolchain.node_binary()), str(_PEER), str(toolchain.install()))
    async with _process(*subject) as network, _process(*node) as peer:
        served = await _read(network)
        _write(peer, _peer_setting(quarters, now))
        ledger = _ledger(quarters)
        taken: dict[str, list[dict[str, Any]]] = {"ton_sandbox_in_node": [], "ledger": [], "network": []}
        for quarter in quarters:
            _write(peer, {"messages": [base64.b64encode(message).decode() for message in quarter.in_turn]})
            taken["ton_sandbox_in_node"].append(await _read(peer))
            taken["ledger"].append(_run_ledger(ledger, quarter))
            _write(network, {})
            taken["network"].append(await _read(network))
        requests = await _requests(served["config"], Address(served["wallet"]))
    for name, runs in taken.items():
        if [run["transactions"] for run in runs] != [quarter.transactions for quarter in quarters]:
            raise BenchError(f"{name} made another number of transactions: {[run['transactions'] for run in runs]}")
    found: dict[str, Any] = {name: _rate(runs) for name, runs in taken.items()}
    found["network"]["blocks"] = sum(run["blocks"] for run in taken["network"])
    for name in ("network", "ledger"):
        found[f"{name}_to_node"] = _ratio(taken[name], taken["ton_sandbox_in_node"])
    memory = {
        "transactions": [sum(run["transactions"] for run in taken["network"][: number + 1]) for number in range(4)],
        "network_mib": [round(run["rss_bytes"] / 2**20, 1) for run in taken["network"]],
        "executor_mib": [round(run["executor_rss_bytes"] / 2**20, 1) for run in taken["network"]],
    }
    return found, {"accounts": served["accounts"], **requests}, memory


def _rate(runs: list[dict[str, Any]]) -> dict[str, Any]:
    transactions, seconds = sum(run["transactions"] for run in runs), sum(run["seconds"] for run in runs)
    return {
        "transactions": transactions,
        "seconds": round(seconds, 3),
        "per_second": round(transactions / seconds, 1),
        "per_second_by_quarter": [round(run["transactions"] / run["seconds"], 1) for run in runs],
    }


def _ratio(runs: list[dict[str, Any]], peer: list[dict[str, Any]]) -> float:
    """The median, over the quarters, of how many times the peer's speed the runs had."""
    ratios = [float(b["seconds"] / a["seconds"]) for a, b in zip(runs, peer, strict=True)]
    return round(statistics.median(ratios), 3)


def _peer_setting(quarters: list[Transfers], now: int) -> dict[str, Any]:
    return {
        "config": base64.b64encode(to_boc(network_config())).decode(),
        "now": now,
        "funds": str(FUNDS_NANO),
        "wallets": [address.to_str(is_user_friendly=False) for q in quarters for address in q.wallets],
    }


def _ledger(quarters: list[Transfers]) -> Ledger:
    wallets = tuple(address for quarter in quarters for address in quarter.wallets)
    ledger = funded_ledger(0, Transfers(wallets, (), ()))
    ledger.treasury("warm-up").send(ledger, wallets[0], FUNDS_NANO // 10)  # this starts the executor's Node child
    return ledger


def _run_ledger(ledger: Ledger, transfers: Transfers) -> dict[str, Any]:
    messages = [parse_boc(message) for message in transfers.in_turn]
    begun = time.perf_counter()
    done = sum(len(ledger.send(message)) for message in messages)
    return {"transactions": done, "seconds": time.perf_counter() - begun}


@asynccontextmanager
async def _process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is asked and answers in lines of JSON; it ends with its standard input."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    try:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _write(process: asyncio.subprocess.Process, values: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(values).encode() + b"\n")


async def _read(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise BenchError(f"a program under measurement ended (exit {await process.wait()})")
    document: dict[str, Any] = json.loads(line)
    return document


async def _requests(config: dict[str, Any], wallet: Address) -> dict[str, Any]:
    """Requests per second and latencies over ADNL; the client takes answers apart but does not check proofs."""
    async with LiteClient.from_config(config, trust_level=2) as client:
        block = client.last_mc_block.to_dict()
        account = {"workchain": 0, "id": wallet.hash_part.hex()}

        async def state() -> Any:
            return await client.liteserver_request("getAccountState", {"id": block, "account": account})

        parameters = {
            "mode": 4,
            "id": block,
            "account": account,
            "method_id": method_id("seqno"),
            "params": to_boc(encode_stack([])),
        }

        async def getter() -> Any:
            return await client.liteserver_request("runSmcMethod", parameters)

        answer = await state()
        if not answer["proof"] or not answer["shard_proof"]:
            raise BenchError("an account state came without proofs")
        if (await getter())["exit_code"] != 0:
            raise BenchError("the getter under measurement fails")
        found = {
            f"account_state_per_second_depth_{depth}": round(await _throughput(state, depth), 1) for depth in (1, 16)
        }
        return found | {
            "getter_ms": await _latency(getter, _GETTER_CALLS),
            "account_state_ms": await _latency(state, 300),
        }


async def _throughput(call: Callable[[], Awaitable[Any]], depth: int) -> float:
    """Calls per second with `depth` under way at any time."""

    async def one() -> None:
        for _ in range(_REQUESTS // depth):
            await call()

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(depth):
            group.create_task(one())
    return _REQUESTS // depth * depth / (time.perf_counter() - begun)


async def _latency(call: Callable[[], Awaitable[Any]], calls: int) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, one call at a time."""
    taken = []
    for _ in range(calls):
        begun = time.perf_counter()
        await call()
        taken.append(1000 * (time.perf_counter() - begun))
    return _spread(taken)


def _spread(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {"median": round(statistics.median(ordered), 3), "p95": round(ordered[int(0.95 * len(ordered))], 3)}


async def _empty_blocks(accounts: int) -> dict[str, float]:
    """Milliseconds for a round without messages: a basechain and a masterchain block, stored."""
    async with Network(funded_ledger(accounts), block_interval=3600) as network:
        await network.next_block()
        return await _latency(network.next_block, _EMPTY_BLOCKS)


def _starts() -> dict[str, float]:
    """Seconds until clients can connect to a new process, and until an in-process Network has made a transaction."""
    taken = []
    for _ in range(_STARTS):
        with tempfile.TemporaryDirectory() as directory:
            begun = time.perf_counter()
            command = [sys.executable, "-m", "cocoon", "sandbox", "up", "--dir", directory, "--json"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                line = process.stdout.readline()
                taken.append(time.perf_counter() - begun)
                process.terminate()
            if not line:
                raise BenchError("`cocoon sandbox up` did not start; run it to see why")
    return {"command": round(min(taken), 3), "in_process": round(asyncio.run(_in_process()), 3)}


async def _in_process() -> float:
    """Including the executor's, so up to the first transaction."""
    with Executor() as executor:
        begun = time.perf_counter()
        async with Network(executor=executor) as network:
            await network.credit(Address((0, bytes(32))), FUNDS_NANO)
            return time.perf_counter() - begun
