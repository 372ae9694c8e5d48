"""Which of TCB info's levels a platform reaches, and what its status is worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from enclaves import WORKER, Enclaves, judged

from cocoon.attestation.pcs import TcbStatus
from cocoon.attestation.platform import Hardware, SimulatedMachine
from cocoon.wire.attestation import QuoteRefused, QuoteVerified
from cocoon_sandbox.ledger import Ledger


def test_verify_platform_of_another_fmspc_is_refused(enclaves: Enclaves) -> None:
    """Nobody has posted TCB info for it: there is no store to ask."""
    machine = SimulatedMachine(enclaves.intel, Hardware(fmspc=bytes.fromhex("c0c00b000000")))
    outcome = enclaves.verify(enclaves.evidence(machine.quote(enclaves.quote().report)))
    refused = outcome.one(QuoteRefused)
    assert (refused.attest_seq, refused.error) == (enclaves.attest_seq, 557)
    assert outcome.received(WORKER) > 9 * 10**8


def test_verify_platform_of_another_pceid_is_refused(enclaves: Enclaves) -> None:
    machine = SimulatedMachine(enclaves.intel, Hardware(pce_id=b"\0\1"))
    assert enclaves.verify(enclaves.evidence(machine.quote(enclaves.quote().report))).one(QuoteRefused).error == 560


@pytest.mark.parametrize("index", range(16))
def test_verify_platform_with_one_component_too_low_is_not_up_to_date(enclaves: Enclaves, index: int) -> None:
    """Each of the sixteen counts, whatever the others are."""
    needed = [component.svn for component in enclaves.publication.tcb_info.levels[0].sgx_components]
    if needed[index] == 0:
        return
    has = [255] * 16
    has[index] = needed[index] - 1
    machine = SimulatedMachine(enclaves.intel, Hardware(components=tuple(has)))
    outcome = enclaves.verify(enclaves.evidence(machine.quote(enclaves.quote().report)))
    assert outcome.one(QuoteRefused).error in (561, 564)


@pytest.mark.parametrize(
    ("tee_tcb_svn", "codes"),
    [(b"\x06\x01\x01", (561, 564)), (b"\x06\x02\x03", (562,)), (b"\x01\x01\x03", (562,))],
    ids=["late microcode", "unknown module", "module too old"],
)
def test_verify_platform_with_wrong_tdx_versions_is_refused(
    enclaves: Enclaves, tee_tcb_svn: bytes, codes: tuple[int, ...]
) -> None:
    quote = enclaves.quote(tee_tcb_svn=tee_tcb_svn.ljust(16, b"\0"))
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteRefused).error in codes


def test_verify_out_of_date_tdx_module_makes_the_platform_out_of_date(enclaves: Enclaves) -> None:
    quote = enclaves.quote(tee_tcb_svn=b"\x02\x01\x03".ljust(16, b"\0"))
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10001).assert_succeeded()
    assert enclaves.verify(enclaves.evidence(quote)).one(QuoteVerified).tcb_status == 4


def test_verify_low_pcesvn_is_out_of_date(ledger: Ledger) -> None:
    enclaves, outcome = judged(ledger, Hardware(pce_svn=5))
    assert outcome.one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10001).assert_succeeded()
    verdict = enclaves.verify().one(QuoteVerified)
    assert verdict.tcb_status == 4
    assert verdict.tcb_date == enclaves.publication.tcb_info.levels[1].date


def test_verify_platform_below_every_level_is_refused(ledger: Ledger) -> None:
    _, outcome = judged(ledger, Hardware(components=(0,) * 16))
    assert outcome.one(QuoteRefused).error == 561


@pytest.mark.parametrize("status", list(TcbStatus))
def test_verify_status_counts_only_if_the_policy_accepts_it(ledger: Ledger, status: TcbStatus) -> None:
    def rate(enclaves: Enclaves) -> None:
        info = enclaves.publication.tcb_info
        enclaves.publication = enclaves.publication.with_tcb_info(
            levels=(replace(info.levels[0], status=status), *info.levels[1:])
        )

    number = list(TcbStatus).index(status)
    enclaves, outcome = judged(ledger, Hardware(), rate)
    assert bool(outcome.every(QuoteVerified)) == (number == 0)
    if number not in (0, 6):
        enclaves.set_policy(version=2, accepted_statuses=1 << number).assert_succeeded()
        assert enclaves.verify().one(QuoteVerified).tcb_status == number


def test_verify_all_of_many_levels_are_considered(ledger: Ledger) -> None:
    def many(enclaves: Enclaves) -> None:
        info = enclaves.publication.tcb_info
        steps = tuple(
            replace(info.levels[0], pce_svn=30 - step, status=TcbStatus.OUT_OF_DATE, date=info.levels[0].date + step)
            for step in range(12)
        )
        enclaves.publication = enclaves.publication.with_tcb_info(levels=steps)

    enclaves, outcome = judged(ledger, Hardware(pce_svn=20), many)
    assert outcome.one(QuoteRefused).error == 564
    enclaves.set_policy(version=2, accepted_statuses=0b10000).assert_succeeded()
    assert enclaves.verify(value=enclaves.fees()[0]).one(QuoteVerified).tcb_date == 1_710_288_000 + 10
