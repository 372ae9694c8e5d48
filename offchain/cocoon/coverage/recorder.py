"""Listening to the executor: every place in code that a run visits, for all transactions and get-methods.

A place is a code cell and a bit offset in it, which is how the TVM's log names the instruction about to run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cocoon_sandbox.errors import MessageRejected
from cocoon_sandbox.executor import Executor

__all__ = ["Place", "recording"]

Place = tuple[str, int]  # upper-case hex hash of the cell, offset in bits

_LOCATION = re.compile(r"code cell hash: ([0-9A-F]{64}) offset: (\d+)")
_LOGGED = "full_location"


@contextmanager
def recording(visited: set[Place]) -> Iterator[None]:
    """Add every place that an Executor of this process runs to `visited`. What callers see stays the same."""
    originals = {name: getattr(Executor, name) for name in ("run_transaction", "run_getter")}
    for name, original in originals.items():
        setattr(Executor, name, _listening(original, visited))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Executor, name, original)


def _listening(original: Callable[..., Any], visited: set[Place]) -> Callable[..., Any]:
    known: set[tuple[str, str]] = set()  # as logs write them: most runs go where others went before

    def note(vm_log: str) -> None:
        fresh = set(_LOCATION.findall(vm_log)) - known
        known.update(fresh)
        visited.update((cell, int(offset)) for cell, offset in fresh)

    @functools.wraps(original)
    def run(self: Executor, **arguments: Any) -> Any:
        if arguments.get("verbosity", "short") != "short":
            return original(self, **arguments)  # someone reads this log; places are not lost where runs repeat
        try:
            result = original(self, **{**arguments, "verbosity": _LOGGED})
        except MessageRejected as rejected:
            note(rejected.vm_log)
            raise
        note(result.vm_log)
        return replace(result, vm_log="")

    return run
