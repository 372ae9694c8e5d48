"""Vouchers as they fall due: on the disk first, then signed, then sent; receipts go to the disk with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..crypto.ed25519 import sign
from ..crypto.statements import voucher
from ..stream.frames import Voucher
from ..stream.receipts import extend_chain, receipt_hash
from ..wire.escrow import SignedReceipt
from .evidence import keep_evidence
from .store import Evidence, StoredStreams

if TYPE_CHECKING:
    from .channel import Channel
    from .connecting import Opened

__all__ = ["Purse"]

_SAVE_SEC = 0.05  # receipts that come in such a time are saved together


class Purse:
    """What one connection pays. `need`: what the worker says it waits for."""

    def __init__(self, channel: Channel, opened: Opened) -> None:
        self._channel, self._opened, self._ledger = channel, opened, opened.ledger
        self._wake = asyncio.Event()
        self._fresh: list[tuple[int, SignedReceipt]] = []
        self._by_seq: dict[int, SignedReceipt] = {}
        self._writing = asyncio.Lock()
        self.receipts, self.chain = opened.streams.receipts, opened.streams.chain
        self._named = self.chain  # the chain that the last voucher names
        self.need = 0
        if opened.resend:
            self._wake.set()

    def wake(self) -> None:
        """Something was verified, or begins."""
        if self._fresh or self.need or self._ledger.due() is not None:
            self._wake.set()

    def receipt(self, seq: int) -> SignedReceipt | None:
        """The receipt of this number, if there is one."""
        return self._by_seq.get(seq) or self._channel.store.receipt(self._opened.signed, seq)

    def suspect(self, signed: SignedReceipt) -> Evidence | None:
        """Keep a receipt that is signed and does not hold; with another of its number both are evidence, and kept as
        such.
        """
        earlier = self.receipt(signed.receipt.seq)
        if earlier is None or earlier.receipt == signed.receipt:
            self._channel.store.keep_receipt(signed)
            return None
        evidence = Evidence(self._channel.stored, self._opened.binding.keys.session_key, earlier, signed)
        keep_evidence(self._channel.store, evidence)
        return evidence

    def count(self, signed: SignedReceipt) -> None:
        """A receipt that holds."""
        self._fresh.append((self.receipts, signed))
        self._by_seq[signed.receipt.seq] = signed
        self.receipts += 1
        self.chain = extend_chain(self.chain, receipt_hash(signed.receipt))

    async def run(self) -> None:
        """Until cancelled."""
        if self._opened.resend:
            await self._promise(self._ledger.promised)
        while True:
            await self._wake.wait()
            self._wake.clear()
            due = self._ledger.due()
            if due is None and self._ledger.promised < self.need <= self._ledger.target:
                due = self._ledger.target
            self.need = 0 if self.need <= self._ledger.promised else self.need
            if due is not None:
                await self._promise(due)
            elif self._fresh:
                await self.save()
                await asyncio.sleep(_SAVE_SEC)

    async def settle(self) -> None:
        """A last voucher that names every receipt, and pays what is owed."""
        owed = min(self._ledger.verified, self._ledger.deposit)
        if self._named != self.chain or owed > self._ledger.promised:
            await self._promise(max(owed, self._ledger.promised))

    async def save(self) -> None:
        """What was verified since the last time."""
        await self._write(None)

    async def _promise(self, cumulative: int) -> None:
        if cumulative > self._ledger.promised:
            self._ledger.promise(cumulative)
        chain = await self._write(cumulative)
        statement = voucher(self._opened.signed, cumulative_nano=cumulative, receipt_chain=chain)
        self._named = chain
        await self._opened.send(Voucher(cumulative, chain.to_bytes(32, "big"), sign(self._opened.key, statement)))

    async def _write(self, cumulative: int | None) -> int:
        """On the disk: the state, fresh receipts, a voucher about to be signed. The chain that is stored with it."""
        async with self._writing:
            fresh, self._fresh = self._fresh, []
            now = StoredStreams(self._ledger.verified, self.receipts, self.chain)
            await asyncio.to_thread(
                self._channel.store.save_streams,
                self._opened.signed.escrow,
                self._opened.signed.epoch,
                now,
                fresh,
                voucher_nano=cumulative,
            )
            for _, signed in fresh:
                self._by_seq.pop(signed.receipt.seq, None)
            return now.chain
