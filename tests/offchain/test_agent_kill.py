"""`kill -9`, for real: an agent in a process of its own, on a network served over ADNL, dies at a random moment of
each job.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_world import SALT, TON, World, opcode
from pytoniq_core import Cell
from simulated_network import SEED

from cocoon.chain.lite import LiteChain
from cocoon.crypto.request import seal_request
from cocoon.crypto.response import ResponseKey, open_response
from cocoon.signer.client import SignerClient
from cocoon.signer.table import Slot
from cocoon.wire.common import Kind
from cocoon.wire.escrow import DeliverJob, PostJob
from cocoon.wire.worker import WorkerStatus
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message
from cocoon_sandbox.network import Network

_KILLS = 10
_SEED = 20
_LONGEST_LIFE_SEC = 2.0


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cocoon-") as made:
        yield Path(made)


class Operator:
    """Starts and kills agents that share one data directory."""

    def __init__(self, directory: Path, network: Network, world: World) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        (directory / "network.json").write_text(json.dumps(network.global_config()))
        (directory / "wallet").write_text("05" * 32)
        terms = "prompt_nano = 1000000000\ncached_nano = 0\ncompletion_nano = 2000000000\nfloor_fee_nano = 10000\n"
        (directory / "agent.toml").write_text(
            f'network = "network.json"\nregistry = "{world.deployment.registry.to_str()}"\nworker_index = 0\n'
            'data_dir = "data"\nwallet_key = "wallet"\nkernel = "agent_kernel:slow"\n'
            f"[terms]\n{terms}min_duration_sec = 30\n[pace]\nfirst_pause = 0.05\nlongest_pause = 0.5\n"
            f'[attestation]\nsource = "simulated"\nseed = "{SEED}"\nallow_simulated_tee = true\n'
        )
        self.signer = SignerClient(directory / "data" / "signer" / "signer.sock")

    async def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        with (self._directory / "agent.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cocoon.agent", str(self._directory / "agent.toml"),
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        assert await self._process.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """Both agent and signer, whatever state they are in."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self.signer.stop()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def log(self) -> str:
        return (self._directory / "agent.log").read_text()


async def _until(holds: Callable[[], bool], operator: Operator, what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert operator.is_running, f"the agent ended before {what}:\n{operator.log[-4000:]}"
        assert time.monotonic() < deadline, f"{what} did not happen:\n{operator.log[-4000:]}"
        await asyncio.sleep(0.05)


def _is_registered(world: World) -> bool:
    view = world.worker_view()
    return view.status == WorkerStatus.ACTIVE and bool(view.models)


async def _client_sends(network: Network, world: World, value: int, body: Cell, init: Cell | None = None) -> None:
    await network.send(Message(world.client.message(network.ledger, world.escrow, value, body, state_init=init)))
    await network.settle()


@pytest.mark.timeout(240)
async def test_agent_killed_at_random_moments_loses_and_doubles_nothing(executor: Executor, directory: Path) -> None:
    ledger = Ledger(executor, now=int(time.time()))
    world = World(ledger)
    ledger.observer = None
    moments = random.Random(_SEED)
    async with Network(ledger, block_interval=0.5) as network:
        operator = Operator(directory, network, world)
        await operator.start()
        try:
            await _until(lambda: _is_registered(world), operator, "registration")
            keys = await operator.signer.identity()
            init = world.deployment.escrow_state_init(world.client.address, world.worker, SALT)
            await _client_sends(network, world, 3 * TON, world.opening(), init)
            channel, paid = world.channel(), world.payout.balance(ledger)
            opened = network.ledger.account(world.escrow).last_lt
            requests = []
            for number in range(_KILLS):
                request, secret = seal_request({"prompt": f"job {number}"}, to=keys.hpke_key, binding=world.binding())
                requests.append((request, secret))
                await _client_sends(network, world, 2 * TON, PostJob(1, TON // 10, 3600, request).to_cell())
                await asyncio.sleep(moments.uniform(0, _LONGEST_LIFE_SEC))
                await operator.kill()
                await operator.start()
                await _until(lambda: not world.open_job, operator, f"the end of job {number}")
            await network.settle()

            chain = await LiteChain.open(network.global_config())
            history = await chain.transactions(world.escrow, after_lt=opened, limit=500)
            await chain.close()
            bodies = [done.in_msg.body for done in history if done.in_msg is not None and done.exit_code == 0]
            delivered = [DeliverJob.from_cell(body) for body in bodies if opcode(body) == DeliverJob.PREFIX[0]]
            assert [message.signed.receipt.seq for message in delivered] == list(range(1, _KILLS + 1))
            for number, (message, (request, secret)) in enumerate(zip(delivered, requests, strict=True)):
                digest = int.from_bytes(request.hash, "big")
                key = ResponseKey(secret, digest, Kind.FORCED_RECEIPT, number + 1)
                assert open_response(message.response, key).body == {"text": f"{number} job"}
                slot = Slot.of(message.signed.receipt)
                signed = await operator.signer.find(slot)
                assert signed is not None
                assert signed.signature == message.signed.signature
            fees = sum(message.signed.receipt.fee_nano for message in delivered)
            assert fees - 1000 <= world.payout.balance(ledger) - paid <= fees
            assert channel == world.channel()
            assert (await operator.signer.identity()) == keys
            ledger.check_conservation()
        finally:
            await operator.stop()
