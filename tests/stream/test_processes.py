"""An agent in a process of its own, on a network served over ADNL: killed in mid-stream, started again, told to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent_kernel import MODEL
from agent_world import TON, World
from pairs import WORDS, collect
from simulated_network import SEED

from cocoon.agent.vouchers import VoucherBook
from cocoon.chain.lite import LiteChain
from cocoon.chain.wallet import Wallet
from cocoon.client import Client
from cocoon.client.channel import Channel
from cocoon.client.stream import Delta, FastChannel, StreamStalled
from cocoon.signer.client import SignerClient
from cocoon.signer.table import Slot
from cocoon.stream.pricing import stream_price
from cocoon.wire.common import ModelTerms
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.network import Network

_TERMS = ModelTerms(10**12, 0, 2 * 10**12, floor_fee_nano=10_000, min_duration_sec=30)
_QUANTUM = TON
_SERVING = re.compile(rb"serving streams at \('127\.0\.0\.1', (\d+)\)")


@dataclass
class Operator:
    """Starts, kills and stops agents that share one data directory."""

    directory: Path
    process: asyncio.subprocess.Process | None = None
    told_before: int = 0

    def configure(self, network: Network, world: World) -> None:
        (self.directory / "network.json").write_text(json.dumps(network.global_config()))
        (self.directory / "wallet").write_text("05" * 32)
        (self.directory / "agent.toml").write_text(
            f'network = "network.json"\nregistry = "{world.deployment.registry.to_str()}"\nworker_index = 0\n'
            'data_dir = "data"\nwallet_key = "wallet"\nkernel = "slow_kernel:slow"\nlisten = "127.0.0.1:0"\n'
            f"[terms]\nprompt_nano = {_TERMS.prompt_nano}\ncompletion_nano = {_TERMS.completion_nano}\n"
            "cached_nano = 0\nfloor_fee_nano = 10000\nmin_duration_sec = 30\n"
            "[pace]\nfirst_pause = 0.05\nlongest_pause = 0.5\n[stream]\ndrain_sec = 20\n"
            f'[attestation]\nsource = "simulated"\nseed = "{SEED}"\nallow_simulated_tee = true\n'
        )

    @property
    def log(self) -> bytes:
        return (self.directory / "agent.log").read_bytes()

    @property
    def signer(self) -> SignerClient:
        return SignerClient(self.directory / "data" / "signer" / "signer.sock")

    @property
    def book(self) -> VoucherBook:
        """The voucher book of an agent that does not run."""
        return VoucherBook(self.directory / "data" / "vouchers.sqlite")

    async def start(self) -> str:
        """The endpoint, once it serves."""
        path = self.directory / "agent.log"
        self.told_before = path.stat().st_size if path.exists() else 0
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        with path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cocoon", "agent", "run", str(self.directory / "agent.toml"),
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        await self.until(lambda: _SERVING.search(self.log[self.told_before :]) is not None, "serving")
        found = _SERVING.search(self.log[self.told_before :])
        assert found is not None
        return f"http://127.0.0.1:{int(found[1])}"

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process is not None
            assert self.process.returncode is None, f"the agent ended before {what}:\n{self.log[-4000:].decode()}"
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.log[-4000:].decode()}"
            await asyncio.sleep(0.05)

    async def signal(self, number: signal.Signals) -> int:
        """The status it ends with."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 40)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.signal(signal.SIGKILL)
        await self.signer.stop()


def _is_ready(world: World) -> bool:
    """Whether the offer and attested keys are on the chain."""
    view = world.worker_view()
    return bool(view.models) and view.session_key != 0


