"""Turning vouchers into money: when it is worth the fees, and always before the chance is gone."""

from __future__ import annotations

import logging

from ..chain.base import Chain
from ..fees import Fees
from ..wire.escrow import ClaimVoucher, EscrowStatus, EscrowStorage
from .parcels import Parcel
from .vouchers import ChannelRecord, VoucherBook

__all__ = ["Claimer"]

_log = logging.getLogger(__name__)
_FEES_SHARE = 100  # a claim is worth it when its fees are less than one part in so many
_LOOK_SEC = 30


class Claimer:
    """Looks at every channel with an unclaimed voucher, not more often than every `look_sec` seconds of the chain's."""

    def __init__(self, chain: Chain, book: VoucherBook, fees: Fees, *, look_sec: int = _LOOK_SEC) -> None:
        self._chain, self._book, self._fees = chain, book, fees
        self._look_sec = look_sec
        self._looked_at = 0
        self._due: list[ChannelRecord] = []

    def look_now(self) -> None:
        """The next `wanted` looks at every channel, however short ago the last look was."""
        self._looked_at = 0

    async def wanted(self) -> list[Parcel]:
        """The claims that are due. The outbox sends each once, and again if it fails."""
        now = await self._chain.time()
        looking = now >= self._looked_at + self._look_sec
        records = await self._book.claimable() if looking else self._due
        # what is due is looked at again every time: a claim that has arrived must not be sent once more
        found = [(record, await self._claim(record, now)) for record in records]
        self._due = [record for record, parcel in found if parcel is not None]
        if looking:
            self._looked_at = now
        return [parcel for _, parcel in found if parcel is not None]

    async def _claim(self, record: ChannelRecord, now: int) -> Parcel | None:
        account = await self._chain.account(record.escrow)
        if account.data is None or not account.data.refs:
            await self._book.finish(record)
            return None
        state = EscrowStorage.from_cell(account.data)
        if state.epoch != record.epoch or state.binding is None:
            await self._book.finish(record)
            return None
        payable = min(record.cumulative, state.deposit_nano) - state.claimed_nano
        if payable <= 0:
            if state.claimed_nano >= record.cumulative:
                await self._book.finish(record)
            return None
        cost = self._fees.claim()
        ending = state.status == EscrowStatus.CLOSING or now >= state.binding.channel_end
        if payable < cost * (1 if ending else _FEES_SHARE):
            return None
        name = record.escrow.hash_part.hex()
        body = ClaimVoucher(0, record.key_epoch, record.cumulative, record.chain, False, record.signature)
        _log.debug("%d nanoTON of channel %s are due", payable, name[:8])
        purpose = f"claim {name} {record.epoch} {record.cumulative}"
        return Parcel(purpose, record.escrow, cost, body.to_cell())
