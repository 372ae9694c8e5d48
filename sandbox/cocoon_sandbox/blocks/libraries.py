"""Public libraries: which masterchain accounts publish which code cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cocoon_sandbox.state import dictionary
from cocoon_sandbox.state.boc import to_boc
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.account import AccountHead

__all__ = ["LibraryBook"]

_NO_AUG = dictionary.NoAugmentation()


@dataclass(frozen=True, slots=True)
class LibraryBook:
    """`root` is the dictionary hash -> LibDescr of the masterchain's state, `published` account -> its libraries."""

    root: dictionary.Node | None = None
    published: Mapping[int, tuple[tuple[int, Cell], ...]] = field(default_factory=dict)

    def updated(self, changed: Mapping[int, AccountHead]) -> LibraryBook:
        """The book after the given masterchain accounts changed."""
        touched: set[int] = set()
        published = dict(self.published)
        for account, head in changed.items():
            before = published.get(account, ())
            if before != head.libraries:
                touched.update(key for key, _ in (*before, *head.libraries))
                published[account] = head.libraries
        if not touched:
            return self
        editor = dictionary.Editor(self.root, 256)
        for key in touched:
            publishers = {account: Builder() for account, found in published.items() if key in dict(found)}
            if publishers:
                cell = next(dict(found)[key] for found in published.values() if key in dict(found))
                tree = dictionary.build(publishers, 256)
                assert tree is not None
                entry = Builder().uint(0, 2).ref(cell).builder(Slice(tree.cell(_NO_AUG)).rest())
                editor.put(key, entry)
            else:
                editor.delete(key)
        return LibraryBook(editor.root, {account: found for account, found in published.items() if found})

    def bag(self) -> bytes | None:
        """The dictionary as the executor takes it; None if nothing is published."""
        return None if self.root is None else to_boc(self.root.cell(_NO_AUG))

    def get(self, digest: bytes) -> Cell | None:
        """The library cell with this hash, if somebody publishes it."""
        found = dictionary.get(self.root, int.from_bytes(digest, "big"), 256)
        return Slice(found.cell()).ref() if found is not None else None
