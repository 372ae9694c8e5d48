"""Which places in code each of several tests runs in one process, although tests share what they start from.

A test that begins with a ledger's snapshot rests on every place that was run to make that snapshot, whoever made it: a
fault there can be what the test notices. So snapshots remember their history, and restoring one counts as running it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from cocoon_sandbox.ledger import Ledger, Snapshot

from ..coverage.recorder import Place, recording

__all__ = ["Tracer"]


class Tracer:
    """Listens while `tracing`. `own` is what was run since `clear`, `inherited` what was run for the snapshots that
    were restored since then."""

    def __init__(self) -> None:
        self.own: set[Place] = set()
        self.inherited: set[Place] = set()
        self._ledgers: WeakKeyDictionary[Ledger, set[Place]] = WeakKeyDictionary()
        # Snapshots are kept alive here, so that no other object gets the identity of one.
        self._snapshots: dict[int, tuple[Snapshot, frozenset[Place]]] = {}

    def clear(self) -> None:
        """Begin with the next test."""
        self.own.clear()
        self.inherited.clear()

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Follow every ledger of this process."""
        replaced: dict[str, Callable[..., Any]] = {
            "step": self._running(Ledger.step),
            "get": self._running(Ledger.get),
            "snapshot": self._keeping(Ledger.snapshot),
            "restore": self._inheriting(Ledger.restore),
        }
        originals = {name: getattr(Ledger, name) for name in replaced}
        with recording(self.own):
            for name, method in replaced.items():
                setattr(Ledger, name, method)
            try:
                yield
            finally:
                for name, method in originals.items():
                    setattr(Ledger, name, method)

    def _running(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def run(ledger: Ledger, *values: Any, **named: Any) -> Any:
            before = set(self.own)
            self.own.clear()
            try:
                return original(ledger, *values, **named)
            finally:
                self._ledgers.setdefault(ledger, set()).update(self.own)
                self.own |= before

        return run

    def _keeping(self, original: Callable[[Ledger], Snapshot]) -> Callable[[Ledger], Snapshot]:
        @functools.wraps(original)
        def snapshot(ledger: Ledger) -> Snapshot:
            made = original(ledger)
            self._snapshots[id(made)] = made, frozenset(self._ledgers.get(ledger, ()))
            return made

        return snapshot

    def _inheriting(self, original: Callable[[Ledger, Snapshot], None]) -> Callable[[Ledger, Snapshot], None]:
        @functools.wraps(original)
        def restore(ledger: Ledger, snapshot: Snapshot) -> None:
            original(ledger, snapshot)
            _, places = self._snapshots.get(id(snapshot), (snapshot, frozenset()))
            self._ledgers.setdefault(ledger, set()).update(places)
            self.inherited |= places

        return restore
