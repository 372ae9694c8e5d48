"""The network's configuration: today's mainnet prices on top of the small config that the executor is shipped with.

`base_config.b64` is the "slim" config of npm @ton/sandbox 0.41.0. Prices are those of basechain as of masterchain seqno
72,712,993; gas and forward prices of the masterchain are left as shipped. TVM version 13 is the newest whose rules the
executor really runs (it would accept a greater number and run older rules), so greater ones are refused.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

from pytoniq_core import Builder, Cell, Slice

from .boc import parse_boc
from .dictionary import read_dict, write_dict
from .errors import BadCell, ConfigError

__all__ = [
    "CAPABILITIES",
    "MAX_VERSION",
    "SANDBOX_GLOBAL_ID",
    "ForwardPrices",
    "GasPrices",
    "Prices",
    "StoragePrices",
    "config_param",
    "network_config",
    "with_params",
]

MAX_VERSION = 13
CAPABILITIES = 0x3EE
SANDBOX_GLOBAL_ID = -217  # neither mainnet (-239) nor testnet (-3): a signature made here is void there

_PARAM_VERSION, _PARAM_STORAGE, _PARAM_GLOBAL_ID = 8, 18, 19
_PARAM_GAS = {-1: 20, 0: 21}
_PARAM_FORWARD = {-1: 24, 0: 25}
_BASE_CONFIG = Path(__file__).parent / "base_config.b64"


def _ceil_shift16(value: int) -> int:
    return -(-value >> 16)


@dataclass(frozen=True, slots=True)
class GasPrices:
    """`GasLimitsPrices` with a flat part. `price` is nanoTON per gas unit, times 2^16."""

    flat_limit: int = 100
    flat_price: int = 6_667
    price: int = 4_369_067
    limit: int = 1_000_000
    special_limit: int = 1_000_000
    credit: int = 10_000
    block_limit: int = 10_000_000
    freeze_due_limit: int = 100_000_000
    delete_due_limit: int = 1_000_000_000

    def fee(self, gas: int) -> int:
        """nanoTON for `gas` units, rounded as the TVM rounds."""
        if gas <= self.flat_limit:
            return self.flat_price
        return self.flat_price + _ceil_shift16((gas - self.flat_limit) * self.price)

    def to_cell(self) -> Cell:
        cell = Builder().store_uint(0xD1, 8).store_uint(self.flat_limit, 64).store_uint(self.flat_price, 64)
        cell.store_uint(0xDE, 8)
        for number in (self.price, self.limit, self.special_limit, self.credit):
            cell.store_uint(number, 64)
        for number in (self.block_limit, self.freeze_due_limit, self.delete_due_limit):
            cell.store_uint(number, 64)
        return cell.end_cell()

    @classmethod
    def from_cell(cls, cell: Cell) -> Self:
        part = cell.begin_parse()
        if part.load_uint(8) != 0xD1:
            raise ConfigError("gas prices of this config have no flat part; take them from a current network")
        flat_limit, flat_price = part.load_uint(64), part.load_uint(64)
        if part.load_uint(8) != 0xDE:
            raise ConfigError("gas prices of this config are of an outdated form; take them from a current network")
        return cls(flat_limit, flat_price, *(part.load_uint(64) for _ in range(7)))


@dataclass(frozen=True, slots=True)
class ForwardPrices:
    """`MsgForwardPrices`: what one message costs. `bit` and `cell` are nanoTON times 2^16, fractions are of 2^16."""

    lump: int = 66_667
    bit: int = 4_369_067
    cell: int = 436_906_667
    ihr_factor: int = 98_304
    first_frac: int = 21_845
    next_frac: int = 21_845

    def fee(self, cells: int, bits: int) -> int:
        """nanoTON for a message of `cells` and `bits` below (not counting) its root cell."""
        return self.lump + _ceil_shift16(cells * self.cell + bits * self.bit)

    def sender_part(self, fee: int) -> int:
        """What validators of the sender's shard keep of `fee`; the rest travels in the message as its `fwd_fee`."""
        return fee * self.first_frac >> 16

    def to_cell(self) -> Cell:
        cell = Builder().store_uint(0xEA, 8).store_uint(self.lump, 64).store_uint(self.bit, 64)
        cell.store_uint(self.cell, 64).store_uint(self.ihr_factor, 32)
        return cell.store_uint(self.first_frac, 16).store_uint(self.next_frac, 16).end_cell()

    @classmethod
    def from_cell(cls, cell: Cell) -> Self:
        part = cell.begin_parse()
        if part.load_uint(8) != 0xEA:
            raise ConfigError("message prices of this config are of an unknown form")
        return cls(*(part.load_uint(width) for width in (64, 64, 64, 32, 16, 16)))


