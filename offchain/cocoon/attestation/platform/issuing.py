"""Writes certificates and revocation lists field for field as Intel does: same order, same string types, same flags."""

from __future__ import annotations

from collections.abc import Sequence

from .. import der
from ..certificates import ECDSA_WITH_SHA256, P256_ALGORITHM
from ..der import Tag, encode, integer, oid, sequence
from .keys import SigningKey

__all__ = [
    "authority_key_id", "basic_constraints", "certificate_tbs", "crl_distribution", "crl_number", "extension",
    "key_usage", "name", "revocation_list_tbs", "signed", "subject_key_id",
]  # fmt: skip

KEY_COMPROMISE = 1

_NAME = {"common": "2.5.4.3", "organization": "2.5.4.10", "locality": "2.5.4.7", "state": "2.5.4.8"}
_COUNTRY, _REASON = "2.5.4.6", "2.5.29.21"
_SIGNATURE_USAGE, _CA_USAGE = b"\x06\xc0", b"\x01\x06"  # digital signature and non-repudiation; certificates and CRLs


def name(common: str, organization: str) -> bytes:
    """A DER name: common name, organization, Santa Clara, CA, US."""
    values = {"common": common, "organization": organization, "locality": "Santa Clara", "state": "CA"}
    parts = [(oid(_NAME[key]), encode(Tag.UTF8_STRING, value.encode())) for key, value in values.items()]
    parts.append((oid(_COUNTRY), encode(Tag.PRINTABLE_STRING, b"US")))
    return sequence(*(encode(Tag.SET, sequence(kind, value)) for kind, value in parts))


def certificate_tbs(
    *,
    serial: int,
    issuer: bytes,
    validity: tuple[int, int],
    subject: bytes,
    public_key: bytes,
    extensions: Sequence[bytes],
) -> bytes:
    """The signed part of a certificate of version 3. Validity in unix seconds; key x ‖ y."""
    return sequence(
        encode(Tag.context(0), integer(2)),
        integer(serial),
        ECDSA_WITH_SHA256,
        issuer,
        sequence(der.time(validity[0]), der.time(validity[1])),
        subject,
        sequence(P256_ALGORITHM, encode(Tag.BIT_STRING, b"\x00\x04" + public_key)),
        encode(Tag.context(3), sequence(*extensions)),
    )


def revocation_list_tbs(
    *, issuer: bytes, issuer_key_id: bytes, this_update: int, next_update: int, number: int, revoked: Sequence[int]
) -> bytes:
    """The signed part of a list that revokes these serial numbers at `this_update`. An empty list is left out."""
    reason = sequence(extension(_REASON, encode(Tag.ENUMERATED, bytes([KEY_COMPROMISE]))))
    entries = [sequence(integer(serial), der.time(this_update), reason) for serial in revoked]
    return sequence(
        integer(1),
        ECDSA_WITH_SHA256,
        issuer,
        der.time(this_update),
        der.time(next_update),
        *([sequence(*entries)] if entries else []),
        encode(Tag.context(0), sequence(crl_number(number), authority_key_id(issuer_key_id))),
    )


def signed(tbs: bytes, key: SigningKey) -> bytes:
    """A certificate or list: its signed part, the algorithm, the signature."""
    return sequence(tbs, ECDSA_WITH_SHA256, encode(Tag.BIT_STRING, b"\x00" + key.sign_der(tbs)))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """An extension with DER contents."""
    flag = encode(Tag.BOOLEAN, b"\xff") if critical else b""
    return sequence(oid(dotted), flag, encode(Tag.OCTET_STRING, value))


def authority_key_id(key_id: bytes) -> bytes:
    return extension("2.5.29.35", sequence(encode(Tag.context(0, constructed=False), key_id)))


def subject_key_id(key_id: bytes) -> bytes:
    return extension("2.5.29.14", encode(Tag.OCTET_STRING, key_id))


def crl_distribution(uri: str) -> bytes:
    full_name = encode(Tag.context(0), encode(Tag.context(6, constructed=False), uri.encode()))
    return extension("2.5.29.31", sequence(sequence(encode(Tag.context(0), full_name))))


def key_usage(*, authority: bool) -> bytes:
    usage = _CA_USAGE if authority else _SIGNATURE_USAGE
    return extension("2.5.29.15", encode(Tag.BIT_STRING, usage), critical=True)


def basic_constraints(path_length: int | None) -> bytes:
    """path_length: None for a certificate that issues none."""
    value = b"" if path_length is None else encode(Tag.BOOLEAN, b"\xff") + integer(path_length)
    return extension("2.5.29.19", sequence(value), critical=True)


def crl_number(number: int) -> bytes:
    return extension("2.5.29.20", integer(number))
