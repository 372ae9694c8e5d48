"""Which message comes next: oldest first, unless a fault says otherwise."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pytoniq_core import Address

from cocoon_sandbox.blocks.faults import DELIVER, MessageFaults
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.message import Message

__all__ = ["Inbound", "Schedule"]


@dataclass(slots=True)
class Inbound:
    """An external message waiting for a block, at the earliest for number `due`.

    `verdict` is told None when the message is in a stored block, the error when it was not accepted.
    """

    message: Message
    verdict: Callable[[SandboxError | None], None]
    due: int = 0


class Schedule:
    """The messages in flight of a ledger, and the external ones that wait for a block.

    `inbound` may be appended to from any thread. `undeliverable` holds the hashes of internal messages that stay in a
    queue for good.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.faults = MessageFaults()
        self.inbound: deque[Inbound] = deque()
        self.undeliverable: set[bytes] = set()
        self._ledger = ledger
        self._due: dict[bytes, int] = {}

    def fates(self) -> tuple[dict[bytes, int], frozenset[bytes]]:
        """What was decided about internal messages: when each is due, which stay undelivered for good."""
        return dict(self._due), frozenset(self.undeliverable)

    def restore(self, fates: tuple[dict[bytes, int], frozenset[bytes]]) -> None:
        """Go back to earlier `fates`; external messages that wait are refused, as their chain is gone."""
        due, undeliverable = fates
        self._due, self.undeliverable = dict(due), set(undeliverable)
        while self.inbound:
            self.inbound.popleft().verdict(SandboxError("the chain was rolled back before this message: send it again"))

    @property
    def waiting(self) -> int:
        """How many messages are in flight or wait for a block."""
        return len(self.inbound) + len(self._ledger.pending)

    def ready(self, seqno: int) -> bool:
        """Whether a message could go into block `seqno`, as far as is known."""
        return any(item.due <= seqno for item in self.inbound.copy()) or any(
            self._due.get(message.hash, 0) <= seqno for message in self._ledger.pending
        )

    def next_internal(self, workchain: int, seqno: int) -> int | None:
        """Index, in the ledger's pending list, of the next message to a workchain that block `seqno` may deliver."""
        faults = self.faults
        if faults.internal is not None:
            self._judge(seqno)
        candidates: list[int] = []
        for index, message in enumerate(self._ledger.pending):
            if isinstance(message.dst, Address) and message.dst.wc == workchain:
                if self._due and self._due.get(message.hash, 0) > seqno:
                    continue
                if faults.order is None:
                    return index
                candidates.append(index)
        if not candidates or faults.order is None:
            return None
        return candidates[faults.order([self._ledger.pending[index] for index in candidates])]

    def _judge(self, seqno: int) -> None:
        """Decide about messages not seen before."""
        assert self.faults.internal is not None
        for message in list(self._ledger.pending):
            if message.hash in self._due:
                continue
            fate = self.faults.internal(message)
            self._due[message.hash] = seqno + fate.rounds
            if fate.lost:
                self._ledger.drop(self._ledger.pending.index(message))
                self.undeliverable.add(message.hash)

    def delivered(self, digest: bytes) -> None:
        """Forget what was decided about a message."""
        self._due.pop(digest, None)

    def accept(self, message: Message, verdict: Callable[[SandboxError | None], None], seqno: int) -> bool:
        """Take an external message for block `seqno` or later; False if nobody will hear of its verdict.

        A message that a fault loses or delays is accepted at once, as a node would that forwards it.
        """
        fate = self.faults.external(message) if self.faults.external is not None else DELIVER
        if fate.lost:
            return False
        prompt = fate.rounds == 0
        for copy in range(fate.copies):
            heard = prompt and copy == 0
            self.inbound.append(Inbound(message, verdict if heard else _ignore, seqno + fate.rounds + copy))
        return prompt

    def next_external(self, workchain: int, seqno: int, skipped: list[Inbound]) -> Inbound | None:
        """Take the next external message to a workchain; those passed over are appended to `skipped`."""
        for _ in range(len(self.inbound)):
            inbound = self.inbound.popleft()
            destination = inbound.message.dst
            if isinstance(destination, Address) and destination.wc == workchain and inbound.due <= seqno:
                return inbound
            skipped.append(inbound)
        return None


def _ignore(error: SandboxError | None) -> None:
    """Nobody waits for the verdict on a delayed message or a copy."""
