"""The operator's wallet as an outbox: messages go out once, in order of seqno, whatever happens to this process.

A signed message is journaled before the network sees it. It is sent again, the very same bytes, until the wallet's
seqno shows it used or its expiry shows that it never can be; only then is anything else signed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from cocoon_sandbox.boc import count_cells

from ..chain.base import Chain
from ..chain.wallet import Transfer, Wallet, format_ton
from ..errors import MessageRefused
from ..exit_codes import explain
from ..fees import Prices
from .journal import Journal
from .parcels import Parcel, ParcelState, Sending, TrackedParcel

__all__ = ["Outbox"]

_log = logging.getLogger(__name__)
_TTL_SEC = 120
# A block of the wallet's shard may carry a slightly earlier time than the masterchain block it is proven by.
_EXPIRY_MARGIN_SEC = 30
_RESEND_SEC = 10
_MAX_PARCELS = 4
_WALLET_GAS = 20_000
_FIRST_RETRY_SEC = 5
_MAX_DOUBLINGS = 6
_VALUE_TOO_LOW = frozenset({207, 305, 504})  # ValueTooLow of Worker, Escrow and Attestation
_OUT_OF_GAS = frozenset({-14, -1, 13, 37, 38})  # what a message that carries more may get past


class Outbox:
    """Not for several tasks: `pump` is called again and again by one."""

    def __init__(self, chain: Chain, wallet: Wallet, journal: Journal, prices: Prices) -> None:
        self._chain = chain
        self._wallet = wallet
        self._journal = journal
        self._prices = prices
        self._sent: tuple[int, int] | None = None  # (sending, when), to space repetitions
        self._was_short = False

    async def pump(self, wanted: Iterable[Parcel]) -> None:
        """One round: find out what became of what was sent, send it again if need be, then send what is due of
        `wanted`.
        """
        sending = self._journal.open_sending()
        if sending is not None and not await self._resolve(sending):
            return
        for parcel in self._journal.parcels(ParcelState.LANDED):
            await self._follow(parcel)
        due = await self._due(wanted)
        if due:
            await self._send(due)

    async def _resolve(self, sending: Sending) -> bool:
        """Whether the message's fate is known now."""
        now = await self._chain.time()
        if await self._wallet.seqno(self._chain) > sending.seqno:
            await self._look_up(sending, now)
            return True
        if now > sending.valid_until + _EXPIRY_MARGIN_SEC:
            _log.warning("the wallet's message with seqno %d expired; it will be made anew", sending.seqno)
            self._journal.sending_void(sending.id, now, state="expired")
            return True
        if self._sent is None or self._sent[0] != sending.id or now >= self._sent[1] + _RESEND_SEC:
            await self._hand_over(sending, now)
        return False

    async def _look_up(self, sending: Sending, now: int) -> None:
        """The wallet's seqno was used: by this message, or by another that somebody signed with the same key."""
        after = sending.after_lt
        while found := await self._chain.transactions(self._wallet.address, after_lt=after):
            for transaction in found:
                message = transaction.in_msg
                if message is not None and message.kind == "external-in" and message.body.hash == sending.body_hash:
                    left = {(out.dst, out.body.hash): out.created_lt for out in transaction.out_msgs}
                    parcels = [p for p in self._journal.parcels(ParcelState.OPEN) if p.sending == sending.id]
                    created = {p.id: left[p.to, p.body_hash] for p in parcels if (p.to, p.body_hash) in left}
                    if len(created) < len(parcels):
                        _log.warning("the wallet could not pay for %d of its messages", len(parcels) - len(created))
                    self._journal.sending_used(sending.id, created, now)
                    return
            after = found[-1].lt
        _log.warning(
            "another program used seqno %d of the operator's wallet: give the agent a wallet of its own", sending.seqno
        )
        self._journal.sending_void(sending.id, now, state="superseded")

    async def _follow(self, parcel: TrackedParcel) -> None:
        """What became of a message at its destination."""
        after = parcel.created_lt or 0
        while found := await self._chain.transactions(parcel.to, after_lt=after):
            for transaction in found:
                message = transaction.in_msg
                if message is None or message.src != self._wallet.address or message.created_lt != parcel.created_lt:
                    continue
                code = _exit_code(transaction.exit_code, transaction.action_code, aborted=transaction.aborted)
                if code:
                    _log.warning("%s was refused: %s", parcel.purpose, explain(code))
                else:
                    _log.info("%s has taken effect", parcel.purpose)
                self._journal.parcel_arrived(parcel.id, code, await self._chain.time())
                return
            after = found[-1].lt

    async def _due(self, wanted: Iterable[Parcel]) -> list[Parcel]:
        now = await self._chain.time()
        due: list[Parcel] = []
        for parcel in wanted:
            attempts = self._journal.attempts(parcel.purpose)
            failures = len(attempts.failures)
            wait = min(_FIRST_RETRY_SEC << min(failures - 1, 16), parcel.patience_sec) if failures else 0
            if attempts.under_way or now < attempts.last_failed_at + wait:
                continue
            short = sum(code in _VALUE_TOO_LOW or code in _OUT_OF_GAS for code in attempts.failures)
            value = parcel.value_nano << min(short, _MAX_DOUBLINGS)
            due.append(replace(parcel, value_nano=value))
        return due[:_MAX_PARCELS]

    async def _send(self, parcels: list[Parcel]) -> None:
        account = await self._chain.account(self._wallet.address)
        parcels = self._affordable(parcels, account.balance)
        if not parcels:
            return
        now = await self._chain.time()
        seqno = await self._wallet.seqno(self._chain)
        valid_until = now + _TTL_SEC
        transfers = [Transfer(parcel.to, parcel.value_nano, parcel.body) for parcel in parcels]
        message = self._wallet.sign_all(transfers, seqno=seqno, valid_until=valid_until)
        number = self._journal.send(
            message, seqno=seqno, valid_until=valid_until, after_lt=account.last_lt, now=now, parcels=parcels
        )
        _log.info("sending %s", ", ".join(parcel.purpose for parcel in parcels))
        await self._hand_over(Sending(number, message, seqno, valid_until, account.last_lt), now)

    def _affordable(self, parcels: list[Parcel], balance: int) -> list[Parcel]:
        """As many, from the front, as the wallet can pay for."""
        needed = self._prices.gas_fee(_WALLET_GAS)
        for count, parcel in enumerate(parcels):
            # the message is carried twice: into the wallet, and out of it
            cells, bits = count_cells(parcel.body)
            needed += parcel.value_nano + 2 * self._prices.forward_fee(bits, cells)
            if needed > balance:
                if not self._was_short:
                    _log.error(
                        "the operator's wallet %s holds %s and needs %s: send it more; jobs wait until then",
                        self._wallet.address.to_str(is_bounceable=False),
                        format_ton(balance),
                        format_ton(needed),
                    )
                self._was_short = count == 0
                return parcels[:count]
        self._was_short = False
        return parcels

    async def _hand_over(self, sending: Sending, now: int) -> None:
        try:
            await self._chain.send(sending.message)
        except MessageRefused as error:
            # an earlier copy was executed, or the wallet is behind: seqno or expiry will tell
            _log.info("the wallet refused a message: %s", error)
        self._sent = (sending.id, now)


def _exit_code(compute: int | None, action: int | None, *, aborted: bool) -> int:
    """One number for an outcome: 0, what the code threw, the action phase's code, or -1 for code that did not run."""
    if not aborted:
        return 0
    if compute is None:
        return -1
    return compute if compute not in (0, 1) else action or -1
