"""The networks Cocoon runs on, and where their global configurations come from."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import ChainError, ChainUnavailable

__all__ = ["GLOBAL_IDS", "NetworkName", "check_network", "load_global_config", "read_global_config"]

_DOWNLOAD_SEC = 20
_MAX_CONFIG_BYTES = 1 << 20
_SANDBOX_CONFIG = Path(".sandbox") / "global.config.json"  # where `cocoon sandbox up` writes it


class NetworkName(StrEnum):
    SANDBOX = "sandbox"
    TESTNET = "testnet"
    MAINNET = "mainnet"


GLOBAL_IDS = {NetworkName.MAINNET: -239, NetworkName.TESTNET: -3}
_URLS = {
    NetworkName.MAINNET: "https://ton.org/global.config.json",
    NetworkName.TESTNET: "https://ton.org/testnet-global.config.json",
}


def load_global_config(network: NetworkName, path: Path | None = None) -> dict[str, Any]:
    """The configuration in `path`, else the one TON publishes for `network`, or the sandbox of this directory wrote.

    Its init block is what everything else is proven from, so a file of one's own is the safer choice. ChainError if
    there is none or it is unreadable.
    """
    if path is None and network is NetworkName.SANDBOX:
        if not _SANDBOX_CONFIG.is_file():
            raise ChainError(
                f"there is no {_SANDBOX_CONFIG} here: start a sandbox with `cocoon sandbox up`, or name its "
                "configuration with --global-config"
            )
        path = _SANDBOX_CONFIG
    return _parsed(_download(_URLS[network])) if path is None else read_global_config(path)


def read_global_config(path: Path) -> dict[str, Any]:
    """The global configuration in a file. ChainError if it is unreadable."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ChainError(f"the global configuration {path} can't be read: {error}; name another file") from error
    return _parsed(text)


def _parsed(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChainError(f"the global configuration is no JSON ({error}); get a new one") from error
    if not isinstance(config, dict):
        raise ChainError("the global configuration is not a JSON object; get a new one")
    return config


def check_network(network: NetworkName, global_id: int) -> None:
    """ChainError unless a network that calls itself `global_id` can be `network`."""
    expected = GLOBAL_IDS.get(network)
    if expected is not None and global_id != expected:
        raise ChainError(f"this is not {network}: its global id is {global_id}, not {expected}; check --global-config")
    if expected is None and global_id in GLOBAL_IDS.values():
        name = next(name for name, value in GLOBAL_IDS.items() if value == global_id)
        raise ChainError(f"this configuration leads to {name}, not to a sandbox; say --network {name} if you mean it")


def _download(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_DOWNLOAD_SEC) as answer:
            body: bytes = answer.read(_MAX_CONFIG_BYTES)
            return body.decode()
    except (OSError, urllib.error.URLError, UnicodeDecodeError) as error:
        raise ChainUnavailable(f"{url} can't be fetched ({error}); name a file with --global-config") from error
