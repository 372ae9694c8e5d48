"""Names of blocks: BlockId, ShardIdent, ExtBlkRef."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.state.builder import Builder

__all__ = ["BASECHAIN", "FULL_SHARD", "MASTERCHAIN", "BlockId", "BlockRef", "write_shard_ident"]

MASTERCHAIN, BASECHAIN = -1, 0
FULL_SHARD = 1 << 63  # the only shard here, as an unsigned number


@dataclass(frozen=True, slots=True)
class BlockId:
    """tonNode.blockIdExt of a full shard: which block, and the hashes of its root cell and of its file."""

    workchain: int
    seqno: int
    root_hash: bytes
    file_hash: bytes

    @property
    def is_masterchain(self) -> bool:
        return self.workchain == MASTERCHAIN

    def __str__(self) -> str:
        return (
            f"({self.workchain},{FULL_SHARD:016x},{self.seqno}):{self.root_hash.hex().upper()}"
            f":{self.file_hash.hex().upper()}"
        )


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block with the logical time it ended at."""

    id: BlockId
    end_lt: int

    def write(self, builder: Builder) -> Builder:
        """Append ExtBlkRef."""
        builder.uint(self.end_lt, 64).uint(self.id.seqno, 32)
        return builder.raw(self.id.root_hash).raw(self.id.file_hash)


def write_shard_ident(builder: Builder, workchain: int) -> Builder:
    """Append the ShardIdent of a whole workchain."""
    return builder.uint(0, 2).uint(0, 6).sint(workchain, 32).uint(0, 64)
