"""docs/sandbox.md: every command and every program in it does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cocoon_sandbox.errors import ToolchainError
from cocoon_sandbox.toncenter import REQUIREMENTS
from cocoon_sandbox.venvs import python_with

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
SHELL_TIMEOUT_S = 240

# `up` runs until it is stopped, so it goes on in the background and the script with it once clients can connect.
PRELUDE = """
set -euo pipefail
up() {
    "$PYTHON" -m cocoon sandbox up "$@" >up.out &
    until grep -q 'stop it with' up.out 2>/dev/null; do kill -0 $! || exit 1; sleep 0.1; done
    rm up.out
}
cocoon() {
    if [ "$1 $2" = "sandbox up" ]; then shift 2; up "$@"; else "$PYTHON" -m cocoon "$@"; fi
}
python3() { "$PYTHON" "$@"; }
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The page's commands but for the installation, which has happened, and the bench, which test_cli_sandbox runs."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if not line.startswith(("pip install", "cocoon bench"))]


@pytest.mark.clients
def test_every_command_of_the_page_succeeds(tmp_path: Path) -> None:
    try:
        python_with("toncenter", REQUIREMENTS.read_text())
    except ToolchainError as error:
        pytest.skip(f"toncenter can't be installed here: {error}")
    script = "\n".join([PRELUDE, *commands(), "cocoon sandbox stop", "wait"])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=SHELL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_every_program_of_the_page_passes_in_a_project_of_its_own(tmp_path: Path) -> None:
    conftest, *programs = blocks("python")
    (tmp_path / "conftest.py").write_text(conftest)
    for number, program in enumerate(programs):
        (tmp_path / f"test_page_{number}.py").write_text(program)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SHELL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(programs)} passed" in done.stdout


def test_every_command_and_fault_there_is_stands_on_the_page() -> None:
    from cocoon.cli.sandbox import fault, sandbox

    for name in sandbox.commands.keys() - {"fault"}:
        assert f"cocoon sandbox {name}" in PAGE, name
    for name in fault.commands:
        assert f"cocoon sandbox fault {name}" in PAGE, name
