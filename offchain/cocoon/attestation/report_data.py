"""What a guest puts into the 64 bytes the hardware signs: whose keys these are, on which network, and since when.

The first half is SHA-256 over 247 bytes, the second half is zero; `contracts/attestation/freshness.tolk` recomputes it.
The masterchain block proves freshness: nobody knows a block's hash before the block exists.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pytoniq_core import Address

from ..wire.common import DOMAIN_TAG, Kind
from .errors import EvidenceMalformed

__all__ = ["KIND_ATTESTATION", "NO_GPU_EVIDENCE", "REPORT_DATA_SIZE", "MasterBlock", "ReportData", "sender"]

KIND_ATTESTATION = Kind.ATTESTATION
REPORT_DATA_SIZE = 64
NO_GPU_EVIDENCE = 0


@dataclass(frozen=True, slots=True)
class MasterBlock:
    """A masterchain block: number and two hashes of 32 bytes."""

    seqno: int
    root_hash: bytes
    file_hash: bytes

    def to_bytes(self) -> bytes:
        """68 bytes."""
        if len(self.root_hash) != 32 or len(self.file_hash) != 32:
            raise EvidenceMalformed("the hashes of a masterchain block have 32 bytes")
        return _number(self.seqno, 4, "block seqno") + self.root_hash + self.file_hash


@dataclass(frozen=True, slots=True)
class ReportData:
    """The statement. Keys and digests are 256-bit numbers; `gpu_evidence_digest` 0 means that there is no GPU."""

    global_id: int
    registry: Address
    worker: Address
    attest_seq: int  # the worker raises it with each quote
    session_key: int
    hpke_key_hash: int
    block: MasterBlock
    gpu_evidence_digest: int = NO_GPU_EVIDENCE

    def statement(self) -> bytes:
        """The 247 bytes that are hashed. EvidenceMalformed if a number does not fit."""
        keys = (self.session_key, self.hpke_key_hash, self.gpu_evidence_digest)
        return b"".join(
            (
                _number(DOMAIN_TAG, 4, "tag"),
                _number(KIND_ATTESTATION, 1, "kind"),
                sender(self.global_id, self.registry, self.worker, self.attest_seq),
                *(_number(value, 32, "key or digest") for value in keys),
                self.block.to_bytes(),
            )
        )

    def to_bytes(self) -> bytes:
        """What goes into the quote."""
        return hashlib.sha256(self.statement()).digest().ljust(REPORT_DATA_SIZE, b"\0")


def sender(global_id: int, registry: Address, worker: Address, attest_seq: int) -> bytes:
    """Who speaks, where, for the how manieth time: 78 bytes that every statement about evidence contains."""
    return b"".join(
        (
            _signed(global_id, 4, "global id"),
            _address(registry),
            _address(worker),
            _number(attest_seq, 8, "attestation sequence number"),
        )
    )


def _address(address: Address) -> bytes:
    return _signed(address.wc, 1, "workchain") + bytes(address.hash_part)


def _number(value: int, size: int, what: str) -> bytes:
    if not 0 <= value < 1 << 8 * size:
        raise EvidenceMalformed(f"{what} {value} does not fit {size} bytes")
    return value.to_bytes(size)


def _signed(value: int, size: int, what: str) -> bytes:
    bound = 1 << (8 * size - 1)
    if not -bound <= value < bound:
        raise EvidenceMalformed(f"{what} {value} does not fit {size} bytes")
    return value.to_bytes(size, signed=True)
