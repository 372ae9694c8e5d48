"""`cocoon kernel inspect`: a stranger's programs are parsed in a confined process, and what is printed is read here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from forge import read_manifest, replace_program, write_manifest

from cocoon.cli import main
from cocoon.kernels.bundle.loader import program_name
from cocoon.kernels.bundle.loader import read_manifest as read
from cocoon.kernels.errors import BundleInvalid
from cocoon.kernels.sandboxed import process
from cocoon.kernels.sandboxed.process import KernelProcess, Order

LIAR = Path(__file__).with_name("liar.py")
INSPECT = """
import sys
from cocoon.cli import main
main(["kernel", "inspect", sys.argv[1], "--json"], standalone_mode=False)
assert not {"jax", "jaxlib"} & sys.modules.keys(), "a parser of programs was loaded here"
"""


def test_inspect_loads_no_parser_of_programs_where_the_operator_is(tiny_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INSPECT, str(tiny_bundle)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    manifest = read(tiny_bundle)
    assert found["model_id"] == manifest.model_id.hex()
    assert [build["id"] for build in found["builds"]] == [build.id for build in manifest.builds]


@pytest.mark.skipif(sys.platform != "linux", reason="system call filters are Linux's")
def test_programs_are_audited_under_a_system_call_filter(tiny_bundle: Path) -> None:
    auditing = KernelProcess(Order(tiny_bundle, audit=True))
    auditing.close()
    assert any("seccomp" in line for line in auditing.about["enforced"])


@pytest.mark.parametrize("index", [0, 1])
def test_inspect_refuses_a_program_of_any_build(tiny_bundle: Path, tmp_path: Path, index: int) -> None:
    """The first build's, and that of one no worker would run if it was not named."""
    folder = tmp_path / "b"
    replace_program(tiny_bundle, folder, b"no program", index=1)
    manifest = read_manifest(folder)
    bad = manifest["builds"][0]
    good = read_manifest(tiny_bundle)["builds"][0]
    manifest["builds"] = [bad, good] if index == 0 else [good, bad]
    write_manifest(folder, manifest)
    for program in read_manifest(tiny_bundle)["builds"][0]["programs"]:
        name = program_name(program["sha256"])
        if not (folder / name).exists():
            shutil.copy(tiny_bundle / name, folder / name)
    done = CliRunner().invoke(main, ["kernel", "inspect", str(folder)])
    assert done.exit_code != 0
    assert isinstance(done.exception, BundleInvalid | SystemExit)
    assert "is no exported program" in f"{done.output}{done.exception}"


def test_inspect_prints_what_it_read_whatever_the_process_says(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = json.loads(_printed(tiny_bundle))
    (tmp_path / "runs").mkdir()
    child = (sys.executable, str(LIAR), "an answer for its name", str(tmp_path / "runs"))
    monkeypatch.setattr(process, "CHILD", child)
    assert json.loads(_printed(tiny_bundle)) == honest
    assert len(list((tmp_path / "runs").iterdir())) == 1


def _printed(folder: Path) -> str:
    done = CliRunner().invoke(main, ["kernel", "inspect", str(folder), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout
