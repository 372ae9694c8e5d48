"""TDX quotes of version 4 and 5, exactly as Intel's DCAP lays them out.

    version 4                                version 5
    0    header, 48 bytes                    0    header, 48 bytes
    48   TD report 1.0, 584 bytes            48   body type, 2 bytes; body size, 4 bytes
                                             54   TD report 1.0 (584 bytes) or 1.5 (648 bytes)
    632  size of the signature data, 4       638 or 702: the same
    636  signature data                      642 or 706: signature data
         padding of zeros                         padding of zeros

What is signed with the attestation key is everything before the size. The signature data is

    0    signature r ‖ s, 64 bytes
    64   attestation key x ‖ y, 64 bytes
    128  certification data type 6, 2 bytes; its size, 4 bytes
    134  report of the quoting enclave, 384 bytes
    518  its signature r ‖ s by the PCK key, 64 bytes
    582  size n of the auth data, 2 bytes; auth data, n bytes
         certification data type 5, 2 bytes; its size, 4 bytes; the PCK chain in PEM, leaf first

Parsing is strict: every size must add up and nothing may lie outside, except that zeros may follow the signature data
(quoting enclaves return the buffer they asked for, and nothing signs its rest).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .certificates import Certificate, parse_chain
from .errors import QuoteMalformed
from .layout import number, octets, pack, size_of, unpack
from .reports import EnclaveReport, TdReport10, TdReport15

__all__ = ["INTEL_QE_VENDOR_ID", "TEE_TDX", "BodyType", "Quote", "QuoteHeader", "SignatureData"]

TEE_TDX = 0x81
ECDSA_P256 = 2
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

_QE_REPORT_CERTIFICATION = 6
_PCK_CHAIN = 5
_SIZE, _TYPE = 4, 2


class BodyType(IntEnum):
    """What a quote of version 5 says its body is."""

    TD_REPORT_10 = 2
    TD_REPORT_15 = 3


_BODIES: dict[int, type[TdReport10]] = {BodyType.TD_REPORT_10: TdReport10, BodyType.TD_REPORT_15: TdReport15}


@dataclass(frozen=True, slots=True)
class QuoteHeader:
    """The first 48 bytes."""

    version: int = number(2)  # 0: 4 or 5
    attestation_key_type: int = number(2)  # 2: 2 = ECDSA-P256
    tee_type: int = number(4)  # 4: 0x81 = TDX
    reserved: bytes = octets(4)  # 8
    qe_vendor_id: bytes = octets(16)  # 12
    user_data: bytes = octets(20)  # 28: the quoting enclave's own; the first 16 name the platform to it

    def to_bytes(self) -> bytes:
        return pack(self, QuoteMalformed)


@dataclass(frozen=True, slots=True)
class SignatureData:
    """Who vouches for the body: the attestation key, the enclave that made it, the platform that ran the enclave."""

    signature: bytes  # r ‖ s over Quote.signed_bytes
    attestation_key: bytes  # x ‖ y
    qe_report: EnclaveReport
    qe_report_signature: bytes  # r ‖ s by the PCK key over the report
    qe_auth_data: bytes
    pck_chain_pem: bytes  # as it stands in the quote, with whatever ends it

    def to_bytes(self) -> bytes:
        chain = _sized(_PCK_CHAIN, self.pck_chain_pem)
        if len(self.qe_auth_data) >= 1 << 16:
            raise QuoteMalformed(f"auth data of {len(self.qe_auth_data)} bytes does not fit a quote: at most 65,535 do")
        auth = len(self.qe_auth_data).to_bytes(2, "little") + self.qe_auth_data
        certification = self.qe_report.to_bytes() + self.qe_report_signature + auth + chain
        return self.signature + self.attestation_key + _sized(_QE_REPORT_CERTIFICATION, certification)

    @property
    def pck_chain(self) -> tuple[Certificate, ...]:
        """The certificates of the PEM text, leaf first. CertificateMalformed if one is not DER."""
        return parse_chain(self.pck_chain_pem)


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote. `padding` counts the zeros behind the signature data. `parse(x).to_bytes() == x` where parse accepts."""

    header: QuoteHeader
    report: TdReport10 | TdReport15
    signature_data: SignatureData
    padding: int = 0

    @classmethod
    def parse(cls, data: bytes) -> Quote:
        """QuoteMalformed, saying where, unless `data` is laid out as above and nothing is left over.

        Says nothing about whether any signature holds. The PCK chain is not decoded: see `SignatureData.pck_chain`.
        """
        cursor = _Cursor(bytes(data))
        header = unpack(QuoteHeader, cursor.take(size_of(QuoteHeader), "header"), QuoteMalformed)
        _check_header(header)
        report = _report(cursor, header.version)
        signature_data = _signature_data(cursor.take(cursor.number(_SIZE, "signature size"), "signature data"))
        rest = cursor.rest()
        if any(rest):
            raise QuoteMalformed(f"{len(rest)} bytes follow the signature data, and they are not zeros: cut them off")
        return cls(header, report, signature_data, len(rest))

    def to_bytes(self) -> bytes:
        signature_data = self.signature_data.to_bytes()
        size = len(signature_data).to_bytes(_SIZE, "little")
        return self.signed_bytes + size + signature_data + bytes(self.padding)

    @property
    def signed_bytes(self) -> bytes:
        """What the attestation key signs: 632 bytes in version 4, 638 or 702 in version 5."""
        body = self.report.to_bytes()
        if self.header.version == 5:
            kind = BodyType.TD_REPORT_15 if isinstance(self.report, TdReport15) else BodyType.TD_REPORT_10
            body = _sized(kind, body)
        return self.header.to_bytes() + body

    @property
    def report_offset(self) -> int:
        """Where the TD report begins: 48, or 54 in version 5."""
        return size_of(QuoteHeader) + (_TYPE + _SIZE if self.header.version == 5 else 0)


