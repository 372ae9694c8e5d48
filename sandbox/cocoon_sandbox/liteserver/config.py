"""getConfigAll, getConfigParams, getLibraries, getLibrariesWithProof."""

from __future__ import annotations

from typing import Any

from cocoon_sandbox.blocks.previous import previous_seqnos
from cocoon_sandbox.liteserver import proofs
from cocoon_sandbox.liteserver.errors import LiteError
from cocoon_sandbox.liteserver.ids import block_id, block_tl
from cocoon_sandbox.liteserver.node import Node
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.builder import Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.merkle import descend, merkle_proof
from cocoon_sandbox.tlb.ids import MASTERCHAIN

__all__ = ["get_config_all", "get_config_params", "get_libraries", "get_libraries_with_proof"]

_FROM_KEY_BLOCK = 0x8000
# Bits of `mode`: which parts of the state the client's reader will want besides the parameters it asks for.
_NEED_LIBRARIES, _NEED_SHARDS, _NEED_ACCOUNTS, _NEED_PREVIOUS = 2, 8, 64, 128
_NEED_PARAMS = {16: (28, 34, 35), 32: (31,), 256: (12,), 512: (8,)}
_ALWAYS_READ = (8,)
_MAX_LIBRARIES = 16
_NO_AUG = dictionary.NoAugmentation()

type Answer = tuple[str, dict[str, Any]]


async def get_config_all(node: Node, query: dict[str, Any]) -> Answer:
    """The whole configuration."""
    return _config(node, query, None)


async def get_config_params(node: Node, query: dict[str, Any]) -> Answer:
    """Some parameters."""
    numbers = [*query["param_list"], *_ALWAYS_READ]
    for bit, more in _NEED_PARAMS.items():
        if query["mode"] & bit:
            numbers.extend(more)
    return _config(node, query, numbers)


def _config(node: Node, query: dict[str, Any], numbers: list[int] | None) -> Answer:
    block = block_id(query["id"])
    mode = query["mode"] & 0xFFFF
    if not block.is_masterchain:
        raise LiteError("configuration parameters can be loaded with respect to a masterchain block only")
    node.archive.require(block)
    if mode & _FROM_KEY_BLOCK:
        key = node.archive.find(MASTERCHAIN, 1)
        assert key is not None
        root = node.archive.root(key.id)
        shown = proofs.header_cells(root) | proofs.mc_extra_cells(root)
        shown |= proofs.config_cells(root.refs[3].refs[3].refs[-1], numbers)
        answer = {"id": block_tl(key.id), "state_proof": b"", "config_proof": to_boc(merkle_proof(root, shown))}
        return "liteServer.configInfo", answer | {"mode": mode}
    state = node.archive.state(block)
    shown = proofs.state_top_cells(state.root) | proofs.config_cells(state.root.refs[3].refs[1], numbers)
    if mode & _NEED_PREVIOUS:
        shown |= proofs.old_block_cells(state.root, previous_seqnos(block.seqno))
    if mode & _NEED_SHARDS:
        shown |= descend(proofs.shard_hashes_root(state.root))
    if mode & _NEED_LIBRARIES:
        shown.update(cell.hash for cell in state.root.refs[2].refs)
    if mode & _NEED_ACCOUNTS:
        shown.add(state.root.refs[1].hash)
    return "liteServer.configInfo", {
        "mode": mode,
        "id": query["id"],
        "state_proof": to_boc(proofs.block_state_proof(node.archive.root(block))),
        "config_proof": to_boc(merkle_proof(state.root, shown)),
    }


def _library(libraries: dictionary.Node | None, digest: bytes) -> Cell | None:
    found = dictionary.get(libraries, int.from_bytes(digest, "big"), 256)
    return None if found is None else Slice(found.cell()).ref()


def _wanted(query: dict[str, Any]) -> list[bytes]:
    """The first 16 hashes asked for, sorted and each once, as the reference node answers them."""
    return sorted(set(query["library_list"][:_MAX_LIBRARIES]))


async def get_libraries(node: Node, query: dict[str, Any]) -> Answer:
    """Public libraries by hash; unknown ones are left out."""
    libraries = node.archive.state(node.archive.last.id).state.libraries
    found = [(digest, _library(libraries, digest)) for digest in _wanted(query)]
    entries = [{"hash": digest, "data": to_boc(cell)} for digest, cell in found if cell is not None]
    return "liteServer.libraryResult", {"result": entries}


async def get_libraries_with_proof(node: Node, query: dict[str, Any]) -> Answer:
    """Public libraries by hash with proofs, also of absence; mode 1 shows publishers, mode 2 leaves the code out."""
    block, mode = block_id(query["id"]), query["mode"]
    if not block.is_masterchain:
        raise LiteError("reference block must belong to the masterchain")
    state = node.archive.state(block)
    libraries = state.state.libraries
    shown = {state.root.hash, state.root.refs[2].hash}
    entries = []
    for digest in _wanted(query):
        key = int.from_bytes(digest, "big")
        shown.update(cell.hash for cell in dictionary.path(libraries, key, 256, _NO_AUG))
        cell = _library(libraries, digest)
        if cell is None:
            continue
        if mode & 1:
            entry = dictionary.get(libraries, key, 256)
            assert entry is not None
            shown |= descend(*entry.cell().refs[1:])
        entries.append({"hash": digest, "data": b"" if mode & 2 else to_boc(cell)})
    return "liteServer.libraryResultWithProof", {
        "id": query["id"],
        "mode": mode,
        "result": entries,
        "state_proof": to_boc(proofs.block_state_proof(node.archive.root(block))),
        "data_proof": to_boc(merkle_proof(state.root, shown)),
    }
