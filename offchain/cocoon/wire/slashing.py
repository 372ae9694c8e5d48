"""Messages and storage of the Slashing contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .codec import U16, U64, U256, Ref, Struct
from .escrow import EscrowIdentity, SignedReceipt

__all__ = ["SlashingData", "SubmitEquivocation"]


@dataclass(frozen=True, slots=True)
class SubmitEquivocation(Struct, opcode=0xC0C00401):
    query_id: U64
    session_key: U256
    escrow: Annotated[EscrowIdentity, Ref]
    first: Annotated[SignedReceipt, Ref]
    second: Annotated[SignedReceipt, Ref]


@dataclass(frozen=True, slots=True)
class SlashingData(Struct):
    escrow_code_hash: U256
    escrow_code_depth: U16
