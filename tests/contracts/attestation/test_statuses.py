"""How the statuses of a platform and of its parts join, for all of Intel's: the table of its verification library."""

from __future__ import annotations

from dataclasses import replace

import pytest
from enclaves import NOW, Enclaves
from test_collateral import issued, messages

from cocoon.attestation.pcs import TcbStatus

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
    first = enclaves.store_state.first
    status, _ = enclaves.ledger.get(
        enclaves.store, "get_judgement", enclaves.store_state.first_epoch, first.evaluation_number,
        PLATFORM.index(quoting_enclave), first.pce_id, 65_535, ALL_ONES, tee_tcb_svn,
    )  # fmt: skip
    return PLATFORM[int(status)]


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


def test_store_tells_which_sets_it_holds(enclaves: Enclaves) -> None:
    state = enclaves.store_state
    told = enclaves.ledger.get(enclaves.store, "get_tcb_sets")
    first = state.first
    assert told[:5] == [
        enclaves.fmspc, first.evaluation_number, first.issue_date, first.next_update, state.first_epoch,
    ]  # fmt: skip
    assert (told[5:] == [-1] * 4) == (state.second is None)
