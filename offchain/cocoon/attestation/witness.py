"""A quote as a contract takes it: cut into cells of fixed layout, with the hints its three signatures need.

The layouts are those of `contracts/attestation/quote.tolk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from pytoniq_core import Builder, Cell

from ..wire.attestation import CrlIssuer, QuoteEvidence
from .certificates import Certificate
from .errors import QuoteMalformed
from .quote import Quote
from .witness_certificates import pck_document
from .witness_chains import CELL_BYTES, signed

__all__ = ["ISSUER_NAMES", "issuer_of", "measurement", "quote_evidence"]

ISSUER_NAMES = {
    "Intel SGX PCK Platform CA": CrlIssuer.PLATFORM_CA,
    "Intel SGX PCK Processor CA": CrlIssuer.PROCESSOR_CA,
}
_MEASURED = slice(120, 520)  # of the TD report: attributes through RTMR3
_ENCLAVE_CELL = 96


def measurement(quote: Quote) -> bytes:
    """What the chain calls the enclave in this quote.

    SHA-256 of its attributes, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG and RTMR0 to RTMR3: 400 bytes as they
    stand in the report.
    """
    return sha256(quote.report.to_bytes()[_MEASURED]).digest()


def issuer_of(ca: Certificate) -> CrlIssuer:
    """Which CA `ca` is. QuoteMalformed if it issues no PCK certificates."""
    if ca.name not in ISSUER_NAMES:
        raise QuoteMalformed(f"{ca.name} issues no PCK certificates")
    return ISSUER_NAMES[ca.name]


def quote_evidence(quote: Quote, evaluation_number: int, block_seqno: int) -> QuoteEvidence:
    """`quote` with hints.

    It is to be judged by collateral of this tcbEvaluationDataNumber, and names this masterchain block.
    """
    data = quote.signature_data
    leaf, ca, *_ = data.pck_chain
    report, enclave = quote.signed_bytes, data.qe_report.to_bytes()
    return QuoteEvidence(
        attestation_key_x=int.from_bytes(data.attestation_key[:32]),
        attestation_key_y=int.from_bytes(data.attestation_key[32:]),
        evaluation_number=evaluation_number,
        block_seqno=block_seqno,
        issuer=issuer_of(ca),
        report=signed(report_tree(quote), 0, sha256(report).digest(), data.signature, data.attestation_key),
        enclave=signed(
            enclave_tree(enclave, data.qe_auth_data),
            0,
            sha256(enclave).digest(),
            data.qe_report_signature,
            leaf.public_key,
        ),
        certificate=pck_document(leaf, ca.public_key),
    )


def report_tree(quote: Quote) -> Cell:
    """Header and TD report."""
    text, head = quote.signed_bytes, quote.report_offset + 64
    pieces = _split(text, (head, 120, 96, 96, 96, 112, len(text) - head - 520))
    last = _cell(pieces[5], [_cell(pieces[6])] if pieces[6] else [])
    tail = _cell(pieces[4], [last])
    return _cell(pieces[0], [*map(_cell, pieces[1:4]), tail])


def enclave_tree(report: bytes, auth_data: bytes) -> Cell:
    """The quoting enclave's report and its auth data. QuoteMalformed if that does not fit a cell."""
    if len(auth_data) > CELL_BYTES:
        raise QuoteMalformed(f"auth data of {len(auth_data)} bytes: a contract takes at most {CELL_BYTES}")
    first, *others = _split(report, (_ENCLAVE_CELL,) * 4)
    return _cell(first, [*map(_cell, others), _cell(auth_data)])


def _split(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return pieces


def _cell(data: bytes, refs: Sequence[Cell] = ()) -> Cell:
    builder = Builder().store_bytes(data)
    for ref in refs:
        builder.store_ref(ref)
    return builder.end_cell()
