"""What a bundle is: canonical, reproducible, and the same model however it is built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_blueprint, tiny_config

from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.pack import add_build, write_bundle
from cocoon.kernels.bundle import canonical, chunks
from cocoon.kernels.bundle.loader import MANIFEST, open_bundle
from cocoon.kernels.bundle.manifest import Manifest, Shard
from cocoon.kernels.bundle.safetensors import NUMPY, TensorFile, write
from cocoon.kernels.engine.golden import deviation
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.errors import BundleInvalid, UnsupportedModel

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(values)
def test_canonical_json_of_any_value_reads_back_and_is_the_only_text_that_does(value: Any) -> None:
    text = canonical.dumps(value)
    assert canonical.loads(text, "it") == value
    with pytest.raises(BundleInvalid):
        canonical.loads(b" " + text, "it")


@pytest.mark.parametrize(
    "text",
    [b"1.5", b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"[1, 2]", b"9007199254740992", b"NaN", b'"\xc3\xa9"', b"[" * 100],
)
def test_canonical_json_in_another_spelling_is_refused(text: bytes) -> None:
    with pytest.raises(BundleInvalid):
        canonical.loads(text, "it")


def test_safetensors_written_and_read_give_every_dtype_back(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays = {name: (random.standard_normal((3, 5)) * 50).astype(dtype) for name, dtype in NUMPY.items()}
    write(tmp_path / "t.safetensors", arrays)
    file = TensorFile(tmp_path / "t.safetensors")
    for name, array in arrays.items():
        assert file.tensors[name].dtype == name
        np.testing.assert_array_equal(file.array(name), array)


def test_root_over_shards_depends_on_every_chunk_and_length() -> None:
    shards = [Shard(10, ("0" * 64,)), Shard(9, ("1" * 64,))]
    roots = {chunks.root(made) for made in (shards, shards[::-1], [Shard(11, ("0" * 64,)), shards[1]], shards[:1])}
    assert len(roots) == 4


def test_write_bundle_twice_gives_the_same_bytes_whatever_the_folder(tmp_path: Path, tiny_bundle: Path) -> None:
    write_bundle(tiny_blueprint(), [BuildOptions("f32", slots=3, chunk=16)], tmp_path / "elsewhere" / "again")
    assert files(tmp_path / "elsewhere" / "again") == files(tiny_bundle)


def test_write_bundle_in_another_process_and_from_another_place_gives_the_same_bytes(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n\n\n"
        "from pathlib import Path\nfrom tiny import tiny_blueprint\n"
        "from cocoon.kernels.builders.blueprint import BuildOptions\n"
        "from cocoon.kernels.builders.pack import write_bundle\n"
        "write_bundle(tiny_blueprint(), [BuildOptions('f32', slots=3, chunk=16)], Path(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "b")], check=True, cwd=tmp_path)
    assert files(tmp_path / "b") == files(tiny_bundle)


def test_programs_hold_neither_source_paths_nor_weights(tiny_bundle: Path) -> None:
    for path in (tiny_bundle / "programs").iterdir():
        data = path.read_bytes()
        assert b".py" not in data
        assert str(Path(__file__).parents[2]).encode() not in data
        assert len(data) < 64_000


def test_write_bundle_of_another_seed_or_licence_is_another_model(tmp_path: Path, tiny_bundle: Path) -> None:
    known = Manifest.from_bytes((tiny_bundle / MANIFEST).read_bytes()).model_id
    assert write_bundle(tiny_blueprint(seed=2), [], tmp_path / "b").model_id != known
    assert write_bundle(tiny_blueprint(), [], tmp_path / "c").model_id == known


def test_add_build_keeps_the_model_id_and_passes_the_golden_vectors(tmp_path: Path, tiny_bundle: Path) -> None:
    folder = tmp_path / "b"
    shutil.copytree(tiny_bundle, folder)
    before = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    after = add_build(tiny_blueprint(), BuildOptions("int8", slots=2, chunk=32), folder)
    assert after.model_id == before.model_id
    assert [build.precision for build in after.builds] == ["f32", "int8"]
    assert len({build.id for build in after.builds}) == 2
    bundle = open_bundle(folder)
    assert [deviation(Runtime(bundle, build)) < 0.1 for build in bundle.manifest.builds] == [True, True]
    assert add_build(tiny_blueprint(), BuildOptions("int8", slots=2, chunk=32), folder) == after


def test_add_build_of_another_model_is_refused_and_changes_nothing(tmp_path: Path, tiny_bundle: Path) -> None:
    folder = tmp_path / "b"
    shutil.copytree(tiny_bundle, folder)
    before = files(folder)
    other = tiny_blueprint(tiny_config(rope_theta=100.0, rms_epsilon=0.5))
    with pytest.raises(BundleInvalid, match="off the golden outputs"):
        add_build(other, BuildOptions("f32", slots=1, chunk=16), folder)
    assert files(folder) == before


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("changes", [{}, {"qkv_bias": True, "tied": False}, {"head_norm": True}], ids=str)
def test_build_in_a_lower_precision_stays_within_the_tolerance(
    tmp_path: Path, precision: Any, changes: dict[str, Any]
) -> None:
    options = BuildOptions(precision, slots=1, chunk=16, capacity=128)
    manifest = write_bundle(tiny_blueprint(tiny_config(**changes)), [options], tmp_path / "b")
    assert manifest.builds[0].precision == precision


@pytest.mark.parametrize("capacity", [24, 8, 512])
def test_build_of_an_impossible_capacity_is_refused(tmp_path: Path, capacity: int) -> None:
    with pytest.raises(UnsupportedModel, match="capacity"):
        write_bundle(tiny_blueprint(), [BuildOptions("f32", capacity=capacity, chunk=16)], tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_manifest_is_what_the_documentation_says(tiny_bundle: Path) -> None:
    manifest = json.loads((tiny_bundle / MANIFEST).read_bytes())
    assert manifest["core"]["schema"] == "cocoon.kernel/1"
    assert canonical.digest(manifest["core"]) == open_bundle(tiny_bundle).model_id.hex()
