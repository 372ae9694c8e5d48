"""An enclave for measurements: quotes of a simulated platform, and the collateral they are judged by.

Everything follows from the time: the same quote, byte for byte, in every run.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pytoniq_core import Address, Cell

from ..attestation import witness, witness_certificates, witness_collateral
from ..attestation.platform import Hardware, Publication, SimulatedIntel, SimulatedMachine, guest_report
from ..attestation.quote import Quote
from ..attestation.report_data import MasterBlock, ReportData
from ..wire import blob
from ..wire.attestation import CrlIssuer
from ..wire.codec import Struct
from ..wire.worker import Attest

if TYPE_CHECKING:
    from cocoon_sandbox.ledger import Ledger
    from cocoon_sandbox.tlb.ids import BlockId

__all__ = ["Enclave"]

_HEAD = 5_050  # seqno of the newest masterchain block
_FIRST = _HEAD - 15  # the oldest that is among the last 16: the first quote's


class Enclave:
    """Keys in an enclave, on a platform whose collateral counts at the ledger's time."""

    def __init__(self, ledger: Ledger, global_id: int) -> None:
        from cocoon_sandbox.blocks.previous import previous_blocks

        ledger.prev_blocks = previous_blocks(_block(_HEAD), _block(1), _block)
        self._global_id = global_id
        self._intel = SimulatedIntel(b"cocoon bench", ledger.now)
        self._machine = SimulatedMachine(self._intel, Hardware())
        self._publication = Publication.at(ledger.now, self._machine.hardware)

    @property
    def root(self) -> bytes:
        """The key that the network's policy has to name."""
        return self._intel.root.public_key

    @property
    def root_x(self) -> int:
        return int.from_bytes(self.root[:32])

    @property
    def root_y(self) -> int:
        return int.from_bytes(self.root[32:])

    @property
    def measurement(self) -> int:
        return int.from_bytes(witness.measurement(self._quote(bytes(64))))

    @property
    def fmspc(self) -> int:
        return int.from_bytes(self._machine.hardware.fmspc)

    def collateral(self) -> list[Struct]:
        """All documents, each after what it depends on."""
        found, root = self._intel.publish(self._publication), self.root
        ca = self._intel.pck_ca(self._publication.authority)
        return [
            witness_certificates.crl(found.root_ca_crl, CrlIssuer.ROOT, root),
            witness_certificates.ca_certificate(ca, root),
            witness_certificates.crl(found.pck_crl, witness.issuer_of(ca), ca.public_key),
            witness_certificates.ca_certificate(self._intel.tcb_signing, root),
            witness_collateral.qe_identity(found.qe_identity_document),
            witness_collateral.tcb_info(found.tcb_info_document),
        ]

    def attest(self, registry: Address, worker: Address, seq: int, session_key: int, hpke_key: Cell) -> Attest:
        """The worker's Attest number `seq` (up to 15), each about a later block."""
        named = _block(_FIRST + seq)
        said = ReportData(
            self._global_id, registry, worker, seq, session_key, int.from_bytes(hpke_key.hash, "big"),
            MasterBlock(named.seqno, named.root_hash, named.file_hash),
        )  # fmt: skip
        evidence = witness.quote_evidence(
            self._quote(said.to_bytes()), self._publication.tcb_info.tcb_evaluation_data_number, named.seqno
        )
        endpoint = blob.bytes_to_cell(b"https://worker.example")
        return Attest(0, session_key, 0, hpke_key, endpoint, evidence)

    def _quote(self, report_data: bytes) -> Quote:
        return self._machine.quote(guest_report(report_data))


def _block(seqno: int) -> BlockId:
    """Masterchain block `seqno` of a made-up chain."""
    from cocoon_sandbox.tlb.ids import BlockId

    return BlockId(-1, seqno, hashlib.sha256(b"root %d" % seqno).digest(), hashlib.sha256(b"file %d" % seqno).digest())