@dataclass(frozen=True, slots=True)
class StoragePrices:
    """`StoragePrices`: nanoTON per bit or cell and second, times 2^16; `mc_` is the masterchain."""

    bit: int = 0
    cell: int = 135
    mc_bit: int = 1_000
    mc_cell: int = 500_000
    since: int = 0

    def fee(self, cells: int, bits: int, seconds: int, workchain: int = 0) -> int:
        """nanoTON for keeping `cells` and `bits` for `seconds`."""
        bit, cell = (self.mc_bit, self.mc_cell) if workchain == -1 else (self.bit, self.cell)
        return _ceil_shift16((cells * cell + bits * bit) * seconds)

    def to_cell(self) -> Cell:
        cell = Builder().store_uint(0xCC, 8).store_uint(self.since, 32)
        for number in (self.bit, self.cell, self.mc_bit, self.mc_cell):
            cell.store_uint(number, 64)
        return cell.end_cell()

    @classmethod
    def from_slice(cls, part: Slice) -> Self:
        if part.load_uint(8) != 0xCC:
            raise ConfigError("storage prices of this config are of an unknown form")
        since = part.load_uint(32)
        bit, cell, mc_bit, mc_cell = (part.load_uint(64) for _ in range(4))
        return cls(bit, cell, mc_bit, mc_cell, since)


@dataclass(frozen=True, slots=True)
class Prices:
    """Everything a fee in one workchain is computed from; the defaults are basechain's prices today."""

    gas: GasPrices = field(default_factory=GasPrices)
    forward: ForwardPrices = field(default_factory=ForwardPrices)
    storage: StoragePrices = field(default_factory=StoragePrices)

    @classmethod
    @lru_cache(maxsize=16)  # a ledger asks with every message
    def from_config(cls, config: Cell, workchain: int = 0) -> Self:
        """The prices in force in `workchain` (0 or -1); of several storage prices, the newest."""
        params = _params(config)
        entries = read_dict(params[_PARAM_STORAGE], 32)
        return cls(
            gas=GasPrices.from_cell(params[_PARAM_GAS[workchain]]),
            forward=ForwardPrices.from_cell(params[_PARAM_FORWARD[workchain]]),
            storage=StoragePrices.from_slice(entries[max(entries)]),
        )


@lru_cache(maxsize=16)
def network_config(
    *, global_id: int = SANDBOX_GLOBAL_ID, version: int = MAX_VERSION, prices: Prices | None = None
) -> Cell:
    """The config cell (`Hashmap 32 ^Cell`) of a sandbox network.

    Executor and contracts see `global_id` as GLOBALID; `prices` are those of basechain and of storage everywhere.
    """
    if not 0 <= version <= MAX_VERSION:
        raise ConfigError(f"TVM version {version} is not what the executor runs; use {MAX_VERSION} or lower")
    if not -(1 << 31) <= global_id < 1 << 31:
        raise ConfigError(f"global id {global_id} does not fit 32 bits")
    prices = prices or Prices()
    storage = write_dict({0: prices.storage.to_cell()}, 32)
    assert storage is not None
    return with_params(
        parse_boc(base64.b64decode(_BASE_CONFIG.read_text())),
        {
            _PARAM_VERSION: Builder()
            .store_uint(0xC4, 8)
            .store_uint(version, 32)
            .store_uint(CAPABILITIES, 64)
            .end_cell(),
            _PARAM_STORAGE: storage,
            _PARAM_GLOBAL_ID: Builder().store_int(global_id, 32).end_cell(),
            _PARAM_GAS[0]: prices.gas.to_cell(),
            _PARAM_FORWARD[0]: prices.forward.to_cell(),
        },
    )


def config_param(config: Cell, number: int) -> Cell | None:
    """Parameter `number` (may be negative), None if this config does not have it."""
    return _params(config).get(number)


def with_params(config: Cell, changes: Mapping[int, Cell | None]) -> Cell:
    """`config` with parameters set, or removed where the value is None. ConfigError for a version above 13."""
    params = _params(config)
    for number, value in changes.items():
        if value is None:
            params.pop(number, None)
            continue
        if number == _PARAM_VERSION and value.begin_parse().skip_bits(8).load_uint(32) > MAX_VERSION:
            raise ConfigError(f"the executor runs TVM version {MAX_VERSION} at most; lower config parameter 8")
        params[number] = value
    packed = write_dict({n & 0xFFFFFFFF: Builder().store_ref(value).end_cell() for n, value in params.items()}, 32)
    if packed is None:
        raise ConfigError("a config without any parameter describes no network")
    return packed


def _params(config: Cell) -> dict[int, Cell]:
    try:
        found = read_dict(config, 32)
        return {key - (1 << 32) if key >> 31 else key: value.load_ref() for key, value in found.items()}
    except (BadCell, IndexError) as error:
        raise ConfigError(f"this cell is no network config: {error}") from error
