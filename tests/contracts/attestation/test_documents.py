"""Documents of any content: what Intel may write one day is taken, and kept exactly as written."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from collateral import DAY, issued, messages
from enclaves import NOW, Enclaves
from pytoniq_core import begin_cell

from cocoon.attestation.pcs import SvnLevel, TcbComponent, TcbInfo, TcbLevel, TcbStatus
from cocoon.wire.attestation import SvnLevelNumbers

ADVISORIES = ((), ("INTEL-SA-00837",), ("INTEL-SA-00837", "INTEL-SA-01036", "INTEL-DOC-00000"))
PARTS = (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED)  # enclaves and modules have no others
FIRST, LAST = 951_868_800, 4_102_444_799
WORDS = ((None, None), ("BIOS", "Early Microcode Update"), ("OS/VMM", None))


def svn_levels(draw: random.Random, count: int, highest: int) -> tuple[SvnLevel, ...]:
    return tuple(
        SvnLevel(
            draw.choice((0, 9, 10, 99, highest, draw.randrange(highest + 1))), date(draw), draw.choice(PARTS),
            draw.choice(ADVISORIES),
        )
        for _ in range(count)
    )  # fmt: skip


def date(draw: random.Random) -> int:
    """Any second from March 2000 to the end of 2099; calendars err at the ends of years and of their Februaries."""
    ends = (FIRST, LAST, 1_709_164_799, 1_709_164_800, 1_709_251_200, 1_735_689_599)
    return draw.choice((*ends, draw.randrange(FIRST, LAST)))


def tcb_level(draw: random.Random) -> TcbLevel:
    def components() -> tuple[TcbComponent, ...]:
        svns = (0, 9, 10, 99, 100, 255, draw.randrange(256))
        return tuple(TcbComponent(draw.choice(svns), *draw.choice(WORDS)) for _ in range(16))

    pce_svn = draw.choice((0, 9, 10, 9_999, 10_000, 65_535))
    return TcbLevel(
        components(), pce_svn, components(), date(draw), draw.choice(list(TcbStatus)), draw.choice(ADVISORIES)
    )


@pytest.mark.parametrize("seed", range(12))
def test_identity_of_any_content_is_kept_as_written(enclaves: Enclaves, seed: int) -> None:
    """A-4."""
    draw = random.Random(seed)
    publication = issued(enclaves, NOW).with_qe_identity(
        tcb_evaluation_data_number=draw.choice((17, 99, 100, 4_294_967_295)),
        next_update=NOW + draw.randrange(1, 3000 * DAY),
        misc_select=draw.randbytes(4),
        misc_select_mask=draw.randbytes(4),
        attributes=draw.randbytes(16),
        attributes_mask=draw.randbytes(16),
        mr_signer=draw.randbytes(32),
        isv_prod_id=draw.choice((0, 1, 9, 10, 65_535, draw.randrange(65_536))),
        levels=svn_levels(draw, draw.choice((1, 2, 31, 32, 40)), 65_535),
    )
    body = messages(enclaves, publication)["identity"]
    enclaves.post(body).assert_succeeded()
    shared = enclaves.state.shared
    assert body.identity in (shared.identity, shared.other_identity)
    changed = {"misc_select": 31, "misc_select_mask": 31, "attributes": 127, "attributes_mask": 127, "mr_signer": 255}
    for name, bit in changed.items():
        number = getattr(body.identity, name) ^ (1 << draw.randrange(bit + 1))
        enclaves.post(replace(body, identity=replace(body.identity, **{name: number}))).assert_refused(551)


@pytest.mark.parametrize("seed", range(12))
def test_tcb_info_of_any_content_is_kept_as_written(enclaves: Enclaves, seed: int) -> None:
    """A-4."""
    draw = random.Random(seed)
    info: TcbInfo = enclaves.publication.tcb_info
    modules = tuple(
        replace(identity, levels=svn_levels(draw, draw.choice((1, 2, 5)), 255)) for identity in info.module_identities
    )
    publication = issued(enclaves, NOW).with_tcb_info(
        tcb_evaluation_data_number=draw.choice((17, 99, 100, 4_294_967_295)),
        next_update=NOW + draw.randrange(1, 3000 * DAY),
        pce_id=draw.randbytes(2),
        module_identities=modules,
        levels=tuple(tcb_level(draw) for _ in range(draw.choice((1, 2, 5)))),
    )
    body = messages(enclaves, publication)["tcb"]
    enclaves.post(body).assert_succeeded()
    state = enclaves.store_state
    assert body.tcb in (state.first, state.second)
    for name, size in (("pce_id", 16), ("next_update", 12)):
        number = getattr(body.tcb, name) ^ (1 << draw.randrange(size))
        enclaves.post(replace(body, tcb=replace(body.tcb, **{name: number}))).assert_refused(551)


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_levels_nobody_signed_behind_the_others_are_refused(enclaves: Enclaves, name: str) -> None:
    """A-4: a level of an enclave or a module that the text does not have."""
    body = messages(enclaves, issued(enclaves, NOW))[name]
    numbers = body.identity if name == "identity" else body.tcb
    levels = numbers.levels if name == "identity" else numbers.modules
    extra = SvnLevelNumbers(0, 0, 0).to_cell()
    longer = [begin_cell().store_cell(levels).store_bits(extra.bits).end_cell()]
    longer.append(begin_cell().store_cell(levels).store_ref(extra).end_cell())
    for changed in longer:
        more = replace(numbers, **{"levels" if name == "identity" else "modules": changed})
        outcome = enclaves.post(replace(body, **{name: more}))
        assert outcome.exit_code in (9, 551)
        outcome.assert_returned()


def test_components_without_words_come_first(enclaves: Enclaves) -> None:
    """A list like the one before it is not hashed again; the first has none before it, whatever it looks like."""
    info: TcbInfo = enclaves.publication.tcb_info
    bare = tuple(TcbComponent(0) for _ in range(16))
    worded = tuple(TcbComponent(0, "BIOS", None) for _ in range(16))
    for first, second in ((bare, bare), (bare, worded), (worded, bare), (worded, worded)):
        level = replace(info.levels[0], sgx_components=first, tdx_components=second)
        enclaves.ledger.advance(60)
        at = enclaves.ledger.now
        levels = (level, replace(level, sgx_components=second, tdx_components=first))
        enclaves.post(messages(enclaves, issued(enclaves, at).with_tcb_info(levels=levels))["tcb"]).assert_succeeded()
        assert enclaves.store_state.first.issue_date == at
