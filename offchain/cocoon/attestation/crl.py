"""Certificate revocation lists as Intel publishes them: version 2, ECDSA-P256 with SHA-256, numbered."""

from __future__ import annotations

from dataclasses import dataclass

from . import der
from .certificates import ECDSA_WITH_SHA256, raw_signature, serial_number
from .der import Node, Tag
from .errors import CertificateMalformed
from .layout import Span

__all__ = ["CrlSpans", "RevocationList", "RevokedEntry"]

CRL_NUMBER = "2.5.29.20"
AUTHORITY_KEY_ID = "2.5.29.35"


@dataclass(frozen=True, slots=True)
class RevokedEntry:
    """One revoked certificate, and where its entry lies in the signed bytes: the whole, and the serial's contents."""

    serial: int
    revoked_at: int  # unix seconds
    span: Span
    serial_span: Span


@dataclass(frozen=True, slots=True)
class CrlSpans:
    """Where the fields lie in the signed bytes: contents without tag and length, except the issuer, which is whole."""

    issuer: Span
    this_update: Span
    next_update: Span
    revoked: Span | None  # the contents of the list of entries; None: Intel leaves an empty list out
    number: Span


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A parsed list. The issuer is a DER name; times are unix seconds; `signature` is r ‖ s, 64 bytes."""

    der: bytes
    tbs: bytes
    issuer: bytes
    this_update: int
    next_update: int
    revoked: tuple[RevokedEntry, ...]
    number: int
    authority_key_id: bytes
    signature: bytes
    spans: CrlSpans

    @classmethod
    def parse(cls, data: bytes) -> RevocationList:
        """CertificateMalformed unless `data` is one DER list of the kind described above."""
        root = der.parse(data).expect(Tag.SEQUENCE, "revocation list")
        parts = root.children()
        if len(parts) != 3:
            raise CertificateMalformed(f"a revocation list of {len(parts)} parts instead of 3")
        tbs = parts[0].expect(Tag.SEQUENCE, "signed part")
        fields = tbs.children()
        if len(fields) not in (6, 7):
            raise CertificateMalformed(f"a revocation list of {len(fields)} fields: version 2 has 6, or 7 with entries")
        version, algorithm, issuer, this_update, next_update, *entries, extensions = fields
        if version.number("version") != 1:
            raise CertificateMalformed("not a revocation list of version 2")
        if {algorithm.encoded, parts[1].encoded} != {ECDSA_WITH_SHA256}:
            raise CertificateMalformed("not signed by ECDSA with SHA-256")
        number, key_id = _extensions(extensions)
        start = tbs.start

        def shifted(node: Node) -> Span:
            return Span(node.content - start, node.end - start)

        return cls(
            der=root.document,
            tbs=tbs.encoded,
            issuer=issuer.expect(Tag.SEQUENCE, "issuer").encoded,
            this_update=this_update.unix_time(),
            next_update=next_update.unix_time(),
            revoked=_revoked(entries[0], start) if entries else (),
            number=number.number("CRL number"),
            authority_key_id=key_id,
            signature=raw_signature(parts[2].bits()),
            spans=CrlSpans(
                issuer=Span(issuer.start - start, issuer.end - start),
                this_update=shifted(this_update),
                next_update=shifted(next_update),
                revoked=shifted(entries[0]) if entries else None,
                number=shifted(number),
            ),
        )

    def revokes(self, serial: int) -> bool:
        """Whether the certificate with this serial number is listed."""
        return any(entry.serial == serial for entry in self.revoked)


def _revoked(node: Node, tbs_start: int) -> tuple[RevokedEntry, ...]:
    found = []
    for entry in node.expect(Tag.SEQUENCE, "revoked certificates").children():
        parts = entry.expect(Tag.SEQUENCE, "revoked certificate").children()
        if len(parts) not in (2, 3):
            raise CertificateMalformed(f"no revoked certificate at byte {entry.start}")
        serial, moment = parts[:2]
        found.append(
            RevokedEntry(
                serial_number(serial),
                moment.unix_time(),
                Span(entry.start - tbs_start, entry.end - tbs_start),
                Span(serial.content - tbs_start, serial.end - tbs_start),
            )
        )
    return tuple(found)


def _extensions(node: Node) -> tuple[Node, bytes]:
    """The CRL number and the issuer's key identifier."""
    found: dict[str, Node] = {}
    for element in node.expect(Tag.context(0), "extensions").inner().children():
        parts = element.children()
        if len(parts) != 2:
            raise CertificateMalformed(f"an extension that is malformed or critical, at byte {element.start}")
        found[parts[0].dotted()] = parts[1].expect(Tag.OCTET_STRING, "extension").inner()
    if CRL_NUMBER not in found or AUTHORITY_KEY_ID not in found:
        raise CertificateMalformed("a revocation list without CRL number or authority key identifier")
    key_id = found[AUTHORITY_KEY_ID].inner().expect(Tag.context(0, constructed=False), "key identifier")
    return found[CRL_NUMBER], key_id.value
