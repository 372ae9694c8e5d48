"""A worker's directory: who may read what in it, and how far its set-up has come.

Everything is written whole and on the disk before the step that relies on it: a set-up that is killed at any point goes
on from there, and signs nothing twice.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..chain.wallet import Wallet
from ..locking import alone
from .choices import Choices
from .errors import SetupFailed

__all__ = ["Progress", "WorkerDirectory", "write_secret"]

_STATE, _CONFIG, _KEY, _OWNER = "worker.json", "agent.toml", "operator.key", "owner.words"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come. first_index: the Registry's next one before anything was sent; the worker's is not below.

    message: the signed message of the owner's wallet (BoC) whose fate is not known yet, after_lt: that wallet's last
    logical time before it. told: the owner, who signs
    elsewhere, has been shown what to send.
    """

    choices: Choices
    query_id: int = 0
    first_index: int | None = None
    message: bytes | None = None
    after_lt: int = 0
    told: bool = False
    index: int | None = None

    @property
    def is_committed(self) -> bool:
        """Whether money may be on its way."""
        return self.message is not None or self.told or self.index is not None


class WorkerDirectory:
    """The files of one worker. Nothing is made before `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def config(self) -> Path:
        """The agent's configuration."""
        return self.path / _CONFIG

    @property
    def network(self) -> Path:
        """A copy of the network's configuration, where TON publishes it."""
        return self.path / "network.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def operator_key(self) -> Path:
        return self.path / _KEY

    @property
    def owner_words(self) -> Path:
        """Only where the owner asked for it."""
        return self.path / _OWNER

    def create(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SetupFailed(f"{self.path} can't be made: {error}; name another directory") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """SetupFailed if another set-up has it."""
        with alone(self.path / ".lock", SetupFailed(f"another set-up works in {self.path}: let it finish")):
            yield

    def operator(self) -> tuple[Wallet, bool]:
        """(the operator's wallet, whether it was made just now)."""
        if self.operator_key.exists():
            text = _read(self.operator_key).strip()
            try:
                return Wallet(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))), False
            except ValueError as error:
                raise SetupFailed(f"{self.operator_key} does not hold 64 hex digits: restore it") from error
        wallet = Wallet(Ed25519PrivateKey.generate())
        write_secret(self.operator_key, wallet.key.private_bytes_raw().hex())
        return wallet, True

    def load(self) -> Progress | None:
        """None before the first set-up. SetupFailed if it can't be read: then nothing may be signed."""
        path = self.path / _STATE
        if not path.exists():
            return None
        try:
            found = json.loads(_read(path))
            if found["version"] != _VERSION:
                raise ValueError(f"version {found['version']}")
            message = found["message"]
            return Progress(
                Choices.from_json(found["choices"]),
                found["query_id"],
                found["first_index"],
                None if message is None else base64.b64decode(message),
                found["after_lt"],
                found["told"],
                found["index"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SetupFailed(
                f"{path} can't be read ({error!r}): it may be all that is known of a payment under way; restore it, "
                "or, once you have looked at the owner's wallet, remove it"
            ) from error

    def save(self, progress: Progress) -> None:
        message = progress.message
        document: dict[str, Any] = {
            "version": _VERSION,
            "choices": progress.choices.to_json(),
            "query_id": progress.query_id,
            "first_index": progress.first_index,
            "message": None if message is None else base64.b64encode(message).decode(),
            "after_lt": progress.after_lt,
            "told": progress.told,
            "index": progress.index,
        }
        write_secret(self.path / _STATE, json.dumps(document, indent=2) + "\n")

    def update(self, progress: Progress, **changes: Any) -> Progress:
        """Saved, then returned."""
        changed = replace(progress, **changes)
        self.save(changed)
        return changed


def write_secret(path: Path, text: str) -> None:
    """Whole, on the disk, for this user only."""
    draft = path.with_name(path.name + ".new")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SetupFailed(f"{path} can't be written: {error}; free or unlock the disk") from error


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupFailed(f"{path} can't be read: {error}") from error
