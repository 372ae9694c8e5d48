"""Which documents a network lacks for a quote: all of them at first, afterwards only what ends, and never in vain."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cocoon.attestation import posting, witness_certificates, witness_collateral
from cocoon.attestation.certificates import Certificate
from cocoon.attestation.collateral import Collateral
from cocoon.attestation.crl import RevocationList
from cocoon.attestation.errors import CollateralMismatch, CollateralUnavailable, SimulatedTeeRefused
from cocoon.attestation.platform import CertificateAuthority, Hardware
from cocoon.attestation.posting import MARGIN_SEC, Posting, missing_collateral
from cocoon.attestation.quote import Quote
from cocoon.attestation.simulation import Simulation
from cocoon.attestation.trust import INTEL_ROOT_KEY
from cocoon.attestation.witness import measurement
from cocoon.deploying import MAINNET_PRICES
from cocoon.deployment import Rules, attestation_policy
from cocoon.fees import Fees
from cocoon.rules import parse_address, parse_rules, rules_to_json
from cocoon.wire.attestation import (
    AttestationStorage,
    Authority,
    PckAuthority,
    PostCertificate,
    PostCrl,
    PostQeIdentity,
    PostTcbInfo,
    RevocationListState,
    SharedCollateral,
    TcbStoreStorage,
)

NOW = 1_750_000_000
VALID = 30 * 86_400
OWNER = parse_address("0:" + "11" * 32, "owner")
FEES = Fees(MAINNET_PRICES)
ORDER = ["root CRL", "PCK CA certificate", "PCK CRL", "TCB signing certificate", "QE identity", "TCB info"]


@dataclass
class Scene:
    """A platform, its collateral of some time, and what a network holds."""

    simulation: Simulation
    quote: Quote
    state: AttestationStorage
    store: TcbStoreStorage | None = None

    def collateral(self, time: int) -> Collateral:
        publisher = self.simulation.publisher(allow_simulated_tee=True)
        return asyncio.run(publisher.collateral(self.quote.to_bytes(), time))

    def missing(self, now: int = NOW, *, of: int | None = None) -> list[Posting]:
        """of: when the collateral at hand was published; just before `now` if None."""
        found = self.collateral(now if of is None else of)
        return list(missing_collateral(self.state, self.store, self.quote, found, now=now, fees=FEES))

    def names(self, now: int = NOW, *, of: int | None = None) -> list[str]:
        return [one.document for one in self.missing(now, of=of)]

    def with_shared(self, **changes: Any) -> Scene:
        return replace(self, state=replace(self.state, shared=replace(self.state.shared, **changes)))


def scene(hardware: Hardware | None = None, *, installed: int | None = None) -> Scene:
    """installed: when what the network holds was published; None: it holds nothing."""
    simulation = Simulation(b"posting", hardware or Hardware())
    quote = Quote.parse(asyncio.run(simulation.source(NOW, allow_simulated_tee=True).quote(bytes(64))))
    policy = attestation_policy(Rules(OWNER, attestation_root=simulation.root.public_key))
    made = Scene(simulation, quote, AttestationStorage(OWNER, 0, policy, None, None, _nothing()))
    return made if installed is None else _install(made, made.collateral(installed))


def _nothing() -> SharedCollateral:
    return SharedCollateral(None, None, None, None)


def _install(made: Scene, found: Collateral) -> Scene:
    """As the contracts keep it."""
    ca, signer = made.quote.signature_data.pck_chain[1], found.tcb_info_document.issuer_chain[0]
    pck = PckAuthority(_authority(ca), _list(found.pck_crl))
    platform = "Platform" in ca.name
    identity = witness_collateral.qe_identity_numbers(found.qe_identity)
    state = replace(
        made.state,
        platform_ca=pck if platform else None,
        processor_ca=None if platform else pck,
        shared=SharedCollateral(_list(found.root_ca_crl), identity, None, _authority(signer)),
    )
    tcb = witness_collateral.tcb_set(found.tcb_info)
    fmspc = int.from_bytes(found.tcb_info.fmspc)
    return replace(made, state=state, store=TcbStoreStorage(OWNER, fmspc, tcb, 0, None, 0))


def _authority(found: Certificate) -> Authority:
    x, y = (int.from_bytes(half) for half in (found.public_key[:32], found.public_key[32:]))
    return Authority(x, y, found.serial, found.not_before, found.not_after)


def _list(found: RevocationList) -> RevocationListState:
    index = witness_certificates.revoked_index([entry.serial for entry in found.revoked])
    return RevocationListState(found.number, found.this_update, found.next_update, index)


@pytest.mark.parametrize("authority", CertificateAuthority)
def test_missing_at_first_is_everything_in_order_with_its_price(authority: CertificateAuthority) -> None:
    found = scene(Hardware(authority=authority)).missing()
    assert [one.document for one in found] == ORDER
    for one in found:
        opcode = int.from_bytes(one.body.bits[:32].tobytes())
        kind = next(k for k in (PostCrl, PostCertificate, PostQeIdentity, PostTcbInfo) if k.PREFIX[0] == opcode)
        said = kind.from_cell(one.body)
        if isinstance(said, PostTcbInfo):
            assert one.value_nano == FEES.post_tcb_info(said.document.cells)
        else:
            signed = said.list if isinstance(said, PostCrl) else getattr(said, "certificate", None) or said.document
            assert one.value_nano == FEES.post_collateral(signed.cells)


@pytest.mark.parametrize("authority", CertificateAuthority)
def test_missing_after_installation_is_nothing_until_it_ends(authority: CertificateAuthority) -> None:
    made = scene(Hardware(authority=authority), installed=NOW)
    end = NOW - 3600 + VALID
    assert made.names() == []
    assert made.names(end - MARGIN_SEC - 1) == []
    of_30_days = ["root CRL", "PCK CRL", "QE identity", "TCB info"]
    assert made.names(end - MARGIN_SEC) == of_30_days
    assert made.names(end + VALID) == of_30_days


def test_missing_what_ends_soon_without_a_successor_is_left_alone_until_it_has_ended() -> None:
    made = scene(installed=NOW)
    end = NOW - 3600 + VALID
    assert made.names(end - 1, of=NOW) == []
    with pytest.raises(CollateralUnavailable, match="root's revocation list that was found has expired"):
        made.missing(end, of=NOW)
    listed = made.state.shared.root_crl
    assert listed is not None
    greater = made.with_shared(root_crl=replace(listed, number=7))  # a rollback to the number 1 would be refused
    with pytest.raises(CollateralUnavailable, match="is no newer"):
        greater.missing(end)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"root_crl": None}, ["root CRL"]),
        ({"signer": None, "identity": None}, ["TCB signing certificate", "QE identity"]),
        ({"identity": None}, ["QE identity"]),
    ],
)
def test_missing_is_only_what_is_missing(changes: dict[str, Any], expected: list[str]) -> None:
    assert scene(installed=NOW).with_shared(**changes).names() == expected


def test_missing_authority_brings_its_list_along() -> None:
    made = scene(installed=NOW)
    made.state = replace(made.state, platform_ca=None)
    assert made.names() == ["PCK CA certificate", "PCK CRL"]


def test_missing_after_a_change_of_the_root_key_of_an_authority_is_its_certificate() -> None:
    made = scene(installed=NOW)
    assert made.state.platform_ca is not None
    older = replace(made.state.platform_ca.ca, key_x=5, not_before=1)
    made.state = replace(made.state, platform_ca=replace(made.state.platform_ca, ca=older))
    assert made.names() == ["PCK CA certificate"]


def test_missing_tcb_of_another_evaluation_number_or_trust_epoch_does_not_count() -> None:
    made = scene(installed=NOW)
    assert made.store is not None
    assert replace(made, store=replace(made.store, first_epoch=1)).names() == ["TCB info"]
    other = replace(made.store.first, evaluation_number=16)
    assert replace(made, store=replace(made.store, first=other)).names() == ["TCB info"]
    second = replace(made.store, first=other, second=made.store.first)
    assert replace(made, store=second).names() == []
    assert replace(made, store=replace(second, second_epoch=3)).names() == ["TCB info"]
    assert replace(made, store=None).names() == ["TCB info"]


def test_missing_for_a_policy_that_can_take_none_of_it_says_why() -> None:
    made = scene()
    policy = made.state.policy
    made.state = replace(made.state, policy=replace(policy, min_evaluation_number=18))
    with pytest.raises(CollateralMismatch, match="evaluation number 17, the network's policy asks for 18"):
        made.missing()
    x, y = (int.from_bytes(half) for half in (INTEL_ROOT_KEY[:32], INTEL_ROOT_KEY[32:]))
    made.state = replace(made.state, policy=replace(policy, root_key_x=x, root_key_y=y))
    assert posting.policy_root(made.state.policy).simulated is False
    with pytest.raises(CollateralMismatch, match="another root"):
        made.missing()


# ---- what programs share by a seed ----


def test_simulation_of_one_seed_is_one_root_and_one_guest_at_any_time() -> None:
    first, second = Simulation(b"posting"), Simulation(b"posting")
    assert first.root == second.root != Simulation(b"another").root
    for time in (NOW, NOW + VALID):
        source = second.source(time, allow_simulated_tee=True)
        assert source.root == first.root
        quote = Quote.parse(asyncio.run(source.quote(bytes(range(64)))))
        assert int.from_bytes(measurement(quote)) == first.measurement
    rules = parse_rules(json.dumps(first.rules()), OWNER)
    assert (rules.attestation_root, rules.measurements) == (first.root.public_key, (first.measurement,))
    assert rules_to_json(rules)["attestation_root"] == first.rules()["attestation_root"]


def test_simulation_nobody_allowed_is_refused() -> None:
    simulation = Simulation(b"posting")
    for make in (lambda: simulation.source(NOW), simulation.publisher):
        with pytest.raises(SimulatedTeeRefused, match="--allow-simulated-tee"):
            make()
    assert "posting" not in repr(simulation)
