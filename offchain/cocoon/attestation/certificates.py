"""X.509 certificates as Intel issues them for provisioning: ECDSA-P256 with SHA-256, and where each field lies.

Only what such certificates hold is accepted. Spans count from the start of `tbs`, the signed bytes, because that is
what a verifier hashes.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from . import der
from .der import Node, Tag
from .errors import CertificateMalformed
from .layout import Span

__all__ = [
    "ECDSA_WITH_SHA256", "Certificate", "CertificateSpans", "Extension", "common_name", "parse_chain", "raw_signature",
    "serial_number", "to_pem",
]  # fmt: skip

ECDSA_WITH_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"))
P256_ALGORITHM = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))

_COMMON_NAME = "2.5.4.3"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----\s*")


@dataclass(frozen=True, slots=True)
class CertificateSpans:
    """Where the fields lie in the signed bytes: contents without tag and length, except names, which are whole."""

    serial: Span
    issuer: Span
    not_before: Span
    not_after: Span
    subject: Span
    public_key: Span  # x ‖ y, 64 bytes


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension: its contents (inside the octet string), and where they lie in the signed bytes."""

    oid: str
    critical: bool
    value: Node
    span: Span


@dataclass(frozen=True, slots=True)
class Certificate:
    """A parsed certificate. Names are DER; times are unix seconds; `signature` is r ‖ s, 64 bytes."""

    der: bytes
    tbs: bytes
    serial: int
    issuer: bytes
    subject: bytes
    not_before: int
    not_after: int
    public_key: bytes
    signature: bytes
    extensions: tuple[Extension, ...]
    spans: CertificateSpans

    @classmethod
    def parse(cls, data: bytes) -> Certificate:
        """CertificateMalformed unless `data` is one DER certificate of the kind described above."""
        root = der.parse(data).expect(Tag.SEQUENCE, "certificate")
        parts = _exactly(root, 3, "certificate")
        tbs, fields = parts[0], parts[0].expect(Tag.SEQUENCE, "signed part").children()
        _check_algorithm(parts[1])
        if len(fields) != 8:
            raise CertificateMalformed(f"{len(fields)} fields in the signed part: version 3 with extensions has 8")
        version, serial, algorithm, issuer, validity, subject, key, extensions = fields
        if version.expect(Tag.context(0), "version").inner().number("version") != 2:
            raise CertificateMalformed("not a certificate of version 3")
        _check_algorithm(algorithm)
        not_before, not_after = _exactly(validity, 2, "validity")
        key_bits = _public_key(key)

        def shifted(node: Node, *, whole: bool = False, skip: int = 0) -> Span:
            return Span((node.start if whole else node.content) + skip - tbs.start, node.end - tbs.start)

        return cls(
            der=root.document,
            tbs=tbs.encoded,
            serial=serial_number(serial),
            issuer=issuer.expect(Tag.SEQUENCE, "issuer").encoded,
            subject=subject.expect(Tag.SEQUENCE, "subject").encoded,
            not_before=not_before.unix_time(),
            not_after=not_after.unix_time(),
            public_key=key_bits.value[2:],
            signature=raw_signature(parts[2].bits()),
            extensions=tuple(_extensions(extensions, tbs.start)),
            spans=CertificateSpans(
                serial=shifted(serial),
                issuer=shifted(issuer, whole=True),
                not_before=shifted(not_before),
                not_after=shifted(not_after),
                subject=shifted(subject, whole=True),
                public_key=shifted(key_bits, skip=2),
            ),
        )

    def extension(self, oid: str) -> Extension | None:
        """The extension named `oid`, if there is one."""
        return next((found for found in self.extensions if found.oid == oid), None)

    @property
    def name(self) -> str:
        """The subject's common name."""
        return common_name(self.subject)


