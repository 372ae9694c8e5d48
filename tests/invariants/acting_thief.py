"""A thief: everything it saw, damaged or not, and everything it can make up."""

from __future__ import annotations

from acting_workers import Workers
from actors import digest, key
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from pytoniq_core import Address, begin_cell
from stage_of_actors import THIEF, amounts, channels, workers
from world import MEASUREMENT, TON

from cocoon.wire.attestation import AttestedPlatform, QuoteVerified
from cocoon.wire.common import AttestedKeys, Kind
from cocoon.wire.slashing import SubmitEquivocation

__all__ = ["Thief"]


class Thief(Workers):
    """Rules of whoever wants other people's money."""

    def targets(self) -> list[Address]:
        contracts = [self.world.registry, self.world.slashing, *(w.address for w in self.world.workers)]
        return contracts + [channel.address for channel in self.channels]

    @precondition(lambda self: self.seen)
    @rule(which=st.integers(0, 59), place=st.integers(0, 7), value=st.sampled_from([0, 10**5, 10**6, TON // 100, TON]))
    def thief_replays(self, which: int, place: int, value: int) -> None:
        """Any body that was ever delivered, replies between contracts included, to any contract."""
        body = self.seen[which % len(self.seen)]
        self.put(THIEF, self.targets()[place], body, value)

    @precondition(lambda self: self.seen)
    @rule(which=st.integers(0, 59), place=st.integers(0, 7), bit=st.integers(32, 900))
    def thief_flips_a_bit(self, which: int, place: int, bit: int) -> None:
        cell = self.seen[which % len(self.seen)]
        bits = cell.bits.copy()
        if len(bits) > 32:
            bits.invert(32 + bit % (len(bits) - 32))
        changed = begin_cell().store_bits(bits)
        for ref in cell.refs:
            changed.store_ref(ref)
        self.put(THIEF, self.targets()[place], changed.end_cell(), TON // 100)

    @rule(opcode=st.sampled_from([0xC0C00310, 0xC0C00311, 0xC0C00313, 0xC0C00314, 0xC0C00212, 0xC0C00213, 0xC0C00214,
    0xC0C00220, 0xC0C00221,
    0xFFFFFFFF]),
          place=st.integers(0, 7), epoch=st.integers(0, 3), seq=st.integers(0, 2))  # fmt: skip
    def thief_forges_a_reply(self, opcode: int, place: int, epoch: int, seq: int) -> None:
        channel = self.channels[epoch]
        known = channel.state.epoch if self.is_open(channel) else 0
        body = begin_cell().store_uint(opcode, 32).store_uint(known, 64).store_uint(seq, 32).store_uint(1, 8)
        self.put(THIEF, self.targets()[place], body.end_cell(), TON // 100)

    @rule(number=channels)
    def thief_opens_for_others(self, number: int) -> None:
        channel = self.channels[number]
        init = self.world.deployment.escrow_state_init(channel.client, channel.worker.address, channel.salt)
        body = channel.opening(client_key=key("thief").public)
        self.put(THIEF, channel.address, body, 2 * TON, init)

    @rule(number=channels, amount=amounts)
    def thief_signs_a_voucher(self, number: int, amount: int) -> None:
        channel = self.channels[number]
        if self.is_open(channel):
            body = channel.voucher(amount, signer=key("thief"))
            self.put(THIEF, channel.address, body, self.fees[4])

    @rule(number=workers, seq=st.integers(-1, 1))
    def replaced_attestation_confirms_keys_of_its_own(self, number: int, seq: int) -> None:
        """Whatever governance installs there one day: nobody asked for these keys."""
        asked = self.world.workers[number].state.people.attest_seq
        keys = AttestedKeys(key("governor's own").public, 5, MEASUREMENT)
        self.put_verdict(number, max(0, asked + seq), keys, 1)
        self.thief_signs_twice(number, "governor's own")

    @rule(number=workers)
    def thief_has_the_operators_wallet(self, number: int) -> None:
        """It asks for a key of its own, confirms it itself, and reports what it signs."""
        worker, mine = self.world.workers[number], key("thief")
        self.put(worker.operator, worker.address, worker.quote(mine), self.attest_fees)
        asked = worker.state.people.attest_seq
        platform = AttestedPlatform(0, 0, 17, 2**31, 2**31, AttestedKeys(mine.public, digest(worker.hpke), MEASUREMENT))
        self.put(THIEF, worker.address, QuoteVerified(asked + 1, 0, 0, platform), TON // 100)
        self.thief_signs_twice(number, "thief")

    def thief_signs_twice(self, number: int, name: str) -> None:
        channel, mine = self.channels[2 * number], key(name)
        receipts = [channel.receipt(fee_nano=fee, kind=Kind.STREAM_RECEIPT, signer=mine) for fee in (1, 2)]
        identity = self.world.deployment.escrow_identity(channel.client, channel.worker.address, channel.salt)
        body = SubmitEquivocation(20, mine.public, identity, *receipts)
        self.put(THIEF, self.world.slashing, body, self.world.evidence_fees)
