"""DER: shortest forms only, and nothing left over."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.attestation import der
from cocoon.attestation.errors import CertificateMalformed


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 256))
def test_integer_round_trips(value: int) -> None:
    assert der.parse(der.integer(value)).number() == value


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 1 << 40), max_size=8))
def test_object_identifier_round_trips(first: int, second: int, others: list[int]) -> None:
    dotted = ".".join(map(str, (first, second, *others)))
    assert der.parse(der.oid(dotted)).dotted() == dotted


@settings(max_examples=60, deadline=None)
@given(st.integers(-631_152_000, 253_402_300_799))  # 1950 to 9999
def test_time_round_trips(unix: int) -> None:
    assert der.parse(der.time(unix)).unix_time() == unix


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 70_000))
def test_element_of_any_length_round_trips(size: int) -> None:
    assert der.parse(der.encode(der.Tag.OCTET_STRING, bytes(size))).value == bytes(size)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "0 DER elements"),
        (b"\x30", "cut off"),
        (b"\x30\x01", "only 0 are there"),
        (b"\x30\x80", "no length"),
        (b"\x30\x85\0\0\0\0\1", "no length"),
        (b"\x30\x82\x01", "no length"),
        (b"\x04\x81\x01A", "not in its shortest form"),
        (b"\x04\x82\x00\x80" + bytes(128), "not in its shortest form"),
        (b"\x1f\x81\x00\x00", "a tag of several bytes"),
        (b"\x05\x00\x05\x00", "2 DER elements"),
    ],
)
def test_parse_anything_but_one_whole_element_is_refused(document: bytes, reason: str) -> None:
    with pytest.raises(CertificateMalformed, match=reason):
        der.parse(document)


@pytest.mark.parametrize("contents", [b"", b"\x80", b"\x00\x01", b"\x00\x00", b"\xff\xff", bytes([1]) * 65])
def test_number_negative_endless_or_not_shortest_is_refused(contents: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        der.parse(der.encode(der.Tag.INTEGER, contents)).number()


@pytest.mark.parametrize("contents", [b"", b"\x2a\x86", bytes([0x2A]) * 65])
def test_object_identifier_cut_off_or_endless_is_refused(contents: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        der.parse(der.encode(der.Tag.OID, contents)).dotted()


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (der.Tag.UTC_TIME, b"250619100035"),
        (der.Tag.UTC_TIME, b"251319100035Z"),
        (der.Tag.UTC_TIME, b"2506191000 5Z"),
        (der.Tag.UTC_TIME, b"20250619100035Z"),
        (der.Tag.GENERALIZED_TIME, b"20250619100035Z"),  # before 2050 X.509 wants a UTCTime
        (der.Tag.GENERALIZED_TIME, b"20500619100035+0100"),
        (der.Tag.OCTET_STRING, b"250619100035Z"),
    ],
)
def test_time_in_any_other_form_is_refused(tag: int, text: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        der.parse(der.encode(tag, text)).unix_time()


def test_bit_string_with_unused_bits_is_refused() -> None:
    with pytest.raises(CertificateMalformed, match="not made of whole bytes"):
        der.parse(b"\x03\x02\x06\xc0").bits()


def test_inner_of_two_elements_is_refused() -> None:
    with pytest.raises(CertificateMalformed, match="2 elements where one belongs"):
        der.parse(der.sequence(der.integer(1), der.integer(2))).inner()
