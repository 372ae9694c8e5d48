"""Which level a platform reaches: every component of it has to be at least the level's, and nothing else counts."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from collateral import issued, messages
from enclaves import NOW, POSTER, Enclaves, store_code
from pytoniq_core import begin_cell

from cocoon.attestation.pcs import TcbComponent, TcbLevel, TcbStatus
from cocoon.wire.attestation import TcbStoreIdentity
from cocoon_sandbox.ledger import GetterFailed
from cocoon_sandbox.message import state_init

SGX, TDX = bytes(range(120, 136)), bytes((200, 0, *range(202, 216)))  # both odd at the end: each bit counts
ZEROS, ONES = bytes(16), bytes([255] * 16)
PCE_SVN = 11
HIGH, LOW = 0, list(TcbStatus).index(TcbStatus.SW_HARDENING_NEEDED)
UNKNOWN = -1


@pytest.fixture
def store(enclaves: Enclaves) -> Enclaves:
    """TCB info of two levels: one with every component its own, and one that all platforms reach whose PCE is new
    enough."""
    info = enclaves.publication.tcb_info
    levels = (
        level(info.levels[0], SGX, TDX, PCE_SVN, TcbStatus.UP_TO_DATE),
        level(info.levels[0], ZEROS, ZEROS, 1, TcbStatus.SW_HARDENING_NEEDED),
    )
    enclaves.post(messages(enclaves, issued(enclaves, NOW).with_tcb_info(levels=levels))["tcb"]).assert_succeeded()
    return enclaves


def level(like: TcbLevel, sgx: bytes, tdx: bytes, pce_svn: int, status: TcbStatus) -> TcbLevel:
    return replace(
        like,
        sgx_components=tuple(TcbComponent(svn) for svn in sgx),
        tdx_components=tuple(TcbComponent(svn) for svn in tdx),
        pce_svn=pce_svn,
        status=status,
    )


def reached(enclaves: Enclaves, sgx: bytes, tdx: bytes, pce_svn: int = PCE_SVN, pce_id: int | None = None) -> int:
    """The status the store gives such a platform; UNKNOWN if it reaches no level."""
    state = enclaves.store_state
    try:
        status, _ = enclaves.ledger.get(
            enclaves.store, "get_judgement", state.first_epoch, state.first.evaluation_number, 0,
            state.first.pce_id if pce_id is None else pce_id, pce_svn, int.from_bytes(sgx), int.from_bytes(tdx),
        )  # fmt: skip
    except GetterFailed as failed:
        if failed.exit_code != 561:
            raise
        return UNKNOWN
    return int(status)


def expected(sgx: bytes, tdx: bytes, pce_svn: int) -> int:
    """Intel's rule, component by component. TDX 1.5's module is judged apart, and its two bytes not here."""
    counted = range(2 if tdx[1] else 0, 16)
    high = all(has >= needs for has, needs in zip(sgx, SGX, strict=True)) and all(tdx[i] >= TDX[i] for i in counted)
    if high and pce_svn >= PCE_SVN:
        return HIGH
    return LOW if pce_svn >= 1 else UNKNOWN


def test_each_component_counts_by_itself(store: Enclaves) -> None:
    """A-4: one less in any of them is a lower level, however much more there is in all others."""
    assert reached(store, SGX, TDX) == HIGH
    for place in range(16):
        for others in (SGX, ONES):
            sgx = others[:place] + bytes([SGX[place] - 1]) + others[place + 1 :]
            assert reached(store, sgx, TDX) == LOW
            sgx = others[:place] + bytes([SGX[place]]) + others[place + 1 :]
            assert reached(store, sgx, TDX) == HIGH
        for others in (TDX, bytes((255, 0)) + ONES[2:]):
            if TDX[place]:
                tdx = others[:place] + bytes([TDX[place] - 1]) + others[place + 1 :]
                assert reached(store, SGX, tdx) == LOW
            tdx = others[:place] + bytes([TDX[place]]) + others[place + 1 :]
            assert reached(store, SGX, tdx) == HIGH


def test_module_with_a_version_of_its_own_is_not_judged_by_the_components(store: Enclaves) -> None:
    """TDX 1.5: the first two bytes are the module's, the other fourteen count as ever."""
    assert reached(store, SGX, bytes((6, 0)) + TDX[2:]) == LOW
    assert reached(store, SGX, bytes((6, 1)) + TDX[2:]) == HIGH
    for place in range(2, 16):
        tdx = bytes((255, 1)) + TDX[2:]
        assert reached(store, SGX, tdx[:place] + bytes([TDX[place] - 1]) + tdx[place + 1 :]) == LOW


def test_pce_counts_too(store: Enclaves) -> None:
    for pce_svn, status in ((PCE_SVN, HIGH), (PCE_SVN - 1, LOW), (1, LOW), (0, UNKNOWN), (65_535, HIGH)):
        assert reached(store, SGX, TDX, pce_svn) == status


def test_any_platform_reaches_the_level_intels_rule_says(store: Enclaves) -> None:
    """Near the borders, where a comparison of many numbers at once would borrow from a neighbour."""
    draw = random.Random(7)

    def near(needs: bytes) -> bytes:
        return bytes(max(0, min(255, needs[i] + draw.choice((-200, -1, 0, 0, 0, 0, 0, 1, 200)))) for i in range(16))

    for _ in range(300):
        sgx, tdx = near(SGX), near(TDX)
        tdx = tdx[:1] + bytes([draw.choice((0, 1))]) + tdx[2:]
        if tdx[1]:
            tdx = b"\xff" + tdx[1:]  # a module of the highest security version
        pce_svn = draw.choice((0, 1, PCE_SVN - 1, PCE_SVN, PCE_SVN + 1))
        assert reached(store, sgx, tdx, pce_svn) == expected(sgx, tdx, pce_svn), (sgx.hex(), tdx.hex(), pce_svn)


def test_getter_says_what_is_missing(store: Enclaves) -> None:
    state = store.store_state
    with pytest.raises(GetterFailed) as other:
        store.ledger.get(
            store.store, "get_judgement", state.first_epoch, state.first.evaluation_number, 0,
            state.first.pce_id + 1, PCE_SVN, 0, 0,
        )  # fmt: skip
    assert other.value.exit_code == 560
    with pytest.raises(GetterFailed) as unknown:
        store.ledger.get(store.store, "get_judgement", state.first_epoch, 99, 0, state.first.pce_id, PCE_SVN, 0, 0)
    assert unknown.value.exit_code == 557


def test_getter_of_an_empty_store_says_so(bare: Enclaves) -> None:
    init = state_init(store_code(), TcbStoreIdentity(bare.address, bare.fmspc).to_cell())
    bare.send(POSTER, bare.store, begin_cell().end_cell(), init=init).assert_succeeded()
    with pytest.raises(GetterFailed) as empty:
        bare.ledger.get(bare.store, "get_judgement", 0, 17, 0, 0, PCE_SVN, 0, 0)
    assert empty.value.exit_code == 557
