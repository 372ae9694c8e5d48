"""TDX quotes: what is accepted, what is refused and why, and that nothing of a quote is lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from evidence_samples import machine, real_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.attestation.errors import EvidenceMalformed, QuoteMalformed
from cocoon.attestation.layout import size_of, span_of
from cocoon.attestation.platform import guest_report
from cocoon.attestation.quote import BodyType, Quote, QuoteHeader
from cocoon.attestation.reports import EnclaveReport, TdAttributes, TdReport10, TdReport15

V4 = machine().quote(guest_report(bytes(range(64)))).to_bytes()
V5 = machine().quote(guest_report(bytes(range(64)), version_15=True)).to_bytes()
SIGNATURE_SIZE = 632  # where version 4 says how long the signature data is


def test_parse_real_quote_gives_the_fields_intel_put_there() -> None:
    sample = real_sample()
    quote = sample.quote
    assert quote.to_bytes() == sample.raw
    assert (quote.header.version, quote.padding, len(quote.signed_bytes)) == (4, 70, 632)
    assert quote.report.tee_tcb_svn.hex() == "06010300000000000000000000000000"
    assert quote.report.attribute_bits == TdAttributes.SEPT_VE_DISABLE
    assert quote.report.mr_td.hex().startswith("91eb2b44d141d4ec")
    assert quote.report.report_data.hex().endswith("8fadb92c2b523f20")
    assert quote.signature_data.qe_report.isv_svn == 6
    assert quote.signature_data.qe_auth_data == bytes(range(32))
    assert [certificate.name for certificate in quote.signature_data.pck_chain] == [
        "Intel SGX PCK Certificate",
        "Intel SGX PCK Platform CA",
        "Intel SGX Root CA",
    ]


@pytest.mark.parametrize(
    ("structure", "size"),
    [(QuoteHeader, 48), (TdReport10, 584), (TdReport15, 648), (EnclaveReport, 384)],
)
def test_structures_have_the_sizes_of_intels_specification(structure: type, size: int) -> None:
    assert size_of(structure) == size


@pytest.mark.parametrize(
    ("structure", "name", "start"),
    [
        (TdReport10, "td_attributes", 120),
        (TdReport10, "mr_td", 136),
        (TdReport10, "rt_mr3", 472),
        (TdReport10, "report_data", 520),
        (TdReport15, "report_data", 520),
        (TdReport15, "mr_service_td", 600),
        (EnclaveReport, "mr_signer", 128),
        (EnclaveReport, "isv_svn", 258),
        (EnclaveReport, "report_data", 320),
    ],
)
def test_fields_lie_where_intels_specification_says(structure: type, name: str, start: int) -> None:
    assert span_of(structure, name).start == start


@pytest.mark.parametrize(
    ("quote", "version", "report", "signed", "offset"),
    [
        (machine().quote(guest_report(bytes(64))), 4, TdReport10, 632, 48),
        (machine().quote(guest_report(bytes(64)), version=5), 5, TdReport10, 638, 54),
        (machine().quote(guest_report(bytes(64), version_15=True)), 5, TdReport15, 702, 54),
    ],
    ids=["v4", "v5 with TD 1.0", "v5 with TD 1.5"],
)
def test_parse_each_version_gives_back_what_was_built(
    quote: Quote, version: int, report: type, signed: int, offset: int
) -> None:
    raw = quote.to_bytes()
    parsed = Quote.parse(raw)
    assert parsed == quote
    assert (parsed.header.version, type(parsed.report), len(parsed.signed_bytes)) == (version, report, signed)
    assert parsed.report_offset == offset
    assert raw.startswith(parsed.signed_bytes)


@settings(max_examples=100, deadline=None)
@given(
    report_data=st.binary(min_size=64, max_size=64),
    rtmr=st.binary(min_size=48, max_size=48),
    auth_data=st.binary(max_size=300),
    chain=st.binary(max_size=300),
    padding=st.integers(0, 200),
    version_15=st.booleans(),
)
def test_parse_any_built_quote_round_trips(
    report_data: bytes, rtmr: bytes, auth_data: bytes, chain: bytes, padding: int, version_15: bool
) -> None:
    base = Quote.parse(V5 if version_15 else V4)
    quote = replace(
        base,
        report=replace(base.report, report_data=report_data, rt_mr3=rtmr),
        signature_data=replace(base.signature_data, qe_auth_data=auth_data, pck_chain_pem=chain),
        padding=padding,
    )
    assert Quote.parse(quote.to_bytes()) == quote


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_parse_cut_quote_is_refused_wherever_it_is_cut(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from([V4, V5]))
    with pytest.raises(QuoteMalformed):
        Quote.parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


def _with(raw: bytes, start: int, new: bytes) -> bytes:
    return raw[:start] + new + raw[start + len(new) :]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (_with(V4, 0, b"\x03\x00"), "quote version 3"),
        (_with(V4, 0, b"\x06\x00"), "quote version 6"),
        (_with(V4, 2, b"\x03\x00"), "attestation key type 3"),
        (_with(V4, 4, b"\x00\x00\x00\x00"), "TEE type 0x0 is not TDX"),
        (_with(V5, 48, b"\x01\x00"), "body type 1"),
        (_with(V5, 48, b"\x04\x00"), "body type 4"),
        (_with(V5, 48, b"\x02\x00"), "TdReport10 takes 584 bytes, 648 are there"),
        (_with(V5, 50, b"\x89\x02\x00\x00"), "TdReport15 takes 648 bytes, 649 are there"),
        (_with(V4, SIGNATURE_SIZE, b"\xff\xff\xff\xff"), "signature data takes 4294967295 bytes"),
        (_with(V4, SIGNATURE_SIZE + 4 + 128, b"\x05\x00"), "certification data type 5 where 6"),
        (_with(V4, SIGNATURE_SIZE + 4 + 134 + 450 + 32, b"\x03\x00"), "certification data type 3 where 5"),
        (V4 + b"\x01", "1 bytes follow the signature data"),
        (V4 + bytes(7) + b"\x01", "8 bytes follow the signature data"),
        (b"", "header takes 48 bytes"),
    ],
)  # fmt: skip
def test_parse_quote_of_another_form_is_refused_by_name(raw: bytes, reason: str) -> None:
    with pytest.raises(QuoteMalformed, match=reason):
        Quote.parse(raw)


def test_parse_quote_with_bytes_hidden_behind_its_certification_is_refused() -> None:
    quote = Quote.parse(V4)
    inner = quote.signature_data.to_bytes() + b"\0"
    raw = quote.signed_bytes + len(inner).to_bytes(4, "little") + inner
    with pytest.raises(QuoteMalformed, match="1 bytes too many in the signature data"):
        Quote.parse(raw)


def test_parse_quote_with_bytes_hidden_behind_its_chain_is_refused() -> None:
    data = Quote.parse(V4).signature_data.to_bytes()
    inner = data[:130] + (len(data) - 134 + 1).to_bytes(4, "little") + data[134:] + b"\0"
    raw = Quote.parse(V4).signed_bytes + len(inner).to_bytes(4, "little") + inner
    with pytest.raises(QuoteMalformed, match="1 bytes too many in the QE report certification"):
        Quote.parse(raw)


@pytest.mark.parametrize("changes", [{"mr_td": bytes(47)}, {"report_data": bytes(65)}, {"xfam": b""}])
def test_build_report_with_field_of_another_size_is_refused(changes: dict[str, bytes]) -> None:
    with pytest.raises(QuoteMalformed, match="takes"):
        replace(Quote.parse(V4).report, **changes).to_bytes()


def test_build_header_with_number_too_large_is_refused() -> None:
    with pytest.raises(QuoteMalformed, match="does not fit 2 bytes"):
        replace(Quote.parse(V4).header, version=1 << 16).to_bytes()


def test_build_quote_with_endless_auth_data_is_refused() -> None:
    quote = Quote.parse(V4)
    with pytest.raises(QuoteMalformed, match="auth data of 65536 bytes"):
        replace(quote.signature_data, qe_auth_data=bytes(1 << 16)).to_bytes()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=1500))
def test_parse_noise_raises_nothing_but_its_own_error(noise: bytes) -> None:
    for raw in (noise, V4[:48] + noise, V5[:54] + noise, V4[:SIGNATURE_SIZE] + noise):
        with suppress(EvidenceMalformed):
            Quote.parse(raw)


def test_body_types_are_the_ones_intel_assigned() -> None:
    assert (BodyType.TD_REPORT_10, BodyType.TD_REPORT_15) == (2, 3)
