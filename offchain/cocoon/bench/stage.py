"""A channel without a chain: one worker's endpoint and one client's channel over a state that is simply there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell

from ..agent.compute import Limits
from ..agent.kernel import StreamKernel
from ..agent.serving import StreamServer, StreamSettings
from ..agent.vouchers import VoucherBook
from ..chain.base import AccountState
from ..client.channel import Channel
from ..client.store import ClientStore, StoredChannel
from ..client.trust import NetworkTrust, check_network
from ..contracts_build import load
from ..crypto.ed25519 import public_key
from ..deployment import Deployment, Rules, attestation_data, attestation_policy, registry_data
from ..errors import ChainUnavailable
from ..signer.client import Signer
from ..wire.common import AttestedKeys, ModelTerms
from ..wire.escrow import Binding, EscrowIdentity, EscrowStatus, EscrowStorage, JobStatus

__all__ = ["TERMS", "ChannelStage", "StateChain"]

TERMS = ModelTerms(10**9, 25 * 10**7, 4 * 10**9, floor_fee_nano=10**7, min_duration_sec=60)
_EPOCH = 1_000_001
_NOW = 1_790_000_000
_RULES = Rules(owner=Address((0, b"\1" * 32)))


class StateChain:
    """A `Chain` of which only account states are asked. `offline` makes every call fail."""

    global_id = -217

    def __init__(self) -> None:
        self.now = _NOW
        self.states: dict[Address, Cell] = {}
        self.codes: dict[Address, bytes] = {}
        self.offline = False

    def show(self, address: Address, contract: str, data: Cell) -> None:
        """An account with the code of one of our contracts."""
        self.states[address], self.codes[address] = data, load(contract).hash

    async def time(self) -> int:
        self._check()
        return self.now

    async def account(self, address: Address) -> AccountState:
        self._check()
        data = self.states.get(address)
        if data is None:
            return AccountState(address, "nonexist", 0, None, None, 0, bytes(32))
        return AccountState(address, "active", 10**9, self.codes.get(address, bytes(32)), data, 1, bytes(32))

    def _check(self) -> None:
        if self.offline:
            raise ChainUnavailable("the lite server is gone")


@dataclass
class ChannelStage:
    """One escrow, active, bound to the signer's keys. `escrow_state` may be replaced, then `publish`ed."""

    signer: Signer
    kernel: StreamKernel
    directory: Path
    deposit: int = 10**9
    terms: ModelTerms = TERMS
    settings: StreamSettings = field(default_factory=StreamSettings)
    limits: Limits = field(default_factory=Limits)
    chain: StateChain = field(default_factory=StateChain)
    deployment: Deployment = field(default_factory=lambda: Deployment.of(_RULES))
    client_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    salt: int = 7

    def __post_init__(self) -> None:
        """The network's own contracts: what a client looks at before it gives anybody a prompt."""
        self.chain.show(self.deployment.registry, "Registry", registry_data(_RULES))
        policy = attestation_data(self.deployment.registry, attestation_policy(_RULES))
        self.chain.show(self.deployment.attestation, "Attestation", policy)

    async def _check_network(self) -> NetworkTrust:
        return await check_network(cast(Any, self.chain), self.deployment)

    @property
    def worker(self) -> Address:
        return self.deployment.worker(0)

    @property
    def client(self) -> Address:
        return Address((0, b"\2" * 32))

    @property
    def escrow(self) -> Address:
        return self.deployment.escrow(self.client, self.worker, self.salt)

    async def publish(self, **changes: Any) -> EscrowStorage:
        """The escrow's state, with changes, becomes what the chain shows."""
        identity = await self.signer.identity()
        keys = AttestedKeys(identity.session_key, identity.hpke_key.cell_hash, 0)
        binding = Binding(
            key_epoch=1,
            lease_end=_NOW + 86400,
            model_id=int.from_bytes(self.kernel.model_id, "big"),
            channel_end=_NOW + 86400,
            payout=Address((0, b"\3" * 32)),
            grace_sec=60,
            dispute_sec=3600,
            min_duration_sec=self.terms.min_duration_sec,
            floor_fee_nano=self.terms.floor_fee_nano,
            prompt_nano=self.terms.prompt_nano,
            cached_nano=self.terms.cached_nano,
            completion_nano=self.terms.completion_nano,
            volume_burn_bps=10,
            keys=keys,
        )
        state = EscrowStorage(
            deposit_nano=self.deposit,
            claimed_nano=0,
            counted_nano=0,
            status=EscrowStatus.ACTIVE,
            deadline=0,
            job_status=JobStatus.NONE,
            job_seq=0,
            job_deadline=0,
            job_funds_nano=0,
            job_max_fee_nano=0,
            job_request_digest=0,
            binding=binding,
            epoch=_EPOCH,
            client_key=public_key(self.client_key),
            identity=EscrowIdentity(self.deployment.registry, self.client, self.worker, self.salt),
        )
        state = replace(state, **changes)
        self.chain.states[self.escrow] = state.to_cell()
        return state

    def channel(self, store: ClientStore) -> Channel:
        """The client's channel; the store is told of it and of the worker's key, once."""
        if not store.channels():
            store.add_channel(
                StoredChannel(
                    self.escrow,
                    self.deployment.registry,
                    self.worker,
                    self.salt,
                    self.client_key.private_bytes_raw(),
                )
            )
        client = SimpleNamespace(
            chain=self.chain, store=store, wallet=None, deployment=self.deployment, check_network=self._check_network
        )
        return Channel(cast(Any, client), store.channel(self.escrow))

    async def remember_key(self, store: ClientStore) -> None:
        key = (await self.signer.identity()).hpke_key
        store.remember_key(key.cell_hash, key.raw)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[StreamServer, str]]:
        """The worker's endpoint: (server, URL). Its book is in `directory`."""
        with contextlib.closing(VoucherBook(self.directory / "vouchers.sqlite")) as book:
            server = StreamServer(
                cast(Any, self.chain),
                self.signer,
                book,
                self.kernel,
                self.deployment,
                self.worker,
                self.limits,
                listen="127.0.0.1:0",
                settings=self.settings,
            )
            running = asyncio.create_task(server.run())
            try:
                await server.ready.wait()
                yield server, f"http://127.0.0.1:{server.port}"
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
