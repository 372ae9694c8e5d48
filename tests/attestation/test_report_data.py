"""What a quote is bound to: 247 bytes, each of which changes the digest, laid out as the contract recomputes them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pytoniq_core import Address

from cocoon.attestation.errors import EvidenceMalformed
from cocoon.attestation.report_data import KIND_ATTESTATION, MasterBlock, ReportData
from cocoon.contracts_build import contracts_dir

REGISTRY, WORKER = Address((0, b"\x11" * 32)), Address((-1, b"\x22" * 32))
DATA = ReportData(
    global_id=-239,
    registry=REGISTRY,
    worker=WORKER,
    attest_seq=7,
    session_key=0x33 << 248,
    hpke_key_hash=0x44,
    gpu_evidence_digest=0x55,
    block=MasterBlock(72_712_993, b"\x66" * 32, b"\x77" * 32),
)


def test_statement_is_laid_out_as_documented() -> None:
    expected = (
        b"CCN1\x09"
        + bytes.fromhex("ffffff11")
        + b"\x00" + b"\x11" * 32
        + b"\xff" + b"\x22" * 32
        + (7).to_bytes(8)
        + b"\x33" + bytes(31)
        + bytes(31) + b"\x44"
        + bytes(31) + b"\x55"
        + (72_712_993).to_bytes(4)
        + b"\x66" * 32
        + b"\x77" * 32
    )  # fmt: skip
    assert DATA.statement() == expected
    assert len(expected) == 247


def test_report_data_is_the_digest_and_zeros() -> None:
    raw = DATA.to_bytes()
    assert raw == hashlib.sha256(DATA.statement()).digest() + bytes(32)
    assert len(raw) == 64


@pytest.mark.parametrize(
    "other",
    [
        replace(DATA, global_id=-3),
        replace(DATA, registry=WORKER),
        replace(DATA, worker=REGISTRY),
        replace(DATA, attest_seq=8),
        replace(DATA, session_key=0),
        replace(DATA, hpke_key_hash=0),
        replace(DATA, gpu_evidence_digest=0),
        replace(DATA, block=replace(DATA.block, seqno=1)),
        replace(DATA, block=replace(DATA.block, root_hash=bytes(32))),
        replace(DATA, block=replace(DATA.block, file_hash=bytes(32))),
    ],
)
def test_report_data_of_anything_else_is_other_bytes(other: ReportData) -> None:
    assert other.to_bytes() != DATA.to_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        replace(DATA, global_id=1 << 31),
        replace(DATA, attest_seq=-1),
        replace(DATA, session_key=1 << 256),
        replace(DATA, block=replace(DATA.block, seqno=1 << 32)),
        replace(DATA, block=replace(DATA.block, root_hash=bytes(31))),
    ],
)
def test_report_data_with_a_value_out_of_range_is_refused(wrong: ReportData) -> None:
    with pytest.raises(EvidenceMalformed):
        wrong.to_bytes()


def test_kind_is_the_one_the_contract_expects() -> None:
    source: Path = contracts_dir() / "common" / "domain.tolk"
    found = re.search(r"^const KIND_ATTESTATION = (\d+)", source.read_text(), re.MULTILINE)
    assert found is not None
    assert int(found[1]) == KIND_ATTESTATION
