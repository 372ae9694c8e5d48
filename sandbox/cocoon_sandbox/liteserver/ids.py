"""Block names between TL dictionaries and this package."""

from __future__ import annotations

from typing import Any

from cocoon_sandbox.liteserver.errors import LiteError
from cocoon_sandbox.tlb.ids import FULL_SHARD, BlockId

__all__ = ["ANY_SEQNO", "block_id", "block_tl", "check_shard"]

ANY_SEQNO = 0xFFFFFFFF  # "whatever is newest", in getAccountState


def block_tl(block: BlockId) -> dict[str, Any]:
    """tonNode.blockIdExt (which holds the fields of tonNode.blockId and tonNode.zeroStateIdExt too)."""
    return {
        "workchain": block.workchain,
        "shard": FULL_SHARD,
        "seqno": block.seqno,
        "root_hash": block.root_hash,
        "file_hash": block.file_hash,
    }


def check_shard(shard: int) -> None:
    """There is one shard per workchain, and any prefix lies within it."""
    if shard == 0:
        raise LiteError("invalid shard: zero is no shard prefix")


def block_id(value: dict[str, Any]) -> BlockId:
    """Read tonNode.blockIdExt."""
    if value["shard"] & 0xFFFFFFFFFFFFFFFF != FULL_SHARD:
        raise LiteError(f"shard {value['shard'] & 0xFFFFFFFFFFFFFFFF:016x} does not exist: there is one per workchain")
    return BlockId(value["workchain"], value["seqno"] & 0xFFFFFFFF, value["root_hash"], value["file_hash"])
