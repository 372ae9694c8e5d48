"""What carrying a message costs, from the network's own configuration; amounts in nanoTON."""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Cell

from ..chain.base import Chain
from ..errors import ChainError

__all__ = ["Prices", "read_prices"]

_GAS_PARAM = 21
_FORWARD_PARAM = 25
_SHIFT = 16
_FLAT_PREFIX = 0xD1
_GAS_PREFIXES = (0xDD, 0xDE)
_FORWARD_PREFIX = 0xEA


@dataclass(frozen=True, slots=True)
class Prices:
    """Basechain. `gas`, `bit` and `cell` are in 1/65536 nanoTON."""

    gas: int
    lump: int
    bit: int
    cell: int

    def gas_fee(self, gas: int) -> int:
        return -(-gas * self.gas >> _SHIFT)

    def forward_fee(self, body: Cell) -> int:
        """Of a message with this body in a cell of its own; cells that occur twice are counted twice."""
        bits, cells = _size(body)
        return self.lump + (-(-(bits * self.bit + cells * self.cell) >> _SHIFT))


async def read_prices(chain: Chain) -> Prices:
    """Config parameters 21 and 25. ChainError if they are of a form this version does not know."""
    found = await chain.config((_GAS_PARAM, _FORWARD_PARAM))
    try:
        gas = found[_GAS_PARAM].begin_parse()
        if gas.preload_uint(8) == _FLAT_PREFIX:
            gas.skip_bits(8 + 64 + 64)
        if gas.load_uint(8) not in _GAS_PREFIXES:
            raise ChainError("the network's gas prices have a form this version does not know: update cocoon")
        forward = found[_FORWARD_PARAM].begin_parse()
        if forward.load_uint(8) != _FORWARD_PREFIX:
            raise ChainError("the network's forward prices have a form this version does not know: update cocoon")
        return Prices(gas.load_uint(64), forward.load_uint(64), forward.load_uint(64), forward.load_uint(64))
    except KeyError as error:
        raise ChainError(f"the network has no configuration parameter {error}") from error


def _size(cell: Cell) -> tuple[int, int]:
    bits = cells = 0
    stack = [cell]
    while stack:
        node = stack.pop()
        bits += len(node.bits)
        cells += 1
        stack.extend(node.refs)
    return bits, cells
