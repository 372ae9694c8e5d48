"""What an agent needs to know to run, from a TOML file or from code."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pytoniq_core import Address

from ..chain.wallet import Wallet
from ..errors import CocoonError
from ..wire.common import ModelTerms
from .agent import Pace
from .compute import Limits
from .errors import SetupError
from .platform import AttestationSettings
from .serving import StreamSettings
from .settings import read_settings

__all__ = ["DEFAULT_TERMS", "MNEMONIC_VARIABLE", "AgentConfig"]

MNEMONIC_VARIABLE = "COCOON_OPERATOR_MNEMONIC"
DEFAULT_TERMS = ModelTerms(
    prompt_nano=10**9,  # 1 TON per million tokens
    cached_nano=10**9 // 4,
    completion_nano=4 * 10**9,
    floor_fee_nano=10**7,
    min_duration_sec=60,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """One worker's agent.

    network: global configuration (JSON) with the lite servers. wallet_key: file with the operator wallet's 24 words or
    64 hex digits; None means the words are in COCOON_OPERATOR_MNEMONIC. data_dir: journal and signer socket; for this
    worker only. signer_socket: None means `data_dir/signer/signer.sock`. kernel: `smollm2-135m-instruct`, a bundle's
    folder, or `module:factory` of one's own. listen: `host:port` of the fast path; None serves forced jobs only.
    endpoint: the address under which clients reach it from outside, `https://...` or `http://...`, announced on the
    chain; may be empty.
    """

    network: Path
    registry: Address
    worker_index: int
    data_dir: Path
    wallet_key: Path | None = None
    signer_socket: Path | None = None
    kernel: str = "smollm2-135m-instruct"
    forced_slots: int = 2
    terms: ModelTerms = DEFAULT_TERMS
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    attestation: AttestationSettings = field(default_factory=AttestationSettings)
    endpoint: str = ""
    stale_after_sec: float | None = 60.0
    listen: str | None = None
    stream: StreamSettings = field(default_factory=StreamSettings)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Reads TOML: the fields above, with tables `terms`, `limits`, `pace`, `attestation`, `stream`; paths are
        relative to the file. SetupError.
        """
        try:
            with path.open("rb") as file:
                found = tomllib.load(file)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SetupError(f"can't read the configuration {path}: {error}") from error
        try:
            return cls(**read_settings(found, cls, path.parent))
        except CocoonError as error:
            raise SetupError(f"{path}: {error}") from error

    @property
    def socket(self) -> Path:
        return self.data_dir / "signer" / "signer.sock" if self.signer_socket is None else self.signer_socket

    def wallet(self) -> Wallet:
        """The operator's wallet. WalletError if there is no key or the words are none."""
        return Wallet.from_settings(self.wallet_key, MNEMONIC_VARIABLE)
