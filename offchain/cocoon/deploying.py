"""Putting Registry, Slashing and Attestation on a network: plan, message, verification.

Everything in a plan follows from the rules and the committed code, so two people who plan the same rules get the same
addresses. The contracts are sent in one wallet transaction, whose message can be signed on a machine without a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytoniq_core import Address, Cell

from cocoon_sandbox.boc import count_cells

from .chain.base import Chain
from .chain.cells import Reader, Unreadable
from .chain.wallet import Transfer, format_ton
from .contracts_build import load
from .deployment import (
    Deployment,
    Rules,
    attestation_data,
    attestation_state_init,
    registry_state_init,
    slashing_state_init,
)
from .errors import DeployError
from .fees import Fees, Prices
from .wire.registry import RegistryStorage, SyncAttestation

__all__ = ["MAINNET_PRICES", "Plan", "PlannedContract", "missing", "plan", "planned_in", "verify"]

RENT_YEARS = 10
_SPARE_NANO = 50_000_000
# Basechain prices at mainnet's masterchain block 72,712,993: what a machine without a network plans with.
MAINNET_PRICES = Prices(
    storage_bit=0, storage_cell=135, flat_gas_limit=100, flat_gas_price=6667, gas_price=4369067, lump=66667,
    forward_bit=4369067, forward_cell=436906667,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlannedContract:
    """A contract to deploy with `value_nano`, which it keeps as rent. `data`: what it holds when all is done."""

    name: str
    state_init: Cell
    value_nano: int
    data: Cell

    @property
    def address(self) -> Address:
        return Address((0, self.state_init.hash))

    @property
    def code_hash(self) -> bytes:
        digest: bytes = self.state_init.refs[0].hash
        return digest

    @property
    def data_hash(self) -> bytes:
        digest: bytes = self.data.hash
        return digest

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "address": self.address.to_str(is_user_friendly=False),
            "code_hash": self.code_hash.hex(),
            "data_hash": self.data_hash.hex(),
            "value_nano": self.value_nano,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """`fees_nano` is an upper estimate of what the wallet pays on top of the contracts' values. `sync_nano` goes with
    the message that has the Registry give Attestation its policy; 0 if that has happened.
    """

    registry: Address
    contracts: tuple[PlannedContract, ...]
    fees_nano: int
    sync_nano: int

    @property
    def total_nano(self) -> int:
        return sum(contract.value_nano for contract in self.contracts) + self.sync_nano + self.fees_nano

    def transfers(self) -> list[Transfer]:
        """The messages that carry it out. They don't bounce, so that a racing deployment costs nothing but its rent."""
        made = [
            Transfer(contract.address, contract.value_nano, None, contract.state_init, bounce=False)
            for contract in self.contracts
        ]
        if self.sync_nano:
            made.append(Transfer(self.registry, self.sync_nano, SyncAttestation(0).to_cell(), None, bounce=False))
        return made


def plan(rules: Rules, prices: Prices = MAINNET_PRICES) -> Plan:
    """What the deployment of `rules` consists of and costs."""
    registry = registry_state_init(rules)
    contracts = _contracts(registry, prices)
    if contracts[0].address != Deployment.of(rules).registry:
        raise DeployError(
            "the Registry's address is not what its StateInit gives; rebuild with `cocoon contracts build`"
        )
    fees = prices.gas_fee(10_000)
    for contract in contracts:
        cells, bits = count_cells(contract.state_init)
        fees += 2 * prices.forward_fee(bits, cells + 2)
    return Plan(contracts[0].address, contracts, fees, Fees(prices).sync_attestation())


def _contracts(registry: Cell, prices: Prices) -> tuple[PlannedContract, ...]:
    """What belongs to a Registry with this StateInit."""
    address = Address((0, registry.hash))
    first_policy = RegistryStorage.from_cell(registry.refs[1]).measurements.attestation
    return tuple(
        PlannedContract(name, init, _rent(init, prices), init.refs[1] if data is None else data)
        for name, init, data in (
            ("Registry", registry, None),
            ("Slashing", slashing_state_init(), None),
            ("Attestation", attestation_state_init(address), attestation_data(address, first_policy)),
        )
    )


