"""Whether a newer masterchain block continues the one believed before, or a fork of it.

Signatures alone don't tell: validators that sign two histories make both look genuine. A block names the one before it,
and its state lists all earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytoniq_core import Cell

from ..errors import LyingServer
from .blockid import MASTERCHAIN, BlockId
from .boc import parse_roots
from .cells import Reader, Unreadable, lookup
from .head import Head
from .link import Link
from .proofs import block_header, master_extra, proven_root

__all__ = ["check_descends", "earlier_block"]


async def check_descends(link: Link, newer: Head, older: Head) -> None:
    """LyingServer unless `older` is among the ancestors of `newer`."""
    if newer.header.gen_utime < older.header.gen_utime:
        raise LyingServer(f"block {newer.id.seqno} claims to be older than block {older.id.seqno} before it: a fork")
    if newer.id.seqno == older.id.seqno + 1:
        previous = newer.header.previous
        if previous is None or previous.root_hash != older.id.root_hash:
            raise LyingServer(f"the lite server shows a fork: block {newer.id.seqno} does not follow the one before it")
        return
    await _walk_back(link, newer, older.id)


async def earlier_block(link: Link, head: Head, seqno: int) -> BlockId:
    """The ancestor of `head` with this number, both of its hashes proven. LyingServer if the server shows another."""
    wanted = {"workchain": MASTERCHAIN, "shard": head.id.shard, "seqno": seqno}
    answer = await link.query("lookupBlock", {"mode": 1, "id": wanted})
    found = BlockId.from_tl(answer["id"])
    if (found.workchain, found.seqno) != (MASTERCHAIN, seqno):
        raise LyingServer(f"the lite server was asked for block {seqno} and names another")
    previous = head.header.previous
    if seqno + 1 == head.id.seqno and previous is not None:
        if (previous.root_hash, previous.file_hash) != (found.root_hash, found.file_hash):
            raise _fork(head.id, found)
        return found
    await _walk_back(link, head, found)
    return found


async def _walk_back(link: Link, newer: Head, older: BlockId) -> None:
    """LyingServer unless masterchain states list `older`, hop by hop, among the ancestors of `newer`."""
    query = {"mode": 1, "known_block": newer.id.to_tl(), "target_block": older.to_tl()}
    at = newer.id
    while at != older:
        proof = await link.query("getBlockProof", {**query, "known_block": at.to_tl()})
        if not proof["steps"]:
            raise _fork(newer.id, older)
        for step in proof["steps"]:
            at = _step_back(step, at, older, newer.id)


def _step_back(step: Mapping[str, Any], at: BlockId, older: BlockId, newer: BlockId) -> BlockId:
    if "state_proof" not in step or BlockId.from_tl(step["from"]) != at:
        raise _fork(newer, older)
    target = BlockId.from_tl(step["to"])
    if not older.seqno <= target.seqno < at.seqno:
        raise _fork(newer, older)
    block, state = parse_roots(step["proof"], "a block"), parse_roots(step["state_proof"], "a block's history")
    if len(block) != 1 or len(state) != 1:
        raise LyingServer("the lite server's proof of a block's history is malformed")
    state_hash = block_header(proven_root(block[0], at.root_hash, f"block {at.seqno}")).state_hash
    if state_hash is None:
        raise LyingServer("the lite server's proof of a block's history does not show its state")
    listed = _listed(proven_root(state[0], state_hash, f"the history of block {at.seqno}"), target.seqno)
    if listed != (target.root_hash, target.file_hash):
        raise _fork(newer, older)
    return target


def _listed(state: Cell, seqno: int) -> tuple[bytes, bytes] | None:
    """Root and file hash of the earlier masterchain block `seqno` that a masterchain state lists; None if it lists
    none.
    """
    try:
        custom = Reader(master_extra(state))
        custom.expect(0xCC26, 16, "masterchain state")
        custom.maybe_ref()
        custom.skip(256)
        custom.ref()
        history = Reader(custom.ref())
        history.skip(16 + 65)
        leaf = lookup(history.maybe_ref(), seqno, 32)
        if leaf is None:
            return None
        leaf.skip(65 + 1 + 64)
        if leaf.uint(32) != seqno:
            raise Unreadable("it lists a block under another number")
        return leaf.raw(32), leaf.raw(32)
    except Unreadable as error:
        raise LyingServer(f"the lite server's proof of a block's history is malformed: {error}") from error


def _fork(newer: BlockId, older: BlockId) -> LyingServer:
    return LyingServer(
        f"the lite server shows a fork: its block {newer.seqno} does not continue block {older.seqno} seen before"
    )
