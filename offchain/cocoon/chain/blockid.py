"""The name of a block, as lite servers and block proofs write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..errors import LyingServer

__all__ = ["MASTERCHAIN", "BlockId"]

MASTERCHAIN = -1


@dataclass(frozen=True, slots=True)
class BlockId:
    """tonNode.blockIdExt; `shard` is signed, -2^63 for a whole workchain."""

    workchain: int
    shard: int
    seqno: int
    root_hash: bytes
    file_hash: bytes

    @classmethod
    def from_tl(cls, value: Mapping[str, Any]) -> Self:
        """Read what the TL codec made of an answer. LyingServer if it is incomplete."""
        try:
            return cls(
                int(value["workchain"]),
                int(value["shard"]),
                int(value["seqno"]),
                bytes.fromhex(value["root_hash"]),
                bytes.fromhex(value["file_hash"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LyingServer(f"the lite server sent a malformed block name: {error}") from error

    def to_tl(self) -> dict[str, Any]:
        return {
            "workchain": self.workchain,
            "shard": self.shard,
            "seqno": self.seqno,
            "root_hash": self.root_hash.hex(),
            "file_hash": self.file_hash.hex(),
        }
