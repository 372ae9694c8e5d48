"""The process kernels run in: what it may not do, and what happens to everybody else when one of them misbehaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forge import read_manifest, write_manifest
from loops import scaled, stubborn
from tiny import tiny_blueprint

from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.function import blueprint_from_function
from cocoon.kernels.builders.pack import add_build, write_bundle
from cocoon.kernels.bundle.limits import Limits
from cocoon.kernels.bundle.loader import MANIFEST
from cocoon.kernels.bundle.manifest import Manifest
from cocoon.kernels.engine.chat import Message
from cocoon.kernels.engine.sampling import Sampling
from cocoon.kernels.errors import (
    BundleInvalid,
    InvalidRequest,
    KernelCrashed,
    MemoryExceeded,
    NotLoaded,
    PromptTooLong,
    UnsupportedModel,
)
from cocoon.kernels.sandboxed.host import KernelHost
from cocoon.kernels.sandboxed.process import CONFINED, Order

LINUX = sys.platform == "linux"
HOT = Sampling(1.2, 0.9, 3)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def host(tiny_bundle: Path, compiled: Path) -> Iterator[KernelHost]:
    made = KernelHost(Order(tiny_bundle, compiled=compiled, strict=LINUX))
    made.load()
    yield made
    made.close()


def function_bundle(folder: Path, function: Any, **examples: Any) -> Path:
    made = blueprint_from_function(function, examples, name=function.__name__, licence="Apache-2.0")
    write_bundle(made, [BuildOptions()], folder)
    return folder


def test_host_before_load_says_to_load(tiny_bundle: Path) -> None:
    with pytest.raises(NotLoaded):
        KernelHost(Order(tiny_bundle)).complete("hello")


def test_host_tells_what_runs_and_under_which_restrictions(host: KernelHost, tiny_bundle: Path) -> None:
    assert host.about["kind"] == "generate"
    assert (host.about["slots"], host.context_length, host.about["precision"]) == (3, 256, "f32")
    assert host.build_id == read_build_id(tiny_bundle)
    if LINUX:
        assert any("seccomp" in line for line in host.about["enforced"])


def read_build_id(folder: Path) -> str:
    from cocoon.kernels.bundle.loader import open_bundle

    return open_bundle(folder).manifest.builds[0].id


def test_complete_streams_what_it_returns_and_replays(host: KernelHost) -> None:
    first = host.complete("hello", max_tokens=9, sampling=HOT, logprobs=1)
    generation = host.generate([Message("user", "hello")], max_tokens=9, sampling=HOT)
    tokens = list(generation)
    assert tuple(token.id for token in tokens) == first.tokens
    assert "".join(token.text for token in tokens) == first.text
    assert generation.completion is not None
    assert first.prompt_tokens == host.count_tokens("hello") == generation.completion.prompt_tokens
    assert len(first.logprobs) == first.completion_tokens
    assert host.metrics()["finished"] >= 2


def test_requests_at_fault_get_their_error_and_harm_nobody(host: KernelHost) -> None:
    with pytest.raises(PromptTooLong) as caught:
        host.complete("x" * 300)
    assert caught.value.limit == 255
    for options in ({"max_tokens": 0}, {"stop": [""]}, {"logprobs": 99}, {"tokens": [5, 10**9]}, {"tokens": []}):
        with pytest.raises(InvalidRequest):
            host.complete(None if "tokens" in options else "hello", **options)
    with pytest.raises(InvalidRequest):
        host.complete([])
    with pytest.raises(InvalidRequest):
        host.map({"x": np.zeros(3, np.float32)})
    assert host.complete("hello", max_tokens=1).completion_tokens == 1
    assert host.crashes == 0


def test_cancel_ends_an_answer_soon(host: KernelHost) -> None:
    cancel = threading.Event()
    generation = host.generate("hello", sampling=Sampling(2.0, seed=8), cancel=cancel)
    next(generation)
    cancel.set()
    assert generation.finish().finish_reason in ("cancelled", "stop")


def test_killing_the_process_in_the_middle_changes_no_answer(host: KernelHost) -> None:
    questions = [f"question {number}" for number in range(5)]

    def ask(question: str) -> Any:
        return host.complete(question, max_tokens=24, sampling=HOT)

    alone = [ask(question) for question in questions]
    before = host.crashes
    for _ in range(10):  # killed before it was asked anything, or after it has said all, nobody notices: then once more
        with ThreadPoolExecutor(len(questions)) as pool:
            running = [pool.submit(ask, question) for question in questions]
            while host.crashes == before and not all(future.done() for future in running):
                if host._process is not None:
                    host._process._child.kill()
                time.sleep(0.05)
            assert [future.result() for future in running] == alone
        if host.crashes > before:
            break
    assert host.crashes > before


def test_compiled_programs_are_kept_and_used_again(tiny_bundle: Path, compiled: Path, host: KernelHost) -> None:
    kept = [path for path in sorted((compiled / CONFINED).iterdir()) if path.name.startswith(host.model_id.hex())]
    assert len(kept) == 2
    stamps = [path.stat().st_mtime_ns for path in kept]
    again = KernelHost(Order(tiny_bundle, compiled=compiled, strict=LINUX))
    again.load()
    try:
        assert again.complete("hello", max_tokens=3) == host.complete("hello", max_tokens=3)
    finally:
        again.close()
    assert [path.stat().st_mtime_ns for path in kept] == stamps


def test_builds_of_one_model_share_no_compiled_program(tmp_path: Path) -> None:
    """A stranger may add a build that names another one's programs, and keep what it likes under them."""
    folder, kept = tmp_path / "b", list[set[str]]()
    write_bundle(tiny_blueprint(), [BuildOptions("f32", slots=3, chunk=16)], folder)
    manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    builds = (manifest.builds[0], replace(manifest.builds[0], exporter="a-strangers"))
    (folder / MANIFEST).write_bytes(replace(manifest, builds=builds).to_bytes())
    for build in builds:
        host = KernelHost(Order(folder, build.id, compiled=tmp_path / "c", strict=LINUX))
        host.load()
        host.close()
        kept.append({path.name for path in (tmp_path / "c" / CONFINED).iterdir()})
    assert kept[0] < kept[1]
    assert len(kept[1]) == 2 * len(kept[0])


