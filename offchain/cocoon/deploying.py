"""Putting a Registry and a Slashing contract on a network: plan, message, verification.

Everything in a plan follows from the rules and the committed code, so two people who plan the same rules get the same
addresses. The contracts are sent in one wallet transaction, whose message can be signed on a machine without a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytoniq_core import Address, Cell

from cocoon_sandbox.boc import count_cells

from .chain.base import Chain
from .chain.cells import Reader, Unreadable
from .chain.wallet import Transfer, format_ton
from .deployment import Deployment, Rules, registry_state_init, slashing_state_init
from .errors import DeployError
from .fees import Prices

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
    """A contract to deploy with `value_nano`, which it keeps as rent."""

    name: str
    state_init: Cell
    value_nano: int

    @property
    def address(self) -> Address:
        return Address((0, self.state_init.hash))

    @property
    def code_hash(self) -> bytes:
        digest: bytes = self.state_init.refs[0].hash
        return digest

    @property
    def data_hash(self) -> bytes:
        digest: bytes = self.state_init.refs[1].hash
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
    """`fees_nano` is an upper estimate of what the wallet pays on top of the contracts' values."""

    contracts: tuple[PlannedContract, ...]
    fees_nano: int

    @property
    def total_nano(self) -> int:
        return sum(contract.value_nano for contract in self.contracts) + self.fees_nano

    def transfers(self) -> list[Transfer]:
        """The messages that carry it out. They don't bounce, so that a racing deployment costs nothing but its rent."""
        return [
            Transfer(contract.address, contract.value_nano, None, contract.state_init, bounce=False)
            for contract in self.contracts
        ]


def plan(rules: Rules, prices: Prices = MAINNET_PRICES) -> Plan:
    """What the deployment of `rules` consists of and costs."""
    registry, slashing = registry_state_init(rules), slashing_state_init()
    contracts = (
        PlannedContract("Registry", registry, _rent(registry, prices)),
        PlannedContract("Slashing", slashing, _rent(slashing, prices)),
    )
    if contracts[0].address != Deployment.of(rules).registry:
        raise DeployError(
            "the Registry's address is not what its StateInit gives; rebuild with `cocoon contracts build`"
        )
    fees = prices.gas_fee(10_000)
    for contract in contracts:
        cells, bits = count_cells(contract.state_init)
        fees += 2 * prices.forward_fee(bits, cells + 2)
    return Plan(contracts, fees)


def _rent(state_init: Cell, prices: Prices) -> int:
    cells, bits = count_cells(state_init)
    return prices.storage_fee(RENT_YEARS * 365 * 86400, bits, cells) + _SPARE_NANO


async def missing(chain: Chain, wanted: Plan) -> Plan:
    """`wanted` without the contracts that are on the network already. DeployError if an address holds other code."""
    absent = []
    for contract in wanted.contracts:
        account = await chain.account(contract.address)
        if account.status in ("nonexist", "uninit"):
            absent.append(contract)
        elif account.status != "active" or account.code_hash != contract.code_hash:
            raise DeployError(f"{contract.name} {_name(contract)} is {account.status} with other code than planned")
    return Plan(tuple(absent), wanted.fees_nano if absent else 0)


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


def planned_in(message: Cell) -> tuple[Address, tuple[PlannedContract, ...]]:
    """(wallet, contracts) of a signed deployment message. DeployError if it is something else."""
    try:
        outer = Reader(message)
        outer.expect(0b10, 2, "signed external message")
        outer.address()
        wallet = outer.address()
        body = Reader(message.refs[-1])
        body.skip(512 + 32 + 32 + 32 + 8)
        contracts = []
        while body.bits_left >= 8:
            body.skip(8)
            contracts.append(_deployment_in(Reader(body.ref())))
    except (Unreadable, IndexError) as error:
        raise DeployError(f"this file holds no signed deployment: {error}") from error
    if wallet is None or not contracts:
        raise DeployError("this file holds no signed deployment; make one with --offline")
    return wallet, tuple(contracts)


def _deployment_in(message: Reader) -> PlannedContract:
    message.skip(4)
    message.address()
    to = message.address()
    value = message.currency()
    message.coins()
    message.coins()
    message.skip(96)
    if message.uint(2) != 0b11:
        raise Unreadable("it sends a message that deploys nothing")
    init = message.ref()
    names = {
        slashing_state_init().refs[0].hash: "Slashing",
        registry_state_init(Rules(owner=_NOBODY)).refs[0].hash: "Registry",
    }
    contract = PlannedContract(names.get(init.refs[0].hash, "unknown contract"), init, value)
    if to != contract.address:
        raise Unreadable("it sends a StateInit to another address than its own")
    return contract


_NOBODY = Address((0, bytes(32)))


def _name(contract: PlannedContract) -> str:
    name: str = contract.address.to_str(is_user_friendly=False)
    return name
