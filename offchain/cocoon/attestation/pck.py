"""Intel's SGX extension in a PCK certificate: which platform it is, and at which security versions (TCB).

Object identifiers are those of "SGX PCK Certificate and CRL Profile Specification" 1.5, below 1.2.840.113741.1.13.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .certificates import Certificate
from .der import Node, Tag
from .errors import CertificateMalformed
from .layout import Span

__all__ = ["SGX_EXTENSION", "PckExtension", "PckSpans", "SgxType"]

SGX_EXTENSION = "1.2.840.113741.1.13.1"
COMPONENTS = 16

_PPID, _TCB, _PCE_ID, _FMSPC, _SGX_TYPE, _INSTANCE, _CONFIGURATION = range(1, 8)
_PCE_SVN, _CPU_SVN = 17, 18
_FLAGS = range(1, 4)


class SgxType(IntEnum):
    """How a platform protects memory."""

    STANDARD = 0
    SCALABLE = 1
    SCALABLE_WITH_INTEGRITY = 2


@dataclass(frozen=True, slots=True)
class PckSpans:
    """Where the values lie in the certificate's signed bytes: contents without tag and length."""

    ppid: Span
    components: tuple[Span, ...]  # 16, one or (for numbers over 127) two bytes each
    pce_svn: Span
    cpu_svn: Span
    pce_id: Span
    fmspc: Span


@dataclass(frozen=True, slots=True)
class PckExtension:
    """The values. `platform_instance_id` and `configuration` only occur under the Platform CA."""

    ppid: bytes  # 16 bytes
    components: tuple[int, ...]  # SGX TCB component SVNs, 16 of 0..255
    pce_svn: int
    cpu_svn: bytes  # 16 bytes
    pce_id: bytes  # 2 bytes
    fmspc: bytes  # 6 bytes
    sgx_type: SgxType
    platform_instance_id: bytes | None
    configuration: dict[int, bool]  # 1 dynamic platform, 2 cached keys, 3 SMT
    spans: PckSpans

    @classmethod
    def of(cls, leaf: Certificate) -> PckExtension:
        """The extension of a PCK leaf. CertificateMalformed if it has none, or one with anything missing."""
        extension = leaf.extension(SGX_EXTENSION)
        if extension is None:
            raise CertificateMalformed(f"{leaf.name}: no SGX extension, so not a PCK certificate")
        values = _numbered(extension.value, SGX_EXTENSION)
        shift = extension.value.start - extension.span.start
        tcb = _numbered(_get(values, _TCB, Tag.SEQUENCE), f"{SGX_EXTENSION}.{_TCB}")
        components = [_get(tcb, index, Tag.INTEGER) for index in range(1, COMPONENTS + 1)]
        pce_svn, cpu_svn = _get(tcb, _PCE_SVN, Tag.INTEGER), _octets(tcb, _CPU_SVN, 16)
        ppid, pce_id, fmspc = _octets(values, _PPID, 16), _octets(values, _PCE_ID, 2), _octets(values, _FMSPC, 6)

        def span(node: Node) -> Span:
            return Span(node.content - shift, node.end - shift)

        return cls(
            ppid=ppid.value,
            components=tuple(_small(node, 8) for node in components),
            pce_svn=_small(pce_svn, 16),
            cpu_svn=cpu_svn.value,
            pce_id=pce_id.value,
            fmspc=fmspc.value,
            sgx_type=_sgx_type(_get(values, _SGX_TYPE, Tag.ENUMERATED)),
            platform_instance_id=_octets(values, _INSTANCE, 16).value if _INSTANCE in values else None,
            configuration=_configuration(values.get(_CONFIGURATION)),
            spans=PckSpans(
                span(ppid), tuple(map(span, components)), span(pce_svn), span(cpu_svn), span(pce_id), span(fmspc)
            ),
        )


def _numbered(node: Node, prefix: str) -> dict[int, Node]:
    """Values by the last arc of their identifier, which must lie directly below `prefix`."""
    found: dict[int, Node] = {}
    for entry in node.expect(Tag.SEQUENCE, "SGX extension").children():
        parts = entry.expect(Tag.SEQUENCE, "SGX extension").children()
        if len(parts) != 2:
            raise CertificateMalformed(f"SGX extension: no pair of identifier and value at byte {entry.start}")
        parent, _, number = parts[0].dotted().rpartition(".")
        if parent != prefix or int(number) in found:
            raise CertificateMalformed(f"SGX extension: {parent}.{number} is out of place or there twice")
        found[int(number)] = parts[1]
    return found


def _get(values: dict[int, Node], number: int, tag: int) -> Node:
    if number not in values:
        raise CertificateMalformed(f"SGX extension: value {number} is missing")
    return values[number].expect(tag, f"SGX extension, value {number}")


def _octets(values: dict[int, Node], number: int, size: int) -> Node:
    node = _get(values, number, Tag.OCTET_STRING)
    if len(node.span) != size:
        raise CertificateMalformed(f"SGX extension: value {number} has {len(node.span)} bytes instead of {size}")
    return node


def _small(node: Node, bits: int) -> int:
    value = node.number("security version")
    if value >> bits:
        raise CertificateMalformed(f"SGX extension: a security version of {value} does not fit {bits} bits")
    return value


def _sgx_type(node: Node) -> SgxType:
    value = node.number("SGX type")
    if value not in tuple(SgxType):
        raise CertificateMalformed(f"SGX extension: unknown SGX type {value}")
    return SgxType(value)


def _configuration(node: Node | None) -> dict[int, bool]:
    if node is None:
        return {}
    found = {}
    for number, value in _numbered(node, f"{SGX_EXTENSION}.{_CONFIGURATION}").items():
        if number not in _FLAGS:  # whatever else Intel tells there is no flag of ours
            continue
        if value.expect(Tag.BOOLEAN, "configuration").value not in (b"\x00", b"\xff"):
            raise CertificateMalformed(f"SGX extension: configuration {number} is not a DER boolean")
        found[number] = value.value == b"\xff"
    return found
