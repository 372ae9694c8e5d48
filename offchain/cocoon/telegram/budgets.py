"""What each user may spend a day, and all of them together: reserved before an answer may cost anything, settled with
its real fee after. A day is one of UTC.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..chain.wallet import format_ton
from .errors import OverBudget

__all__ = ["BudgetLimits", "Budgets", "Reservation"]

_DAY_SEC = 86400
_KEEP_DAYS = 90


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """nanoTON a day. users: those with a budget other than user_day_nano."""

    user_day_nano: int
    all_day_nano: int
    users: Mapping[int, int] = field(default_factory=dict)

    def of(self, user_id: int) -> int:
        return self.users.get(user_id, self.user_day_nano)


@dataclass(frozen=True, slots=True)
class Reservation:
    user_id: int
    day: int
    nano: int


class Budgets:
    """Every method is one transaction."""

    def __init__(self, db: sqlite3.Connection, limits: BudgetLimits, clock: Callable[[], float] = time.time) -> None:
        self._db, self.limits, self._clock = db, limits, clock

    def reserve(self, user_id: int, nano: int) -> Reservation:
        """OverBudget, saying what is left, if the day's budget of this user or of everybody does not cover it."""
        day = self._day()
        self._db.execute("INSERT OR IGNORE INTO days (user_id, day) VALUES (?, ?)", (user_id, day))
        done = self._db.execute(
            "UPDATE days SET reserved_nano = reserved_nano + :nano WHERE user_id = :user AND day = :day "
            "AND spent_nano + reserved_nano + :nano <= :most AND :nano <= :all - "
            "(SELECT sum(spent_nano + reserved_nano) FROM days WHERE day = :day)",
            {
                "nano": nano, "user": user_id, "day": day, "most": self.limits.of(user_id),
                "all": self.limits.all_day_nano,
            },
        )  # fmt: skip
        if done.rowcount == 0:
            raise OverBudget(self._why_not(user_id, nano))
        return Reservation(user_id, day, nano)

    def settle(self, reserved: Reservation, spent_nano: int) -> None:
        """End a reservation, on the day it was made: `spent_nano` of it was needed."""
        self._db.execute(
            "UPDATE days SET reserved_nano = reserved_nano - ?, spent_nano = spent_nano + ? "
            "WHERE user_id = ? AND day = ?",
            (reserved.nano, spent_nano, reserved.user_id, reserved.day),
        )

    def spent(self, user_id: int) -> int:
        """Today, what is reserved included, nanoTON."""
        row = self._db.execute(
            "SELECT spent_nano + reserved_nano FROM days WHERE user_id = ? AND day = ?", (user_id, self._day())
        ).fetchone()
        return 0 if row is None else int(row[0])

    def left(self, user_id: int) -> int:
        """What this user may still spend today, nanoTON."""
        (everybody,) = self._db.execute(
            "SELECT coalesce(sum(spent_nano + reserved_nano), 0) FROM days WHERE day = ?", (self._day(),)
        ).fetchone()
        return max(0, min(self.limits.of(user_id) - self.spent(user_id), self.limits.all_day_nano - int(everybody)))

    def recover(self) -> None:
        """Once, before serving: what was reserved when the bot last died may have been spent, so it counts."""
        self._db.execute("UPDATE days SET spent_nano = spent_nano + reserved_nano, reserved_nano = 0")
        self._db.execute("DELETE FROM days WHERE day < ?", (self._day() - _KEEP_DAYS,))

    def _day(self) -> int:
        return int(self._clock()) // _DAY_SEC

    def _why_not(self, user_id: int, nano: int) -> str:
        left = format_ton(self.left(user_id))
        own = self.limits.of(user_id) - self.spent(user_id)
        whose = "your budget for today" if own < nano else "what this bot may spend today for all its users"
        return (
            f"This answer may cost up to {format_ton(nano)}, and {left} is left of {whose}. Nothing was spent. "
            "Ask something shorter, use /new to drop earlier turns, or come back after midnight UTC."
        )
