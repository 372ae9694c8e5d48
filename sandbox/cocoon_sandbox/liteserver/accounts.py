"""getAccountState, getAccountStatePrunned, runSmcMethod."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from pytoniq_core import Address as ForeignAddress

from cocoon_sandbox.account import AccountView
from cocoon_sandbox.blocks.convert import to_pytoniq
from cocoon_sandbox.blocks.sealed import SealedState
from cocoon_sandbox.boc import parse_boc
from cocoon_sandbox.boc import to_boc as foreign_boc
from cocoon_sandbox.errors import BadCell
from cocoon_sandbox.liteserver import proofs
from cocoon_sandbox.liteserver.errors import LiteError
from cocoon_sandbox.liteserver.ids import ANY_SEQNO, block_id, block_tl
from cocoon_sandbox.liteserver.node import Node
from cocoon_sandbox.stack import decode_stack, encode_stack
from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.builder import Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.merkle import descend, merkle_proof
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId

__all__ = ["get_account_state", "get_account_state_pruned", "run_smc_method"]

_NO_AUG = dictionary.NoAugmentation()
_NO_CODE = -0x100
_MAX_PARAMS = 65536


@dataclass(frozen=True, slots=True)
class _Located:
    """An account in the state of the block that answers for it. `entry` is its ShardAccount cell, None if absent."""

    base: BlockId
    block: BlockId
    state: SealedState
    shard_proof: bytes
    proof: bytes
    entry: Cell | None

    @property
    def account(self) -> Cell | None:
        return None if self.entry is None else Slice(self.entry).ref()


def _locate(node: Node, query: dict[str, Any]) -> _Located:
    """Find the account of a query as of its reference block."""
    archive = node.archive
    wanted = query["id"]
    workchain, account = query["account"]["workchain"], int.from_bytes(query["account"]["id"], "big")
    if wanted["seqno"] & 0xFFFFFFFF == ANY_SEQNO and wanted["workchain"] == MASTERCHAIN:
        base = archive.last.id
    else:
        base = block_id(wanted)
    if base.workchain not in (MASTERCHAIN, workchain):
        raise LiteError("reference block for a getAccountState() must belong to the masterchain")
    if workchain not in (MASTERCHAIN, BASECHAIN):
        raise LiteError(f"workchain {workchain} does not exist here")
    state = archive.state(base)
    shard_proof = b""
    block = base
    if base.workchain != workchain:
        found = archive.find(workchain, base.seqno)
        assert found is not None
        block = found.id
        shard_proof = proofs.shard_proof(archive.root(base), state.root)
        state = archive.state(block)
    value = dictionary.get(state.state.accounts, account, 256)
    return _Located(
        base=base,
        block=block,
        state=state,
        shard_proof=shard_proof,
        proof=proofs.account_state_proof(archive.root(block), state, account),
        entry=None if value is None else value.cell(),
    )


def _account_state(located: _Located, data: bytes) -> tuple[str, dict[str, Any]]:
    return "liteServer.accountState", {
        "id": block_tl(located.base),
        "shardblk": block_tl(located.block),
        "shard_proof": located.shard_proof,
        "proof": located.proof,
        "state": data,
    }


async def get_account_state(node: Node, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The whole account."""
    located = _locate(node, query)
    return _account_state(located, to_boc(located.account) if located.account is not None else b"")


async def get_account_state_pruned(node: Node, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The account without code, data and libraries, as a Merkle proof."""
    located = _locate(node, query)
    account = located.account
    return _account_state(located, to_boc(merkle_proof(account, {account.hash})) if account is not None else b"")


async def run_smc_method(node: Node, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Run a get-method on the state of the reference block."""
    mode = query["mode"]
    if len(query["params"]) >= _MAX_PARAMS:
        raise LiteError("more than 64k parameter bytes passed")
    if mode & ~0x3F:
        raise LiteError("unsupported mode in runSmcMethod")
    try:
        stack = decode_stack(parse_boc(query["params"])) if query["params"] else []
    except BadCell as error:
        raise LiteError(f"parameter list boc cannot be deserialized as a VmStack: {error}") from error
    located = _locate(node, query)
    account = located.account
    answer: dict[str, Any] = {
        "mode": mode,
        "id": block_tl(located.base),
        "shardblk": block_tl(located.block),
        "shard_proof": located.shard_proof,
        "proof": located.proof,
        "state_proof": to_boc(merkle_proof(account, descend(account))) if account is not None else b"",
        "init_c7": b"",
        "lib_extras": b"",
        "exit_code": _NO_CODE,
        "result": b"",
    }
    if located.entry is None:
        return "liteServer.runMethodResult", answer
    address = ForeignAddress((query["account"]["workchain"], query["account"]["id"]))
    view = AccountView(address, to_boc(located.entry))
    code, data = view.code, view.data
    if code is None or data is None:
        return "liteServer.runMethodResult", answer
    master = located.state.state.master
    reference = located.base if located.base.is_masterchain or master is None else master.id
    libraries = node.archive.state(reference).state.libraries
    result = await asyncio.to_thread(
        node.executor.run_getter,
        config=node.config,
        code=code,
        data=data,
        address=address,
        balance=view.balance,
        now=located.state.state.gen_utime,
        method=query["method_id"],
        stack=stack,
        gas_limit=1_000_000,
        prev_blocks=node.previous_blocks(reference),
        libs=None if libraries is None else to_pytoniq(libraries.cell(_NO_AUG)),
    )
    answer["exit_code"] = result.exit_code
    answer["result"] = foreign_boc(encode_stack(result.stack))
    return "liteServer.runMethodResult", answer
