"""Compiled programs are for one kind of processor, wherever their folder is copied or shared to."""

from __future__ import annotations

from pathlib import Path

import pytest

from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.engine.runtime import FolderCache, Runtime, compiled_key
from cocoon.kernels.fetch import compiled_dir
from cocoon.kernels.processor import processor

ONE = """processor\t: {number}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Some Processor
cpu MHz\t\t: {mhz}
flags\t\t: fpu sse2 avx512f
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


def _of(tmp_path: Path, text: str) -> str:
    path = tmp_path / f"cpuinfo-{len(list(tmp_path.iterdir()))}"
    path.write_text(text)
    return processor(path)


def test_processor_is_told_by_model_and_instructions_and_nothing_that_changes(tmp_path: Path) -> None:
    first = ONE.format(number=0, mhz="2000.000")
    here = _of(tmp_path, first)
    assert _of(tmp_path, first + "\n" + ONE.format(number=1, mhz="800.000")) == here
    assert _of(tmp_path, ONE.format(number=0, mhz="3100.123")) == here
    texts = [first.replace(" avx512f", ""), first.replace("143", "106"), first.replace("Genuine", "Other"), ARM]
    texts += [ARM.replace(" sve", ""), ARM.replace("0xd40", "0xd0c")]
    others = [_of(tmp_path, text) for text in texts]
    assert len({here, processor(tmp_path / "nowhere"), *others}) == 2 + len(others)


def test_programs_compiled_for_another_processor_are_not_loaded(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(tiny_bundle)
    build = bundle.manifest.builds[0]
    asked: list[str] = []

    class Cache(FolderCache):
        def get(self, key: str) -> bytes | None:
            asked.append(key)
            return super().get(key)

    Runtime(bundle, build, cache=Cache(tmp_path))
    here = sorted(path.name for path in tmp_path.iterdir())
    assert here == sorted(set(asked)) == sorted(compiled_key(bundle, build, sha256) for sha256 in build.hashes)
    folder = compiled_dir()
    monkeypatch.setattr("cocoon.kernels.engine.runtime.processor", lambda: "another")
    monkeypatch.setattr("cocoon.kernels.fetch.processor", lambda: "another")
    asked.clear()
    Runtime(bundle, build, cache=Cache(tmp_path))
    assert set(asked).isdisjoint(here)
    assert len(list(tmp_path.iterdir())) == 2 * len(here)
    assert compiled_dir() != folder
