"""What clients do, and what anybody may do with a channel of theirs."""

from __future__ import annotations

from dataclasses import replace

from actors import actor
from channel import DAY, REQUEST, RESPONSE, Channel
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from stage_of_actors import Stage, amounts, carriers, channels, values
from world import MEASUREMENT, TON

from cocoon.wire.escrow import (
    BeginClose,
    CancelOpen,
    CountVolume,
    DeliverJob,
    ExpireJob,
    FinishClose,
    JobStatus,
    PostJob,
    RebindChannel,
    RetryReport,
    TopUpEscrow,
)

__all__ = ["Clients"]


class Clients(Stage):
    """Rules of channels and of forced jobs."""

    @initialize(opened=st.lists(channels, min_size=1, max_size=4, unique=True))
    def open_some(self, opened: list[int]) -> None:
        for number in opened:
            self.client_opens(number, TON, 0)
        self.settle()

    @rule(number=channels, deposit=st.sampled_from([1, TON // 2, TON]), extra=values)
    def client_opens(self, number: int, deposit: int, extra: int) -> None:
        channel = self.channels[number]
        init = self.world.deployment.escrow_state_init(channel.client, channel.worker.address, channel.salt)
        body = channel.opening(deposit_nano=deposit)
        self.put(channel.client, channel.address, body, deposit + self.fees[0] + extra, init)

    @rule(number=channels, credit=amounts, who=carriers)
    def somebody_tops_up(self, number: int, credit: int, who: str) -> None:
        self.put(actor(who), self.channels[number].address, TopUpEscrow(1), min(credit, TON) + self.fees[1])

    @rule(number=channels, amount=amounts, who=carriers, extra=values, to_payout=st.booleans())
    def voucher_is_claimed(self, number: int, amount: int, who: str, extra: int, to_payout: bool) -> None:
        channel = self.ensure_open(number)
        if not self.is_open(channel):
            return
        epoch = (channel.address, channel.state.epoch)
        self.signed.vouchers[epoch] = max(amount, self.signed.vouchers.get(epoch, 0))
        body = replace(channel.voucher(amount), excess_to_payout=to_payout)
        self.put(actor(who), channel.address, body, self.fees[4] + extra)

    @rule(number=channels, fee=amounts, seconds=st.sampled_from([29, 30, 600, DAY]), extra=values)
    def client_posts(self, number: int, fee: int, seconds: int, extra: int) -> None:
        channel = self.channels[number]
        fee = min(fee, TON)
        self.put(channel.client, channel.address, PostJob(2, fee, seconds, REQUEST), fee + self.fees[2] + extra)

    @rule(number=channels, at_once=st.booleans())
    def client_posts_properly(self, number: int, at_once: bool) -> None:
        channel = self.ensure_open(number)
        self.put(channel.client, channel.address, PostJob(2, TON // 5, 60, REQUEST), TON // 5 + self.fees[2])
        if at_once:
            self.settle()

    @rule(number=channels, rarely=st.integers(0, 3))
    def client_begins_closing(self, number: int, rarely: int) -> None:
        channel = self.channels[number]
        if rarely:
            return
        self.put(channel.client, channel.address, BeginClose(3), self.fees[5])

    @rule(number=channels, who=carriers, extra=values)
    def somebody_finishes_closing(self, number: int, who: str, extra: int) -> None:
        self.put(actor(who), self.channels[number].address, FinishClose(4), self.fees[6] + extra)

    @rule(number=channels, amount=amounts, who=carriers, extra=values)
    def both_agree_to_close(self, number: int, amount: int, who: str, extra: int) -> None:
        channel = self.ensure_open(number)
        if not self.is_open(channel):
            return
        self.use_bound_key(channel)
        epoch = (channel.address, channel.state.epoch)
        self.signed.closings.setdefault(epoch, set()).add(amount)
        self.put(actor(who), channel.address, channel.closing(amount), self.fees[6] + extra)

    @rule(
        number=channels,
        who=carriers,
        extra=values,
        measurement=st.sampled_from([MEASUREMENT] * 3 + [5]),
        reboot=st.booleans(),
    )
    def channel_is_rebound(self, number: int, who: str, extra: int, measurement: int, reboot: bool) -> None:
        """With keys that are new, or not; the enclave then signs with the ones the channel is bound to."""
        if reboot and self.is_open(self.ensure_job(number)):
            self.worker_renews(number // 2, True)
            self.settle()
            self.attestation_verifies(-1, 1)
            self.settle()
        self.put(actor(who), self.channels[number].address, RebindChannel(16, measurement), self.fees[8] + extra)

    @rule(number=channels, more=amounts, who=carriers, extra=values, rarely=st.integers(0, 2))
    def worker_releases(self, number: int, more: int, who: str, extra: int, rarely: int) -> None:
        """Once it has been paid `more` than now."""
        channel = self.ensure_open(number)
        if rarely or not self.is_open(channel):
            return
        amount = channel.state.claimed_nano + more
        self.use_bound_key(channel)
        epoch = (channel.address, channel.state.epoch)
        self.signed.releases[epoch] = min(amount, self.signed.releases.get(epoch, amount))
        self.put(actor(who), channel.address, channel.releasing(amount), self.fees[6] + extra)

    @rule(number=channels, who=carriers, burned=amounts)
    def volume_is_counted(self, number: int, who: str, burned: int) -> None:
        if burned > 1:
            self.voucher_is_claimed(number, min(burned, TON), "carrier", 0, True)
            self.settle()
        self.put(actor(who), self.channels[number].address, CountVolume(17), min(burned, TON) + self.fees[9])

    @rule(number=channels)
    def client_cancels_opening(self, number: int) -> None:
        channel = self.channels[number]
        self.put(channel.client, channel.address, CancelOpen(5), TON // 100)

    @rule(number=channels, fee=amounts, who=carriers, extra=values, to_payout=st.booleans())
    def answer_is_delivered(self, number: int, fee: int, who: str, extra: int, to_payout: bool) -> None:
        channel = self.ensure_job(number)
        if not self.has_job(channel):
            return
        state = channel.state
        fee = min(fee, state.job_max_fee_nano + 1)
        self.signed.fees.setdefault((channel.address, state.epoch, state.job_seq), set()).add(fee)
        body = DeliverJob(6, to_payout, channel.forced_receipt(fee), RESPONSE)
        self.put(actor(who), channel.address, body, self.fees[3] + extra)

    @rule(number=channels, reason=st.integers(0, 6), who=carriers, extra=values)
    def job_is_rejected(self, number: int, reason: int, who: str, extra: int) -> None:
        channel = self.ensure_job(number)
        if self.has_job(channel):
            self.put(actor(who), channel.address, channel.rejection(reason), self.fees[3] + extra)

    @rule(number=channels, who=carriers, extra=values, overdue=st.booleans())
    def job_is_expired(self, number: int, who: str, extra: int, overdue: bool) -> None:
        if overdue and self.has_job(self.ensure_job(number)):
            self.world.ledger.advance(122)
        self.put(actor(who), self.channels[number].address, ExpireJob(7), self.fees[3] + extra)

    @rule(number=channels, who=carriers, extra=values)
    def report_is_retried(self, number: int, who: str, extra: int) -> None:
        self.put(actor(who), self.channels[number].address, RetryReport(8), self.fees[7] + extra)

    def ensure_open(self, number: int) -> Channel:
        """The channel, opened (and everything in flight delivered) if it was not; the worker may have refused."""
        channel = self.channels[number]
        if not self.is_open(channel):
            self.client_opens(number, TON, 0)
            self.settle()
        return channel

    def ensure_job(self, number: int) -> Channel:
        """The channel, with a job posted (and everything in flight delivered) if there was none."""
        channel = self.ensure_open(number)
        if self.is_open(channel) and channel.state.job_status == JobStatus.NONE:
            self.client_posts_properly(number, True)
        return channel

    def has_job(self, channel: Channel) -> bool:
        if not self.is_open(channel) or channel.state.job_status != JobStatus.OPEN:
            return False
        self.use_bound_key(channel)
        return True
