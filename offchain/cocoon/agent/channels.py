"""A channel that is served: what the chain proves about it, what its client has promised, who waits for money."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pytoniq_core import Address

from ..chain.base import Chain
from ..crypto.errors import CryptoError
from ..crypto.statements import Channel, verify_voucher
from ..deployment import Deployment
from ..signer.table import STREAM_WINDOW
from ..stream.frames import Voucher
from ..stream.payee import PayeeLedger
from ..stream.receipts import extend_chain, pack_receipt, receipt_hash
from ..wire.common import ModelTerms
from ..wire.escrow import Binding, EscrowStatus, EscrowStorage, Receipt
from .errors import StreamRejected
from .vouchers import ChannelRecord, CountedReceipt, VoucherBook

__all__ = ["ProvenChannel", "ServedChannel", "read_channel"]

_END_MARGIN_SEC = 60
_MOST_WAITS = 6
_UNSAVED_SHARE = 8  # of the credit


@dataclass(frozen=True, slots=True)
class ProvenChannel:
    """An escrow of this worker's, from its proven state."""

    state: EscrowStorage
    binding: Binding
    signed: Channel


async def read_channel(
    chain: Chain, deployment: Deployment, worker: Address, escrow: Address, session_key: int
) -> ProvenChannel:
    """StreamRejected unless it is a genuine, active channel to this worker, under its present key, with time left."""
    account = await chain.account(escrow)
    if account.data is None or not account.data.refs:
        raise StreamRejected("no_channel", "there is no such channel; open one")
    state = EscrowStorage.from_cell(account.data)
    identity, binding = state.identity, state.binding
    if identity.worker != worker or deployment.escrow(identity.client, worker, identity.salt) != escrow:
        raise StreamRejected("no_channel", "this account is no channel to this worker")
    if binding is None or state.status != EscrowStatus.ACTIVE:
        raise StreamRejected("not_active", "the channel is opening or closing; open another one")
    if binding.keys.session_key != session_key:
        raise StreamRejected("key_replaced", "the worker's key has changed; call rebind()")
    if binding.channel_end - await chain.time() < _END_MARGIN_SEC:
        raise StreamRejected("channel_end", "the channel ends; open another one")
    return ProvenChannel(state, binding, Channel(chain.global_id, escrow, state.epoch, binding.key_epoch))


class ServedChannel:
    """One incarnation of one escrow, whatever connections come and go."""

    def __init__(self, proven: ProvenChannel, record: ChannelRecord, book: VoucherBook, credit: int) -> None:
        self.record = record
        self.proven = proven
        self._book = book
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._open_seqs: dict[int, int] = {}  # by ledger entry
        self._entries = 0
        self.users = 0  # connections
        self.left_at = 0.0
        self.ledger = PayeeLedger(credit=credit, earned=record.earned)
        self.ledger.pay(min(record.cumulative, proven.state.deposit_nano))

    @property
    def signed(self) -> Channel:
        return self.proven.signed

    @property
    def terms(self) -> ModelTerms:
        return self.proven.binding.terms

    def renew(self, proven: ProvenChannel) -> None:
        """The chain has been looked at again."""
        self.proven = proven
        self.ledger.pay(min(self.record.cumulative, proven.state.deposit_nano))
        self.notify()

    def left(self, now: float) -> None:
        """One connection less."""
        self.users -= 1
        self.left_at = now

    def new_entry(self) -> int:
        """A number for a stream in the ledger; connections choose theirs without knowing of each other."""
        self._entries += 1
        return self._entries

    def notify(self) -> None:
        """Something changed that streams may wait for."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Waits until `holds`. False once nothing is paid for `seconds`; streams wait for each other, so what is paid
        for another prolongs the wait, up to a few times as long.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time() + _MOST_WAITS * seconds
        paid, give_up = self.ledger.paid, loop.time() + seconds
        while not holds():
            if self.ledger.paid > paid:
                paid, give_up = self.ledger.paid, min(loop.time() + seconds, latest)
            try:
                async with asyncio.timeout_at(give_up):
                    await self._changed.wait()
            except TimeoutError:
                return False
        return True

    async def take(self, voucher: Voucher, look_again: Callable[[], Awaitable[None]]) -> None:
        """A voucher counts once it is verified and on the disk. StreamRejected for one that is worth nothing.

        look_again: reads the chain and calls `renew`, for a voucher above the deposit that is known.
        """
        async with self._turn:
            record, chain = self.record, int.from_bytes(voucher.chain, "big")
            if voucher.cumulative < record.cumulative:
                raise StreamRejected("voucher", "a voucher below an earlier one is worth nothing")
            try:
                verify_voucher(
                    voucher.signature,
                    client_key=self.proven.state.client_key,
                    channel=self.signed,
                    cumulative_nano=voucher.cumulative,
                    receipt_chain=chain,
                )
            except CryptoError as error:
                raise StreamRejected("voucher", f"the voucher does not hold: {error}") from error
            if voucher.cumulative > self.proven.state.deposit_nano:
                await look_again()
                if voucher.cumulative > self.proven.state.deposit_nano:
                    raise StreamRejected("deposit", "the voucher is above the deposit; top up first")
            record.cumulative, record.chain = voucher.cumulative, chain
            record.key_epoch, record.signature = self.signed.key_epoch, voucher.signature
            await self.save()
            self.ledger.pay(voucher.cumulative)
        self.notify()

    async def take_seq(self, stream: int) -> int:
        """A number for a receipt that is never given out again, whatever happens to this process. StreamRejected while
        an older one has been open for so long that it could not be signed any more.
        """
        if self._open_seqs and self.record.next_seq - min(self._open_seqs.values()) > STREAM_WINDOW // 2:
            raise StreamRejected("busy", "an old stream of this channel must end first; wait, or try another worker")
        seq, must_save = self.record.take_seq()
        self._open_seqs[stream] = seq
        if must_save:
            await self.save()
        return seq

    def skip_seqs(self) -> None:
        """The signer has signed beyond what the book knows: start behind everything it may have."""
        self.record.next_seq += 2 * STREAM_WINDOW

    def count(self, stream: int, receipt: Receipt, signature: bytes) -> CountedReceipt:
        """The receipt joins the chain; it must be saved before it leaves."""
        record = self.record
        counted = CountedReceipt(record.receipts, self.signed.key_epoch, pack_receipt(receipt), signature)
        record.receipts += 1
        record.head = extend_chain(record.head, receipt_hash(receipt))
        self.ledger.settle(stream, receipt.fee_nano)
        self._open_seqs.pop(stream, None)
        self.notify()
        return counted

    def drop(self, stream: int) -> None:
        """A stream ends without a receipt; the work done stays counted."""
        self.ledger.drop(stream)
        self._open_seqs.pop(stream, None)
        self.notify()

    async def checkpoint(self) -> None:
        """Saves what was earned if much of it is not on the disk: a crash must not forget more than a fraction."""
        if self.ledger.earned - self.record.earned > self.ledger.credit // _UNSAVED_SHARE:
            await self.save()

    async def save(self, *receipts: CountedReceipt) -> None:
        self.record.earned = self.ledger.earned
        await self._book.save(self.record, *receipts)

    async def receipts(self, first: int, limit: int) -> list[CountedReceipt]:
        return await self._book.receipts(self.record.escrow, self.record.epoch, first, limit)
