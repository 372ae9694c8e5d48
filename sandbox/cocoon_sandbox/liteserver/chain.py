"""getBlockProof, getShardBlockProof, lookupBlockWithProof: how blocks prove one another."""

from __future__ import annotations

from typing import Any

from cocoon_sandbox.liteserver import proofs
from cocoon_sandbox.liteserver.blocks import header_proof, lookup
from cocoon_sandbox.liteserver.errors import LiteError
from cocoon_sandbox.liteserver.ids import block_id, block_tl
from cocoon_sandbox.liteserver.node import Node
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.merkle import descend, merkle_proof
from cocoon_sandbox.tlb.ids import MASTERCHAIN, BlockId
from cocoon_sandbox.tlb.validators import CATCHAIN_SEQNO

__all__ = ["get_block_proof", "get_shard_block_proof", "lookup_block_with_proof"]

_TARGET_GIVEN = 1
_KEY_BLOCK_PARAMS = [28, 34, 35]

type Answer = tuple[str, dict[str, Any]]


def _masterchain(node: Node, value: dict[str, Any]) -> BlockId:
    block = block_id(value)
    if not block.is_masterchain:
        raise LiteError(f"block {block} is not a valid masterchain block id")
    node.archive.require(block)
    return block


def _key_block(node: Node, seqno: int) -> BlockId:
    """The last key block at or before `seqno`: block 1, before it the zerostate."""
    found = node.archive.find(MASTERCHAIN, min(seqno, 1))
    assert found is not None
    return found.id


async def get_block_proof(node: Node, query: dict[str, Any]) -> Answer:
    """A chain of links between two masterchain blocks: back through a state's list of blocks, forward by signatures.

    Signatures are checked with a key block's validator set, so the way forward first goes back to a key block.
    """
    source = _masterchain(node, query["known_block"])
    target = node.archive.last.id
    if query["mode"] & _TARGET_GIVEN:
        target = _masterchain(node, query["target_block"])
    steps: list[dict[str, Any]] = []
    at = source
    while at != target:
        if target.seqno < at.seqno:
            step = target
            steps.append(_back(node, at, step))
        else:
            key = _key_block(node, at.seqno)
            if key.seqno != at.seqno:
                step = key
                steps.append(_back(node, at, step))
            else:
                step = target if at.seqno else _key_block(node, 1)
                steps.append(_forward(node, at, step))
        at = step
    return "liteServer.partialBlockProof", {
        "complete": True,
        "from": block_tl(source),
        "to": block_tl(target),
        "steps": steps,
    }


def _dest_proof(node: Node, block: BlockId) -> bytes:
    if not block.seqno:
        return b""
    root = node.archive.root(block)
    return to_boc(merkle_proof(root, proofs.header_cells(root)))


def _old_block_proof(node: Node, newer: BlockId, older: BlockId) -> Cell:
    """Proof that the state after `newer` lists `older` among its previous blocks."""
    state = node.archive.state(newer)
    shown = proofs.state_top_cells(state.root) | proofs.old_block_cells(state.root, [older.seqno])
    return merkle_proof(state.root, shown)


def _back(node: Node, newer: BlockId, older: BlockId) -> dict[str, Any]:
    return {
        "@type": "liteServer.blockLinkBack",
        "to_key_block": older.seqno <= 1,
        "from": block_tl(newer),
        "to": block_tl(older),
        "dest_proof": _dest_proof(node, older),
        "proof": to_boc(proofs.block_state_proof(node.archive.root(newer))),
        "state_proof": to_boc(_old_block_proof(node, newer, older)),
    }


def _forward(node: Node, key: BlockId, newer: BlockId) -> dict[str, Any]:
    if key.seqno:
        root = node.archive.root(key)
        config = root.refs[3].refs[3].refs[-1]
        shown = proofs.header_cells(root) | proofs.mc_extra_cells(root)
    else:
        root = node.archive.state(key).root
        config = root.refs[3].refs[1]
        shown = proofs.state_top_cells(root)
    shown |= proofs.config_cells(config, _KEY_BLOCK_PARAMS)
    block = node.archive.require(newer)
    validator = node.validator
    return {
        "@type": "liteServer.blockLinkForward",
        "to_key_block": newer.seqno == 1,
        "from": block_tl(key),
        "to": block_tl(newer),
        "dest_proof": _dest_proof(node, newer),
        "config_proof": to_boc(merkle_proof(root, shown)),
        "signatures": {
            "@type": "liteServer.signatureSet.ordinary",
            "validator_set_hash": validator.set_hash(CATCHAIN_SEQNO),
            "catchain_seqno": CATCHAIN_SEQNO,
            "signatures": [{"node_id_short": validator.node_id, "signature": block.signature}],
        },
    }


def _shard_link(node: Node, shard: BlockId) -> tuple[BlockId, dict[str, Any]]:
    """The masterchain block that commits a basechain block, and the proof that it does."""
    master = node.archive.find(MASTERCHAIN, shard.seqno)
    assert master is not None
    root = node.archive.root(master.id)
    shown = proofs.header_cells(root) | proofs.mc_extra_cells(root) | descend(root.refs[3].refs[3].refs[0])
    return master.id, {"id": block_tl(shard), "proof": to_boc(merkle_proof(root, shown))}


async def get_shard_block_proof(node: Node, query: dict[str, Any]) -> Answer:
    """Links from a masterchain block to a basechain block; one is enough, every basechain block is committed."""
    block = block_id(query["id"])
    if block.is_masterchain or not block.seqno:
        raise LiteError("a shard block's proof is about a basechain block after the zerostate")
    node.archive.require(block)
    master, link = _shard_link(node, block)
    return "liteServer.shardBlockProof", {"masterchain_id": block_tl(master), "links": [link]}


async def lookup_block_with_proof(node: Node, query: dict[str, Any]) -> Answer:
    """lookupBlock with proofs from a masterchain block that the client trusts."""
    client = _masterchain(node, query["mc_block_id"])
    found = lookup(node, query).id
    if found.seqno > client.seqno:
        raise LiteError("specified mc block is older than block's masterchain ref")
    links: list[dict[str, Any]] = []
    master = found
    if not found.is_masterchain:
        master, link = _shard_link(node, found)
        links.append(link)
    state_proof = old_proof = previous_header = b""
    if master != client:
        state_proof = to_boc(proofs.block_state_proof(node.archive.root(client)))
        old_proof = to_boc(_old_block_proof(node, client, master))
    if query["mode"] & 6:
        previous = node.archive.find(found.workchain, found.seqno - 1)
        if previous is not None and previous.id.seqno:
            previous_header = to_boc(header_proof(node.archive.root(previous.id), 0, previous.id.is_masterchain))
    root = node.archive.root(found)
    return "liteServer.lookupBlockResult", {
        "id": block_tl(found),
        "mode": query["mode"],
        "mc_block_id": block_tl(master),
        "client_mc_state_proof": state_proof,
        "mc_block_proof": old_proof,
        "shard_links": links,
        "header": to_boc(header_proof(root, 0, found.is_masterchain)),
        "prev_header": previous_header,
    }
