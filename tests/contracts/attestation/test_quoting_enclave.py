"""Which quoting enclave a quote may come from: every field of its report against the identity, under its masks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from collateral import issued, messages
from enclaves import NOW, Enclaves, judged

from cocoon.attestation.pcs import SvnLevel, TcbStatus
from cocoon.attestation.platform import Hardware
from cocoon.wire.attestation import QuoteRefused, QuoteVerified
from cocoon_sandbox.ledger import Ledger

PRODUCT, VERSION = 0x0102, 0x0304
WRONG, BELOW, REFUSED = 528, 563, 564


@pytest.fixture
def strict(enclaves: Enclaves) -> Enclaves:
    """The identity names every field, with masks that let some bits pass."""
    identity = issued(enclaves, NOW).with_qe_identity(
        isv_prod_id=PRODUCT,
        misc_select=bytes((0x10, 0, 0, 0x02)),
        misc_select_mask=bytes((0xF0, 0xFF, 0xFF, 0x0F)),
        attributes=bytes((0x11, *[0] * 14, 0x80)),
        attributes_mask=bytes((0xFB, *[0xFF] * 14, 0xF0)),
        levels=(
            SvnLevel(VERSION, NOW, TcbStatus.UP_TO_DATE),
            SvnLevel(VERSION - 1, NOW, TcbStatus.OUT_OF_DATE),
        ),
    )
    enclaves.post(messages(enclaves, identity)["identity"]).assert_succeeded()
    return enclaves


def verdict(
    enclaves: Enclaves,
    misc_select: tuple[int, ...] = (0x10, 0, 0, 0x02),
    attributes: tuple[int, ...] = (0x11, *[0] * 14, 0x80),
    product: int = PRODUCT,
    version: int = VERSION,
) -> int | None:
    report = replace(
        enclaves.machine.enclave_report(),
        misc_select=bytes(misc_select), attributes=bytes(attributes), isv_prod_id=product, isv_svn=version,
    )  # fmt: skip
    outcome = enclaves.verify(enclaves.evidence(enclaves.machine.quote(enclaves.quote().report, qe_report=report)))
    if refusals := outcome.every(QuoteRefused):
        return refusals[0].error
    return 0 if outcome.every(QuoteVerified) else outcome.exit_code


def test_quoting_enclave_with_free_bits_of_its_own_counts(strict: Enclaves) -> None:
    assert verdict(strict) == 0
    assert verdict(strict, misc_select=(0x1F, 0, 0, 0xF2)) == 0
    assert verdict(strict, attributes=(0x15, *[0] * 14, 0x8F)) == 0


def test_quoting_enclave_with_another_bit_under_a_mask_is_refused(strict: Enclaves) -> None:
    """A-1."""
    for misc_select in ((0x30, 0, 0, 2), (0, 0, 0, 2), (0x10, 1, 0, 2), (0x10, 0, 0x80, 2), (0x10, 0, 0, 3)):
        assert verdict(strict, misc_select=misc_select) == WRONG
    for attributes in ((0x13, *[0] * 14, 0x80), (0x11, 1, *[0] * 13, 0x80), (0x11, *[0] * 14, 0)):
        assert verdict(strict, attributes=attributes) == WRONG


@pytest.mark.parametrize("product", [0x0202, 0x0101, 0x0002, 0x0201, 0x0100])
def test_another_product_is_refused(strict: Enclaves, product: int) -> None:
    assert verdict(strict, product=product) == WRONG


def test_version_has_two_bytes(strict: Enclaves) -> None:
    """A-4: the lower one first."""
    for version, code in (
        (VERSION, 0), (VERSION + 1, 0), (0x0403, 0), (0xFFFF, 0),
        (VERSION - 1, REFUSED), (VERSION - 2, BELOW), (0x0204, BELOW), (0x00FF, BELOW),
    ):  # fmt: skip
        assert verdict(strict, version=version) == code, hex(version)


@pytest.mark.parametrize(
    "changes",
    [
        {"mr_signer": bytes(32)}, {"isv_prod_id": 1}, {"attributes": bytes(16)}, {"misc_select": b"\1\0\0\0"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_verify_foreign_quoting_enclave_is_refused(enclaves: Enclaves, changes: dict[str, Any]) -> None:
    """Any enclave can have a report signed by the PCK key; only Intel's quoting enclave counts."""
    report = replace(enclaves.machine.enclave_report(), **changes)
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    enclaves.verify(enclaves.evidence(quote)).assert_refused(528)


def test_verify_quoting_enclave_below_every_level_is_refused(enclaves: Enclaves) -> None:
    report = replace(enclaves.machine.enclave_report(), isv_svn=1)
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    enclaves.verify(enclaves.evidence(quote)).assert_refused(563)


def test_verify_out_of_date_quoting_enclave_makes_the_platform_out_of_date(enclaves: Enclaves) -> None:
    report = replace(enclaves.machine.enclave_report(), isv_svn=3)
    quote = enclaves.machine.quote(enclaves.quote().report, qe_report=report)
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10001).assert_succeeded()
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteVerified).tcb_status == 4


def test_verify_levels_of_quoting_enclave_are_considered_in_order(ledger: Ledger) -> None:
    def many(enclaves: Enclaves) -> None:
        levels = tuple(
            SvnLevel(40 - step, 1_700_000_000, TcbStatus.UP_TO_DATE if step == 39 else TcbStatus.REVOKED)
            for step in range(40)
        )
        enclaves.publication = enclaves.publication.with_qe_identity(levels=levels)

    _, outcome = judged(ledger, Hardware(), many)
    assert outcome.one(QuoteRefused).error == 564
