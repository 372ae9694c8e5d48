"""Altered evidence: whatever is done to a quote or its collateral, readers raise their own errors and nothing else."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from evidence_samples import TIME, Sample, intel, machine, published, real_sample

from cocoon.attestation.certificates import Certificate
from cocoon.attestation.collateral import Collateral
from cocoon.attestation.errors import AttestationError
from cocoon.attestation.pck import PckExtension
from cocoon.attestation.platform import guest_report
from cocoon.attestation.quote import Quote
from cocoon.attestation.second_opinion import second_opinion
from cocoon.attestation.tcb import evaluate

ROUNDS = 250


def _mutated(raw: bytes, chance: random.Random) -> bytes:
    """`raw` with a few bits, bytes or pieces changed, cut out, doubled or overwritten."""
    found = bytearray(raw)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(found) + 1)
        size = chance.choice([1, 1, 2, 4, 32, 200])
        match chance.randrange(5):
            case 0 if at < len(found):
                found[at] ^= 1 << chance.randrange(8)
            case 1:
                found[at : at + size] = chance.randbytes(size)
            case 2:
                del found[at : at + size]
            case 3:
                found[at:at] = found[at : at + size]
            case _:
                found[at : at + size] = bytes([chance.choice([0, 0xFF, 0x30, 0x7F, 0x80])]) * size
    return bytes(found)


def _read_everything(raw_quote: bytes, collateral_json: str) -> None:
    quote = Quote.parse(raw_quote)
    assert quote.to_bytes() == raw_quote
    for certificate in quote.signature_data.pck_chain:
        assert certificate.name
    PckExtension.of(quote.signature_data.pck_chain[0])
    collateral = Collateral.from_json(collateral_json)
    for chain in (collateral.pck_crl_issuer_chain, collateral.tcb_info_document.issuer_chain):
        assert chain
    collateral.pck_crl.revokes(1)
    collateral.root_ca_crl.revokes(1)
    evaluate(quote, collateral)


def _simulated(*, version_15: bool) -> Sample:
    raw = machine().quote(guest_report(bytes(64), version_15=version_15)).to_bytes()
    return Sample(raw, intel().publish(published()), intel().root.der, TIME)


@pytest.fixture(params=["real", "simulated v4", "simulated v5"])
def sample(request: pytest.FixtureRequest) -> Sample:
    if request.param == "real":
        return real_sample()
    return _simulated(version_15=request.param.endswith("5"))


def test_read_altered_quote_raises_nothing_but_attestation_errors(sample: Sample) -> None:
    chance = random.Random(5)
    collateral = sample.collateral.to_json()
    for _ in range(ROUNDS):
        with suppress(AttestationError):
            _read_everything(_mutated(sample.raw, chance), collateral)


def test_read_altered_collateral_raises_nothing_but_attestation_errors(sample: Sample) -> None:
    chance = random.Random(6)
    collateral = sample.collateral.to_json().encode()
    for _ in range(ROUNDS):
        with suppress(AttestationError):
            _read_everything(sample.raw, _mutated(collateral, chance).decode("utf-8", "surrogateescape"))


def test_second_opinion_never_accepts_an_altered_quote(sample: Sample) -> None:
    """What passes both verifiers says what the untouched quote says."""
    chance = random.Random(7)
    root, honest = Certificate.parse(sample.root_der), sample.quote
    accepted = 0
    for _ in range(ROUNDS):
        with suppress(AttestationError):
            opinion = second_opinion(
                _mutated(sample.raw, chance), sample.collateral, root, sample.time, allow_simulated_tee=True
            )
            accepted += 1
            assert opinion.quote.signed_bytes == honest.signed_bytes
            assert opinion.pck == PckExtension.of(honest.signature_data.pck_chain[0])
    assert accepted < ROUNDS // 4
