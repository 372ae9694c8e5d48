"""A cache with a budget: the oldest entries go when the weights of all exceed it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["WeightedCache"]


class WeightedCache[K, V]:
    """Maps keys to values; may be used from several threads. The newest entry always stays, whatever it weighs."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value under `key`, None when it is not (any more) there."""
        with self._lock:
            found = self._entries.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Set an entry and make it the newest."""
        with self._lock:
            self._remove(key)
            self._entries[key] = (value, weight)
            self._weight += weight
            while self._weight > self.budget and len(self._entries) > 1:
                self._remove(next(iter(self._entries)))

    def drop_if(self, condition: Callable[[K], bool]) -> None:
        """Remove the entries whose keys meet a condition."""
        with self._lock:
            for key in [key for key in self._entries if condition(key)]:
                self._remove(key)

    def _remove(self, key: K) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self._weight -= found[1]
