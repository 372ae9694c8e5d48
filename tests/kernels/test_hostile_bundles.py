"""Bundles made by enemies: none is run, none crashes the reader, each is refused with a reason."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forge import leaves, put, read_manifest, rehash, replace_program, write_manifest
from jax import export as jax_export
from jax._src.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from tiny import tiny_blueprint

from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.export import export_program, specs
from cocoon.kernels.builders.pack import write_bundle
from cocoon.kernels.bundle import canonical
from cocoon.kernels.bundle.audit import audit, audit_build
from cocoon.kernels.bundle.limits import Limits
from cocoon.kernels.bundle.loader import GOLDEN, MANIFEST, TEMPLATE, TOKENIZER, open_bundle, program_name
from cocoon.kernels.bundle.manifest import Manifest, Tensor
from cocoon.kernels.bundle.safetensors import NUMPY
from cocoon.kernels.engine.model import Model
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.errors import BundleInvalid, BundleUnavailable, KernelError, MemoryExceeded

REFUSALS = (BundleInvalid, BundleUnavailable, MemoryExceeded)
SHARD = "weights/00000.safetensors"
# labels, which decide nothing that is run
LABELS = {"precision", "exporter", "platforms", "name", "licence"}

CHANGES: list[Callable[[Any], Any]] = [
    lambda _: None,
    lambda _: "../../../../etc/passwd",
    lambda _: {"x": 1},
    lambda _: 1.5,
    lambda _: 2**60,
    lambda value: [value],
    lambda value: -value - 1 if type(value) is int else f"{value}x" if isinstance(value, str) else 7,
]


@pytest.fixture
def copied(tiny_bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_bundle, tmp_path / "b")
    return tmp_path / "b"


def examine(folder: Path, expected: bytes | None = None) -> None:
    """Everything that is looked at before a program is compiled."""
    bundle = open_bundle(folder, expected=expected)
    for build in bundle.manifest.builds:
        audit_build(bundle, build)


def test_manifests_changed_anywhere_are_refused(copied: Path) -> None:
    """Some 600 of them: nothing but a build's labels can be changed under the same id."""
    original = read_manifest(copied)
    model = Manifest.from_bytes((copied / MANIFEST).read_bytes()).model_id
    tried = 0
    draw = random.Random(3)
    for path in leaves(original):
        if path[0] == "builds" and LABELS & set(path):
            continue
        for change in draw.sample(CHANGES, 5):
            changed = copy.deepcopy(original)
            put(changed, path, change)
            write_manifest(copied, changed)
            with pytest.raises(REFUSALS) as caught:
                examine(copied, model)
            assert str(caught.value), path
            tried += 1
    assert tried >= 500


def test_manifests_with_fields_removed_or_added_are_refused(copied: Path) -> None:
    original = read_manifest(copied)
    for path in [(), *leaves(original)]:
        place = original
        for key in path:
            place = place[key]
        if isinstance(place, dict):
            for name in [*place, None]:
                changed = copy.deepcopy(original)
                inner = changed
                for key in path:
                    inner = inner[key]
                inner.update({"unheard_of": 1}) if name is None else inner.pop(name)
                write_manifest(copied, changed)
                with pytest.raises(BundleInvalid, match=r"lacks|unknown field"):
                    open_bundle(copied)