@pytest.mark.parametrize(
    "key", ["../x", "{model}/../x", "0" * 64 + "-x", "{model}-" + "y" * 300, "{model}-\0", ".x", ""]
)
def test_compiled_programs_under_other_names_are_not_kept(host: KernelHost, compiled: Path, key: str) -> None:
    """What a process under a stranger's control might say: nothing is written outside its own model's files."""
    before = sorted(compiled.parent.rglob("*"))
    assert host._process is not None
    host._process._keep(key.replace("{model}", host.model_id.hex()), b"evil")
    assert sorted(compiled.parent.rglob("*")) == before


def test_compiled_programs_are_kept_once_each_and_only_the_builds_own(tmp_path: Path) -> None:
    """A process under a stranger's control must not fill the disk."""
    folder = function_bundle(tmp_path / "b", scaled, x=np.ones((2, 3), np.float32))
    host = KernelHost(Order(folder, compiled=tmp_path / "c", limits=Limits(compiled_bytes=1 << 20), strict=LINUX))
    host.load()
    try:
        (kept,) = (tmp_path / "c" / CONFINED).iterdir()
        data = kept.read_bytes()
        process = host._process
        assert process is not None
        for message in (
            {"compiled": kept.name},  # again
            {"compiled": kept.name + "0"},  # an invented name
            {"keeps": [kept.name, "0"]},  # a list of them
            {"compiled": kept.name},
            {"compiled": "0"},
        ):
            process._take(message, b"evil")
        assert {path.name: path.read_bytes() for path in kept.parent.iterdir()} == {kept.name: data}
    finally:
        host.close()


@pytest.mark.parametrize("start", ["a process", "a build to add"])
def test_bundle_whose_manifest_is_a_pipe_is_refused_and_not_waited_for(
    tiny_bundle: Path, tmp_path: Path, start: str
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "b")
    (tmp_path / "b" / MANIFEST).unlink()
    os.mkfifo(tmp_path / "b" / MANIFEST)
    refused = []

    def load() -> None:
        try:
            if start == "a process":
                KernelHost(Order(tmp_path / "b", strict=LINUX)).load()
            else:
                add_build(tiny_blueprint(), BuildOptions(), tmp_path / "b")
        except BundleInvalid as error:
            refused.append(str(error))

    waiting = threading.Thread(target=load, daemon=True)
    waiting.start()
    waiting.join(60)
    assert refused
    assert "not a plain file" in refused[0]


def test_kernel_that_does_not_stop_is_ended_and_only_its_request_fails(tmp_path: Path, compiled: Path) -> None:
    folder = function_bundle(tmp_path / "b", stubborn, x=np.ones(4, np.float32))
    host = KernelHost(Order(folder, limits=Limits(step_sec=2.0), compiled=compiled, strict=LINUX))
    host.load()
    try:
        good = np.array([1, 2, 3, 4], np.float32)
        with ThreadPoolExecutor(2) as pool:
            bad = pool.submit(host.map, {"x": good + 100})
            fine = pool.submit(host.map, {"x": good})
            with pytest.raises(KernelCrashed, match="silent"):
                bad.result()
            np.testing.assert_array_equal(fine.result()["output"], good * 2)
        np.testing.assert_array_equal(host.map({"x": good})["output"], good * 2)
    finally:
        host.close()


