"""Python's search for cyclic garbage, in a process that answers many requests."""

from __future__ import annotations

import gc

__all__ = ["search_rarely"]

_MADE = 10_000  # containers made and not freed since the last search; Python's own 700 are fewer than 32 requests make


def search_rarely() -> None:
    """Once, when all that stays has been made: it is not looked through again, and what comes after it less often.

    Searching took a tenth of a gateway's time, and what was imported alone 40 to 140 ms in which nobody was answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE, 20, 20)