@pytest.fixture
async def market(executor: Executor) -> AsyncIterator[tuple[Operator, World, Channel, str]]:
    """An agent that serves, and a client's channel to it."""
    ledger = Ledger(executor, now=int(time.time()))
    world = World(ledger)
    ledger.observer = None
    wallet = Wallet(world.client_key)
    ledger.credit(wallet.address, 50 * TON)
    with tempfile.TemporaryDirectory(prefix="cocoon-") as directory:
        async with Network(ledger, block_interval=0.3) as network:
            operator = Operator(Path(directory))
            operator.configure(network, world)
            try:
                url = await operator.start()
                await operator.until(lambda: _is_ready(world), "registration")
                chain = await LiteChain.open(network.global_config())
                hpke = (await operator.signer.identity()).hpke_key
                with Client(chain, wallet, world.deployment, allow_simulated_tee=True) as client:
                    # this network's blocks begin after the transaction in which it would be found
                    client.store.remember_key(hpke.cell_hash, hpke.raw)
                    channel = await client.open(0, deposit=5 * TON, model_id=MODEL, term=86400, max_prices=_TERMS)
                    yield operator, world, channel, url
                await chain.close()
            finally:
                await operator.stop()
    ledger.check_conservation()


def _price(words: int, answered: int) -> int:
    return stream_price(_TERMS, words, 0, answered)


@pytest.mark.timeout(240)
async def test_agent_killed_in_mid_stream_goes_on_counting_and_signs_no_number_twice(
    market: tuple[Operator, World, Channel, str],
) -> None:
    """F-3, F-6: three times `kill -9` at work."""
    operator, _, channel, url = market
    seen: dict[Slot, int] = {}
    for _ in range(3):
        fast = await FastChannel.connect(channel, url, quantum_nano=_QUANTUM, patience_sec=10)
        for _ in range(2):
            _, finished = await collect(fast, "one two three four", max_fee=_QUANTUM)
            receipt = finished.receipt.receipt
            assert Slot.of(receipt) not in seen
            seen[Slot.of(receipt)] = receipt.fee_nano
        stream = fast.stream({"prompt": WORDS}, max_fee=_QUANTUM)
        assert isinstance(await anext(stream), Delta)
        assert await operator.signal(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises(StreamStalled) as caught:
            async for _ in stream:
                pass
        await fast.close()
        assert caught.value.paid_nano <= caught.value.verified_nano + _QUANTUM
        with contextlib.closing(operator.book) as book:
            record = await book.load(channel.address, fast.signed.epoch)
        assert record.cumulative == caught.value.paid_nano  # what it served on was on the disk
        assert record.receipts == len(seen)
        assert record.next_seq > max(slot.seq for slot in seen)
        url = await operator.start()
    async with contextlib.AsyncExitStack() as stack:
        fast = await FastChannel.connect(channel, url, quantum_nano=_QUANTUM)
        stack.push_async_callback(fast.close)
        _, finished = await collect(fast, "five six", max_fee=_QUANTUM)
        assert Slot.of(finished.receipt.receipt) not in seen
        assert fast._purse.receipts == len(seen) + 1
        received = sum(seen.values()) + finished.fee_nano
        assert fast.ledger.verified - received <= 3 * _price(200, 200)
        assert fast.ledger.promised <= fast.ledger.verified + _QUANTUM


@pytest.mark.timeout(240)
async def test_agent_told_to_stop_ends_its_streams_claims_and_leaves(
    market: tuple[Operator, World, Channel, str],
) -> None:
    """F-10: SIGTERM in mid-stream; the answer comes whole, with its receipt, and its voucher is claimed."""
    operator, _, channel, url = market
    fast = await FastChannel.connect(channel, url, quantum_nano=3 * TON, patience_sec=20)
    stream = fast.stream({"prompt": WORDS}, max_fee=3 * TON)
    first = await anext(stream)
    assert isinstance(first, Delta)
    stopping = asyncio.create_task(operator.signal(signal.SIGTERM))
    text, finished = first.text, None
    async for found in stream:
        if isinstance(found, Delta):
            text += found.text
        else:
            finished = found
    assert finished is not None
    assert finished.body["finish_reason"] == "stop"
    assert text == " ".join(WORDS.split()[::-1])
    assert await stopping == 0
    assert not fast.alive
    await fast.close()
    assert (await channel.state()).claimed_nano >= finished.fee_nano == _price(200, 200)