def _rent(state_init: Cell, prices: Prices) -> int:
    cells, bits = count_cells(state_init)
    return prices.storage_fee(RENT_YEARS * 365 * 86400, bits, cells) + _SPARE_NANO


async def missing(chain: Chain, wanted: Plan) -> Plan:
    """`wanted` without what has been done already. DeployError if an address holds other code."""
    absent, ready = [], False
    for contract in wanted.contracts:
        account = await chain.account(contract.address)
        if account.status in ("nonexist", "uninit"):
            absent.append(contract)
        elif account.status != "active" or account.code_hash != contract.code_hash:
            raise DeployError(f"{contract.name} {_name(contract)} is {account.status} with other code than planned")
        elif contract.name == "Attestation":
            ready = account.data is not None and bool(account.data.refs)
    if ready and not absent:
        return replace(wanted, contracts=(), fees_nano=0, sync_nano=0)
    return replace(wanted, contracts=tuple(absent))


async def verify(chain: Chain, contracts: Sequence[PlannedContract], *, data_too: bool = True) -> None:
    """Compare the proven state of each contract with the plan: code hash and, for fresh ones, data hash."""
    for contract in contracts:
        account = await chain.account(contract.address)
        if account.status != "active":
            raise DeployError(
                f"{contract.name} {_name(contract)} is {account.status} after the deployment; it was sent "
                f"{format_ton(contract.value_nano)}. Look at its transactions, then run this again"
            )
        if account.code_hash != contract.code_hash:
            raise DeployError(f"{contract.name} {_name(contract)} runs other code than planned")
        if data_too and (account.data is None or account.data.hash != contract.data_hash):
            raise DeployError(
                f"{contract.name} {_name(contract)} holds other data than planned: somebody used it already"
            )


def planned_in(message: Cell) -> tuple[Address, Plan]:
    """(wallet, plan) of a signed deployment message. DeployError if it is something else."""
    try:
        outer = Reader(message)
        outer.expect(0b10, 2, "signed external message")
        outer.address()
        wallet = outer.address()
        body = Reader(message.refs[-1])
        body.skip(512 + 32 + 32 + 32 + 8)
        sent = []
        while body.bits_left >= 8:
            body.skip(8)
            sent.append(_sent(Reader(body.ref())))
    except (Unreadable, IndexError) as error:
        raise DeployError(f"this file holds no signed deployment: {error}") from error
    if wallet is None or not sent:
        raise DeployError("this file holds no signed deployment; make one with --offline")
    return wallet, _plan_of(sent)


@dataclass(frozen=True, slots=True)
class _Sent:
    to: Address
    value_nano: int
    state_init: Cell | None
    body: Cell | None


def _sent(message: Reader) -> _Sent:
    message.skip(4)
    message.address()
    to = message.address()
    value = message.currency()
    message.coins()
    message.coins()
    message.skip(96)
    init = None
    if message.uint(1):
        if not message.uint(1):
            raise Unreadable("it holds a StateInit where none of ours lies")
        init = message.ref()
    if to is None:
        raise Unreadable("it sends a message to nobody")
    return _Sent(to, value, init, message.ref() if message.uint(1) else None)


def _plan_of(sent: Sequence[_Sent]) -> Plan:
    """What these messages deploy, in full or in part. DeployError if they do anything else."""
    registry = next(
        (item.state_init for item in sent if item.state_init and item.state_init.refs[0].hash == load("Registry").hash),
        None,
    )
    if registry is None:
        raise DeployError("this file deploys no Registry of this version; make one with --offline")
    known = {contract.address: contract for contract in _contracts(registry, MAINNET_PRICES)}
    contracts, sync_nano = [], 0
    for item in sent:
        if item.to in known and item.state_init is not None and item.to == Address((0, item.state_init.hash)):
            contracts.append(replace(known[item.to], value_nano=item.value_nano))
        elif item.to == Address((0, registry.hash)) and item.body == SyncAttestation(0).to_cell():
            sync_nano = item.value_nano
        else:
            raise DeployError(f"this file also sends a message to {item.to.to_str()}: that is no part of a deployment")
    return Plan(Address((0, registry.hash)), tuple(contracts), 0, sync_nano)


def _name(contract: PlannedContract) -> str:
    name: str = contract.address.to_str(is_user_friendly=False)
    return name