@pytest.mark.parametrize("name", [MANIFEST, TOKENIZER, TEMPLATE, GOLDEN, SHARD])
@pytest.mark.parametrize("damage", ["cut", "grown", "flipped", "missing", "link", "folder", "empty", "pipe"])
def test_files_that_are_not_what_the_manifest_says_are_refused(copied: Path, name: str, damage: str) -> None:
    path, data = copied / name, bytearray((copied / name).read_bytes())
    path.unlink()
    if damage == "link":
        (copied / "elsewhere").write_bytes(data)
        path.symlink_to(copied / "elsewhere")
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage != "missing":
        data[len(data) // 2] ^= damage == "flipped"
        path.write_bytes({"cut": data[:-1], "grown": data + b" ", "empty": b""}.get(damage, data))
    with pytest.raises(REFUSALS, match=name.rpartition("/")[2] if name != MANIFEST else "."):
        examine(copied)


def test_folders_that_are_links_are_refused(copied: Path) -> None:
    (copied / "weights").rename(copied / "real")
    (copied / "weights").symlink_to(copied / "real")
    with pytest.raises(BundleInvalid, match="plain folder"):
        open_bundle(copied)


def _header(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def forge(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]

    return forge


def _set(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["layers.0.qkv"].update({field: value})


SHARDS: dict[str, Callable[[bytes], bytes]] = {
    "header longer than the file": lambda data: (1 << 40).to_bytes(8, "little") + data[8:],
    "header of nothing": lambda data: (0).to_bytes(8, "little") + data[8:],
    "header that is not JSON": lambda data: data[:8] + b"{" * 40 + data[48:],
    "header nested deeply": lambda data: (40000).to_bytes(8, "little") + b"[" * 40000 + data,
    "tensors cut off": lambda data: data[:-100],
    "bytes behind the tensors": lambda data: data + b"x" * 64,
    "a huge shape": _header(_set("shape", [1 << 39, 1 << 39])),
    "a negative shape": _header(_set("shape", [-64, -32])),
    "a shape that is not whole": _header(_set("shape", [64.0, 32])),
    "an unknown dtype": _header(_set("dtype", "F8_E4M3")),
    "overlapping tensors": _header(_set("data_offsets", [0, 8192])),
    "offsets backwards": _header(_set("data_offsets", [8192, 0])),
    "offsets of text": _header(_set("data_offsets", ["0", "8"])),
    "an entry that is none": _header(lambda header: header.update({"layers.0.qkv": 5})),
    "a name that is a path": _header(lambda header: header.update({"../../x": header.pop("layers.0.qkv")})),
    "a name too long": _header(lambda header: header.update({"x" * 500: header.pop("layers.0.qkv")})),
    "a tensor less": _header(lambda header: header.update({"other": header.pop("layers.0.qkv")})),
    "other shapes of equal size": _header(_set("shape", [32, 64])),
}


@pytest.mark.parametrize("what", SHARDS)
def test_weights_that_are_well_hashed_but_malformed_are_refused(copied: Path, what: str) -> None:
    (copied / SHARD).write_bytes(SHARDS[what]((copied / SHARD).read_bytes()))
    rehash(copied)
    with pytest.raises(BundleInvalid):
        examine(copied)


def test_the_same_weights_twice_are_refused(copied: Path) -> None:
    shutil.copy(copied / SHARD, copied / "weights/00001.safetensors")
    manifest = read_manifest(copied)
    manifest["shards"].append(manifest["shards"][0])
    write_manifest(copied, manifest)
    rehash(copied)
    with pytest.raises(BundleInvalid, match="an earlier shard has"):
        open_bundle(copied)


X = Tensor("x", "f32", (4, 4))


def _export(function: Callable[..., Any], *arguments: Tensor, platforms: tuple[str, ...] = ("cpu",)) -> bytes:
    return export_program(lambda *x: (function(*x),), specs(arguments or (X,)), platforms=platforms).data


def _with_checks_off() -> bytes:
    made = jax_export.export(jax.jit(lambda x: (x,)), disabled_checks=[jax_export.DisabledSafetyCheck.platform()])
    return bytes(made(*specs([X])).serialize())


def _symbolic() -> bytes:
    shape = jax_export.symbolic_shape("b, 4")
    return bytes(jax_export.export(jax.jit(lambda x: (x,)))(jax.ShapeDtypeStruct(shape, jnp.float32)).serialize())


def _forbidden(operation: str) -> bytes:
    """A program with one operation renamed in its text: JAX itself would not write it."""
    made = jax_export.export(jax.jit(lambda x: (x + 1.0,)))(*specs([X]))
    with mlir.make_ir_context():
        module = ir.Module.parse(
            f"module @main {{ func.func public @main(%arg0: tensor<4x4xf32>) -> (tensor<4x4xf32>) {{ {operation} }} }}"
        )
        artifact = stablehlo.serialize_portable_artifact(module, stablehlo.get_current_version())
    return bytes(dataclasses.replace(made, mlir_module_serialized=artifact).serialize())


TOKEN = "%t = stablehlo.create_token : !stablehlo.token "
PROGRAMS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "noise": lambda: random.Random(1).randbytes(5000),
    "text": lambda: b"module {}" * 100,
    "half a program": lambda: _export(jnp.tanh)[:900],
    "another number of arguments": lambda: _export(lambda x, y: x + y, X, X),
    "another dtype": lambda: _export(lambda x: x.astype(jnp.float32), Tensor("x", "i32", (4, 4))),
    "another shape": lambda: _export(jnp.tanh, Tensor("x", "f32", (4, 5))),
    "shapes left open": _symbolic,
    "safety checks switched off": _with_checks_off,
    "a callback into Python": lambda: _forbidden(
        "%0 = stablehlo.custom_call @xla_ffi_python_cpu_callback(%arg0) {api_version = 4 : i32} : (tensor<4x4xf32>) -> "
        "tensor<4x4xf32> return %0 : tensor<4x4xf32>"
    ),
    "linear algebra in native code": lambda: _export(lambda x: jnp.linalg.qr(x)[0]),
    "any native function": lambda: _forbidden(
        "%0 = stablehlo.custom_call @system(%arg0) : (tensor<4x4xf32>) -> tensor<4x4xf32> return %0 : tensor<4x4xf32>"
    ),
    "a listed function with a side effect": lambda: _forbidden(
        "%0 = stablehlo.custom_call @Sharding(%arg0) {has_side_effect = true} : (tensor<4x4xf32>) -> tensor<4x4xf32> "
        "return %0 : tensor<4x4xf32>"
    ),
    "random numbers of the device": lambda: _forbidden(
        "%a = stablehlo.constant dense<0.0> : tensor<f32> %s = stablehlo.constant dense<4> : tensor<2xi64> "
        "%0 = stablehlo.rng %a, %a, %s, distribution = UNIFORM : (tensor<f32>, tensor<f32>, tensor<2xi64>) -> "
        "tensor<4x4xf32> return %0 : tensor<4x4xf32>"
    ),
    "infeed": lambda: _forbidden(
        f'{TOKEN} %0:2 = "stablehlo.infeed"(%t) {{infeed_config = ""}} : (!stablehlo.token) -> '
        "(tensor<4x4xf32>, !stablehlo.token) return %0#0 : tensor<4x4xf32>"
    ),
    "outfeed": lambda: _forbidden(
        f'{TOKEN} %0 = "stablehlo.outfeed"(%arg0, %t) {{outfeed_config = ""}} : (tensor<4x4xf32>, !stablehlo.token) -> '
        "!stablehlo.token return %arg0 : tensor<4x4xf32>"
    ),
    "send": lambda: _forbidden(
        f'{TOKEN} %0 = "stablehlo.send"(%arg0, %t) {{channel_handle = #stablehlo.channel_handle<handle = 1, type = 2>, '
        "is_host_transfer = true} : (tensor<4x4xf32>, !stablehlo.token) -> !stablehlo.token "
        "return %arg0 : tensor<4x4xf32>"
    ),
    "recv": lambda: _forbidden(
        f'{TOKEN} %0:2 = "stablehlo.recv"(%t) {{channel_handle = #stablehlo.channel_handle<handle = 1, type = 3>, '
        "is_host_transfer = true} : (!stablehlo.token) -> (tensor<4x4xf32>, !stablehlo.token) "
        "return %0#0 : tensor<4x4xf32>"
    ),
    "a collective": lambda: _forbidden(
        '%0 = "stablehlo.all_gather"(%arg0) {all_gather_dim = 0 : i64, replica_groups = dense<0> : tensor<1x1xi64>} : '
        "(tensor<4x4xf32>) -> tensor<4x4xf32> return %0 : tensor<4x4xf32>"
    ),
    "a giant in the middle": lambda: _export(lambda x: jnp.zeros((1 << 20, 1 << 18), jnp.float32).sum() + x),
    "weights as constants": lambda: _export(
        lambda x: x + jnp.asarray(np.random.default_rng(1).standard_normal((1024, 1024), np.float32)).sum()
    ),
    "numbers of four bits": lambda: _export(lambda x: x.astype(jnp.int4).astype(jnp.float32)),
    "complex numbers": lambda: _export(lambda x: (x + 1j).real),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_programs_with_anything_but_arithmetic_are_refused(what: str) -> None:
    with pytest.raises(BundleInvalid, match="it ") as caught:
        audit(PROGRAMS[what](), [X], [X], Limits(), "it ")
    assert len(str(caught.value)) < 500


def test_a_program_of_arithmetic_passes() -> None:
    """The tests above would be worth nothing if their carrier were refused."""
    assert audit(_forbidden("return %arg0 : tensor<4x4xf32>"), [X], [X], Limits(), "it").in_avals
    assert audit(_export(lambda x: jax.lax.erf(jnp.sort(x @ x))), [X], [X], Limits(), "it").in_avals


def test_a_program_put_in_place_of_another_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    replace_program(tiny_bundle, tmp_path / "b", _export(jnp.tanh))
    with pytest.raises(BundleInvalid, match=r"prefill program .* argument"):
        Model(tmp_path / "b")


def test_a_program_of_more_operations_than_allowed_is_refused() -> None:
    with pytest.raises(BundleInvalid, match="more than 3 operations"):
        audit(_export(lambda x: jnp.tanh(x) @ x), [X], [X], Limits(operations=3), "it")


@pytest.fixture
def stepped(tmp_path: Path) -> Path:
    """A bundle whose build has steps."""
    write_bundle(tiny_blueprint(), [BuildOptions("int8", slots=1, chunk=16, capacity=32)], tmp_path / "b")
    return tmp_path / "b"


def test_steps_that_make_what_no_program_takes_are_refused(stepped: Path) -> None:
    manifest = read_manifest(stepped)
    manifest["builds"][0]["steps"][0]["outputs"].append({"name": "junk", "dtype": "f32", "dims": [1 << 20]})
    write_manifest(stepped, manifest)
    with pytest.raises(BundleInvalid, match="a step makes 'junk', which is no parameter"):
        open_bundle(stepped)


def test_steps_that_take_more_than_there_is_are_refused(stepped: Path) -> None:
    manifest = read_manifest(stepped)
    manifest["builds"][0]["steps"][0]["inputs"] *= 10_000
    write_manifest(stepped, manifest)
    with pytest.raises(MemoryExceeded, match="bytes, 10000000 are allowed"):
        open_bundle(stepped, Limits(memory_bytes=10_000_000))


def test_steps_with_large_temporary_arrays_are_refused_before_they_run(
    stepped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = open_bundle(stepped).manifest.builds[0]
    step, allowed = build.steps[0], Runtime(open_bundle(stepped), build).memory_bytes + (8 << 20)
    (stored,) = (open_bundle(stepped).parameter(build, name) for name in step.inputs)
    assert allowed < 16 << 20

    def greedy(weight: Any) -> tuple[Any, ...]:
        """Sorts four arrays of 4 MiB by one another, for nothing."""
        many = [weight[0, 0] * jnp.arange(1 << 20, dtype=jnp.float32) + i for i in range(4)]
        extra = sum(one[0] for one in jax.lax.sort(many)) * 0
        return tuple((jnp.zeros(t.shape) + extra).astype(NUMPY[t.dtype]) for t in step.outputs)

    made = export_program(greedy, specs([stored]))
    manifest = read_manifest(stepped)
    for listed in manifest["builds"][0]["steps"]:
        if listed["sha256"] == step.sha256:
            listed |= {"sha256": made.sha256, "bytes": len(made.data)}
    (stepped / program_name(made.sha256)).write_bytes(made.data)
    write_manifest(stepped, manifest)
    bundle = open_bundle(stepped, Limits(memory_bytes=allowed))
    monkeypatch.setattr(Runtime, "_prepare", lambda *_: pytest.fail("it ran"))
    with pytest.raises(MemoryExceeded, match="to make the parameters"):
        Runtime(bundle, bundle.manifest.builds[0])


FUZZ = """
import random, sys
from pathlib import Path
from cocoon.kernels.bundle.audit import audit
from cocoon.kernels.bundle.limits import Limits
from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.errors import BundleInvalid

bundle = open_bundle(Path(sys.argv[1]))
build = bundle.manifest.builds[0]
program = build.programs[1]
arguments = [*(bundle.parameter(build, name) for name in build.parameters), *build.state, *program.inputs]
data = bundle.program(program.sha256, program.bytes)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    draw = random.Random(number)
    changed = bytearray(data)
    for _ in range(draw.choice([1, 3, 20])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    print(number, "tried", flush=True)
    try:
        audit(bytes(changed), arguments, [*program.outputs, *build.state], Limits(), "it")
        print(number, "accepted", flush=True)
    except BundleInvalid as error:
        print(number, "refused", flush=True)
"""


def test_programs_of_flipped_bytes_end_in_a_refusal_or_with_the_process_that_reads_them(tiny_bundle: Path) -> None:
    """The parser is C++, and may die of nonsense: in the kernel's process, never in the agent's."""
    count, at, deaths, refused = 120, 0, 0, 0
    while at < count:
        command = [sys.executable, "-c", FUZZ, str(tiny_bundle), str(at), str(count)]
        done = subprocess.run(command, capture_output=True, check=False)
        lines = done.stdout.decode().split("\n")[:-1]
        refused += sum(line.endswith("refused") for line in lines)
        if done.returncode == 0:
            break
        assert done.returncode < 0, done.stderr[-2000:]  # by a signal: no exception got out of the audit
        deaths += 1
        at = int(lines[-1].split()[0]) + 1
    assert refused > count // 2
    assert deaths < count // 4


@pytest.mark.parametrize(
    "change",
    [
        {"eos": 10**6},
        {"ends": [-1]},
        {"pieces": []},
        {"pattern": "("},
        {"merges": ["x y"]},
        {"types": [1, 1]},
        {"kind": "wordpiece"},
        {"pieces": [*(chr(i) for i in range(33, 127)), "x" * 5000], "types": [1] * 95},
    ],
    ids=lambda change: str(change)[:40],
)
def test_tokenizers_that_make_no_sense_are_refused(copied: Path, change: dict[str, Any]) -> None:
    found = json.loads((copied / TOKENIZER).read_bytes()) | change
    (copied / TOKENIZER).write_bytes(canonical.dumps(found))
    rehash(copied)
    with pytest.raises(KernelError):
        Model(copied)