def common_name(name: bytes) -> str:
    """The common name in a DER name. CertificateMalformed if it has none."""
    for part in der.parse(name).children():
        for attribute in part.expect(Tag.SET, "name").children():
            kind, value = _exactly(attribute, 2, "name")
            if kind.dotted() == _COMMON_NAME:
                return value.value.decode("utf-8", "replace")
    raise CertificateMalformed("a name without a common name")


def parse_chain(pem: bytes) -> tuple[Certificate, ...]:
    """The certificates of a PEM text, in its order. A zero byte or blanks may end it; nothing else may be there."""
    text = bytes(pem).rstrip(b"\0").lstrip()
    found: list[Certificate] = []
    at = 0
    while at < len(text):
        block = _PEM.match(text, at)
        if block is None:
            raise CertificateMalformed(f"no PEM certificate at byte {at} of the chain")
        try:
            found.append(Certificate.parse(base64.b64decode(b"".join(block[1].split()), validate=True)))
        except binascii.Error as error:
            raise CertificateMalformed(f"no base64 in the certificate at byte {at} of the chain") from error
        at = block.end()
    if not found:
        raise CertificateMalformed("a chain without certificates")
    return tuple(found)


def to_pem(certificates: tuple[Certificate, ...]) -> str:
    """The PEM text of a chain as Intel writes it: lines of 64, no blank ones."""
    lines = []
    for certificate in certificates:
        text = base64.b64encode(certificate.der).decode()
        lines.append("-----BEGIN CERTIFICATE-----")
        lines += [text[start : start + 64] for start in range(0, len(text), 64)]
        lines.append("-----END CERTIFICATE-----")
    return "\n".join(lines) + "\n"


def serial_number(node: Node) -> int:
    """A serial number, of at most 20 bytes as X.509 demands."""
    number = node.number("serial number")
    if number >> 160:
        raise CertificateMalformed(f"a serial number of more than 20 bytes at byte {node.start}")
    return number


def raw_signature(encoded: bytes) -> bytes:
    """r ‖ s, 32 bytes each, of a DER signature."""
    parts = _exactly(der.parse(encoded), 2, "signature")
    r, s = (part.number("signature") for part in parts)
    if r >> 256 or s >> 256:
        raise CertificateMalformed("a signature with numbers over 256 bits")
    return r.to_bytes(32) + s.to_bytes(32)


def _exactly(node: Node, count: int, what: str) -> list[Node]:
    children = node.children()
    if len(children) != count:
        raise CertificateMalformed(f"{what}: {len(children)} elements where {count} belong, at byte {node.start}")
    return children


def _check_algorithm(node: Node) -> None:
    if node.encoded != ECDSA_WITH_SHA256:
        raise CertificateMalformed("not signed by ECDSA with SHA-256")


def _public_key(node: Node) -> Node:
    algorithm, key = _exactly(node, 2, "public key")
    if algorithm.encoded != P256_ALGORITHM:
        raise CertificateMalformed("not a key on the curve P-256")
    bits = key.bits()
    if len(bits) != 65 or bits[0] != 4:
        raise CertificateMalformed("not an uncompressed point of 64 bytes")
    return key


def _extensions(node: Node, tbs_start: int) -> list[Extension]:
    found: list[Extension] = []
    for element in node.expect(Tag.context(3), "extensions").inner().expect(Tag.SEQUENCE, "extensions").children():
        parts = element.children()
        if len(parts) not in (2, 3):
            raise CertificateMalformed(f"no extension at byte {element.start}")
        critical = len(parts) == 3
        if critical and parts[1].encoded != b"\x01\x01\xff":
            raise CertificateMalformed(f"an extension's criticality is not DER, at byte {element.start}")
        value = parts[-1].expect(Tag.OCTET_STRING, "extension").inner()
        span = Span(value.start - tbs_start, value.end - tbs_start)
        found.append(Extension(parts[0].dotted(), critical, value, span))
    if len({extension.oid for extension in found}) != len(found):
        raise CertificateMalformed("an extension occurs twice")
    return found
