"""The worker's side of the money: what was earned, what is reserved for tokens allowed so far, what is paid.

Always: earned + reserved <= paid + credit. No prompt is read before it is paid for; answers go on while
credit lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PayeeLedger"]


@dataclass(slots=True)
class _Running:
    reserved: int  # what it may have cost when the tokens allowed so far are made
    cost: int = 0


class PayeeLedger:
    """Amounts in nanoTON over the life of the channel. paid: the best voucher, as far as the deposit covers it."""

    def __init__(self, *, credit: int, paid: int = 0, earned: int = 0) -> None:
        self.credit = credit
        self.paid = paid
        self._settled = earned
        self._running: dict[int, _Running] = {}

    @property
    def earned(self) -> int:
        """Work done: whole answers, and what was made of others."""
        return self._settled + sum(found.cost for found in self._running.values())

    @property
    def reserved(self) -> int:
        """Work done, and work allowed."""
        return self._settled + sum(found.reserved for found in self._running.values())

    @property
    def prepaid(self) -> int:
        """What is paid beyond work done and allowed: the most that a prompt may cost now."""
        return self.paid - self.reserved

    @property
    def room(self) -> int:
        """What may be allowed now."""
        return self.paid + self.credit - self.reserved

    def admit(self, stream: int, prompt: int, first: int) -> bool:
        """Reserve a prompt, paid in advance, and the first tokens of its answer. False if it has to wait for money."""
        if self.prepaid < max(1, prompt) or self.room < prompt + first:
            return False
        self._running[stream] = _Running(prompt + first)
        return True

    def extend(self, stream: int, reserved: int) -> bool:
        """Reserve up to `reserved` in all for this stream. False if it has to wait for money."""
        found = self._running[stream]
        if reserved - found.reserved > self.room:
            return False
        found.reserved = max(found.reserved, reserved)
        return True

    def adjust(self, stream: int, reserved: int) -> None:
        """What is reserved for this stream turns out to be too much."""
        found = self._running[stream]
        found.reserved = min(found.reserved, reserved)

    def reserved_for(self, stream: int) -> int:
        return self._running[stream].reserved

    def meter(self, stream: int, cost: int) -> None:
        """Work done for this stream so far."""
        found = self._running[stream]
        found.cost = min(cost, found.reserved)

    def settle(self, stream: int, fee: int) -> None:
        """It has ended with a receipt of this fee."""
        del self._running[stream]
        self._settled += fee

    def drop(self, stream: int) -> None:
        """It has ended without one."""
        found = self._running.pop(stream, None)
        self._settled += 0 if found is None else found.cost

    def pay(self, paid: int) -> None:
        """A better voucher, or a greater deposit behind the one there is."""
        self.paid = max(self.paid, paid)
