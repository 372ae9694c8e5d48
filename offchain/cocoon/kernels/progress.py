"""How long-running kernel work reports itself: values for a progress bar, drawn by the caller."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "ProgressCallback", "silent"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a phase.

    phase: `download`, `verify`, `extract`, `weights`, `write` (all in bytes), `build`, `audit` (in builds) or
    `compile` (in programs).
    done, total: in the phase's unit; `total` is None while unknown. A phase ends with done == total.
    """

    phase: str
    done: int
    total: int | None


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """A progress callback that shows nothing."""