def test_function_is_a_map_model_with_named_outputs(tmp_path: Path, compiled: Path) -> None:
    folder = function_bundle(tmp_path / "b", scaled, x=np.ones((2, 3), np.float32))
    host = KernelHost(Order(folder, compiled=compiled, strict=LINUX))
    host.load()
    try:
        found = host.map({"x": np.full((2, 3), 5, np.float32)})
        np.testing.assert_array_equal(found["double"], np.full((2, 3), 10))
        assert found["total"] == 30
        for wrong in ({}, {"y": np.ones((2, 3), np.float32)}, {"x": np.ones((2, 3))}, {"x": np.ones(3, np.float32)}):
            with pytest.raises(InvalidRequest):
                host.map(wrong)
        with pytest.raises(InvalidRequest):
            host.complete("hello")
    finally:
        host.close()


def test_bundles_that_can_not_be_run_say_why(tiny_bundle: Path, tmp_path: Path) -> None:
    def load(**order: Any) -> None:
        KernelHost(Order(**{"folder": tiny_bundle, "strict": LINUX} | order)).load()

    with pytest.raises(BundleInvalid, match="expected"):
        load(expected=bytes(32))
    with pytest.raises(BundleInvalid, match="builds match"):
        load(build_id="ffffffffff")
    with pytest.raises(MemoryExceeded, match="are allowed"):
        load(limits=Limits(memory_bytes=200_000))
    shutil.copytree(tiny_bundle, tmp_path / "b")
    manifest = read_manifest(tmp_path / "b")
    manifest["builds"][0]["platforms"] = ["cuda"]
    write_manifest(tmp_path / "b", manifest)
    with pytest.raises(BundleInvalid, match="this build is for cuda"):
        load(folder=tmp_path / "b")


def test_function_that_can_not_be_exported_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="can't be traced"):
        blueprint_from_function(lambda x: [x], {"x": np.ones(3, np.float32)}, name="f", licence="MIT")


ATTEMPTS = """
import os, socket, sys, threading
from cocoon.kernels.sandboxed.confine import confine
held = open("/etc/hostname" if os.path.exists("/etc/hostname") else sys.executable)
enforced = confine(1 << 30, device=False)
assert len(enforced) == 4, enforced
def attempt(name, call):
    try:
        call()
    except (OSError, ValueError):
        return
    print("ALLOWED:", name)
attempt("read a file", lambda: open("/etc/passwd"))
attempt("write a file", lambda: open("/tmp/x", "w"))
attempt("list a folder", lambda: os.listdir("/"))
attempt("remove a file", lambda: os.unlink("/tmp/x"))
attempt("make a folder", lambda: os.mkdir("/tmp/cocoon-x"))
attempt("a socket", socket.socket)
attempt("a unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("another program", lambda: os.execv(sys.executable, ["python"]))
attempt("a child", os.fork)
attempt("a signal to the parent", lambda: os.kill(os.getppid(), 0))
attempt("a higher limit", lambda: __import__("resource").setrlimit(1, (100, 100)))
attempt("another user", lambda: os.setuid(12345))
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for number, name in ((101, "ptrace"), (310, "read another's memory"), (425, "io_uring"), (321, "bpf"), (319, "memfd")):
    if os.uname().machine == "x86_64" and libc.syscall(number, 0, 0, 0, 0, 0, 0) >= 0:
        print("ALLOWED:", name)
done = []
thread = threading.Thread(target=lambda: done.append(1))
thread.start()
thread.join()
assert done
print("finished")
"""


@pytest.mark.skipif(not LINUX, reason="system call filters are Linux's")
def test_confined_process_can_compute_and_nothing_else() -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.stdout == "finished\n", done.stdout + done.stderr


def test_child_gets_no_secret_of_the_environment(
    tiny_bundle: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCOON_OPERATOR_MNEMONIC", "words words words")
    host = KernelHost(Order(tiny_bundle, compiled=compiled, strict=LINUX))
    host.load()
    try:
        assert host._process is not None
        environ = Path(f"/proc/{host._process._child.pid}/environ")
        if environ.exists():
            assert b"words" not in environ.read_bytes()
    finally:
        host.close()
