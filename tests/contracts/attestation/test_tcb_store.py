"""What stands where: the places for two sets of collateral, and what the getters tell of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from collateral import DAY, issued, messages
from enclaves import NOW, POSTER, TON, WORKER, Enclaves, store_code
from mail import internal
from pytoniq_core import Builder, begin_cell

from cocoon.attestation import witness_certificates
from cocoon.attestation.platform import Role, SimulatedIntel, Validity
from cocoon.wire.attestation import (
    AttestedPlatform,
    JudgePlatform,
    QuoteRefused,
    QuoteVerified,
    StoreTcb,
    TcbStoreIdentity,
)
from cocoon.wire.common import AttestedKeys
from cocoon_sandbox.ledger import GetterFailed, Ledger
from cocoon_sandbox.message import state_init

NOWHERE = [-1] * 4
ANY_PLATFORM = AttestedPlatform(0, 0, 17, 0, 0, AttestedKeys(0, 0, 0))


def told(enclaves: Enclaves) -> tuple[int, list[int], list[int]]:
    """The family of platforms, then number, dates and trust epoch of each set."""
    fmspc, *sets = (int(number) for number in enclaves.ledger.get(enclaves.store, "get_tcb_sets"))
    return fmspc, sets[:4], sets[4:]


def test_store_tells_which_sets_it_holds(enclaves: Enclaves) -> None:
    state = enclaves.store_state
    first = [state.first.evaluation_number, state.first.issue_date, state.first.next_update, state.first_epoch]
    assert told(enclaves) == (enclaves.fmspc, first, NOWHERE)
    enclaves.post(messages(enclaves, issued(enclaves, NOW, 18))["tcb"]).assert_succeeded()
    second = enclaves.store_state.second
    assert second is not None
    rest = [18, second.issue_date, second.next_update, enclaves.store_state.second_epoch]
    assert told(enclaves) == (enclaves.fmspc, first, rest)


def test_store_that_anyone_deployed_tells_that_it_is_empty(bare: Enclaves) -> None:
    init = state_init(store_code(), TcbStoreIdentity(bare.address, bare.fmspc).to_cell())
    bare.send(POSTER, bare.store, begin_cell().end_cell(), TON, init).assert_succeeded()
    assert told(bare) == (bare.fmspc, NOWHERE, NOWHERE)


@pytest.mark.parametrize("where", ["address", "store"])
def test_unknown_getter_fails(enclaves: Enclaves, where: str) -> None:
    with pytest.raises(GetterFailed) as unknown:
        enclaves.ledger.get(getattr(enclaves, where), "get_no_such_thing")
    assert unknown.value.exit_code == 11


def test_getters_of_quotes_wait_for_a_policy(ledger: Ledger) -> None:
    """Whose root would a quote be genuine under?"""
    enclaves = Enclaves.on(ledger)
    enclaves.send(POSTER, enclaves.address, begin_cell().end_cell(), TON, enclaves._init).assert_succeeded()
    evidence = enclaves.evidence().to_cell()
    for method, argument in (("get_quote_claims", evidence), ("get_store_address", enclaves.fmspc)):
        with pytest.raises(GetterFailed) as early:
            ledger.get(enclaves.address, method, argument)
        assert early.value.exit_code == 500


@pytest.mark.parametrize("name", ["identity", "tcb"])
def test_post_newer_document_of_the_second_number_replaces_it(enclaves: Enclaves, name: str) -> None:
    def numbers_and_dates() -> list[tuple[int, int]]:
        if name == "tcb":
            sets = [enclaves.store_state.first, enclaves.store_state.second]
        else:
            shared = enclaves.state.shared
            sets = [shared.identity, shared.other_identity]
        return [(one.evaluation_number, one.issue_date) for one in sets if one is not None]

    first = numbers_and_dates()[0]
    for at in (NOW - 100, NOW):
        publication = issued(enclaves, at, 18)
        enclaves.post(messages(enclaves, publication)[name]).assert_succeeded()
        assert numbers_and_dates() == [first, (18, at)]


def test_post_newer_ca_before_its_first_list(bare: Enclaves) -> None:
    """A CA stands without a list at first. A later certificate takes its place, and the list that comes then counts."""
    found = messages(bare)
    later = SimulatedIntel(bare.intel.seed, NOW, validity={Role.PLATFORM_CA: Validity(NOW - 10, NOW + DAY)})
    bare.post(found.pop("root_crl")).assert_succeeded()
    bare.post(found.pop("ca")).assert_succeeded()
    bare.post(witness_certificates.ca_certificate(later.platform_ca, bare.intel.root.public_key)).assert_succeeded()
    for body in found.values():
        bare.post(body).assert_succeeded()
    bare.verify().assert_succeeded().one(QuoteVerified)


def test_long_list_is_kept_whole(enclaves: Enclaves) -> None:
    """The order of more than 97 entries goes on in a second cell."""
    serials = tuple(range(1000, 1120))
    later = replace(enclaves.publication, revoked_pck=serials, crl_issued_at=NOW - 1)
    body = messages(enclaves, later)["pck_crl"]
    assert body.order.refs
    enclaves.post(body).assert_succeeded()
    enclaves.verify().assert_succeeded().one(QuoteVerified)
    serial = enclaves.machine.pck.serial
    revoked = replace(enclaves.publication, revoked_pck=(*serials, serial), crl_issued_at=NOW)
    enclaves.post(messages(enclaves, revoked)["pck_crl"]).assert_succeeded()
    enclaves.verify().assert_refused(532)


@pytest.mark.parametrize("prefix", [0xFFFFFFFF, 0xFFFFFFFD])
def test_bounce_of_another_form_is_ignored(enclaves: Enclaves, prefix: int) -> None:
    """Attestation asks for the rich form; whatever else comes back changes nothing and sends nothing."""
    sent = JudgePlatform(1, WORKER, 0, 17, 1, 0, 0, 0, 0, 0, ANY_PLATFORM).to_cell()
    body = begin_cell().store_uint(prefix, 32).store_uint(0, 96).store_ref(sent).end_cell()
    before = enclaves.ledger.account(enclaves.address).data
    enclaves.ledger.enqueue(
        internal(enclaves.ledger, enclaves.store, enclaves.address, TON, body, bounce=False, bounced=True)
    )
    (ignored,) = enclaves.ledger.run()
    assert (ignored.exit_code, ignored.out_msgs) == (0, [])
    assert enclaves.ledger.account(enclaves.address).data == before


def test_tcb_info_of_an_earlier_trust_epoch_does_not_count(enclaves: Enclaves) -> None:
    """A-6: What the store keeps outlives its signer, but not its meaning."""
    enclaves.set_policy(version=2, root_key=SimulatedIntel(b"other", NOW).root.public_key).assert_succeeded()
    enclaves.set_policy(version=3).assert_succeeded()
    for name in ("root_crl", "ca", "pck_crl", "signer", "identity"):
        enclaves.post(messages(enclaves)[name]).assert_succeeded()
    assert enclaves.verify().one(QuoteRefused).error == 557
    enclaves.post(messages(enclaves)["tcb"]).assert_succeeded()
    enclaves.verify().assert_succeeded().one(QuoteVerified)


def test_store_takes_messages_from_attestation_only(enclaves: Enclaves) -> None:
    body = messages(enclaves, issued(enclaves, NOW))["tcb"]
    forged = StoreTcb(1, WORKER, 0, 0, body.tcb)
    enclaves.send(WORKER, enclaves.store, forged).assert_refused(507)
    judge = (
        Builder()
        .store_uint(0xC0C00702, 32)
        .store_uint(1, 64)
        .store_address(WORKER)
        .store_uint(0, 32)
        .store_uint(17, 32)
    )
    judge.store_uint(1, 8).store_uint(0, 8).store_uint(0, 32).store_uint((1 << 128) - 1, 128).store_uint(
        (1 << 128) - 1, 128
    )
    enclaves.send(WORKER, enclaves.store, judge.store_ref(begin_cell().end_cell()).end_cell()).assert_refused(507)


def test_store_first_message_from_a_stranger_is_refused(bare: Enclaves) -> None:
    """Anyone may deploy the account; only Attestation may fill it."""
    init = state_init(store_code(), TcbStoreIdentity(bare.address, bare.fmspc).to_cell())
    tcb = messages(bare)["tcb"].tcb
    bare.send(WORKER, bare.store, StoreTcb(1, WORKER, 0, 0, tcb), init=init).assert_refused(507)
