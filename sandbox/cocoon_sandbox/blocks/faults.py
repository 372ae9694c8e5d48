"""Faults of message delivery, on demand: lose, delay, reorder, repeat.

Blocks stay valid whatever happens: a lost internal message stays in its queue for good and a delayed one waits there,
which a real chain's congested queue would look like; an external message may really get lost or arrive twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cocoon_sandbox.message import Message

__all__ = ["DELIVER", "DROP", "Fate", "MessageFaults", "delay", "repeat"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a message: lost, or delivered after `rounds` more blocks, an external one `copies` times."""

    rounds: int = 0
    copies: int = 1
    lost: bool = False


DELIVER = Fate()
DROP = Fate(lost=True)


def delay(rounds: int) -> Fate:
    """Deliver `rounds` blocks later than usual."""
    return Fate(rounds=rounds)


def repeat(copies: int) -> Fate:
    """Deliver an external message several times, each copy in a block of its own."""
    return Fate(copies=copies)


@dataclass(slots=True)
class MessageFaults:
    """The rules in force; None means that nothing goes wrong.

    `internal` and `external` decide about each message once, when it first could be delivered. `order` picks one of the
    internal messages that could be delivered next, oldest first, by index.
    """

    internal: Callable[[Message], Fate] | None = None
    external: Callable[[Message], Fate] | None = None
    order: Callable[[Sequence[Message]], int] | None = None
