"""Usage: what a request took. The chain sees a salted hash of it, the client the numbers."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import ClassVar

from ..wire.common import ModelTerms
from .errors import UsageMismatch

__all__ = ["SALT_BYTES", "Usage", "price"]

SALT_BYTES = 32
_PER = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, or work units of a model without tokens. `cached` prompt tokens are counted there and not in `prompt`."""

    COUNT_BYTES: ClassVar[int] = 12

    prompt: int
    cached: int
    completion: int
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(SALT_BYTES), repr=False)

    @classmethod
    def from_counts(cls, counts: bytes, salt: bytes) -> Usage:
        prompt, cached, completion = (int.from_bytes(counts[at : at + 4], "big") for at in (0, 4, 8))
        return cls(prompt, cached, completion, salt)

    @property
    def counts(self) -> bytes:
        """Three big-endian 32-bit numbers: prompt, cached, completion."""
        return b"".join(count.to_bytes(4, "big") for count in (self.prompt, self.cached, self.completion))

    @property
    def commitment(self) -> int:
        """`usage_commitment` of the receipt: SHA-256(salt || counts)."""
        return int.from_bytes(hashlib.sha256(self.salt + self.counts).digest(), "big")

    def verify(self, commitment: int) -> None:
        """UsageMismatch unless these are the numbers the worker signed for."""
        if self.commitment != commitment:
            raise UsageMismatch("the worker disclosed other token counts than its receipt commits to: don't pay for it")


def price(usage: Usage, terms: ModelTerms) -> int:
    """Fee in nanoTON by these terms, rounded up, never below the floor."""
    units = (
        usage.prompt * terms.prompt_nano + usage.cached * terms.cached_nano + usage.completion * terms.completion_nano
    )
    return max(terms.floor_fee_nano, -(-units // _PER))
