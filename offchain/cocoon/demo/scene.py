"""What all acts of the story share: the stage, the network's rules, the workers, and the bill."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address

from ..agent.config import DEFAULT_TERMS
from ..attestation.simulation import Simulation
from ..chain.wallet import Wallet
from ..client.channel import Channel
from ..client.client import Client
from ..deployment import Deployment, Rules
from ..kernels.shelf import find_bundle
from ..registration import Registered
from ..wire.worker import WorkerStorage
from .playbill import Playbill
from .preparing import EMBEDDER, MODEL
from .stage import TON, AgentProcess, DemoFailed, Stage, agent_settings

__all__ = ["JOB_SEC", "MAX_FEE_NANO", "SYSTEM", "Scene", "WorkerSide"]

JOB_SEC = 120
SYSTEM = "You are a helpful assistant. Answer briefly and clearly."
MAX_FEE_NANO = TON // 10
_DAY_SEC = 86400


@dataclass(frozen=True, slots=True)
class WorkerSide:
    """A registered worker with its people: who owns it, who acts for it, where its earnings go."""

    registered: Registered
    owner: Wallet
    operator: Wallet
    cold: Address

    @property
    def index(self) -> int:
        return self.registered.index

    @property
    def address(self) -> Address:
        return self.registered.worker


@dataclass
class Scene:
    """`rules`, `deployment`, the workers and the client's wallet are there once the act that makes them is over."""

    stage: Stage
    bill: Playbill
    seed: str = field(default_factory=lambda: secrets.token_hex(16))
    # the second worker has no agent: this program holds its key, and is its dishonest operator
    rogue_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    model_id: int = field(default_factory=lambda: int.from_bytes(find_bundle(MODEL).model_id, "big"))
    embedder_id: int = field(default_factory=lambda: int.from_bytes(find_bundle(EMBEDDER).model_id, "big"))
    rules: Rules = field(init=False)
    deployment: Deployment = field(init=False)
    a: WorkerSide = field(init=False)
    b: WorkerSide = field(init=False)
    c: WorkerSide = field(init=False)
    client_wallet: Wallet = field(init=False)

    @property
    def simulation(self) -> Simulation:
        return Simulation(self.seed.encode())

    async def worker(self, side: WorkerSide) -> WorkerStorage:
        """Its contract's state, proven."""
        data = (await self.stage.chain.account(side.address)).data
        if data is None:
            raise DemoFailed("the worker's contract is gone")
        return WorkerStorage.from_cell(data)

    @contextlib.asynccontextmanager
    async def agent(self, name: str, side: WorkerSide, kernel: str) -> AsyncIterator[AgentProcess]:
        """The worker's agent with a model of the shelf, as a process of its own, for the time of the context."""
        settings = agent_settings(self.deployment.registry, side.index, kernel, self.seed)
        async with self.stage.agent(name, settings, side.operator) as agent:
            yield agent

    def client(self) -> Client:
        store = self.stage.home / "client.sqlite"
        return Client(self.stage.chain, self.client_wallet, self.deployment, store, allow_simulated_tee=True)

    async def open(self, client: Client, side: WorkerSide, name: str) -> Channel:
        channel = await client.open(
            side.index,
            deposit=TON,
            model_id=self.model_id,
            term=2 * _DAY_SEC,
            max_prices=DEFAULT_TERMS,
        )
        self.bill.name(channel.address, "Escrow")
        self.bill.record(f"OpenEscrow: {name}", channel.transactions)
        return channel
