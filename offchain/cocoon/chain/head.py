"""The newest believed masterchain block, and the key block that the next one will be believed by."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ChainError, LyingServer
from .blockid import BlockId
from .boc import parse_roots
from .link import Link
from .links import check_forward_link
from .proofs import BlockHeader, block_header, proven_root

__all__ = ["Head", "Trust", "init_block"]


@dataclass(frozen=True, slots=True)
class Head:
    """A proven masterchain block."""

    id: BlockId
    header: BlockHeader


def init_block(config: dict[str, Any]) -> BlockId:
    """The block that a global configuration says to start believing at. ChainError if there is none."""
    try:
        block = dict(config["validator"]["init_block"])
        for name in ("root_hash", "file_hash"):
            block[name] = base64.b64decode(block[name]).hex()
        return BlockId.from_tl(block)
    except (KeyError, TypeError, ValueError, LyingServer) as error:
        raise ChainError(f"the global configuration has no usable init_block ({error}); get a new one") from error


class Trust:
    """Walks from the init block to newer blocks by validator signatures, remembering the last key block.

    `memory` is a file that saves the walk at the next start; it may be deleted at any time.
    """

    def __init__(self, start: BlockId, memory: Path | None = None) -> None:
        self._start = start
        self._memory = memory
        self._key_block = self._recall() or start

    async def prove(self, link: Link, target: BlockId) -> Head:
        """Believe `target`, or say why not. LyingServer if any step fails."""
        if target.seqno == self._key_block.seqno:
            if target != self._key_block:
                raise LyingServer(
                    f"the lite server shows a fork: its block {target.seqno} is not the one the signatures lead to"
                )
            return Head(target, await self._header(link, target))
        known, header = self._key_block, None
        while known != target:
            if known.seqno >= target.seqno:
                raise LyingServer(f"the lite server can't prove its block {target.seqno}: it lies on another fork")
            query = {"mode": 1, "known_block": known.to_tl(), "target_block": target.to_tl()}
            proof = await link.query("getBlockProof", query)
            steps = proof["steps"]
            if not steps:
                raise LyingServer(f"the lite server gives no proof of its block {target.seqno}")
            for step in steps:
                known, header = check_forward_link(step, known)
                if header.key_block:
                    self._key_block = known
                    self._remember()
        assert header is not None
        return Head(target, header)

    async def _header(self, link: Link, block: BlockId) -> BlockHeader:
        answer = await link.query("getBlockHeader", {"id": block.to_tl(), "mode": 0})
        roots = parse_roots(answer["header_proof"], "a block header")
        if len(roots) != 1:
            raise LyingServer("the lite server's proof of a block header is malformed")
        return block_header(proven_root(roots[0], block.root_hash, f"block {block.seqno}"))

    def _recall(self) -> BlockId | None:
        if self._memory is None or not self._memory.is_file():
            return None
        try:
            saved = json.loads(self._memory.read_text())
            if saved["init_block"] != self._start.root_hash.hex():
                return None
            return BlockId.from_tl(saved["key_block"])
        except (ValueError, KeyError, TypeError, LyingServer):
            return None  # a damaged memory costs a longer walk, nothing else

    def _remember(self) -> None:
        if self._memory is None:
            return
        text = json.dumps({"init_block": self._start.root_hash.hex(), "key_block": self._key_block.to_tl()})
        draft = self._memory.with_name(self._memory.name + ".new")
        draft.write_text(text)
        os.replace(draft, self._memory)
