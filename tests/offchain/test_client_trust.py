"""What a client demands of a network and of a worker before it trusts keys with a prompt: all from proven state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ledger_chain import LedgerChain
from protocol_world import ENDPOINT, MODEL, TERMS, TON, World, make_world, named_key
from pytoniq_core import Address, Cell
from simulated_network import SIMULATION

from cocoon.attestation.errors import SimulatedTeeRefused
from cocoon.attestation.trust import INTEL_ROOT_KEY
from cocoon.chain import Wallet
from cocoon.chain.base import AccountState
from cocoon.client import Client, check_network
from cocoon.client.workers import find_endpoint, read_worker
from cocoon.deployment import Deployment
from cocoon.errors import ClientError
from cocoon.wire.attestation import AttestationPolicy, AttestationStorage
from cocoon.wire.codec import Struct
from cocoon.wire.common import AttestedKeys
from cocoon.wire.registry import DenyMeasurement, RegistryStorage
from cocoon.wire.worker import WorkerStorage
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger

OTHER_CODE = 0xC0DE


@pytest.fixture
async def world(ledger: Ledger) -> World:
    wallets = [Wallet(named_key(name)) for name in ("owner", "operator", "client")]
    for wallet in wallets:
        ledger.credit(wallet.address, 100 * TON)
    return await make_world(LedgerChain(ledger, global_id=SANDBOX_GLOBAL_ID, block_sec=5, pause=0), *wallets)


@dataclass
class Altered:
    """A chain whose state of some accounts is another: what a network would show that decided otherwise."""

    chain: Any
    changes: dict[Address, Callable[[AccountState], AccountState]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)

    async def account(self, address: Address) -> AccountState:
        found: AccountState = await self.chain.account(address)
        return self.changes[address](found) if address in self.changes else found


def data[T: Struct](kind: type[T], change: Callable[[T], T]) -> Callable[[AccountState], AccountState]:
    """A change of an account's data."""

    def apply(account: AccountState) -> AccountState:
        assert account.data is not None
        return replace(account, data=change(kind.from_cell(account.data)).to_cell())

    return apply


def policy_of_registry(change: Callable[[AttestationPolicy], AttestationPolicy]) -> Any:
    def apply(found: RegistryStorage) -> RegistryStorage:
        known = found.measurements
        return replace(found, measurements=replace(known, attestation=change(known.attestation)))

    return data(RegistryStorage, apply)


def policy_of_attestation(change: Callable[[AttestationPolicy], AttestationPolicy]) -> Any:
    return data(AttestationStorage, lambda found: replace(found, policy=change(found.policy)))


def intel(policy: AttestationPolicy) -> AttestationPolicy:
    x, y = (int.from_bytes(half) for half in (INTEL_ROOT_KEY[:32], INTEL_ROOT_KEY[32:]))
    return replace(policy, root_key_x=x, root_key_y=y)


def other_store(policy: AttestationPolicy) -> AttestationPolicy:
    return replace(policy, store_code=Cell.empty())


def other_children(found: Any) -> Any:
    """A policy whose Attestation is a contract nobody knows."""
    policy = found.policy
    return replace(found, policy=replace(policy, children=replace(policy.children, attestation_code_hash=OTHER_CODE)))


def keys(**changes: int) -> Callable[[WorkerStorage], WorkerStorage]:
    def apply(found: WorkerStorage) -> WorkerStorage:
        known: AttestedKeys = found.people.keys
        return replace(found, people=replace(found.people, keys=replace(known, **changes)))

    return apply


async def open_channel(world: World, chain: Any = None, **changes: Any) -> None:
    client = Client(chain or world.chain, world.client, world.deployment, allow_simulated_tee=True)
    await client.open(0, deposit=TON, model_id=MODEL, term=86400, max_prices=TERMS, **changes)


async def test_network_under_a_simulated_root_is_refused_unless_allowed(world: World) -> None:
    with pytest.raises(SimulatedTeeRefused, match="allow_simulated_tee=True"):
        await check_network(world.chain, world.deployment)
    before = (await world.chain.account(world.client.address)).balance
    client = Client(world.chain, world.client, world.deployment)
    with pytest.raises(SimulatedTeeRefused, match="nothing would be confidential"):
        await client.open(0, deposit=TON, model_id=MODEL, term=86400, max_prices=TERMS)
    assert (await world.chain.account(world.client.address)).balance == before
    found = await check_network(world.chain, world.deployment, allow_simulated_tee=True)
    assert found.root == SIMULATION.root
    assert "NOTHING IS CONFIDENTIAL" in str(found.banner)


async def test_network_under_intels_root_needs_no_allowance_and_has_no_banner(world: World) -> None:
    registry, attestation = world.deployment.registry, world.deployment.attestation
    chain = Altered(world.chain, {registry: policy_of_registry(intel), attestation: policy_of_attestation(intel)})
    assert (await check_network(chain, world.deployment)).banner is None


