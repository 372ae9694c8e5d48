"""getTransactions, getOneTransaction, listBlockTransactions(Ext)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cocoon_sandbox.liteserver.errors import LiteError
from cocoon_sandbox.liteserver.ids import block_id, block_tl
from cocoon_sandbox.liteserver.node import Node
from cocoon_sandbox.liteserver.proofs import header_cells
from cocoon_sandbox.state.boc import one_from_boc, to_boc
from cocoon_sandbox.state.builder import Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.state.label import read_label
from cocoon_sandbox.state.merkle import merkle_proof
from cocoon_sandbox.tlb.augment import CURRENCY

__all__ = ["get_one_transaction", "get_transactions", "list_block_transactions", "list_block_transactions_ext"]

_MAX_HISTORY = 16
_MAX_LIST = 256
_ACCOUNT_BITS = 256
_WANT_PROOF, _REVERSE, _AFTER = 32, 64, 128

type Answer = tuple[str, dict[str, Any]]


async def get_transactions(node: Node, query: dict[str, Any]) -> Answer:
    """Up to 16 transactions of an account, backwards from one named by logical time and hash."""
    workchain, account = query["account"]["workchain"], query["account"]["id"]
    lt, digest = query["lt"] & 0xFFFFFFFFFFFFFFFF, query["hash"]
    roots: list[Cell] = []
    blocks: list[dict[str, Any]] = []
    while lt and len(roots) < min(query["count"], _MAX_HISTORY):
        found = node.archive.store.transaction(workchain, account, lt) if lt < 1 << 63 else None
        block = None if found is None else node.archive.find(workchain, found.seqno)
        if found is None or block is None:
            if not roots:
                raise LiteError("cannot locate transaction in block with specified logical time")
            break
        if found.hash != digest:
            raise LiteError("transaction hash mismatch")
        cell = one_from_boc(found.boc)
        roots.append(cell)
        blocks.append(block_tl(block.id))
        source = Slice(cell)
        source.uint(4 + 256 + 64)
        digest, lt = source.raw(32), source.uint(64)
    return "liteServer.transactionList", {"ids": blocks, "transactions": to_boc(*roots) if roots else b""}


class _AccountBlocks:
    """The account blocks of a block, with a record (`visited`) of the cells that were read."""

    def __init__(self, root: Cell) -> None:
        self._root = root
        self.visited = {root.hash, root.refs[3].hash}

    def entries(self, wanted: int | None = None) -> Iterator[tuple[int, Slice]]:
        """Account id and AccountBlock for every account, or on the way to the `wanted` one."""
        holder = self._root.refs[3].refs[2]
        self.visited.add(holder.hash)
        if holder.data[0] >> 7:
            yield from self._walk(holder.refs[0], _ACCOUNT_BITS, wanted)

    def transactions(self, entry: Slice, wanted: int | None = None) -> Iterator[tuple[int, Cell]]:
        """Logical time and cell of an account's transactions; their dictionary begins inside the entry itself."""
        entry.uint(4 + 256)
        for lt, value in self._edges(entry, 64, wanted):
            yield lt, value.ref()

    def _walk(self, root: Cell, key_bits: int, wanted: int | None) -> Iterator[tuple[int, Slice]]:
        self.visited.add(root.hash)
        return self._edges(Slice(root), key_bits, wanted)

    def _edges(self, first: Slice, key_bits: int, wanted: int | None) -> Iterator[tuple[int, Slice]]:
        stack: list[tuple[Slice | Cell, int, int]] = [(first, 0, key_bits)]
        while stack:
            at, prefix, room = stack.pop()
            if isinstance(at, Cell):
                self.visited.add(at.hash)
                at = Slice(at)
            label, length = read_label(at, room)
            prefix = prefix << length | label
            room -= length
            if wanted is not None and wanted >> room != prefix:
                return
            if not room:
                CURRENCY.skip(at)
                if key_bits == _ACCOUNT_BITS:
                    self.visited.add(at.refs[-1].hash)  # the hash update: every reader of AccountBlock opens it
                yield prefix, at
                continue
            room -= 1
            sides = (at.ref(), at.ref())
            for side in (1, 0):
                if wanted is None or wanted >> room & 1 == side:
                    stack.append((sides[side], prefix << 1 | side, room))