class _Cursor:
    """Reads from the front; says what is missing."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int, what: str) -> bytes:
        left = len(self._data) - self._at
        if size > left:
            raise QuoteMalformed(f"the {what} takes {size} bytes from byte {self._at} on, only {left} are there")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "little")

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at, "rest")

    def end(self, what: str) -> None:
        if rest := self.rest():
            raise QuoteMalformed(f"{len(rest)} bytes too many in the {what}: its size does not add up")


def _sized(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(_TYPE, "little") + len(data).to_bytes(_SIZE, "little") + data


def _check_header(header: QuoteHeader) -> None:
    if header.version not in (4, 5):
        raise QuoteMalformed(f"quote version {header.version}: only 4 and 5 are known")
    if header.tee_type != TEE_TDX:
        raise QuoteMalformed(f"TEE type {header.tee_type:#x} is not TDX ({TEE_TDX:#x}): SGX quotes don't count here")
    if header.attestation_key_type != ECDSA_P256:
        raise QuoteMalformed(f"attestation key type {header.attestation_key_type}: only 2, ECDSA-P256, is known")


def _report(cursor: _Cursor, version: int) -> TdReport10:
    if version == 4:
        return TdReport10.parse(cursor.take(size_of(TdReport10), "TD report"))
    kind = cursor.number(_TYPE, "body type")
    size = cursor.number(_SIZE, "body size")
    if kind not in _BODIES:
        raise QuoteMalformed(f"body type {kind}: only 2 (TD report 1.0) and 3 (TD report 1.5) are known")
    return _BODIES[kind].parse(cursor.take(size, "TD report"))


def _signature_data(data: bytes) -> SignatureData:
    cursor = _Cursor(data)
    signature, key = cursor.take(64, "signature"), cursor.take(64, "attestation key")
    certification = _Cursor(_certification(cursor, _QE_REPORT_CERTIFICATION, "QE report certification"))
    cursor.end("signature data")
    report = EnclaveReport.parse(certification.take(size_of(EnclaveReport), "QE report"))
    report_signature = certification.take(64, "QE report signature")
    auth_data = certification.take(certification.number(2, "auth data size"), "auth data")
    chain = _certification(certification, _PCK_CHAIN, "PCK chain")
    certification.end("QE report certification")
    return SignatureData(signature, key, report, report_signature, auth_data, chain)


def _certification(cursor: _Cursor, expected: int, what: str) -> bytes:
    kind = cursor.number(_TYPE, f"type of the {what}")
    if kind != expected:
        raise QuoteMalformed(
            f"certification data type {kind} where {expected} ({what}) belongs: ask the platform for a quote that "
            "carries its PCK chain"
        )
    return cursor.take(cursor.number(_SIZE, f"size of the {what}"), what)
