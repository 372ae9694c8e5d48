"""getMasterchainInfo, getBlock, getBlockHeader, getState, lookupBlock, getAllShardsInfo, getShardInfo."""

from __future__ import annotations

import hashlib
from typing import Any

from cocoon_sandbox.blocks.store import StoredBlock
from cocoon_sandbox.liteserver import proofs
from cocoon_sandbox.liteserver.errors import NOT_READY, LiteError
from cocoon_sandbox.liteserver.ids import block_id, block_tl, check_shard
from cocoon_sandbox.liteserver.node import Node
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.builder import Builder
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.merkle import descend, merkle_proof
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId

__all__ = [
    "get_all_shards_info",
    "get_block",
    "get_block_header",
    "get_block_out_msg_queue_size",
    "get_masterchain_info",
    "get_masterchain_info_ext",
    "get_out_msg_queue_sizes",
    "get_shard_info",
    "get_state",
    "get_time",
    "get_version",
    "header_proof",
    "lookup",
    "lookup_block",
]

_VERSION, _CAPABILITIES = 0x101, 7  # as the reference node says
_MAX_STATE_SEQNO = 1000
_EXTERNAL_LIMIT = 8000
_NOWHERE = {"workchain": -(1 << 31), "shard": 0, "seqno": 0, "root_hash": bytes(32), "file_hash": bytes(32)}

type Answer = tuple[str, dict[str, Any]]


async def get_time(node: Node, query: dict[str, Any]) -> Answer:
    """The network's time, which time travel moves."""
    return "liteServer.currentTime", {"now": node.now()}


async def get_version(node: Node, query: dict[str, Any]) -> Answer:
    """Version of the lite-server API."""
    return "liteServer.version", {"mode": 0, "version": _VERSION, "capabilities": _CAPABILITIES, "now": node.now()}


async def get_masterchain_info(node: Node, query: dict[str, Any]) -> Answer:
    """The last masterchain block."""
    last = node.archive.last
    return "liteServer.masterchainInfo", {
        "last": block_tl(last.id),
        "state_root_hash": node.archive.state(last.id).root.hash,
        "init": block_tl(node.zerostate),
    }


async def get_masterchain_info_ext(node: Node, query: dict[str, Any]) -> Answer:
    """The last masterchain block, with times and version."""
    if query["mode"] & 0x7FFFFFFF:
        raise LiteError("unsupported getMasterchainInfo mode")
    _, info = await get_masterchain_info(node, query)
    times = {"last_utime": node.archive.last.gen_utime, "now": node.now()}
    return "liteServer.masterchainInfoExt", info | times | {
        "mode": 0,
        "version": _VERSION,
        "capabilities": _CAPABILITIES,
    }


async def get_block(node: Node, query: dict[str, Any]) -> Answer:
    """A block's bytes."""
    block = block_id(query["id"])
    node.archive.require(block)
    return "liteServer.blockData", {"id": query["id"], "data": node.archive.store.boc(block)}


async def get_state(node: Node, query: dict[str, Any]) -> Answer:
    """A whole state."""
    block = block_id(query["id"])
    if block.seqno > _MAX_STATE_SEQNO:
        raise LiteError("cannot request total state: possibly too large")
    node.archive.require(block)
    data = node.archive.store.boc(block) if not block.seqno else to_boc(node.archive.state(block).root)
    root_hash = block.root_hash if not block.seqno else node.archive.state(block).root.hash
    digest = hashlib.sha256(data).digest()
    return "liteServer.blockState", {"id": query["id"], "root_hash": root_hash, "file_hash": digest, "data": data}


def header_proof(root: Cell, mode: int, masterchain: bool) -> Cell:
    """Proof of a block's header.

    `mode` adds state update (1), value flow (2), extra (16), shards (32), signatures (64).
    """
    shown = proofs.header_cells(root)
    if mode & 1:
        shown.add(root.refs[2].hash)
    if mode & 2:
        shown |= descend(root.refs[1])
    if mode & 16:
        shown.add(root.refs[3].hash)
        if masterchain:
            shown |= proofs.mc_extra_cells(root)
            custom = root.refs[3].refs[3]
            if mode & 32:
                shown |= descend(custom.refs[0])
            if mode & 64:
                shown |= descend(proofs.signatures_cell(custom))
    return merkle_proof(root, shown)


