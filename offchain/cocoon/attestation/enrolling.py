"""What an Attest message needs: the statement for this worker's next quote, the quote, and its evidence in cells."""

from __future__ import annotations

from dataclasses import dataclass

from pytoniq_core import Address, Cell

from ..wire.blob import bytes_to_cell
from ..wire.worker import Attest
from .errors import EvidenceUnavailable
from .evidence import EvidenceSource
from .quote import Quote
from .report_data import NO_GPU_EVIDENCE, MasterBlock, ReportData
from .witness import quote_evidence

__all__ = ["MAX_ENDPOINT_BYTES", "EnclaveKeys", "attest_message", "report_data"]

MAX_ENDPOINT_BYTES = 500


@dataclass(frozen=True, slots=True)
class EnclaveKeys:
    """What is to be vouched for, and what is announced along with it. `hpke_key` is the key's cell."""

    session_key: int
    hpke_key: Cell
    endpoint: str = ""
    gpu_evidence_digest: int = NO_GPU_EVIDENCE


def report_data(
    keys: EnclaveKeys, *, global_id: int, registry: Address, worker: Address, attest_seq: int, block: MasterBlock
) -> ReportData:
    """The statement. attest_seq: one more than the worker's present one. block: recent, later than its last quote's."""
    return ReportData(
        global_id=global_id,
        registry=registry,
        worker=worker,
        attest_seq=attest_seq,
        session_key=keys.session_key,
        hpke_key_hash=int.from_bytes(keys.hpke_key.hash, "big"),
        block=block,
        gpu_evidence_digest=keys.gpu_evidence_digest,
    )


async def attest_message(source: EvidenceSource, keys: EnclaveKeys, said: ReportData, evaluation_number: int) -> Attest:
    """A quote that says `said`, as the Worker takes it, to be judged by collateral of this evaluation number.

    EvidenceUnavailable if there is none to be had; EvidenceMalformed if it is not laid out as Intel's are.
    """
    quote = Quote.parse(await source.quote(said.to_bytes()))
    if quote.report.report_data != said.to_bytes():
        raise EvidenceUnavailable("the platform signed something else than it was asked to: try again")
    return Attest(
        query_id=said.attest_seq,
        session_key=keys.session_key,
        gpu_evidence_digest=keys.gpu_evidence_digest,
        hpke_key=keys.hpke_key,
        endpoint=bytes_to_cell(keys.endpoint.encode()),
        evidence=quote_evidence(quote, evaluation_number, said.block.seqno),
    )
