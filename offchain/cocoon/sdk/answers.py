"""What a client gets: verified answers, each with its price and its proof."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..crypto.usage import Usage
from ..gateway.receipts import Proof

__all__ = ["Answer", "Vectors"]


@dataclass(frozen=True, slots=True)
class Answer:
    """finish_reason: `stop` or `length`. seed: what a replay needs beside the build. proof: see `cocoon receipt`."""

    text: str = field(repr=False)
    finish_reason: str
    usage: Usage
    fee_nano: int
    seed: int
    proof: Proof = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vectors:
    """One vector for each text, in their order. proofs: one for each request it took."""

    vectors: tuple[tuple[float, ...], ...] = field(repr=False)
    tokens: int
    fee_nano: int
    proofs: tuple[Proof, ...] = field(repr=False)
