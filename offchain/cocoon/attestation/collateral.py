"""Everything but the quote that proves a quote: what Intel publishes about a platform and signs.

Kept byte for byte, since that is what the signatures cover. The JSON form is the one of dcap-qvl's `QuoteCollateralV3`:
PEM chains and documents as texts, lists and signatures in hexadecimal.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path

from .certificates import Certificate, parse_chain
from .crl import RevocationList
from .errors import CollateralMalformed
from .pcs import QeIdentity, TcbInfo

__all__ = ["Collateral", "SignedDocument"]

_SIGNATURE = 64
_HEX = re.compile("(?:[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """Bytes, the signature r ‖ s over them, and the PEM chain of its signer, leaf first."""

    body: bytes
    signature: bytes
    issuer_chain_pem: str

    @property
    def issuer_chain(self) -> tuple[Certificate, ...]:
        return parse_chain(self.issuer_chain_pem.encode())


@dataclass(frozen=True, slots=True)
class Collateral:
    """The set a quote of one platform needs. The lists are DER; nothing is decoded until it is asked for."""

    tcb_info_document: SignedDocument
    qe_identity_document: SignedDocument
    pck_crl_der: bytes
    pck_crl_issuer_chain_pem: str
    root_ca_crl_der: bytes

    @property
    def tcb_info(self) -> TcbInfo:
        return TcbInfo.parse(self.tcb_info_document.body)

    @property
    def qe_identity(self) -> QeIdentity:
        return QeIdentity.parse(self.qe_identity_document.body)

    @property
    def pck_crl(self) -> RevocationList:
        return RevocationList.parse(self.pck_crl_der)

    @property
    def pck_crl_issuer_chain(self) -> tuple[Certificate, ...]:
        return parse_chain(self.pck_crl_issuer_chain_pem.encode())

    @property
    def root_ca_crl(self) -> RevocationList:
        return RevocationList.parse(self.root_ca_crl_der)

    @classmethod
    def load(cls, path: Path) -> Collateral:
        """From a file. CollateralMalformed says what is missing, or why it can't be read."""
        try:
            return cls.from_json(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise CollateralMalformed(f"the collateral in {path} can't be read: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> Collateral:
        """From dcap-qvl's form. CollateralMalformed names every entry that is missing."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CollateralMalformed(f"the collateral is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise CollateralMalformed("the collateral is not a JSON object")
        missing = [field.name for field in fields(_Entries) if not isinstance(values.get(field.name), str)]
        if missing:
            raise CollateralMalformed(
                f"the collateral lacks {', '.join(missing)}: fetch a complete set from Intel's PCS"
            )
        entries = _Entries(**{field.name: values[field.name] for field in fields(_Entries)})
        for field in fields(_Entries):
            _check_text(field.name, values[field.name])
        return cls(
            SignedDocument(
                entries.tcb_info.encode(),
                _hex("tcb_info_signature", entries.tcb_info_signature, _SIGNATURE),
                entries.tcb_info_issuer_chain,
            ),
            SignedDocument(
                entries.qe_identity.encode(),
                _hex("qe_identity_signature", entries.qe_identity_signature, _SIGNATURE),
                entries.qe_identity_issuer_chain,
            ),
            _hex("pck_crl", entries.pck_crl),
            entries.pck_crl_issuer_chain,
            _hex("root_ca_crl", entries.root_ca_crl),
        )

    def to_json(self) -> str:
        """dcap-qvl's form."""
        tcb_info, qe_identity = self.tcb_info_document, self.qe_identity_document
        entries = _Entries(
            pck_crl_issuer_chain=self.pck_crl_issuer_chain_pem,
            root_ca_crl=self.root_ca_crl_der.hex(),
            pck_crl=self.pck_crl_der.hex(),
            tcb_info_issuer_chain=tcb_info.issuer_chain_pem,
            tcb_info=tcb_info.body.decode(),
            tcb_info_signature=tcb_info.signature.hex(),
            qe_identity_issuer_chain=qe_identity.issuer_chain_pem,
            qe_identity=qe_identity.body.decode(),
            qe_identity_signature=qe_identity.signature.hex(),
        )
        return json.dumps({field.name: getattr(entries, field.name) for field in fields(_Entries)}, indent=2)


@dataclass(frozen=True, slots=True)
class _Entries:
    """The keys of the JSON form."""

    pck_crl_issuer_chain: str
    root_ca_crl: str
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: str
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: str


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CollateralMalformed(f"the collateral's {name} holds half a character") from error


def _hex(name: str, text: str, size: int | None = None) -> bytes:
    if not _HEX.fullmatch(text):
        raise CollateralMalformed(f"the collateral's {name} is not hexadecimal")
    value = bytes.fromhex(text)
    if size is not None and len(value) != size:
        raise CollateralMalformed(f"the collateral's {name} has {len(value)} bytes instead of {size}")
    return value
