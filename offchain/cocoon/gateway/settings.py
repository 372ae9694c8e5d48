"""The gateway's TOML file, every entry checked for name, type and bounds before anything starts."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from pytoniq_core import Address

from ..chain.wallet import Wallet
from ..errors import CocoonError
from ..rules import parse_address
from ..settings_checks import check_names, check_needed, flag, table, text, whole
from ..wire.common import ModelTerms
from .choice import ChoicePolicy
from .context import HttpLimits
from .errors import GatewayError
from .held import PoolLimits
from .race import MarketSettings

__all__ = ["MNEMONIC_VARIABLE", "GatewaySettings"]

MNEMONIC_VARIABLE = "COCOON_GATEWAY_MNEMONIC"
_HEX64 = re.compile("[0-9a-fA-F]{64}")
_ENDPOINT = re.compile(r"(https?|wss?)://[^\s]+")
_DEFAULT_PRICES = ModelTerms(
    prompt_nano=20 * 10**9, cached_nano=20 * 10**9, completion_nano=80 * 10**9, floor_fee_nano=10**8,
    min_duration_sec=3600,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """network: global configuration (JSON) with the lite servers. data_dir: keys, receipts, channel keys; one gateway
    only. wallet_key: file with 24 words or 64 hex digits, None: the words are in COCOON_GATEWAY_MNEMONIC. models: name
    -> model id. endpoints: worker index -> where it listens, before what the chain says. private_endpoints: ask workers
    that announce an address of this machine or of a private network. report_equivocation: have workers slashed that
    signed two receipts with one number. page_key: name of the API key
    that the page on this machine may use without being told one.
    """

    network: Path
    registry: Address
    data_dir: Path
    wallet_key: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8400
    page_key: str | None = None
    keep_receipts_days: int = 90
    poll_sec: float = 3.0
    report_equivocation: bool = True
    private_endpoints: bool = False
    models: dict[str, str] = field(default_factory=dict)
    endpoints: dict[int, str] = field(default_factory=dict)
    accept_measurements: frozenset[int] = frozenset()
    refuse_workers: frozenset[int] = frozenset()
    max_prices: ModelTerms = _DEFAULT_PRICES
    diversity: float = 1.0
    pool: PoolLimits = field(default_factory=PoolLimits)
    market: MarketSettings = field(default_factory=MarketSettings)
    http: HttpLimits = field(default_factory=HttpLimits)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Paths are relative to the file. GatewayError names the entry at fault."""
        try:
            with path.open("rb") as file:
                given = tomllib.load(file)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise GatewayError(f"can't read the settings {path}: {error}; docs/gateway.md shows an example") from error
        try:
            check_names(given, cls)
            check_needed(given, cls)
            return cls(**{name: _entry(name, value, path.parent) for name, value in given.items()})
        except CocoonError as error:
            raise GatewayError(f"{path}: {error}") from error

    @property
    def database(self) -> Path:
        return self.data_dir / "gateway.sqlite"

    @property
    def policy(self) -> ChoicePolicy:
        return ChoicePolicy(self.max_prices, self.accept_measurements, self.refuse_workers, diversity=self.diversity)

    def wallet(self) -> Wallet:
        """The wallet channels are paid from. WalletError if there is no key or the words are none."""
        return Wallet.from_settings(self.wallet_key, MNEMONIC_VARIABLE)


def _entry(name: str, value: Any, directory: Path) -> Any:
    match name:
        case "network" | "data_dir" | "wallet_key":
            return directory / Path(text(name, value)).expanduser()
        case "registry":
            return parse_address(text(name, value), name)
        case "report_equivocation" | "private_endpoints":
            return flag(name, value)
        case "host" | "page_key":
            return text(name, value)
        case "port":
            return whole(name, value, 0, 65535)
        case "keep_receipts_days":
            return whole(name, value, 1, 36500)
        case "poll_sec" | "diversity":
            return _number(name, value)
        case "models":
            return {alias: _model_id(f"models.{alias}", found) for alias, found in table(name, value).items()}
        case "endpoints":
            return {_index(index): _endpoint(index, found) for index, found in table(name, value).items()}
        case "accept_measurements":
            return frozenset(int(_hex(name, entry), 16) for entry in _list(name, value))
        case "refuse_workers":
            return frozenset(whole(name, entry, 0, (1 << 64) - 1) for entry in _list(name, value))
    kind = {"max_prices": ModelTerms, "pool": PoolLimits, "market": MarketSettings, "http": HttpLimits}[name]
    return _numbers(name, value, kind)


def _numbers(name: str, value: Any, kind: type) -> Any:
    """A table of numbers; what is left out of max_prices counts as this release's own limit."""
    found = table(name, value)
    check_names(found, kind, f"{name}.")
    hints = get_type_hints(kind)
    given = {
        entry: _number(f"{name}.{entry}", number)
        if hints[entry] is float
        else whole(f"{name}.{entry}", number, 0, (1 << 63) - 1)
        for entry, number in found.items()
    }
    if kind is ModelTerms:
        return ModelTerms(**{f.name: given.get(f.name, getattr(_DEFAULT_PRICES, f.name)) for f in fields(ModelTerms)})
    return kind(**given)


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise GatewayError(f"{name} must be a number, at least 0, not {value!r}")
    return float(value)


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise GatewayError(f"{name} must be a list: write {name} = [...]")
    return value


def _hex(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _HEX64.fullmatch(value):
        raise GatewayError(f"{name} must be 64 hex digits, not {value!r}")
    return value.lower()


def _model_id(name: str, value: Any) -> str:
    if _HEX64.fullmatch(name.removeprefix("models.")):
        raise GatewayError(f"{name}: a name must not look like a model id")
    return _hex(name, value)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise GatewayError(f"endpoints.{text}: the name of an entry is a worker's index")
    return int(text)


def _endpoint(index: str, value: Any) -> str:
    if not isinstance(value, str) or not _ENDPOINT.fullmatch(value):
        raise GatewayError(f'endpoints.{index} must be an address such as "wss://host:port", not {value!r}')
    return value
