"""A build in parts: on one device, on several, and on those of two processes, it computes the same model."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from mesh_program import outputs
from tiny import tiny_blueprint, tiny_config

from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.pack import write_bundle
from cocoon.kernels.builders.tensor_parallel import part_of
from cocoon.kernels.bundle.canonical import dumps, loads
from cocoon.kernels.bundle.limits import Limits
from cocoon.kernels.bundle.loader import open_bundle, parts_of
from cocoon.kernels.bundle.manifest import Build, Manifest
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.errors import BundleInvalid, MemoryExceeded, UnsupportedModel
from cocoon.kernels.sandboxed.host import KernelHost
from cocoon.kernels.sandboxed.process import Order

PROGRAM = Path(__file__).with_name("mesh_program.py")
CONFIG = tiny_config(layers=1, heads=8, kv_heads=4, vocabulary=260)
PARTS = 4
CLOSE = {"f32": 1e-4, "int8": 0.02}  # of logits up to 8: sums are taken in another order


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds: f32 in one piece, f32 and int8 in parts."""
    folder = tmp_path_factory.mktemp("mesh") / "bundle"
    whole = BuildOptions("f32", slots=3, capacity=128, chunk=16)
    options = [whole, replace(whole, parts=PARTS), replace(whole, precision="int8", parts=PARTS)]
    write_bundle(tiny_blueprint(CONFIG), options, folder)
    return folder


@pytest.fixture(scope="module")
def builds(folder: Path) -> dict[str, Build]:
    whole, *parts = open_bundle(folder).manifest.builds
    return {"whole": whole} | {build.precision: build for build in parts}


@pytest.fixture(scope="module")
def alone(folder: Path, builds: dict[str, Build]) -> dict[str, dict[str, Any]]:
    """What one device computes with each build."""
    bundle = open_bundle(folder)
    return {name: outputs(Runtime(bundle, build, devices=jax.devices()[:1])) for name, build in builds.items()}


def start(folder: Path, build: Build, devices: int, out: Path, **more: Any) -> subprocess.Popen[str]:
    order = {"folder": str(folder), "build": build.id, "devices": devices, "out": str(out), **more}
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), json.dumps(order)], env=environment, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str], out: Path) -> dict[str, Any]:
    said = process.communicate(timeout=280)[1]
    assert process.returncode == 0, said[-2000:]
    return dict(np.load(out))


def same(found: dict[str, Any], expected: dict[str, Any], precision: str) -> None:
    for name in ("decoded", "read"):
        np.testing.assert_allclose(found[name], expected[name], atol=CLOSE[precision])
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])


def test_build_in_parts_on_one_device_computes_what_the_whole_one_does(alone: dict[str, dict[str, Any]]) -> None:
    same(alone["f32"], alone["whole"], "f32")


@pytest.mark.parametrize(("precision", "devices"), [("f32", 2), ("f32", 4), ("int8", 2)])
def test_build_in_parts_on_several_devices_computes_what_one_does(
    folder: Path,
    builds: dict[str, Build],
    alone: dict[str, dict[str, Any]],
    tmp_path: Path,
    precision: str,
    devices: int,
) -> None:
    out = tmp_path / "found.npz"
    found = finish(start(folder, builds[precision], devices, out), out)
    assert (int(found["devices"]), int(found["local"]), bool(found["collectives"])) == (devices, devices, True)
    same(found, alone[precision], precision)
    np.testing.assert_array_equal(found["elsewhere"], alone[precision]["decoded"])


def test_confined_process_spreads_a_build_over_its_devices(
    folder: Path, builds: dict[str, Build], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last time with the programs that were compiled before."""
    answers = []
    for devices in (1, 4, 4):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
        host = KernelHost(Order(folder, builds["f32"].id, compiled=tmp_path))
        host.load()
        try:
            assert host.about["devices"] == devices
            answers.append(host.complete("hello", max_tokens=9).tokens)
        finally:
            host.close()
    assert len(answers[0]) > 1
    assert answers[0] == answers[1] == answers[2]


def test_build_in_parts_on_two_processes_computes_what_one_device_does(
    folder: Path, builds: dict[str, Build], alone: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """jax.distributed: two processes with a device each, as two hosts would be. Both know every answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    outs = [tmp_path / f"{process}.npz" for process in range(2)]
    running = [
        start(folder, builds["f32"], 1, out, process=process, processes=2, address=address)
        for process, out in enumerate(outs)
    ]
    try:
        for process, out in zip(running, outs, strict=True):
            found = finish(process, out)
            assert (int(found["devices"]), int(found["local"])) == (2, 1)
            same(found, alone["f32"], "f32")
    finally:
        for process in running:
            process.kill()


def test_memory_is_planned_for_the_devices_of_this_process(folder: Path, builds: dict[str, Build]) -> None:
    needed = Runtime(open_bundle(folder), builds["f32"], devices=jax.devices()[:1]).memory_bytes
    with pytest.raises(MemoryExceeded, match="slots would fit"):
        Runtime(open_bundle(folder, Limits(memory_bytes=needed - 1)), builds["f32"], devices=jax.devices()[:1])


def test_devices_that_can_not_share_the_parts_evenly_are_refused(folder: Path, builds: dict[str, Build]) -> None:
    with pytest.raises(BundleInvalid, match="4 parts, which 3 devices"):
        Runtime(open_bundle(folder), builds["f32"], devices=[*jax.devices()[:1]] * 3)


@pytest.mark.parametrize("parts", [3, 8])
def test_part_of_heads_that_can_not_be_cut_is_refused(parts: int) -> None:
    with pytest.raises(UnsupportedModel, match="can't be cut"):
        part_of(CONFIG, parts)


@pytest.mark.parametrize("split", [("no.such",), ("output_norm", "keys.0")])
def test_parts_of_a_build_whose_split_makes_no_sense_is_refused(
    folder: Path, builds: dict[str, Build], split: tuple[str, ...]
) -> None:
    with pytest.raises(BundleInvalid, match="split"):
        parts_of(open_bundle(folder), replace(builds["f32"], split=split))


def test_manifest_that_says_what_is_said_by_silence_is_refused(folder: Path, builds: dict[str, Build]) -> None:
    """Otherwise one build would have two spellings."""
    manifest = (folder / "manifest.json").read_bytes()
    value = loads(manifest, "manifest")
    assert "split" not in value["builds"][0]
    assert Manifest.from_bytes(manifest).to_bytes() == manifest
    value["builds"][0]["split"] = []
    with pytest.raises(BundleInvalid, match="leaving it out"):
        Manifest.from_bytes(dumps(value))
