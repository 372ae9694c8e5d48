"""Certificates, revocation lists and Intel's SGX extension: read as other readers do, and written as Intel does."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from evidence_samples import TIME, intel, machine, published, real_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.attestation import der
from cocoon.attestation.certificates import Certificate, common_name, parse_chain, to_pem
from cocoon.attestation.crl import RevocationList
from cocoon.attestation.errors import AttestationError, CertificateMalformed
from cocoon.attestation.pck import SGX_EXTENSION, PckExtension, SgxType
from cocoon.attestation.platform import CertificateAuthority, Hardware, issuing
from cocoon.attestation.platform.sgx_extension import sgx_extension

LEAF = machine().pck
PROCESSOR_LEAF = machine(Hardware(authority=CertificateAuthority.PROCESSOR)).pck
REVOKED = RevocationList.parse(intel().publish(replace(published(), revoked_pck=(7, 1 << 159, 300))).pck_crl_der)


def _certificates() -> list[Certificate]:
    everyone = intel()
    return [LEAF, PROCESSOR_LEAF, everyone.platform_ca, everyone.processor_ca, everyone.tcb_signing, everyone.root]


def _holds(public_key: bytes, signature: bytes, message: bytes) -> None:
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(public_key[:32]), int.from_bytes(public_key[32:]), ec.SECP256R1()
    )
    encoded = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    numbers.public_key().verify(encoded, message, ec.ECDSA(SHA256()))


def _agrees_with_cryptography(certificate: Certificate) -> None:
    other = x509.load_der_x509_certificate(certificate.der)
    assert certificate.tbs == other.tbs_certificate_bytes
    assert certificate.serial == other.serial_number
    assert certificate.issuer == other.issuer.public_bytes()
    assert certificate.subject == other.subject.public_bytes()
    assert certificate.not_before == int(other.not_valid_before_utc.timestamp())
    assert certificate.not_after == int(other.not_valid_after_utc.timestamp())
    key = other.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()
    assert certificate.public_key == numbers.x.to_bytes(32) + numbers.y.to_bytes(32)
    assert [extension.oid for extension in certificate.extensions] == [
        extension.oid.dotted_string for extension in other.extensions
    ]
    assert [extension.critical for extension in certificate.extensions] == [
        extension.critical for extension in other.extensions
    ]


def _spans_point_at_values(certificate: Certificate) -> None:
    spans, tbs = certificate.spans, certificate.tbs
    assert int.from_bytes(spans.serial.of(tbs)) == certificate.serial
    assert (spans.issuer.of(tbs), spans.subject.of(tbs)) == (certificate.issuer, certificate.subject)
    assert spans.public_key.of(tbs) == certificate.public_key
    assert der.time(certificate.not_before)[2:] == spans.not_before.of(tbs)
    assert der.time(certificate.not_after)[2:] == spans.not_after.of(tbs)
    for extension in certificate.extensions:
        assert extension.span.of(tbs) == extension.value.encoded


@pytest.mark.parametrize("certificate", _certificates(), ids=lambda certificate: certificate.name)
def test_parse_simulated_certificate_agrees_with_another_reader(certificate: Certificate) -> None:
    _agrees_with_cryptography(certificate)
    _spans_point_at_values(certificate)


def test_parse_real_certificates_agrees_with_another_reader() -> None:
    sample = real_sample()
    collateral = sample.collateral
    chains = (
        sample.quote.signature_data.pck_chain,
        collateral.tcb_info_document.issuer_chain,
        collateral.qe_identity_document.issuer_chain,
        collateral.pck_crl_issuer_chain,
    )
    for chain in chains:
        for certificate, issuer in zip(chain, [*chain[1:], chain[-1]], strict=True):
            _agrees_with_cryptography(certificate)
            _spans_point_at_values(certificate)
            _holds(issuer.public_key, certificate.signature, certificate.tbs)


def test_parse_real_revocation_lists_agrees_with_another_reader() -> None:
    sample = real_sample()
    issuer = sample.collateral.pck_crl_issuer_chain[0]
    for found, signer in ((sample.collateral.pck_crl, issuer), (sample.collateral.root_ca_crl, None)):
        other = x509.load_der_x509_crl(found.der)
        assert found.tbs == other.tbs_certlist_bytes
        assert [entry.serial for entry in found.revoked] == [entry.serial_number for entry in other]
        assert found.number == other.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        assert other.next_update_utc is not None
        assert found.next_update == int(other.next_update_utc.timestamp())
        key = signer.public_key if signer else sample.quote.signature_data.pck_chain[-1].public_key
        _holds(key, found.signature, found.tbs)


def test_issue_with_the_real_leafs_values_gives_the_real_leafs_signed_bytes() -> None:
    """The simulated platform lays certificates out byte for byte as Intel does."""
    leaf, authority, _ = real_sample().quote.signature_data.pck_chain
    values = PckExtension.of(leaf)
    assert sgx_extension(
        ppid=values.ppid,
        components=values.components,
        pce_svn=values.pce_svn,
        cpu_svn=values.cpu_svn,
        pce_id=values.pce_id,
        fmspc=values.fmspc,
        sgx_type=values.sgx_type,
        platform_instance_id=values.platform_instance_id,
        configuration=values.configuration,
    ).endswith(leaf.extensions[-1].value.encoded)
    uri = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
    key_id = leaf.extensions[2].value.value
    rebuilt = issuing.certificate_tbs(
        serial=leaf.serial,
        issuer=issuing.name("Intel SGX PCK Platform CA", "Intel Corporation"),
        validity=(leaf.not_before, leaf.not_after),
        subject=issuing.name("Intel SGX PCK Certificate", "Intel Corporation"),
        public_key=leaf.public_key,
        extensions=[
            issuing.authority_key_id(authority.extensions[2].value.value),
            issuing.crl_distribution(uri),
            issuing.subject_key_id(key_id),
            issuing.key_usage(authority=False),
            issuing.basic_constraints(None),
            issuing.extension(SGX_EXTENSION, leaf.extensions[-1].value.encoded),
        ],
    )
    assert rebuilt == leaf.tbs


def test_issue_with_the_real_authorities_values_gives_their_signed_bytes() -> None:
    _, platform_ca, root = real_sample().quote.signature_data.pck_chain
    for certificate, path_length in ((platform_ca, 0), (root, 1)):
        rebuilt = issuing.certificate_tbs(
            serial=certificate.serial,
            issuer=root.subject,
            validity=(certificate.not_before, certificate.not_after),
            subject=issuing.name(certificate.name, "Intel Corporation"),
            public_key=certificate.public_key,
            extensions=[
                issuing.authority_key_id(root.extensions[2].value.value),
                issuing.crl_distribution("https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"),
                issuing.subject_key_id(certificate.extensions[2].value.value),
                issuing.key_usage(authority=True),
                issuing.basic_constraints(path_length),
            ],
        )
        assert rebuilt == certificate.tbs


def test_issue_with_the_real_lists_values_gives_their_signed_bytes() -> None:
    collateral = real_sample().collateral
    for found in (collateral.pck_crl, collateral.root_ca_crl):
        rebuilt = issuing.revocation_list_tbs(
            issuer=found.issuer,
            issuer_key_id=found.authority_key_id,
            this_update=found.this_update,
            next_update=found.next_update,
            number=found.number,
            revoked=[entry.serial for entry in found.revoked],
        )
        assert rebuilt == found.tbs


def test_pck_extension_of_simulated_leaf_gives_back_the_hardware() -> None:
    hardware = Hardware(components=(255, 128, 127, *range(13)), pce_svn=65_535, fmspc=b"abcdef", pce_id=b"\x01\x02")
    leaf = machine(hardware).pck
    found = PckExtension.of(leaf)
    assert (found.components, found.pce_svn) == (hardware.components, 65_535)
    assert (found.fmspc, found.pce_id, found.sgx_type) == (b"abcdef", b"\x01\x02", SgxType.SCALABLE)
    assert found.configuration == {1: True, 2: True, 3: True}
    spans = found.spans
    assert [int.from_bytes(span.of(leaf.tbs)) for span in spans.components] == list(hardware.components)
    assert int.from_bytes(spans.pce_svn.of(leaf.tbs)) == 65_535
    assert (spans.fmspc.of(leaf.tbs), spans.pce_id.of(leaf.tbs)) == (b"abcdef", b"\x01\x02")
    assert (spans.ppid.of(leaf.tbs), spans.cpu_svn.of(leaf.tbs)) == (found.ppid, found.cpu_svn)


def test_pck_extension_under_the_processor_ca_has_no_instance() -> None:
    found = PckExtension.of(PROCESSOR_LEAF)
    assert found.platform_instance_id is None
    assert found.configuration == {}


def test_pck_extension_of_an_authority_is_refused() -> None:
    with pytest.raises(CertificateMalformed, match="no SGX extension"):
        PckExtension.of(intel().platform_ca)


def _leaf_with(**changes: object) -> Certificate:
    """A leaf whose SGX extension has other values, otherwise laid out as ever."""
    values = PckExtension.of(LEAF)
    names = ("ppid", "components", "pce_svn", "cpu_svn", "pce_id", "fmspc", "sgx_type", "platform_instance_id")
    fields = {name: getattr(values, name) for name in names} | {"configuration": values.configuration} | changes
    return _leaf_with_extension(sgx_extension(**fields))


def _leaf_with_extension(extension: bytes) -> Certificate:
    tbs = issuing.certificate_tbs(
        serial=1,
        issuer=LEAF.issuer,
        validity=(TIME, TIME + 1),
        subject=LEAF.subject,
        public_key=LEAF.public_key,
        extensions=[extension],
    )
    return Certificate.parse(issuing.signed(tbs, machine().pck_key))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ppid": bytes(15)}, "value 1 has 15 bytes instead of 16"),
        ({"fmspc": bytes(7)}, "value 4 has 7 bytes instead of 6"),
        ({"cpu_svn": bytes(17)}, "value 18 has 17 bytes instead of 16"),
        ({"components": (*range(15), 256)}, "security version of 256 does not fit 8 bits"),
        ({"pce_svn": 65_536}, "security version of 65536 does not fit 16 bits"),
        ({"sgx_type": 3}, "unknown SGX type 3"),
        ({"components": tuple(range(15))}, "value 17 is missing"),
        ({"platform_instance_id": b"short"}, "value 6 has 5 bytes instead of 16"),
    ],
)
def test_pck_extension_with_a_value_out_of_form_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CertificateMalformed, match=reason):
        PckExtension.of(_leaf_with(**changes))


def test_pck_extension_with_configuration_of_another_kind_keeps_the_flags() -> None:
    """Intel has added entries before; one that is no flag must not make a platform unreadable."""
    configuration = der.sequence(
        der.sequence(der.oid(f"{SGX_EXTENSION}.7.1"), b"\x01\x01\x00"),
        der.sequence(der.oid(f"{SGX_EXTENSION}.7.4"), der.encode(der.Tag.OCTET_STRING, b"provider")),
    )
    last = der.sequence(der.oid(f"{SGX_EXTENSION}.7"), configuration)
    before = [pair.encoded for pair in PROCESSOR_LEAF.extensions[-1].value.children()]
    leaf = _leaf_with_extension(issuing.extension(SGX_EXTENSION, der.sequence(*before, last)))
    assert PckExtension.of(leaf).configuration == {1: False}


@pytest.mark.parametrize("flag", [b"\x01\x01\x01", b"\x04\x01\xff"])
def test_pck_extension_with_a_flag_that_is_no_boolean_is_refused(flag: bytes) -> None:
    configuration = der.sequence(der.sequence(der.oid(f"{SGX_EXTENSION}.7.1"), flag))
    last = der.sequence(der.oid(f"{SGX_EXTENSION}.7"), configuration)
    before = [pair.encoded for pair in PROCESSOR_LEAF.extensions[-1].value.children()]
    with pytest.raises(CertificateMalformed):
        PckExtension.of(_leaf_with_extension(issuing.extension(SGX_EXTENSION, der.sequence(*before, last))))


def test_pck_extension_with_a_value_twice_is_refused() -> None:
    pair = der.sequence(der.oid(f"{SGX_EXTENSION}.4"), der.encode(der.Tag.OCTET_STRING, bytes(6)))
    leaf = _leaf_with_extension(issuing.extension(SGX_EXTENSION, der.sequence(pair, pair)))
    with pytest.raises(CertificateMalformed, match="there twice"):
        PckExtension.of(leaf)


def test_revocation_list_tells_what_it_revokes_and_where() -> None:
    assert [entry.serial for entry in REVOKED.revoked] == [7, 1 << 159, 300]
    assert REVOKED.revokes(300)
    assert not REVOKED.revokes(301)
    for entry in REVOKED.revoked:
        assert int.from_bytes(entry.serial_span.of(REVOKED.tbs)) == entry.serial
        assert der.parse(entry.span.of(REVOKED.tbs)).children()[0].number() == entry.serial
    assert int.from_bytes(REVOKED.spans.number.of(REVOKED.tbs)) == REVOKED.number == 1
    assert REVOKED.spans.issuer.of(REVOKED.tbs) == intel().platform_ca.subject
    assert REVOKED.spans.revoked is not None
    assert len(REVOKED.spans.revoked) == sum(len(entry.span) for entry in REVOKED.revoked)


def test_revocation_list_with_a_serial_number_too_long_is_refused() -> None:
    collateral = intel().publish(replace(published(), revoked_pck=(1 << 160,)))
    with pytest.raises(CertificateMalformed, match="more than 20 bytes"):
        RevocationList.parse(collateral.pck_crl_der)


def test_revocation_list_without_entries_revokes_nobody() -> None:
    empty = intel().publish(published()).pck_crl
    assert (empty.revoked, empty.spans.revoked) == ((), None)
    assert not empty.revokes(LEAF.serial)


def test_revocation_list_is_signed_by_its_authority() -> None:
    _holds(intel().platform_ca.public_key, REVOKED.signature, REVOKED.tbs)


@pytest.mark.parametrize("ending", ["", "\0", "\n", "\n\0"])
def test_parse_chain_takes_the_ways_quotes_end_it(ending: str) -> None:
    chain = machine().chain
    assert parse_chain((to_pem(chain) + ending).encode()) == chain


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "a chain without certificates"),
        (b"\0", "a chain without certificates"),
        (b"hello", "no PEM certificate at byte 0"),
        (to_pem(machine().chain).encode() + b"tail", "no PEM certificate at byte"),
        (b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n", "no base64"),
        (b"-----BEGIN CERTIFICATE-----\nMAAB\n-----END CERTIFICATE-----\n", "cut off|elements"),
    ],
)
def test_parse_chain_with_anything_else_is_refused(pem: bytes, reason: str) -> None:
    with pytest.raises(CertificateMalformed, match=reason):
        parse_chain(pem)


def test_name_without_common_name_is_refused() -> None:
    with pytest.raises(CertificateMalformed, match="without a common name"):
        common_name(der.sequence())


def test_parse_certificate_with_trailing_bytes_is_refused() -> None:
    with pytest.raises(CertificateMalformed):
        Certificate.parse(LEAF.der + b"\x05\x00")


def test_parse_certificate_signed_with_another_algorithm_is_refused() -> None:
    sha384 = issuing.ECDSA_WITH_SHA256[:-1] + b"\x03"
    with pytest.raises(CertificateMalformed, match="not signed by ECDSA with SHA-256"):
        Certificate.parse(LEAF.der.replace(issuing.ECDSA_WITH_SHA256, sha384))


@pytest.mark.parametrize("document", [LEAF.der, PROCESSOR_LEAF.der], ids=["platform", "processor"])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_parse_altered_certificate_raises_nothing_but_its_own_error(document: bytes, data: st.DataObject) -> None:
    mutated = bytearray(document)
    for at in data.draw(st.lists(st.integers(0, len(document) - 1), min_size=1, max_size=4)):
        mutated[at] = data.draw(st.integers(0, 255))
    with suppress(AttestationError):
        PckExtension.of(Certificate.parse(bytes(mutated)))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_parse_altered_revocation_list_raises_nothing_but_its_own_error(data: st.DataObject) -> None:
    mutated = bytearray(REVOKED.der)
    for at in data.draw(st.lists(st.integers(0, len(mutated) - 1), min_size=1, max_size=4)):
        mutated[at] = data.draw(st.integers(0, 255))
    with suppress(AttestationError):
        RevocationList.parse(bytes(mutated))
