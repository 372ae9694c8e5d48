"""What a worker's owner decides, once, before anything is checked or paid."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pytoniq_core import Address

from ..agent.config import DEFAULT_TERMS
from ..agent.platform import AttestationSettings
from ..chain.networks import NetworkName
from ..wire.common import ModelTerms

__all__ = ["ON_CHAIN", "Choices"]

ON_CHAIN = ("network", "registry", "owner", "payout", "stake_nano", "bond_nano")  # fixed once money has moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Amounts in nanoTON. global_config: path of the network's configuration; None: what TON publishes.

    operator_nano: what the operator's wallet is to hold before the agent starts. listen: `host:port` of the fast path,
    None for forced jobs only; endpoint: its address from outside. metrics: `host:port` of metrics and health.
    """

    network: NetworkName
    registry: Address
    owner: Address
    payout: Address
    stake_nano: int
    bond_nano: int
    operator_nano: int
    model: str
    metrics: str
    global_config: str | None = None
    model_id: str | None = None
    listen: str | None = None
    endpoint: str = ""
    forced_slots: int = 2
    terms: ModelTerms = DEFAULT_TERMS
    attestation: AttestationSettings = field(default_factory=AttestationSettings)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name in ("registry", "owner", "payout"):
            found[name] = found[name].to_str(is_user_friendly=False)
        return {
            **found,
            "network": self.network.value,
            "terms": asdict(self.terms),
            "attestation": asdict(self.attestation),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Choices:
        """The inverse of `to_json`. KeyError, TypeError or ValueError if it is none."""
        addresses = {name: Address(found[name]) for name in ("registry", "owner", "payout")}
        return cls(
            **{
                **found,
                **addresses,
                "network": NetworkName(found["network"]),
                "terms": ModelTerms(**found["terms"]),
                "attestation": AttestationSettings(**found["attestation"]),
            }
        )

    def differences(self, other: Choices) -> list[str]:
        """Names of what is on the chain already and differs."""
        return [name for name in ON_CHAIN if getattr(self, name) != getattr(other, name)]
