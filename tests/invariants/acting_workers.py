"""What owners and operators of workers do, Attestation, and governance above them."""

from __future__ import annotations

from dataclasses import replace

from acting_clients import Clients
from actors import actor, key
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from stage_of_actors import HORIZON, carriers, channels, values, workers
from world import MEASUREMENT, MODEL, TERMS, TON

from cocoon.wire.attestation import AttestedPlatform, QuoteRefused, QuoteVerified
from cocoon.wire.codec import Struct
from cocoon.wire.common import AttestedKeys, Kind
from cocoon.wire.registry import (
    AllowMeasurement,
    CancelChange,
    ChangePolicy,
    ChangeRebuilders,
    DenyMeasurement,
    ExecuteChange,
    ProposeChange,
    Rebuilders,
    SyncPolicy,
)
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import (
    AdoptSlashing,
    ApproveMeasurement,
    BeginUnbond,
    PauseWorker,
    ResumeWorker,
    SetOffer,
    TopUpStake,
    WithdrawStake,
)

__all__ = ["Workers"]


class Workers(Clients):
    """Rules of keys, offers and stakes, and of the policy."""

    @rule(number=workers, rotate=st.booleans())
    def worker_renews(self, number: int, rotate: bool) -> None:
        """A rotated key is used for signing only once it is on chain, as the agent does."""
        worker = self.world.workers[number]
        self.refresh_key(worker)
        session = key(f"worker {number} session {worker.state.key_epoch + 1}") if rotate else worker.session
        self.put(worker.operator, worker.address, worker.quote(session), self.attest_fees)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(-4, -1), later=st.sampled_from([1, 1, 1, 0, -1]))
    def attestation_verifies(self, which: int, later: int) -> None:
        """One of the last quotes that were sent on: late, twice, or after another, as it comes."""
        if not self.asked:
            return
        number, seq, keys = self.asked[max(which, -len(self.asked))]
        self.put_verdict(number, seq, keys, later)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(-4, -1))
    def attestation_refuses(self, which: int) -> None:
        number, seq, _ = self.asked[max(which, -len(self.asked))]
        refused = QuoteRefused(seq, 564)
        self.put(self.world.attestation, self.world.workers[number].address, refused, TON // 100)

    @rule(number=workers, measurement=st.sampled_from([MEASUREMENT, 5]), rarely=st.integers(0, 5))
    def owner_approves(self, number: int, measurement: int, rarely: int) -> None:
        worker = self.world.workers[number]
        body = ApproveMeasurement(19, MEASUREMENT if rarely else measurement)
        self.put(worker.owner, worker.address, body, self.manage_fees)

    @rule(number=workers, slots=st.sampled_from([0, 1, 2, 2, 8, 8, 9]), dear=st.booleans())
    def worker_offers(self, number: int, slots: int, dear: bool) -> None:
        worker = self.world.workers[number]
        terms = replace(TERMS, prompt_nano=TERMS.prompt_nano + dear)
        self.put(worker.operator, worker.address, SetOffer(9, slots, {MODEL: terms}), self.manage_fees)

    @rule(number=workers, body=st.sampled_from([PauseWorker(1), ResumeWorker(1), ResumeWorker(1), ResumeWorker(1)]))
    def worker_pauses_or_resumes(self, number: int, body: Struct) -> None:
        worker = self.world.workers[number]
        self.put(worker.operator, worker.address, body, self.manage_fees)

    @rule(number=workers, stake=st.integers(0, TON), bond=st.integers(0, TON), who=carriers, extra=values)
    def somebody_adds_stake(self, number: int, stake: int, bond: int, who: str, extra: int) -> None:
        value = stake + bond + self.manage_fees + extra
        self.put(actor(who), self.world.workers[number].address, TopUpStake(10, stake, bond), value)

    @rule(number=workers, rarely=st.integers(0, 7))
    def owner_unbonds(self, number: int, rarely: int) -> None:
        if rarely:
            return
        worker = self.world.workers[number]
        self.put(worker.owner, worker.address, BeginUnbond(11), self.manage_fees)

    @rule(number=workers, wait=st.booleans())
    def owner_withdraws(self, number: int, wait: bool) -> None:
        """Now and then the owner waits until the stake is free, while everybody else does nothing."""
        worker = self.world.workers[number]
        end = worker.state.unbond_at
        if wait and end and end - self.started < HORIZON:
            self.world.ledger.advance(max(0, end - self.world.ledger.now))
        self.put(worker.owner, worker.address, WithdrawStake(12), self.manage_fees)

    @rule(number=workers)
    def owner_adopts_slashing(self, number: int) -> None:
        worker = self.world.workers[number]
        self.put(worker.owner, worker.address, AdoptSlashing(18, self.world.slashing), self.manage_fees)

    @rule(number=channels, seq=st.integers(1, 3), who=carriers, extra=values, rarely=st.integers(0, 5))
    def worker_signs_twice(self, number: int, seq: int, who: str, extra: int, rarely: int) -> None:
        if rarely:
            return
        channel = self.channels[number]
        self.refresh_key(channel.worker)
        self.signed.guilty.add(channel.worker.address)
        receipts = [channel.receipt(fee_nano=fee, seq=seq, kind=Kind.STREAM_RECEIPT) for fee in (1, 2)]
        identity = self.world.deployment.escrow_identity(channel.client, channel.worker.address, channel.salt)
        body = SubmitEquivocation(13, channel.worker.session.public, identity, *receipts)
        self.put(actor(who), self.world.slashing, body, self.world.evidence_fees + extra)

    @rule(what=st.integers(0, 7))
    def governor_governs(self, what: int) -> None:
        state = self.world.registry_state
        penalty = self.world.rules.miss_penalty_nano * (1 + what % 2)
        policy = self.world.policy(state.policy_version + 1, miss_penalty_nano=penalty)
        body: Struct = [
            ProposeChange(14, ChangePolicy(policy).to_cell()),
            ProposeChange(14, ChangePolicy(replace(policy, dispute_sec=3600)).to_cell()),
            ProposeChange(14, AllowMeasurement(5).to_cell()),
            CancelChange(14),
            DenyMeasurement(14, 6),
            ExecuteChange(14),
            ExecuteChange(14, self.world.rebuilds(5)),
            ProposeChange(14, ChangeRebuilders(Rebuilders(1, {key("rebuilder 0").public: None})).to_cell()),
        ][what]
        self.put(self.world.governor, self.world.registry, body, self.govern_fees[2])

    @rule(number=workers, who=carriers)
    def somebody_syncs(self, number: int, who: str) -> None:
        self.put(actor(who), self.world.registry, SyncPolicy(15, number), self.govern_fees[1])

    def put_verdict(self, number: int, seq: int, keys: AttestedKeys, later: int) -> None:
        """From Attestation, about a block `later` than the one behind the keys of now."""
        worker, now = self.world.workers[number], self.world.ledger.now
        block = max(0, worker.state.people.block_seqno + later)
        platform = AttestedPlatform(0, 0, 17, block, now + self.world.rules.lease_sec, keys)
        self.put(self.world.attestation, worker.address, QuoteVerified(seq, 0, now, platform), TON // 100)
