"""The client's side of the money: what was verified, what was promised, and how much more may be.

Always: promised <= verified + quantum, and promised <= deposit. `verified` counts whole answers whose receipts hold
and, of answers under way or broken off, the tokens that arrived.
"""

from __future__ import annotations

from ..errors import CocoonError

__all__ = ["Overcharged", "PayerLedger"]


class Overcharged(CocoonError):
    """The worker counts more than the request may cost."""


class PayerLedger:
    """Amounts in nanoTON over the life of the channel."""

    def __init__(self, *, deposit: int, quantum: int, promised: int = 0, verified: int = 0) -> None:
        self.deposit = deposit
        self.quantum = quantum
        self.promised = promised
        self._settled = verified
        self._running: dict[int, tuple[int, int]] = {}  # stream -> (may cost, has cost)

    @property
    def verified(self) -> int:
        return self._settled + sum(cost for _, cost in self._running.values())

    @property
    def available(self) -> int:
        """Deposit that neither a voucher nor a request under way lays claim to."""
        return max(
            0, self.deposit - max(self.promised, self._settled + sum(most for most, _ in self._running.values()))
        )

    def open(self, stream: int, max_fee: int) -> None:
        self._running[stream] = (max_fee, 0)

    def meter(self, stream: int, cost: int) -> None:
        """What of this stream has arrived is worth `cost`. Overcharged beyond what it may cost."""
        most, before = self._running[stream]
        if cost > most:
            raise Overcharged(f"the worker counts {cost} nanoTON for a request that may cost {most}")
        self._running[stream] = (most, max(before, cost))

    def settle(self, stream: int, fee: int) -> None:
        """Its receipt holds. Overcharged beyond what it may cost."""
        most, _ = self._running[stream]
        if fee > most:
            raise Overcharged(f"the receipt asks for {fee} nanoTON where {most} were allowed")
        del self._running[stream]
        self._settled += fee

    def drop(self, stream: int) -> None:
        """It ends without a receipt; what arrived of it stays counted."""
        _, cost = self._running.pop(stream, (0, 0))
        self._settled += cost

    @property
    def target(self) -> int:
        """The most to promise now: a quantum ahead, but not more than the requests under way can still cost."""
        ahead = sum(most - cost for most, cost in self._running.values())
        return max(self.promised, min(self.verified + min(self.quantum, ahead), self.deposit))

    def due(self) -> int | None:
        """The next voucher, if it is time for one: something is owed, or half of what may be prepaid is used up."""
        target, verified = self.target, self.verified
        if target <= self.promised:
            return None
        owed, half_used = verified > self.promised, 2 * (self.promised - verified) < target - verified
        return target if owed or half_used else None

    def promise(self, cumulative: int) -> None:
        """A voucher is about to be signed."""
        if cumulative > min(self.verified + self.quantum, self.deposit):
            raise ValueError("a voucher beyond one quantum: a defect, not a condition")
        self.promised = max(self.promised, cumulative)
