"""An account's transactions, verified link by link.

A live account's state names its last transaction, and each transaction names the one before, so nothing can be left out
or slipped in. A deleted account has no state; its last transactions are found by walking the shard's blocks backwards
from the proven newest one, each of which names the block before.
"""

from __future__ import annotations

from collections import deque

from pytoniq_core import Address, Cell

from ..errors import ChainError, ChainUnavailable, LyingServer
from .base import ChainTransaction
from .blockid import BlockId
from .boc import parse_roots
from .cells import Reader, Unreadable, items, lookup
from .link import Link, ServerRefused
from .parsing import parse_transaction
from .proofs import block_header

__all__ = ["deleted_account_history", "live_account_history"]

_PER_QUERY = 16
_MAX_BLOCKS = 512


async def live_account_history(
    link: Link, address: Address, last_lt: int, last_hash: bytes, after_lt: int, limit: int
) -> list[ChainTransaction]:
    """The first `limit` transactions after `after_lt`, oldest first, linked backwards from the proven last one."""
    found: deque[ChainTransaction] = deque(maxlen=limit)
    lt, digest = last_lt, last_hash
    while lt > after_lt:
        query = {
            "count": _PER_QUERY,
            "account": {"workchain": address.wc, "id": address.hash_part.hex()},
            "lt": lt,
            "hash": digest.hex(),
        }
        try:
            answer = await link.query("getTransactions", query)
        except ServerRefused as error:
            raise ChainUnavailable(
                f"the lite server no longer has the history of account {address.to_str(is_user_friendly=False)} before "
                f"lt {lt + 1} ({error.text}); use an archive server"
            ) from error
        roots = parse_roots(answer["transactions"], "transactions")
        if not roots:
            raise LyingServer(f"the lite server leaves out transaction {lt} of an account")
        for root in roots:
            if lt <= after_lt:
                break
            if root.hash != digest:
                raise LyingServer(f"the lite server sent a forged transaction {lt}: its hash is not the linked one")
            parsed = parse_transaction(root, address.wc)
            if parsed.transaction.lt != lt or parsed.transaction.account != address:
                raise LyingServer(f"the lite server sent another account's transaction for {lt}")
            found.append(parsed.transaction)
            lt, digest = parsed.prev_lt, parsed.prev_hash
    return list(reversed(found))


async def deleted_account_history(
    link: Link, newest: BlockId, address: Address, after_lt: int, limit: int
) -> list[ChainTransaction]:
    """Transactions of an account without a state, found in the blocks after `after_lt`.

    `newest` is the proven newest block of the account's shard. ChainError if that means walking more than 512 blocks,
    or the shard has split or merged since.
    """
    block = newest
    found: list[ChainTransaction] = []
    for _ in range(_MAX_BLOCKS):
        answer = await link.query("getBlock", {"id": block.to_tl()})
        roots = parse_roots(answer["data"], f"block {block.seqno}")
        if len(roots) != 1 or roots[0].hash != block.root_hash:
            raise LyingServer(f"the lite server sent a forged block {block.seqno}: its hash is not the linked one")
        header = block_header(roots[0])
        if header.end_lt <= after_lt:
            return found[:limit]
        found = [tx for tx in _in_block(roots[0], address) if tx.lt > after_lt] + found
        previous = header.previous
        if previous is None:
            raise ChainError("the shard of a deleted account was merged; its history can't be followed across that")
        if previous.seqno == 0:
            return found[:limit]
        block = BlockId(block.workchain, block.shard, previous.seqno, previous.root_hash, previous.file_hash)
    raise ChainError(f"a deleted account's transactions after lt {after_lt} are more than {_MAX_BLOCKS} blocks old")


def _in_block(root: Cell, address: Address) -> list[ChainTransaction]:
    try:
        extra = Reader(root.refs[3])
        extra.ref()
        extra.ref()
        accounts = Reader(extra.ref())
        leaf = lookup(accounts.maybe_ref(), int.from_bytes(address.hash_part, "big"), 256)
        if leaf is None:
            return []
        leaf.currency()
        leaf.expect(0x5, 4, "account block")
        leaf.skip(256)
        transactions: list[ChainTransaction] = []
        for _, entry in items(leaf.rest(), 64):
            entry.currency()
            transactions.append(parse_transaction(entry.ref(), address.wc).transaction)
        return transactions
    except (Unreadable, IndexError) as error:
        raise ChainError(f"a block has a layout this version does not know: {error}") from error
