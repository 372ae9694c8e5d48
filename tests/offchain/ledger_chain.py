"""A `Chain` over the in-process ledger: no proofs to check, but honest: the executor runs everything, in blocks.

What a caller sees is the state after the last block. A block takes the external messages that were sent, and those
internal messages that were in flight when it began, so a chain of N messages takes N blocks.
"""

from __future__ import annotations

import asyncio
import hashlib

from pytoniq_core import Address, Cell

from cocoon.chain.base import AccountState, ChainMessage, ChainTransaction
from cocoon.chain.blockid import BlockId
from cocoon.errors import ChainUnavailable, MessageRefused
from cocoon_sandbox.blocks.previous import previous_blocks
from cocoon_sandbox.errors import MessageRejected
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message
from cocoon_sandbox.tlb import ids
from cocoon_sandbox.transaction import Transaction

__all__ = ["LedgerChain", "master_block"]


class LedgerChain:
    """One view of one ledger. `offline` makes every call fail, `block_sec` is how much time a block takes.

    `lose_messages` makes `send` accept messages that then never arrive. `seqno` is the newest masterchain block's; its
    hashes, like those of all earlier ones, follow from it.
    """

    def __init__(
        self, ledger: Ledger, *, global_id: int = -239, block_sec: int = 1, pause: float = 0.001, seqno: int = 1000
    ) -> None:
        self.ledger = ledger
        self.global_id = global_id
        self.block_sec = block_sec
        self.pause = pause
        self.seqno = seqno
        self.offline = False
        self.lose_messages = 0
        self.blocks = 0
        self._pool: list[Cell] = []
        self._history: list[ChainTransaction] = []
        self._fresh: list[ChainTransaction] = []
        ledger.observer = lambda done: self._fresh.append(_transaction(done))
        self._publish()

    @property
    def history(self) -> list[ChainTransaction]:
        """Every transaction so far, in order."""
        return self._history

    async def time(self) -> int:
        self._check()
        return self._now

    async def master_block(self, seqno: int | None = None) -> BlockId:
        self._check()
        found = master_block(self.seqno if seqno is None else seqno)
        return BlockId(found.workchain, -(1 << 63), found.seqno, found.root_hash, found.file_hash)

    async def account(self, address: Address) -> AccountState:
        self._check()
        found = self._accounts.get(address)
        if found is None or found.status == "nonexist":
            return AccountState(address, "nonexist", 0, None, None, 0, bytes(32))
        code = found.code
        active = found.status == "active"
        return AccountState(
            address=address,
            status=found.status,
            balance=found.balance,
            code_hash=code.hash if active and code is not None else None,
            data=found.data if active else None,
            last_lt=found.last_lt,
            last_hash=bytes(32),
        )

    async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> list[ChainTransaction]:
        self._check()
        return [done for done in self._history if done.account == address and done.lt > after_lt][:limit]

    async def config(self, params: tuple[int, ...]) -> dict[int, Cell]:
        self._check()
        parsed = self.ledger.config.begin_parse().load_hashmap(
            32, lambda key: int(key, 2), lambda leaf: leaf.load_ref()
        )
        return {number: parsed[number] for number in params if number in parsed}

    async def send(self, message: Cell) -> None:
        self._check()
        if self.lose_messages > 0:
            self.lose_messages -= 1
            return
        before, fresh = self.ledger.snapshot(), list(self._fresh)
        try:
            self.ledger.pending = []
            self.ledger.enqueue(message)
            self.ledger.step()
        except MessageRejected as error:
            raise MessageRefused(str(error), getattr(error, "exit_code", None)) from error
        finally:
            self.ledger.restore(before)
            self._fresh = fresh
        self._pool.append(message)

    async def next_block(self) -> None:
        self._check()
        await asyncio.sleep(self.pause)
        self._check()
        self.make_block()

    def make_block(self) -> None:
        """One block now, whether or not anybody is connected."""
        self.blocks += 1
        self.seqno += 1
        self.ledger.advance(self.block_sec)
        due = self.ledger.pending
        self.ledger.pending = []
        caused: list[Message] = []
        for message in [*self._pool, *due]:
            view = message if isinstance(message, Message) else Message(message)
            self.ledger.pending = [view]
            try:
                self.ledger.step()
            except MessageRejected:
                continue  # a copy of a message that was executed meanwhile
            caused += self.ledger.pending
        self.ledger.pending = caused
        self._pool = []
        self._publish()

    def _publish(self) -> None:
        self.ledger.prev_blocks = previous_blocks(master_block(self.seqno), master_block(1), master_block)
        self._now = self.ledger.now
        self._accounts = dict(self.ledger.accounts)
        self._history += self._fresh
        self._fresh = []

    def _check(self) -> None:
        if self.offline:
            raise ChainUnavailable("the lite server is gone")


def master_block(seqno: int) -> ids.BlockId:
    """Masterchain block `seqno` of a made-up chain."""
    hashes = (hashlib.sha256(f"{name} {seqno}".encode()).digest() for name in ("root", "file"))
    return ids.BlockId(-1, seqno, *hashes)


def _transaction(done: Transaction) -> ChainTransaction:
    phases = done.phases
    return ChainTransaction(
        account=done.account,
        lt=done.lt,
        hash=done.hash,
        now=done.now,
        in_msg=None if done.in_msg is None else _message(done.in_msg),
        out_msgs=tuple(_message(out) for out in done.out_msgs),
        exit_code=phases.compute.exit_code,
        action_code=None if phases.action is None else phases.action.result_code,
        aborted=phases.aborted,
        gas_used=phases.compute.gas_used,
        total_fees=done.total_fees,
        forward_fees=0 if phases.action is None else phases.action.forward_fees,
        cell=done.cell,
    )


def _message(view: Message) -> ChainMessage:
    return ChainMessage(
        kind=view.kind,
        src=view.src if isinstance(view.src, Address) else None,
        dst=view.dst if isinstance(view.dst, Address) else None,
        value=view.value,
        body=view.body,
        bounced=view.bounced,
        created_lt=view.created_lt,
        hash=view.hash,
    )
