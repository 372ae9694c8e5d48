"""Bundles from mirrors: what is wrong is never kept, and what is right comes from wherever it can be had."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from cocoon.cli import main
from cocoon.kernels.bundle.limits import Limits
from cocoon.kernels.bundle.loader import GOLDEN, MANIFEST, TOKENIZER, model_id_of, open_bundle
from cocoon.kernels.bundle.store import fetch_bundle
from cocoon.kernels.errors import BundleUnavailable
from cocoon.kernels.progress import Progress


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def served(tmp_path: Path, tiny_bundle: Path) -> Iterator[tuple[Path, str, bytes]]:
    """A mirror with the tiny bundle: its folder, address, and the model's id."""
    model_id = model_id_of(tiny_bundle)
    shutil.copytree(tiny_bundle, tmp_path / "mirror" / model_id.hex())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path / "mirror"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "mirror" / model_id.hex(), f"http://127.0.0.1:{server.server_port}", model_id
    server.shutdown()
    server.server_close()


def test_fetch_bundle_from_a_mirror_gives_the_model_and_needs_it_once(
    served: tuple[Path, str, bytes], tmp_path: Path
) -> None:
    folder, address, model_id = served
    seen: list[Progress] = []
    found = fetch_bundle(model_id, tmp_path / "shelf", ["http://127.0.0.1:9", address], progress=seen.append)
    assert open_bundle(found, expected=model_id).core.name == "tiny"
    assert seen[-1].done == seen[-1].total
    shutil.rmtree(folder)
    assert fetch_bundle(model_id, tmp_path / "shelf", [address]) == found
    assert [path.name for path in (tmp_path / "shelf").iterdir()] == [model_id.hex()]


@pytest.mark.parametrize("name", [MANIFEST, TOKENIZER, GOLDEN, "weights/00000.safetensors", "programs"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_fetch_bundle_of_wrong_content_keeps_nothing(
    served: tuple[Path, str, bytes], tmp_path: Path, name: str, damage: str
) -> None:
    folder, address, model_id = served
    path = next((folder / name).iterdir()) if name == "programs" else folder / name
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data if damage == "flipped" else data[:-1])
    if damage == "missing":
        path.unlink()
    with pytest.raises(BundleUnavailable, match=address):
        fetch_bundle(model_id, tmp_path / "shelf", [address])
    assert list((tmp_path / "shelf").iterdir()) == []


def test_command_line_fetches_by_id(
    served: tuple[Path, str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, address, model_id = served
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path / "cache"))
    done = CliRunner().invoke(main, ["kernel", "fetch", model_id.hex(), "--mirror", address])
    assert done.exit_code == 0, done.output
    assert model_id_of(Path(done.stdout.strip())) == model_id
    for wrong in ("zz", "00" * 31):
        assert CliRunner().invoke(main, ["kernel", "fetch", wrong, "--mirror", address]).exit_code == 2


def test_fetch_bundle_of_another_model_or_too_large_a_one_is_refused(
    served: tuple[Path, str, bytes], tmp_path: Path
) -> None:
    folder, address, model_id = served
    folder.rename(folder.parent / ("0" * 64))
    with pytest.raises(BundleUnavailable, match="is of model"):
        fetch_bundle(bytes(32), tmp_path / "shelf", [address])
    (folder.parent / ("0" * 64)).rename(folder)
    with pytest.raises(BundleUnavailable, match="room"):
        fetch_bundle(model_id, tmp_path / "shelf", [address], Limits(memory_bytes=1000))
    for mirrors in ([], ["file:///etc"]):
        with pytest.raises(BundleUnavailable, match=r"none is given|is no mirror"):
            fetch_bundle(model_id, tmp_path / "shelf", mirrors)
