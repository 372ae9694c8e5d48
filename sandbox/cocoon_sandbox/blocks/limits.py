"""How much goes into one block: configuration parameters 22 and 23."""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Cell as ForeignCell

from cocoon_sandbox.blocks.convert import from_pytoniq
from cocoon_sandbox.config import config_param
from cocoon_sandbox.errors import ConfigError
from cocoon_sandbox.state.builder import Slice

__all__ = ["BlockLimits"]

_PARAM = {-1: 22, 0: 23}


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """Soft limits: bytes, gas, and logical time between a block's first and last transaction."""

    bytes: int
    gas: int
    lt_delta: int

    @staticmethod
    def from_config(config: ForeignCell, workchain: int) -> BlockLimits:
        """The limits of masterchain or basechain blocks."""
        cell = config_param(config, _PARAM[workchain])
        if cell is None:
            raise ConfigError(f"this config has no parameter {_PARAM[workchain]}, the limits of a block")
        source = Slice(from_pytoniq(cell))
        source.uint(8)
        soft = []
        for _ in range(3):
            source.uint(8 + 32)
            soft.append(source.uint(32))
            source.uint(32)
        return BlockLimits(*soft)
