"""The agent and the chain's verdicts: from nothing to attested keys, and what it does when they can't be had."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_world import ENDPOINT, TON, World, opcode
from pytoniq_core import Address
from simulated_network import SEED, SIMULATION

from cocoon.agent import attesting
from cocoon.agent.errors import SetupError
from cocoon.agent.platform import AttestationSettings, evidence_banner, make_platform
from cocoon.agent.verdicts import read_attempts
from cocoon.attestation.collateral import Collateral
from cocoon.attestation.errors import CollateralUnavailable, EvidenceUnavailable, SimulatedTeeRefused
from cocoon.attestation.fetching import INTEL_PCS, PcsService
from cocoon.attestation.platform import Publication, SimulatedIntel, SimulatedMachine, guest_report
from cocoon.attestation.quote import Quote
from cocoon.attestation.witness import measurement
from cocoon.client.workers import find_endpoint
from cocoon.deployment import Deployment
from cocoon.errors import ChainUnavailable
from cocoon.signer.keys import SignerKeys
from cocoon.wire.attestation import (
    PostCertificate,
    PostCrl,
    PostQeIdentity,
    PostTcbInfo,
    QuoteRefused,
    QuoteVerified,
    VerifyQuote,
)
from cocoon.wire.worker import ApproveMeasurement, Attest, WorkerStatus
from cocoon_sandbox.ledger import Ledger

DAY = 86_400
LEASE_ENDED = "the lease has ended: no new channels are bound until a quote is verified"


class GuestSource:
    """A simulated machine whose guest differs from the usual one by `changes`."""

    simulated = True

    def __init__(self, **changes: Any) -> None:
        self._machine = SimulatedMachine(SimulatedIntel(SEED.encode(), 1_700_000_000))
        self._changes = changes

    @property
    def measurement(self) -> int:
        return int.from_bytes(measurement(self._quote(bytes(64))))

    async def quote(self, report_data: bytes) -> bytes:
        return self._quote(report_data).to_bytes()

    def _quote(self, report_data: bytes) -> Quote:
        return self._machine.quote(guest_report(report_data, **self._changes))


class RevokingPublisher:
    """The simulated Intel after it has revoked a platform's certificate."""

    async def collateral(self, raw_quote: bytes, now: int) -> Collateral:
        leaf = Quote.parse(raw_quote).signature_data.pck_chain[0]
        found = replace(Publication.at(now), revoked_pck=(leaf.serial,))
        return SimulatedIntel(SEED.encode(), now).publish(found)


DEBUG_GUEST = GuestSource(td_attributes=(0x10000001).to_bytes(8, "little"))


def _asked(world: World) -> list[int | None]:
    """Exit codes of the Attests the Worker got."""
    return [done.exit_code for done in world.transactions_with(world.worker, Attest.PREFIX[0])]


def _posted(world: World) -> list[int]:
    """Opcodes of the documents Attestation took."""
    attestation = world.deployment.attestation
    history = [done for done in world.chain.history if done.account == attestation and done.in_msg is not None]
    kinds = {kind.PREFIX[0] for kind in (PostCrl, PostCertificate, PostQeIdentity, PostTcbInfo)}
    found = [(opcode(done.in_msg.body), done.exit_code) for done in history if done.in_msg is not None]
    assert all(code == 0 for kind, code in found if kind in kinds)
    return [kind for kind, _ in found if kind is not None and kind in kinds]


def _after(world: World, seconds: int) -> Callable[[], bool]:
    """Whether so much of the chain's time has gone by."""
    end = world.ledger.now + seconds
    return lambda: world.ledger.now >= end


# ---- what it takes ----


async def test_agent_from_nothing_posts_what_intel_signed_and_is_attested(ledger: Ledger, tmp_path: Path) -> None:
    world = World(ledger)
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    assert _posted(world) == [
        kind.PREFIX[0]
        for kind in (PostCrl, PostCertificate, PostCrl, PostCertificate, PostQeIdentity, PostTcbInfo)
    ]  # fmt: skip
    assert _asked(world) == [0]
    view = world.worker_view()
    assert (view.status, view.attest_seq) == (WorkerStatus.ACTIVE, 1)
    assert view.lease_end > ledger.now + 6 * DAY
    assert await find_endpoint(world.chain, world.worker) == ENDPOINT
    world.settle()
    ledger.check_conservation()


