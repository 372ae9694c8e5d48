"""Bundles in the cache: built once, and again where what is there can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bert import write_bert

from cocoon.kernels.bundle.loader import MANIFEST, open_bundle
from cocoon.kernels.fetch import ModelSource, SourceFile
from cocoon.kernels.shelf import SHELF, ShelfModel, find_bundle

SOURCE = ModelSource("none", "1", "", 0, "none", (SourceFile("none/model", "ab" * 32, 1),), "MIT")


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A tiny model on the shelf, "encoder"; has an entry for each time that it was fetched to be built."""
    write_bert(tmp_path / "source")
    times: list[int] = []

    def fetch(*_: object) -> Path:
        times.append(1)
        return tmp_path / "source"

    monkeypatch.setenv("COCOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(SHELF, "encoder", ShelfModel("encoder", SOURCE, "f32", slots=0, capacity=0))
    monkeypatch.setattr("cocoon.kernels.shelf.fetch", fetch)
    return times


def test_find_bundle_with_a_damaged_one_in_the_cache_builds_it_again(built: list[int]) -> None:
    first = find_bundle("encoder")
    assert (find_bundle("encoder"), len(built)) == (first, 1)
    whole = (first.folder / MANIFEST).read_bytes()
    for damaged in (whole[:-9], b"", b"\xff" * 9, b"[]", whole.replace(b"cocoon.kernel/1", b"cocoon.kernel/0")):
        (first.folder / MANIFEST).write_bytes(damaged)
        assert find_bundle("encoder") == first
        assert open_bundle(first.folder).model_id == first.model_id
    (first.folder / MANIFEST).unlink()  # as if it was never finished
    assert find_bundle("encoder") == first
    assert len(built) == 1 + 5 + 1