@pytest.mark.parametrize("which", ["registry", "attestation"])
async def test_network_half_way_from_a_simulated_root_is_still_refused(world: World, which: str) -> None:
    """What is decided may be brought into force by anyone, and what is in force decides until then."""
    address = getattr(world.deployment, which)
    change = policy_of_registry(intel) if which == "registry" else policy_of_attestation(intel)
    chain = Altered(world.chain, {address: change})
    with pytest.raises(SimulatedTeeRefused):
        await check_network(chain, world.deployment)
    assert (await check_network(chain, world.deployment, allow_simulated_tee=True)).banner is not None


async def test_network_with_contracts_this_version_does_not_know_is_refused(world: World) -> None:
    registry, attestation, worker = world.deployment.registry, world.deployment.attestation, world.agent.address
    for address, change, complaint in (
        (registry, lambda found: replace(found, code_hash=bytes(32)), "no Registry that this version knows"),
        (registry, data(RegistryStorage, other_children), "network's policy has quotes verified by a contract"),
        (registry, policy_of_registry(other_store), "judges platforms by a contract"),
        (attestation, policy_of_attestation(other_store), "judges platforms by a contract"),
        (attestation, lambda found: replace(found, data=Cell.empty()), "has no policy yet"),
        (worker, data(WorkerStorage, other_children), "this worker's policy has quotes verified by a contract"),
    ):
        with pytest.raises(ClientError, match=complaint):
            await open_channel(world, Altered(world.chain, {address: change}))
    with pytest.raises(ClientError, match="there is no registry"):
        await check_network(world.chain, Deployment(Address((0, b"\1" * 32))), allow_simulated_tee=True)


async def test_open_with_a_worker_whose_keys_are_not_to_be_trusted_costs_nothing(world: World) -> None:
    worker, own = world.agent.address, SIMULATION.measurement
    now = await world.chain.time()
    before = (await world.chain.account(world.client.address)).balance
    for change, asked, complaint in (
        (keys(measurement=0), None, "is not attested"),
        (lambda found: replace(found, lease_end=now), None, "attestation ended"),
        (keys(measurement=7), None, "not on the network's list"),
        (lambda found: found, 7, "not the 0{63}7 asked for"),
        (keys(measurement=7), own, "asked for"),
    ):
        chain = Altered(world.chain, {worker: data(WorkerStorage, change)})
        with pytest.raises(ClientError, match=complaint):
            await open_channel(world, chain, accepted_measurement=asked)
    assert (await world.chain.account(world.client.address)).balance == before
    trust = await check_network(world.chain, world.deployment, allow_simulated_tee=True)
    state = await read_worker(world.chain, worker)
    trust.check_worker(keys(measurement=7)(state), now, accepted_measurement=7)  # named, so it need not be listed
    trust.check_worker(replace(state, lease_end=now + 1), now)
    await open_channel(world, accepted_measurement=own)


async def test_open_with_a_worker_of_a_denied_measurement_is_refused_even_if_named(world: World) -> None:
    deny = DenyMeasurement(1, SIMULATION.measurement).to_cell()
    await world.owner.send(world.chain, world.deployment.registry, TON // 10, deny)
    while not (await check_network(world.chain, world.deployment, allow_simulated_tee=True)).measurements.denied:
        await world.chain.next_block()
    for named in (None, SIMULATION.measurement):
        with pytest.raises(ClientError, match="which the network has denied"):
            await open_channel(world, accepted_measurement=named)


async def test_open_with_a_worker_whose_lease_lapsed_is_refused_until_it_attests_anew(
    world: World, ledger: Ledger
) -> None:
    ledger.advance(8 * 86400)
    await world.chain.next_block()
    with pytest.raises(ClientError, match=r"attestation ended \d+ s ago"):
        await open_channel(world)
    done = await world.agent.attest()
    assert done.posting == ()  # Intel's documents last longer than a lease
    assert done.verdict.attest_seq == 2
    await open_channel(world)


async def test_job_on_a_network_that_turned_to_a_simulated_root_is_not_posted(world: World) -> None:
    """Anyone may rebind a channel, and its new keys may have been attested under whatever is in force by then."""
    client = Client(world.chain, world.client, world.deployment, allow_simulated_tee=True)
    channel = await client.open(0, deposit=TON, model_id=MODEL, term=86400, max_prices=TERMS)
    client.allow_simulated_tee = False
    before = (await world.chain.account(world.client.address)).balance
    with pytest.raises(SimulatedTeeRefused):
        await channel.post_job({"prompt": "hello"}, max_fee=TON // 5, duration=60)
    assert (await world.chain.account(world.client.address)).balance == before


async def test_endpoint_is_that_of_the_keys_in_force(world: World) -> None:
    assert await find_endpoint(world.chain, world.agent.address) == ENDPOINT
    chain = Altered(world.chain, {world.agent.address: data(WorkerStorage, keys(session_key=5))})
    assert await find_endpoint(chain, world.agent.address) is None
