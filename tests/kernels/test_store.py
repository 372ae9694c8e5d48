"""Bundles from mirrors: what is wrong is never kept, and what is right comes from wherever it can be had."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from click.testing import CliRunner
from forge import read_manifest as read_json
from forge import write_manifest

from cocoon.cli import main
from cocoon.kernels.bundle.chunks import root
from cocoon.kernels.bundle.limits import Limits
from cocoon.kernels.bundle.loader import GOLDEN, MANIFEST, TOKENIZER, open_bundle, read_manifest
from cocoon.kernels.bundle.manifest import Shard
from cocoon.kernels.bundle.store import fetch_bundle
from cocoon.kernels.errors import BundleUnavailable
from cocoon.kernels.progress import Progress


class _Mirror(SimpleHTTPRequestHandler):
    """Keeps what it was asked for; for paths that end with a key of `lies` it says the value."""

    asked: ClassVar[list[str]] = []
    lies: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self.asked.append(self.path)
        for end, answer in self.lies.items():
            if self.path.endswith(end):
                self.wfile.write(answer)
                return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def served(tmp_path: Path, tiny_bundle: Path) -> Iterator[tuple[Path, str, bytes]]:
    """A mirror with the tiny bundle: its folder, address, and the model's id."""
    model_id = read_manifest(tiny_bundle).model_id
    shutil.copytree(tiny_bundle, tmp_path / "mirror" / model_id.hex())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Mirror, directory=tmp_path / "mirror"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _Mirror.asked.clear()
    _Mirror.lies.clear()
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


NONSENSE = {
    "no HTTP": b"hello\r\n\r\n",
    "chunks without a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header without an end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", [MANIFEST, "weights/00000.safetensors"])
@pytest.mark.parametrize("what", NONSENSE)
def test_fetch_bundle_from_a_mirror_that_talks_nonsense_asks_the_next(
    served: tuple[Path, str, bytes], tmp_path: Path, name: str, what: str
) -> None:
    _, address, model_id = served
    _Mirror.lies[f"bad/{model_id.hex()}/{name}"] = NONSENSE[what]
    (tmp_path / "mirror" / "bad").symlink_to(tmp_path / "mirror")
    assert fetch_bundle(model_id, tmp_path / "shelf", [f"{address}/bad", address]).is_dir()
    assert any(path.startswith("/bad") and path.endswith(name) for path in _Mirror.asked)


@pytest.mark.parametrize("bad", ["http://a:b", "http://[::1", "http://a b", "https://"])
def test_fetch_bundle_from_an_address_that_is_none_asks_the_next(
    served: tuple[Path, str, bytes], tmp_path: Path, bad: str
) -> None:
    _, address, model_id = served
    assert fetch_bundle(model_id, tmp_path / "shelf", [bad, address]).is_dir()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(builds=1), "2 builds, 1 are allowed"),
        (Limits(programs=1), "2 programs and steps that differ, 1 are allowed"),
        (Limits(program_bytes=1000), "1000 are allowed"),
        (Limits(programs_bytes=2000), "bytes together, 2000 are allowed"),
        (None, "more than there is room for"),
    ],
)
def test_fetch_bundle_of_too_much_asks_for_the_manifest_only(
    served: tuple[Path, str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits | None,
    reason: str,
) -> None:
    folder, address, model_id = served
    manifest = read_json(folder)
    manifest["builds"].append({**manifest["builds"][0], "exporter": "another"})
    write_manifest(folder, manifest)
    if limits is None:  # room for the weights and next to nothing else
        room = _Usage(read_manifest(folder).core.weights.bytes + 1000)
        monkeypatch.setattr("cocoon.kernels.bundle.store.shutil.disk_usage", lambda _: room)
    with pytest.raises(BundleUnavailable, match=reason):
        fetch_bundle(model_id, tmp_path / "shelf", [address], limits)
    assert [path.rpartition("/")[2] for path in _Mirror.asked] == [MANIFEST]


@pytest.mark.parametrize("chunk_bytes", [-1, 0, 1, 1 << 40])
def test_fetch_bundle_in_chunks_that_no_loader_takes_asks_for_the_manifest_only(
    served: tuple[Path, str, bytes], tmp_path: Path, chunk_bytes: int
) -> None:
    """A chunk is read whole before it is checked; below nothing would be all there is."""
    folder, address, _ = served
    manifest = read_json(folder)
    manifest["core"]["weights"]["chunk_bytes"] = chunk_bytes
    model_id = offer(folder, manifest)
    with pytest.raises(BundleUnavailable, match=f"chunks of {chunk_bytes} bytes are not allowed"):
        fetch_bundle(model_id, tmp_path / "shelf", [address])
    assert [path.rpartition("/")[2] for path in _Mirror.asked] == [MANIFEST]


def test_fetch_bundle_of_more_chunks_than_bytes_asks_for_the_manifest_only(
    served: tuple[Path, str, bytes], tmp_path: Path
) -> None:
    folder, address, _ = served
    manifest = read_json(folder)
    manifest["shards"][0]["chunks"] *= 3
    manifest["core"]["weights"]["root"] = root([Shard(s["bytes"], tuple(s["chunks"])) for s in manifest["shards"]])
    model_id = offer(folder, manifest)
    with pytest.raises(BundleUnavailable, match=r"shards\[0\] has 3 chunks"):
        fetch_bundle(model_id, tmp_path / "shelf", [address])
    assert [path.rpartition("/")[2] for path in _Mirror.asked] == [MANIFEST]


def offer(folder: Path, manifest: Any) -> bytes:
    """Has the mirror serve this manifest as that of the model it then names, whose id this is."""
    write_manifest(folder, manifest)
    model_id = read_manifest(folder).model_id
    folder.rename(folder.parent / model_id.hex())
    return model_id


class _Usage(NamedTuple):
    free: int


def test_fetch_bundle_of_one_build_takes_no_other_that_the_mirror_puts_first(
    served: tuple[Path, str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address, model_id = served
    honest = read_manifest(folder).builds[0]
    manifest = read_json(folder)
    manifest["builds"].insert(0, {**manifest["builds"][0], "exporter": "the-mirrors"})
    write_manifest(folder, manifest)
    by_mirror = fetch_bundle(model_id, tmp_path / "shelf", [address])
    assert read_manifest(by_mirror).builds[0].exporter == "the-mirrors"
    found = fetch_bundle(model_id, tmp_path / "shelf", [address], build=bytes.fromhex(honest.id))
    assert open_bundle(found, expected=model_id).manifest.builds == (honest,)
    with pytest.raises(BundleUnavailable, match="lists no build 0000"):
        fetch_bundle(model_id, tmp_path / "shelf", [address], build=bytes(32))
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path / "cache"))
    command = ["kernel", "fetch", model_id.hex(), "--mirror", address, "--build"]
    done = CliRunner().invoke(main, [*command, honest.id])
    assert done.exit_code == 0, done.output
    assert read_manifest(Path(done.stdout.strip())).builds == (honest,)
    assert CliRunner().invoke(main, [*command, honest.id[:12]]).exit_code == 2


def test_command_line_fetches_by_id(
    served: tuple[Path, str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, address, model_id = served
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path / "cache"))
    done = CliRunner().invoke(main, ["kernel", "fetch", model_id.hex(), "--mirror", address])
    assert done.exit_code == 0, done.output
    assert read_manifest(Path(done.stdout.strip())).model_id == model_id
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
