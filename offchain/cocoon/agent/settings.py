"""The settings of an agent's TOML file, each checked for type and bounds: a mistake is named before anything starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from ..attestation.enrolling import MAX_ENDPOINT_BYTES
from ..errors import DeployError
from ..rules import parse_address
from ..settings_checks import check_names, check_needed, flag, table, text, whole
from ..wire.common import ModelTerms
from .agent import Pace
from .compute import Limits
from .errors import SetupError
from .platform import AttestationSettings
from .serving import StreamSettings

__all__ = ["read_settings"]

_PATHS = ("network", "data_dir", "wallet_key", "signer_socket")
_TABLES: dict[str, type] = {
    "terms": ModelTerms,
    "limits": Limits,
    "pace": Pace,
    "attestation": AttestationSettings,
    "stream": StreamSettings,
}
_MAX_FORCED_SLOTS = 8  # the Worker contract's; a test compares
_MAX_INDEX = (1 << 64) - 1
_MAX_PORT = (1 << 16) - 1


def read_settings(given: dict[str, Any], kind: type, directory: Path) -> dict[str, Any]:
    """Arguments for the dataclass `kind` (AgentConfig) out of a parsed TOML file in `directory`. SetupError,
    SettingError."""
    check_names(given, kind)
    check_needed(given, kind)
    return {name: _setting(name, value, directory) for name, value in given.items()}


def _setting(name: str, value: Any, directory: Path) -> Any:
    if name in _PATHS:
        try:
            return directory / Path(text(name, value)).expanduser()
        except RuntimeError as error:  # ~ of a user who does not exist
            raise SetupError(f"{name} = {value!r}: {error}") from error
    if name in _TABLES:
        return _table(name, value)
    if name == "registry":
        try:
            return parse_address(text(name, value), name)
        except DeployError as error:
            raise SetupError(str(error)) from error
    if name == "kernel":
        return text(name, value)
    if name == "endpoint":
        return _endpoint(name, value)
    if name == "listen":
        host, colon, port = text(name, value).rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > _MAX_PORT:
            raise SetupError(f"listen must be host:port, such as 0.0.0.0:8443, not {value!r}")
        return value
    if name == "worker_index":
        return whole(name, value, 0, _MAX_INDEX)
    if name == "forced_slots":
        return whole(name, value, 0, _MAX_FORCED_SLOTS)
    return _seconds(name, value)  # stale_after_sec


def _table(name: str, value: Any) -> Any:
    kind = _TABLES[name]
    table(name, value, "settings")
    check_names(value, kind, f"{name}.")
    check_needed(value, kind, f"{name}.")
    checks: dict[type, Callable[[str, Any], Any]] = {int: _count, float: _seconds, str: text, bool: flag}
    if kind is ModelTerms:
        return ModelTerms(**{entry: _term(f"{name}.{entry}", amount) for entry, amount in value.items()})
    hints = get_type_hints(kind)
    return kind(**{entry: checks[hints[entry]](f"{name}.{entry}", number) for entry, number in value.items()})


def _endpoint(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > MAX_ENDPOINT_BYTES:
        raise SetupError(f"{name} must be a text of at most {MAX_ENDPOINT_BYTES} bytes, not {value!r}")
    return value


def _count(name: str, value: Any) -> int:
    if name == "stream.credit_nano":
        return whole(name, value, 0, (1 << 63) - 1)
    return whole(name, value, 1, (1 << 31) - 1)


def _term(name: str, value: Any) -> int:
    """Nanotons; or seconds, of which the contract wants at least one."""
    return whole(name, value, 1, (1 << 32) - 1) if name.endswith("_sec") else whole(name, value, 0, (1 << 64) - 1)


def _seconds(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not (value > 0 or (value == 0 and name == "limits.reserve_sec")):
        raise SetupError(f"{name} must be a number of seconds above 0, not {value!r}")
    return float(value)