async def get_out_msg_queue_sizes(node: Node, query: dict[str, Any]) -> Answer:
    """How many messages wait in each chain's outbound queue."""
    shards = []
    for workchain in (MASTERCHAIN, BASECHAIN):
        if query["mode"] & 1 and query["wc"] != workchain:
            continue
        found = node.archive.find(workchain, node.archive.last.id.seqno)
        assert found is not None
        shards.append({"id": block_tl(found.id), "size": node.archive.state(found.id).state.queue_size})
    return "liteServer.outMsgQueueSizes", {"shards": shards, "ext_msg_queue_size_limit": _EXTERNAL_LIMIT}


async def get_block_out_msg_queue_size(node: Node, query: dict[str, Any]) -> Answer:
    """How many messages wait in the outbound queue after a block, with a proof from the state."""
    block = block_id(query["id"])
    state = node.archive.state(block)
    proof = to_boc(proofs.block_state_proof(node.archive.root(block)), proofs.queue_proof(state.root))
    answer = {"mode": query["mode"], "id": query["id"], "size": state.state.queue_size, "proof": proof}
    return "liteServer.blockOutMsgQueueSize", answer


async def get_block_header(node: Node, query: dict[str, Any]) -> Answer:
    """A block's header with a proof."""
    block = block_id(query["id"])
    proof = header_proof(node.archive.root(block), query["mode"], block.is_masterchain)
    return "liteServer.blockHeader", {"id": query["id"], "mode": query["mode"], "header_proof": to_boc(proof)}


def lookup(node: Node, query: dict[str, Any]) -> StoredBlock:
    """The block that a lookupBlock query describes by seqno (1), logical time (2) or unix time (4)."""
    mode, wanted = query["mode"], query["id"]
    workchain = wanted["workchain"]
    check_shard(wanted["shard"])
    if mode & 7 not in (1, 2, 4):
        raise LiteError("exactly one of mode.0, mode.1 and mode.2 bits must be set")
    if workchain not in (MASTERCHAIN, BASECHAIN):
        raise LiteError(f"workchain {workchain} does not exist here", NOT_READY)
    if mode & 1:
        found = node.archive.find(workchain, wanted["seqno"] & 0xFFFFFFFF)
    elif mode & 2:
        found = node.archive.store.block_by_lt(workchain, query["lt"])
    else:
        found = node.archive.store.block_by_utime(workchain, query["utime"])
    if found is None or found.id.seqno > node.archive.last.id.seqno or not found.id.seqno:
        raise LiteError("block is not in db (possibly out of sync: shard client is too far behind)", NOT_READY)
    return found


async def lookup_block(node: Node, query: dict[str, Any]) -> Answer:
    """A block's name and header, by seqno, logical time or unix time."""
    found = lookup(node, query)
    mode = query["mode"] >> 4
    proof = header_proof(node.archive.root(found.id), mode, found.id.is_masterchain)
    return "liteServer.blockHeader", {"id": block_tl(found.id), "mode": mode, "header_proof": to_boc(proof)}


def _masterchain_block(node: Node, query: dict[str, Any]) -> BlockId:
    block = block_id(query["id"])
    if not block.is_masterchain:
        raise LiteError("reference block must belong to the masterchain")
    node.archive.require(block)
    return block


async def get_all_shards_info(node: Node, query: dict[str, Any]) -> Answer:
    """The dictionary of shards that a masterchain block commits."""
    block = _masterchain_block(node, query)
    root = node.archive.root(block)
    data = Builder().bit(1).ref(root.refs[3].refs[3].refs[0]).cell()
    proof = merkle_proof(root, proofs.mc_extra_cells(root))
    return "liteServer.allShardsInfo", {"id": query["id"], "proof": to_boc(proof), "data": to_boc(data)}


async def get_shard_info(node: Node, query: dict[str, Any]) -> Answer:
    """The description of one shard in a masterchain state."""
    block = _masterchain_block(node, query)
    state = node.archive.state(block)
    answer: dict[str, Any] = {
        "id": query["id"],
        "shardblk": _NOWHERE,
        "shard_proof": proofs.shard_proof(node.archive.root(block), state.root),
        "shard_descr": b"",
    }
    if query["workchain"] == BASECHAIN and query["shard"]:
        shard = node.archive.find(BASECHAIN, block.seqno)
        assert shard is not None
        # The dictionary has a single entry: its root is a leaf that refers to the tree of shards.
        answer["shardblk"] = block_tl(shard.id)
        answer["shard_descr"] = to_boc(proofs.shard_hashes_root(state.root).refs[0])
    return "liteServer.shardInfo", answer
