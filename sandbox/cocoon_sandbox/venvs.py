"""Python programs that must not share a process with the sandbox: each in a virtual environment in the cache.

An environment is named after its requirements and the interpreter, is made once, and only ever appears complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cocoon_sandbox.errors import ToolchainError
from cocoon_sandbox.toolchain import cache_dir

__all__ = ["python_with"]

_TIMEOUT_S = 600


def python_with(
    name: str,
    requirements: str,
    progress: Callable[[str], None] | None = None,
    *,
    base: Path | None = None,
    variables: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> Path:
    """The interpreter of an environment that has `requirements` (one a line), installing it if it is not there.

    base: the Python it is made with, None for this one. variables: of the environment pip runs in. Safe to call from
    several processes at once. ToolchainError if it can't be installed.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}" if base is None else str(base)
    digest = hashlib.sha256(f"{version}\n{requirements}".encode()).hexdigest()[:16]
    target = cache_dir() / f"{name}-{digest}"
    python = target / "bin" / "python"
    if python.exists():
        return python
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not python.exists():  # another process may have finished while this one waited
                if progress is not None:
                    progress(f"installing {name} into {target.parent} (pip, once)")
                _install(target, requirements, base or Path(sys.executable), variables or {}, timeout_s)
    except OSError as error:
        raise ToolchainError(
            f"can't write the cache {target.parent}: {error}; set COCOON_CACHE to a writable directory"
        ) from error
    return python


def _install(target: Path, requirements: str, base: Path, variables: Mapping[str, str], timeout_s: float) -> None:
    staging = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=target.parent))
    try:
        listed = staging / "requirements.txt"
        listed.write_text(requirements)
        _run([str(base), "-m", "venv", str(staging)], {}, timeout_s)
        pip = [str(staging / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
        _run([*pip, "--disable-pip-version-check", "--requirement", str(listed)], variables, timeout_s)
        # What pip wrote into bin/ names the staging directory, so only `python -m` is used from here on.
        os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run(command: list[str], variables: Mapping[str, str], timeout_s: float) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=os.environ | variables,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolchainError(f"pip did not finish in {timeout_s:.0f} s; check the network, then retry") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if not re.match(r"\s*(WARNING|\[notice\])", line)]
        raise ToolchainError(
            f"{' '.join(command[1:4])} failed (exit {done.returncode}); check the network, then retry:\n"
            + "\n".join(lines[-12:])
        )
