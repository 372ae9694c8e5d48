"""`examples/typescript`: a client in another language, from `scheme.tlb` alone, against a real agent on a local
network that it reaches through the toncenter HTTP API.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address

from cocoon.attestation.simulation import Simulation
from cocoon.chain.wallet import Transfer, Wallet
from cocoon.deploying import plan
from cocoon.deployment import Deployment
from cocoon.rules import parse_rules
from cocoon.signer.client import SignerClient
from cocoon.wire.common import WorkerRoles
from cocoon.wire.registry import RegisterWorker
from cocoon.wire.worker import WorkerStorage
from cocoon_sandbox import toolchain
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.errors import ToolchainError
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message
from cocoon_sandbox.network import Network
from cocoon_sandbox.toncenter import Toncenter

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "typescript"
KERNELS = ROOT / "tests" / "offchain"
MODEL = 0xABCDEF
TON = 10**9
AGENT = """network = "network.json"
registry = "{registry}"
worker_index = 0
data_dir = "data"
wallet_key = "wallet"
kernel = "agent_kernel:WordKernel"
[terms]
prompt_nano = 1000000000
cached_nano = 0
completion_nano = 2000000000
floor_fee_nano = 10000
min_duration_sec = 30
[pace]
first_pause = 0.05
longest_pause = 0.5
[attestation]
source = "simulated"
seed = "example"
allow_simulated_tee = true
"""


@dataclass
class Market:
    """A network with a worker, its agent at work, and what a client of another language is told of it."""

    network: Network
    worker: Address
    payout: Address
    settings: dict[str, str]


@pytest.fixture(scope="module")
def packages() -> Path:
    """The example's packages as its lock file has them, installed on first use."""
    try:
        return toolchain.npm_install(EXAMPLE, "example-typescript", "the TypeScript example's packages")
    except ToolchainError as error:
        pytest.skip(f"the example's packages can't be installed here: {error}")


@pytest.fixture
def checkout(packages: Path, tmp_path: Path) -> Path:
    """The example with its packages and the compiled contracts, as they lie in a checkout."""
    folder = tmp_path / "examples" / "typescript"
    folder.mkdir(parents=True)
    for file in (*EXAMPLE.glob("*.ts"), EXAMPLE / "package.json", EXAMPLE / "tsconfig.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "node_modules").symlink_to(packages / "node_modules")
    (tmp_path / "contracts").symlink_to(ROOT / "contracts")
    return folder


@pytest_asyncio.fixture
async def market(executor: Executor, tmp_path: Path) -> AsyncIterator[Market]:
    ledger = Ledger(executor, now=int(time.time()))
    owner, payout = ledger.treasury("owner", 1000 * TON), ledger.treasury("payout", TON)
    operator = Wallet(Ed25519PrivateKey.from_private_bytes(b"\5" * 32))
    words = await asyncio.to_thread(Wallet.new_mnemonic)
    for wallet in (operator, Wallet.from_mnemonic(words)):
        ledger.credit(wallet.address, 20 * TON)
    simulation = Simulation(b"example")
    rules = parse_rules(json.dumps(simulation.rules()), owner.address)
    deployment = Deployment.of(rules)
    roles = WorkerRoles(operator.address, payout.address, simulation.measurement)
    registration = RegisterWorker(1, 10 * TON, 2 * TON, roles).to_cell()
    async with Network(ledger, block_interval=0.5) as network:
        for sent in [*plan(rules).transfers(), Transfer(deployment.registry, 13 * TON, registration)]:
            message = owner.message(ledger, sent.to, sent.value, sent.body, state_init=sent.state_init)
            await network.send(Message(message))
            await network.settle()
        config = tmp_path / "network.json"
        config.write_text(json.dumps(network.global_config()))
        (tmp_path / "wallet").write_text("05" * 32)
        registry = deployment.registry.to_str(is_user_friendly=False)
        (tmp_path / "agent.toml").write_text(AGENT.format(registry=registry))
        toncenter = Toncenter(config, "127.0.0.1", 0)
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cocoon.agent", str(tmp_path / "agent.toml")),
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(KERNELS), os.environ.get("PYTHONPATH", "")])},
            stderr=(tmp_path / "agent.log").open("wb"),
        )
        try:
            await toncenter.start()
            await _offers(ledger, deployment.worker(0))
            settings = {
                "TONCENTER": f"{toncenter.url}/jsonRPC",
                "GLOBAL_ID": str(SANDBOX_GLOBAL_ID),
                "REGISTRY": registry,
                "WORKER": "0",
                "MODEL": str(MODEL),
                "MNEMONIC": words,
            }
            yield Market(network, deployment.worker(0), payout.address, settings)
        finally:
            agent.kill()
            await agent.wait()
            await SignerClient(tmp_path / "data" / "signer" / "signer.sock").stop()
            await toncenter.stop()


async def _offers(ledger: Ledger, worker: Address) -> None:
    """Wait until the agent has registered its keys and its offer."""
    async with asyncio.timeout(60):
        while True:
            data = ledger.account(worker).data
            if data is not None and WorkerStorage.from_cell(data).models:
                return
            await asyncio.sleep(0.1)


async def run_example(checkout: Path, market: Market, *arguments: str) -> dict[str, Any]:
    program = await asyncio.create_subprocess_exec(
        *(str(toolchain.node_binary()), "main.ts", *arguments),
        cwd=checkout,
        env={**os.environ, **market.settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await program.communicate()
    assert program.returncode == 0, complained.decode()[-3000:]
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.timeout(240)
async def test_example_opens_asks_pays_and_closes_through_toncenter(checkout: Path, market: Market) -> None:
    """The answer is the agent's, decrypted in TypeScript; the worker earns fee and voucher, the client the rest."""
    ledger = market.network.ledger
    earned_before = ledger.balance(market.payout)
    asked = await run_example(checkout, market, "ask", "one two three")
    assert asked["answer"] == {"text": "three two one"}
    fee, claimed = int(asked["fee"]), int(asked["claimed"])
    assert ledger.balance(market.payout) - earned_before >= fee + claimed - TON // 10_000
    assert 10_000 <= fee <= TON // 20
    await market.network.advance(asked["finishAt"] - ledger.now + 1)
    finished = await run_example(checkout, market, "finish")
    assert int(finished["returned"]) > TON // 5 - claimed
    assert ledger.account(Address(asked["escrow"])).status == "nonexist"
    ledger.check_conservation()


def test_example_is_well_typed(checkout: Path) -> None:
    compiler = checkout / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [str(toolchain.node_binary()), str(compiler)],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
