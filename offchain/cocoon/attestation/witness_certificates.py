"""Certificates and revocation lists as a contract takes them.

The cuts are those of `contracts/attestation/pck.tolk` and `revocation.tolk`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate, pairwise

from pytoniq_core import Builder, Cell

from ..wire.attestation import CrlIssuer, PostCertificate, PostCrl, SignedDocument
from .certificates import Certificate
from .crl import RevocationList
from .errors import CertificateMalformed
from .pck import PckExtension
from .witness_chains import CELL_BYTES, chain, cut, signed

__all__ = ["ca_certificate", "certificate_document", "crl", "entry_order", "pck_document", "revoked_index"]

_CPU_SVN_HEAD = 17
_ENTRY_END = 29  # bytes of an entry behind its serial number: date and reason
_GROUP_ENTRIES = 97  # as many places as fit a cell behind that
MAX_REVOKED = 252
_LEAF_NUMBERS = 6  # serial numbers in a leaf of the index, and leaves of a node
_NODE_LEAVES = 3
_SERIAL_BITS = 160


def ca_certificate(certificate: Certificate, root_key: bytes, query_id: int = 0) -> PostCertificate:
    """Installs a CA or the TCB signing certificate, signed by the root with `root_key` (x ‖ y)."""
    return PostCertificate(query_id, certificate_document(certificate, root_key))


def certificate_document(certificate: Certificate, key: bytes) -> SignedDocument:
    """A CA certificate or the TCB signing certificate, signed with `key`."""
    cuts = [*_head_cuts(certificate), *_even_cuts(certificate.spans.public_key.start, len(certificate.tbs))]
    return _document(certificate, cuts, key)


def pck_document(leaf: Certificate, key: bytes) -> SignedDocument:
    """A PCK certificate, signed by its CA with `key`. CertificateMalformed if it has no SGX extension."""
    values = PckExtension.of(leaf).spans
    platform = values.cpu_svn.start - _CPU_SVN_HEAD
    cuts = [*_head_cuts(leaf), *_even_cuts(leaf.spans.public_key.start, platform), platform, values.fmspc.end]
    return _document(leaf, cuts, key)


def _document(certificate: Certificate, cuts: Sequence[int], key: bytes) -> SignedDocument:
    pieces = [certificate.tbs[start:end] for start, end in pairwise((0, *cuts, len(certificate.tbs)))]
    if any(len(piece) > CELL_BYTES for piece in pieces):
        raise CertificateMalformed(f"{certificate.name}: not laid out as Intel's certificates are")
    return signed(chain(pieces), len(pieces), sha256(certificate.tbs).digest(), certificate.signature, key)


def _head_cuts(certificate: Certificate) -> list[int]:
    """Into the issuer, into the subject, before the key."""
    spans = certificate.spans
    first = min(CELL_BYTES, spans.issuer.end)
    return [first, min(first + CELL_BYTES, spans.subject.end), spans.public_key.start]


def _even_cuts(start: int, end: int) -> Iterator[int]:
    """Between, so that all pieces have about the same size."""
    count = -(-(end - start) // CELL_BYTES)
    yield from (start + (end - start) * index // count for index in range(1, count))


def crl(found: RevocationList, issuer: CrlIssuer, key: bytes, query_id: int = 0) -> PostCrl:
    """A revocation list signed with `key` (x ‖ y): what the contract can't write itself, and its serial numbers in the
    index the contract keeps. CertificateMalformed if its entries are not like Intel's.
    """
    spans, tbs = found.spans, found.tbs
    first = min(CELL_BYTES, spans.issuer.end)
    cuts = [0, first, len(tbs)] if spans.revoked is None else [0, first, spans.revoked.start, len(tbs)]
    pieces = [tbs[start:end] for start, end in pairwise(cuts)]
    if spans.revoked is not None:
        pieces[-1] = tbs[spans.revoked.end :]
    if any(len(piece) > CELL_BYTES for piece in pieces):
        raise CertificateMalformed("the revocation list is not laid out as Intel's are")
    index = revoked_index([entry.serial for entry in found.revoked])
    cells = len(pieces) + 2 * -(-len(found.revoked) // _LEAF_NUMBERS)  # a leaf is as dear as two other cells
    document = signed(chain(pieces), cells, sha256(tbs).digest(), found.signature, key)
    return PostCrl(query_id, issuer, document, index, entry_order(found))


def entry_order(found: RevocationList) -> Cell | None:
    """Which number of the index each entry of a list has, entries that end alike together; None if there are none."""
    numbers = sorted(entry.serial for entry in found.revoked)
    if len(numbers) > MAX_REVOKED:
        raise CertificateMalformed(f"the list revokes {len(numbers)} certificates; a contract takes {MAX_REVOKED}")
    places = {serial: place for place, serial in enumerate(numbers)}
    groups: list[tuple[bytes, bytearray]] = []
    for entry in found.revoked:
        ending = found.tbs[entry.serial_span.end : entry.span.end]
        if len(ending) != _ENTRY_END:
            raise CertificateMalformed("an entry of the revocation list has other fields than Intel's have")
        if not groups or groups[-1][0] != ending or len(groups[-1][1]) == _GROUP_ENTRIES:
            groups.append((ending, bytearray()))
        groups[-1][1].append(places[entry.serial])
    packed = [ending + bytes([len(group)]) + group for ending, group in groups]
    starts = accumulate((len(group) for group in packed), initial=0)
    return chain(cut(b"".join(packed), starts)) if packed else None


def revoked_index(serials: Sequence[int]) -> Cell | None:
    """Serial numbers in ascending order, as the contract keeps them; None if there are none."""
    numbers = sorted(serials)
    leaves = [numbers[start : start + _LEAF_NUMBERS] for start in range(0, len(numbers), _LEAF_NUMBERS)]
    index: Cell | None = None
    for start in reversed(range(0, len(leaves), _NODE_LEAVES)):
        node = Builder()
        for leaf in leaves[start : start + _NODE_LEAVES]:
            cell = Builder()
            for serial in leaf:
                cell.store_uint(serial, _SERIAL_BITS)
            node.store_uint(leaf[-1], _SERIAL_BITS).store_ref(cell.end_cell())
        if index is not None:
            node.store_ref(index)
        index = node.end_cell()
    return index
