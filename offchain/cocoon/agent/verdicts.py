"""What became of a worker's quotes: each Attest it took, and what its network's Attestation said to it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from pytoniq_core import Address

from ..chain.base import Chain, ChainMessage, ChainTransaction
from ..chain.cells import Reader, Unreadable
from ..errors import ChainUnavailable
from ..wire.attestation import QuoteRefused, QuoteVerified, VerifyQuote
from ..wire.codec import read_body
from ..wire.worker import Attest

__all__ = ["Attempt", "Verdicts", "read_attempts"]

_log = logging.getLogger(__name__)
_RICH_BOUNCE = 0xFFFFFFFE
_WINDOWS_LT = (2 * 10**10, 2 * 10**9, 2 * 10**8)  # some hours, or as much of that as servers still have
_ALL = 1 << 20
_KEPT = 64


@dataclass(frozen=True, slots=True)
class Attempt:
    """One Attest. `seq` is 0 if the Worker itself refused it; times are unix seconds.

    error: the exit code it was refused with; None unless it was. lease_end: what a verdict in its favour promised.
    """

    seq: int
    at: int
    session_key: int
    error: int | None = None
    lease_end: int | None = None

    @property
    def is_answered(self) -> bool:
        return self.error is not None or self.lease_end is not None


class Verdicts:
    """Follows one worker's transactions, reading each once; after a restart, those of the last hours."""

    def __init__(self, chain: Chain, worker: Address) -> None:
        self._chain = chain
        self._worker = worker
        self._cursor: int | None = None
        self._attempts: list[Attempt] = []

    async def read(self, attestation: Address) -> list[Attempt]:
        """The latest attempts, oldest first."""
        if self._cursor is None:
            self._cursor = await self._begin(attestation)
        found = await self._chain.transactions(self._worker, after_lt=self._cursor, limit=_ALL)
        self._take(found, attestation)
        return self._attempts

    async def _begin(self, attestation: Address) -> int:
        """Reads as far back as there is anything; where that begins is no matter, for this only spaces attempts."""
        last_lt = (await self._chain.account(self._worker)).last_lt
        for window in _WINDOWS_LT:
            try:
                after = max(0, last_lt - window)
                self._take(await self._chain.transactions(self._worker, after_lt=after, limit=_ALL), attestation)
                return self._cursor or after
            except ChainUnavailable as error:
                _log.info("the worker's earlier quotes can't be read: %s", error)
        return last_lt

    def _take(self, found: list[ChainTransaction], attestation: Address) -> None:
        if found:
            self._attempts = read_attempts(found, attestation, self._attempts)[-_KEPT:]
            self._cursor = found[-1].lt


def read_attempts(
    transactions: list[ChainTransaction], attestation: Address, earlier: list[Attempt] | None = None
) -> list[Attempt]:
    """`earlier` with what `transactions` of a worker add to it. attestation: whose verdicts count."""
    found = list(earlier or [])
    for transaction in transactions:
        message = transaction.in_msg
        if message is None or message.kind != "internal":
            continue
        if message.src == attestation:
            _answer(found, message)
        elif not message.bounced and (asked := read_body(message.body, Attest)) is not None:
            found.append(_attempt(transaction, asked))
    return found


def _attempt(transaction: ChainTransaction, asked: Attest) -> Attempt:
    sent = [quote for out in transaction.out_msgs if (quote := read_body(out.body, VerifyQuote)) is not None]
    if transaction.aborted or not sent:
        code = transaction.exit_code or transaction.action_code or -1
        return Attempt(0, transaction.now, asked.session_key, error=code)
    return Attempt(sent[0].attest_seq, transaction.now, asked.session_key)


def _answer(attempts: list[Attempt], message: ChainMessage) -> None:
    """Writes down what Attestation said, if it is about one of `attempts`."""
    changes: dict[str, int]
    if message.bounced:
        bounced = _bounced_quote(message)
        if bounced is None:
            return
        seq, changes = bounced[0], {"error": bounced[1]}
    elif (refused := read_body(message.body, QuoteRefused)) is not None:
        seq, changes = refused.attest_seq, {"error": refused.error}
    elif (verified := read_body(message.body, QuoteVerified)) is not None:
        seq, changes = verified.attest_seq, {"lease_end": verified.platform.lease_end}
    else:
        return
    for index, attempt in enumerate(attempts):
        if attempt.seq == seq and not attempt.is_answered:
            attempts[index] = replace(attempt, **changes)


def _bounced_quote(message: ChainMessage) -> tuple[int, int] | None:
    """(attestSeq, exit code) of a VerifyQuote that came back; None if it is something else."""
    try:
        body = Reader(message.body)
        body.expect(_RICH_BOUNCE, 32, "bounce with its reason")
        original = Reader(body.ref())
        body.ref()
        body.skip(8)
        code = body.sint(32)
        original.expect(VerifyQuote.PREFIX[0], 32, "VerifyQuote")
        return original.uint(64), code
    except Unreadable:
        return None
