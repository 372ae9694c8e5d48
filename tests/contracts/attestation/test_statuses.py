"""How the statuses of a platform and of its parts join, for all of Intel's: the table of its verification library."""

from __future__ import annotations

from dataclasses import replace

import pytest
from collateral import issued, messages
from enclaves import NOW, WORKER, Enclaves
from test_tcb_store import ANY_PLATFORM

from cocoon.attestation.pcs import TcbStatus
from cocoon.wire.attestation import JudgePlatform, PlatformJudged

PLATFORM = list(TcbStatus)
PARTS = (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED)  # enclaves and modules have no others
ALL_ONES = (1 << 128) - 1
WITHOUT_MODULE, WITH_MODULE = ALL_ONES ^ (0xFF << 112), (0xFF << 120) | (1 << 112) | ((1 << 112) - 1)


def joined(platform: TcbStatus, part: TcbStatus) -> TcbStatus:
    """A part that is out of date ages a platform, and keeps its need of configuration; one that is revoked revokes."""
    if part == TcbStatus.REVOKED:
        return TcbStatus.REVOKED
    if part == TcbStatus.UP_TO_DATE:
        return platform
    return {
        TcbStatus.UP_TO_DATE: TcbStatus.OUT_OF_DATE,
        TcbStatus.SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE,
        TcbStatus.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    }.get(platform, platform)


def post(enclaves: Enclaves, platform: TcbStatus, module: TcbStatus) -> None:
    """TCB info of one level with the status `platform`, in which every module has the status `module`."""
    info = enclaves.publication.tcb_info
    modules = tuple(
        replace(identity, levels=tuple(replace(level, status=module) for level in identity.levels))
        for identity in info.module_identities
    )
    assert [identity.id for identity in modules if identity.id == "TDX_01"]
    levels = (replace(info.levels[0], status=platform),)
    publication = issued(enclaves, NOW).with_tcb_info(levels=levels, module_identities=modules)
    enclaves.post(messages(enclaves, publication)["tcb"]).assert_succeeded()


def judged(enclaves: Enclaves, tee_tcb_svn: int, quoting_enclave: TcbStatus) -> TcbStatus:
    """What the store answers to Attestation, which is what its getter says."""
    state = enclaves.store_state
    first = state.first
    part = PLATFORM.index(quoting_enclave)
    status, date = (
        int(number)
        for number in enclaves.ledger.get(
            enclaves.store, "get_judgement", state.first_epoch, first.evaluation_number, part, first.pce_id, 65_535,
            ALL_ONES, tee_tcb_svn,
        )
    )  # fmt: skip
    question = JudgePlatform(
        1, WORKER, state.first_epoch, first.evaluation_number, 0xFF, part, first.pce_id, 65_535, ALL_ONES, tee_tcb_svn,
        ANY_PLATFORM,
    )  # fmt: skip
    answer = enclaves.send(enclaves.address, enclaves.store, question).one(PlatformJudged)
    assert (answer.tcb_status, answer.tcb_date) == (status, date)
    return PLATFORM[status]


@pytest.mark.parametrize("module", PARTS)
@pytest.mark.parametrize("platform", PLATFORM)
def test_status_of_module_and_quoting_enclave_join_the_platforms(
    enclaves: Enclaves, platform: TcbStatus, module: TcbStatus
) -> None:
    """A-1: none of the three hides what another says. A platform whose module has no version of its own has no say."""
    post(enclaves, platform, module)
    for part in PARTS:
        assert judged(enclaves, WITH_MODULE, part) == joined(joined(platform, module), part)
        assert judged(enclaves, WITHOUT_MODULE, part) == joined(platform, part)
