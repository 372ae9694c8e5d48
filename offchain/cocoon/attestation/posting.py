"""Which of Intel's documents a network lacks for a quote, as the messages that install them.

Pure: everything is computed from proven states, the quote and its platform's collateral. Anyone may post these
documents; what is installed and lasts a while longer is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytoniq_core import Cell

from ..fees import Fees
from ..wire.attestation import (
    AttestationPolicy,
    AttestationStorage,
    Authority,
    CrlIssuer,
    PostCertificate,
    PostCrl,
    PostQeIdentity,
    PostTcbInfo,
    RevocationListState,
    TcbSet,
    TcbStoreStorage,
)
from .certificates import Certificate
from .collateral import Collateral
from .crl import RevocationList
from .errors import CollateralMismatch, CollateralUnavailable
from .quote import Quote
from .trust import TrustedRoot
from .witness import issuer_of
from .witness_certificates import ca_certificate, crl
from .witness_collateral import qe_identity, tcb_info

__all__ = ["MARGIN_SEC", "Posting", "missing_collateral", "policy_root"]

MARGIN_SEC = 86_400  # what lasts no longer than this is replaced


@dataclass(frozen=True, slots=True)
class Posting:
    """A message to Attestation. `issued_at` (unix seconds) tells one document from its successor."""

    document: str
    issued_at: int
    body: Cell
    value_nano: int


def policy_root(policy: AttestationPolicy) -> TrustedRoot:
    """Whom a network believes about hardware."""
    return TrustedRoot(policy.root_key_x.to_bytes(32) + policy.root_key_y.to_bytes(32))


def missing_collateral(
    state: AttestationStorage,
    store: TcbStoreStorage | None,
    quote: Quote,
    collateral: Collateral,
    *,
    now: int,
    fees: Fees,
    margin_sec: int = MARGIN_SEC,
) -> tuple[Posting, ...]:
    """What must be posted before `quote`, in an order in which each document finds what it depends on.

    store: of the quote's FMSPC; None if there is none yet. CollateralMismatch if the network's policy can't take this
    platform or collateral at all; CollateralUnavailable if something has expired and `collateral` is no newer.
    """
    needs = _Needs(state, store, quote, collateral, now, now + margin_sec)
    needs.check_policy()
    return tuple(_posting(document, issued_at, message, fees) for document, issued_at, message in needs.all())


type _Message = PostCertificate | PostCrl | PostQeIdentity | PostTcbInfo


def _posting(document: str, issued_at: int, message: _Message, fees: Fees) -> Posting:
    match message:
        case PostTcbInfo():
            value = fees.post_tcb_info(message.document.cells)
        case PostQeIdentity():
            value = fees.post_collateral(message.document.cells)
        case PostCrl():
            value = fees.post_collateral(message.list.cells)
        case PostCertificate():
            value = fees.post_collateral(message.certificate.cells)
    return Posting(document, issued_at, message.to_cell(), value)


@dataclass(frozen=True, slots=True)
class _Needs:
    state: AttestationStorage
    store: TcbStoreStorage | None
    quote: Quote
    collateral: Collateral
    now: int
    until: int  # what holds until then is good enough

    def check_policy(self) -> None:
        root = policy_root(self.state.policy)
        if self._chain[-1].public_key != root.public_key:
            raise CollateralMismatch(
                "this platform's certificates lead to another root than the one the network trusts: use a platform of "
                "that kind (a simulated one needs the network's seed), or another network"
            )
        number, least = self._evaluation_number, self.state.policy.min_evaluation_number
        if number < least:
            raise CollateralMismatch(
                f"the collateral has evaluation number {number}, the network's policy asks for {least} or later: take "
                "it from a service that has Intel's newest"
            )

    def all(self) -> Iterator[tuple[str, int, _Message]]:
        state, collateral = self.state, self.collateral
        root_key, ca = policy_root(state.policy).public_key, self._chain[1]
        issuer = issuer_of(ca)
        authority = state.platform_ca if issuer is CrlIssuer.PLATFORM_CA else state.processor_ca
        installed, installed_list = (None, None) if authority is None else (authority.ca, authority.crl)
        signer = collateral.tcb_info_document.issuer_chain[0]
        if self._lacks_list("the root's revocation list", state.shared.root_crl, collateral.root_ca_crl):
            found = collateral.root_ca_crl
            yield "root CRL", found.this_update, crl(found, CrlIssuer.ROOT, root_key)
        if self._lacks_certificate("the PCK CA's certificate", installed, ca):
            yield "PCK CA certificate", ca.not_before, ca_certificate(ca, root_key)
        if self._lacks_list("the PCK CA's revocation list", installed_list, collateral.pck_crl):
            found = collateral.pck_crl
            yield "PCK CRL", found.this_update, crl(found, issuer, ca.public_key)
        if self._lacks_certificate("the TCB signing certificate", state.shared.signer, signer):
            yield "TCB signing certificate", signer.not_before, ca_certificate(signer, root_key)
        if self._lacks_identity():
            document = collateral.qe_identity_document
            yield "QE identity", collateral.qe_identity.issue_date, qe_identity(document)
        if self._lacks_tcb():
            yield "TCB info", collateral.tcb_info.issue_date, tcb_info(collateral.tcb_info_document)

    @property
    def _chain(self) -> tuple[Certificate, ...]:
        return self.quote.signature_data.pck_chain

    @property
    def _evaluation_number(self) -> int:
        return self.collateral.tcb_info.tcb_evaluation_data_number

    def _lacks_list(self, what: str, present: RevocationListState | None, offered: RevocationList) -> bool:
        self._check_current(what, offered.next_update)
        if present is None:
            return True
        newer = offered.number >= present.number and offered.this_update > present.this_update
        return self._replaces(what, present.next_update, newer)

    def _lacks_certificate(self, what: str, present: Authority | None, offered: Certificate) -> bool:
        self._check_current(what, offered.not_after)
        if present is None:
            return True
        newer = offered.not_before > present.not_before
        key = present.key_x.to_bytes(32) + present.key_y.to_bytes(32)
        return (newer and key != offered.public_key) or self._replaces(what, present.not_after, newer)

    def _lacks_identity(self) -> bool:
        offered, what = self.collateral.qe_identity, "the QE identity"
        self._check_current(what, offered.next_update)
        shared = self.state.shared
        for present in (shared.identity, shared.other_identity):
            if present is not None and present.evaluation_number == offered.tcb_evaluation_data_number:
                return self._replaces(what, present.next_update, offered.issue_date > present.issue_date)
        return True

    def _lacks_tcb(self) -> bool:
        offered, what = self.collateral.tcb_info, "the TCB info"
        self._check_current(what, offered.next_update)
        for present, epoch in self._tcb_sets():
            if epoch == self.state.trust_epoch and present.evaluation_number == self._evaluation_number:
                return self._replaces(what, present.next_update, offered.issue_date > present.issue_date)
        return True

    def _tcb_sets(self) -> Iterator[tuple[TcbSet, int]]:
        if self.store is not None:
            yield self.store.first, self.store.first_epoch
            if self.store.second is not None:
                yield self.store.second, self.store.second_epoch

    def _check_current(self, what: str, end: int) -> None:
        if end <= self.now:
            raise CollateralUnavailable(f"{what} that was found has expired: fetch it anew from Intel's PCS")

    def _replaces(self, what: str, present_end: int, newer: bool) -> bool:
        """Whether a document that is `newer` or not takes the place of one that ends then."""
        if present_end <= self.now and not newer:
            raise CollateralUnavailable(f"{what} on the chain has expired, and the one that was found is no newer")
        return newer and present_end <= self.until