async def get_one_transaction(node: Node, query: dict[str, Any]) -> Answer:
    """One transaction of a block, with a proof that it is there, or that it isn't."""
    block = block_id(query["id"])
    if query["account"]["workchain"] != block.workchain:
        raise LiteError("requested account id is not contained in the shard of the specified block")
    root = node.archive.root(block)
    account, lt = int.from_bytes(query["account"]["id"], "big"), query["lt"] & 0xFFFFFFFFFFFFFFFF
    reader = _AccountBlocks(root)
    found: Cell | None = None
    for _, entry in reader.entries(account):
        for _, cell in reader.transactions(entry, lt):
            found = cell
    proof = merkle_proof(root, reader.visited | header_cells(root))
    data = to_boc(found) if found is not None else b""
    return "liteServer.transactionInfo", {"id": query["id"], "proof": to_boc(proof), "transaction": data}


@dataclass(frozen=True, slots=True)
class _Page:
    """Part of a block's transactions: (account, logical time, cell), whether more follow, and the proof's cells."""

    found: list[tuple[int, int, Cell]]
    incomplete: bool
    visited: set[bytes]


def _page(root: Cell, query: dict[str, Any]) -> _Page:
    """The transactions that a listBlockTransactions query asks for."""
    mode = query["mode"]
    reverse = bool(mode & _REVERSE)
    after: tuple[int, int] | None = None
    if mode & _AFTER:
        after = int.from_bytes(query["after"]["account"], "big"), query["after"]["lt"] & 0xFFFFFFFFFFFFFFFF
    limit = min(query["count"], _MAX_LIST)
    reader = _AccountBlocks(root)
    found: list[tuple[int, int, Cell]] = []
    entries = list(reader.entries())
    for account, entry in reversed(entries) if reverse else entries:
        if len(found) >= limit:
            break
        history = list(reader.transactions(entry))
        for lt, cell in reversed(history) if reverse else history:
            place = (account, lt)
            if after is not None and (place >= after if reverse else place <= after):
                continue
            if len(found) < limit:
                found.append((account, lt, cell))
    return _Page(found, len(found) >= limit, reader.visited)


def _proof(root: Cell, page: _Page, mode: int) -> bytes:
    if not mode & _WANT_PROOF:
        return b""
    return to_boc(merkle_proof(root, page.visited | header_cells(root)))


async def list_block_transactions(node: Node, query: dict[str, Any]) -> Answer:
    """Which transactions a block holds, ordered by account and logical time."""
    root = node.archive.root(block_id(query["id"]))
    page = _page(root, query)
    mode = query["mode"] & 0xFF
    ids = [
        {"mode": mode, "account": account.to_bytes(32, "big"), "lt": lt, "hash": cell.hash}
        for account, lt, cell in page.found
    ]
    return "liteServer.blockTransactions", {
        "id": query["id"],
        "req_count": query["count"],
        "incomplete": page.incomplete,
        "ids": ids,
        "proof": _proof(root, page, mode),
    }


async def list_block_transactions_ext(node: Node, query: dict[str, Any]) -> Answer:
    """The transactions themselves, in the same order."""
    root = node.archive.root(block_id(query["id"]))
    page = _page(root, query)
    cells = [cell for _, _, cell in page.found]
    return "liteServer.blockTransactionsExt", {
        "id": query["id"],
        "req_count": query["count"],
        "incomplete": page.incomplete,
        "transactions": to_boc(*cells) if cells else b"",
        "proof": _proof(root, page, query["mode"]),
    }