async def test_agent_renewing_posts_only_what_has_expired(ledger: Ledger, tmp_path: Path) -> None:
    """A.19."""
    world = World(ledger)
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    first = world.worker_view().lease_end
    ledger.advance(3 * DAY)
    await world.run_until(world.agent(tmp_path), _after(world, 20))
    assert world.worker_view().lease_end == first  # not at half its life yet
    ledger.advance(DAY)
    await world.run_until(world.agent(tmp_path), lambda: world.worker_view().lease_end > first)
    assert (len(_posted(world)), _asked(world)) == (6, [0, 0])
    second = world.worker_view().lease_end
    ledger.advance(40 * DAY)
    await world.run_until(world.agent(tmp_path), lambda: world.worker_view().lease_end > second)
    assert _posted(world)[6:] == [kind.PREFIX[0] for kind in (PostCrl, PostCrl, PostQeIdentity, PostTcbInfo)]
    assert _asked(world) == [0, 0, 0]
    assert world.worker_view().key_epoch == 1


async def test_agent_that_runs_for_months_fetches_what_is_newer(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(ledger)
    leases: list[int] = []

    def renewed() -> bool:
        """A month and more goes by whenever a lease has been granted, three times."""
        lease_end = world.worker_view().lease_end
        if world.ready and lease_end not in leases:
            leases.append(lease_end)
            ledger.advance(40 * DAY)
        return len(leases) == 3

    await world.run_until(world.agent(tmp_path), renewed, seconds=60)
    assert len(_posted(world)) == 6 + 4 + 4
    assert _asked(world) == [0, 0, 0]
    complaints = [record for record in caplog.records if record.name == "cocoon.agent.attesting"]
    assert {record.getMessage() for record in complaints} <= {LEASE_ENDED}


async def test_agent_uses_what_it_fetched_while_the_service_is_away(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Once:
        calls = 0

        async def collateral(self, raw_quote: bytes, now: int) -> Collateral:
            self.calls += 1
            if self.calls > 1:
                raise CollateralUnavailable("the service is away")
            return await SIMULATION.publisher(allow_simulated_tee=True).collateral(raw_quote, now)

    monkeypatch.setattr(attesting, "_FIRST_FETCH_PAUSE_SEC", 0.01)
    world, once = World(ledger), Once()
    leases: list[int] = []

    def renewed() -> bool:
        lease_end = world.worker_view().lease_end
        if world.ready and lease_end not in leases:
            leases.append(lease_end)
            ledger.advance(5 * DAY)
        return len(leases) == 2

    agent = world.agent(tmp_path, platform=replace(world.platform(), collateral=once))
    await world.run_until(agent, renewed)
    assert (len(_posted(world)), _asked(world)) == (6, [0, 0])
    assert once.calls > 1


async def test_agent_of_a_restarted_signer_has_the_new_keys_attested(ledger: Ledger, tmp_path: Path) -> None:
    world = World(ledger)
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    world.settle()
    world.keys = SignerKeys()
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    assert (len(_posted(world)), _asked(world), world.worker_view().key_epoch) == (6, [0, 0], 2)


# ---- refusals ----


@pytest.mark.parametrize(
    ("source", "publisher", "complaint"),
    [
        (DEBUG_GUEST, None, r"DebugEnclave \(523\): the TD can be read by its host .*; start it without debugging"),
        (None, RevokingPublisher(), r"CertificateRevoked \(532\): .*; this platform or CA must not be used any more"),
        (GuestSource(tee_tcb_svn=bytes(16)), None, r"TcbLevelUnknown \(561\): .*; update its firmware"),
    ],
)
async def test_agent_whose_quotes_are_refused_says_why_and_tries_ever_more_rarely(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    source: GuestSource | None, publisher: RevokingPublisher | None, complaint: str,
) -> None:  # fmt: skip
    """Twelve quotes in six hours, whatever becomes of the process; and the money is gas, nothing else."""
    world = World(ledger, measurement=SIMULATION.measurement if source is None else source.measurement)
    world.chain.block_sec = 20
    platform = world.platform()
    platform = replace(platform, evidence=source or platform.evidence, collateral=publisher or platform.collateral)
    before = ledger.balance(world.wallet.address)
    await world.run_until(world.agent(tmp_path / "a", platform=platform), _after(world, DAY // 8), seconds=60)
    await world.run_until(world.agent(tmp_path / "b", platform=platform), _after(world, DAY // 8), seconds=60)
    assert 5 <= len(_asked(world)) <= 12
    assert before - ledger.balance(world.wallet.address) < TON // 4
    assert world.worker_view().session_key == 0
    logged = [record.getMessage() for record in caplog.records if record.name == "cocoon.agent.attesting"]
    assert any(re.search(complaint, line) for line in logged), logged[-1]
    assert len(logged) <= len(_asked(world)) + 2  # each refusal is told once, and again after a restart
    world.settle()
    ledger.check_conservation()


async def test_agent_of_software_the_owner_did_not_approve_sends_no_quote(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(ledger, measurement=0xBAD)
    world.chain.block_sec = 20
    await world.run_until(world.agent(tmp_path), _after(world, 2 * 3600), seconds=60)
    assert (_asked(world), _posted(world)) == ([], [])
    logged = [record.getMessage() for record in caplog.records if record.name == "cocoon.agent.attesting"]
    assert f"{SIMULATION.measurement:064x}" in logged[0]
    assert f"{0xBAD:064x}" in logged[0]
    assert "ApproveMeasurement" in logged[0]
    assert len(logged) < 10
    approval = ApproveMeasurement(1, SIMULATION.measurement).to_cell()
    world.owner.send(ledger, world.worker, TON // 10, approval)
    await world.run_until(world.agent(tmp_path), lambda: world.ready)


async def test_agent_without_evidence_or_collateral_waits_and_warns_of_the_end_of_the_lease(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        simulated = False

        async def quote(self, report_data: bytes) -> bytes:
            raise EvidenceUnavailable("load tdx_guest")

    world = World(ledger)
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    ledger.advance(6 * DAY)
    world.chain.block_sec = 150
    broken = replace(world.platform(), evidence=Broken())
    await world.run_until(world.agent(tmp_path, platform=broken), _after(world, 3 * DAY // 2), seconds=60)
    assert _asked(world) == [0]
    logged = [record.getMessage() for record in caplog.records if record.name == "cocoon.agent.attesting"]
    assert any("load tdx_guest" in line for line in logged)
    assert any("the lease ends in" in line for line in logged)
    assert any("the lease has ended" in line for line in logged)
    assert len(logged) < 80


async def test_agent_whose_collateral_service_is_away_asks_again(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        calls = 0

        async def collateral(self, raw_quote: bytes, now: int) -> Collateral:
            self.calls += 1
            if self.calls < 3:
                raise CollateralUnavailable("try again")
            return await SIMULATION.publisher(allow_simulated_tee=True).collateral(raw_quote, now)

    monkeypatch.setattr(attesting, "_FIRST_FETCH_PAUSE_SEC", 0.01)
    world, away = World(ledger), Away()
    agent = world.agent(tmp_path, platform=replace(world.platform(), collateral=away))
    await world.run_until(agent, lambda: world.ready)
    assert away.calls == 3


# ---- verdicts that come late, or from others ----


async def test_agent_whose_verdict_is_late_tries_again_and_the_late_one_changes_nothing(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(ledger)
    held: list[Any] = []

    def attested() -> bool:
        """Holds the first quote back on its way to Attestation."""
        for message in list(ledger.pending):
            if (
                not held
                and message.dst == world.deployment.attestation
                and opcode(message.body) == VerifyQuote.PREFIX[0]
            ):
                held.append(message)
                ledger.pending.remove(message)
        return world.ready

    await world.run_until(world.agent(tmp_path), attested, seconds=60)
    assert (len(held), world.worker_view().attest_seq) == (1, 2)
    assert any("no verdict on quote 1" in record.getMessage() for record in caplog.records)
    before = world.worker_view()
    ledger.pending += held
    world.settle()
    assert world.worker_view() == before
    asked = len(_asked(world))
    await world.run_until(world.agent(tmp_path), _after(world, 30))
    assert len(_asked(world)) == asked


async def test_agent_believes_no_verdict_of_anybody_else(ledger: Ledger, tmp_path: Path) -> None:
    world = World(ledger)
    agent = world.agent(tmp_path)
    await world.run_until(agent, lambda: world.worker_view().attest_seq == 1)
    world.client_sends(world.worker, TON // 10, QuoteRefused(1, 523).to_cell())
    history = [done for done in world.chain.history if done.account == world.worker]
    (attempt,) = read_attempts(history, world.deployment.attestation)
    assert attempt.error is None
    assert read_attempts(history, world.client.address)[0].error == 523  # had it been his to say
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    assert _asked(world) == [0]


async def test_agent_whose_verified_quote_was_not_taken_waits_before_the_next(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner approves other software while the quote is on its way, then this one again: the verdict is ignored."""
    world = World(ledger)
    await world.run_until(world.agent(tmp_path), lambda: world.worker_view().attest_seq == 1)
    for chosen in (0xBAD, SIMULATION.measurement):
        world.ledger.enqueue(
            world.owner.message(ledger, world.worker, TON // 10, ApproveMeasurement(1, chosen).to_cell())
        )
        world.chain.make_block()
        world.chain.make_block()
    world.settle()
    assert not world.ready
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    verdicts = world.transactions_with(world.worker, QuoteVerified.PREFIX[0])
    assert len(verdicts) == 2
    assert verdicts[1].now - verdicts[0].now >= 20
    assert any("was verified and the Worker did not take it" in record.getMessage() for record in caplog.records)


async def test_agent_whose_server_has_forgotten_the_workers_past_attests_all_the_same(
    ledger: Ledger, tmp_path: Path
) -> None:
    world = World(ledger)
    since = ledger.lt

    class Forgetful:
        """A server that has nothing of the worker from before."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.chain, name)

        async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> Any:
            if address == world.worker and after_lt < since - 10**8:
                raise ChainUnavailable("the lite server no longer has the history")
            return await world.chain.transactions(address, after_lt=after_lt, limit=limit)

    ledger.lt += 10**9  # what there was is long ago
    since = ledger.lt
    world.owner.send(ledger, world.worker, TON)  # and the worker was last heard of just now
    world.settle()
    agent = world.agent(tmp_path, wrap=lambda name, made: Forgetful() if name == "chain" else made)
    await world.run_until(agent, lambda: world.ready)
    assert _asked(world) == [0]


# ---- settings ----


def test_platform_by_settings_is_hardware_unless_simulation_is_allowed() -> None:
    made = make_platform(AttestationSettings(), "wss://a", 0)
    assert (made.evidence.simulated, made.collateral, made.endpoint) == (False, PcsService(INTEL_PCS), "wss://a")
    assert evidence_banner(made.evidence) is None
    with pytest.raises(SimulatedTeeRefused, match="nothing would be confidential"):
        make_platform(AttestationSettings(source="simulated", seed="x"), "", 0)
    simulated = make_platform(AttestationSettings(source="simulated", seed="x", allow_simulated_tee=True), "", 0)
    assert "NOTHING IS CONFIDENTIAL" in str(evidence_banner(simulated.evidence))


@pytest.mark.parametrize("wrong", [{"source": "sgx"}, {"source": "simulated"}, {"seed": "x"}])
def test_platform_settings_that_contradict_themselves_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SetupError, match=r"attestation\."):
        AttestationSettings(**wrong)  # type: ignore[arg-type]


async def test_agent_on_a_network_whose_attestation_it_does_not_know_goes_on_with_its_jobs(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(ledger)
    await world.run_until(world.agent(tmp_path), lambda: world.ready)
    world.settle()
    world.open()
    world.post()
    monkeypatch.setattr(Deployment, "attestation", world.deployment.slashing)
    agent = world.agent(tmp_path)
    await world.run_until(agent, world.settled(agent))
    assert not caplog.records or "does not know" not in caplog.text
    ledger.advance(8 * DAY)
    await world.run_until(world.agent(tmp_path), lambda: "this release does not know: update the agent" in caplog.text)
    assert _asked(world) == [0]


def test_attestation_address_of_a_worker_is_the_networks(ledger: Ledger) -> None:
    world = World(ledger)
    assert world.worker_view().attestation == world.deployment.attestation != Address((0, bytes(32)))
