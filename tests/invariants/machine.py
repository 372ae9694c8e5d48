"""All actors at once: governance, two workers, two clients, Attestation, a thief, and a network that delivers as late
as it likes.

After every transaction: money adds up, every contract covers what it owes, no rule of `laws` is broken, the thief has
not gained.
"""

from __future__ import annotations

from acting_thief import Thief
from hypothesis.stateful import invariant
from solvency import owed_by
from world import TON

from cocoon.wire.escrow import (
    CancelOpen,
    EscrowStatus,
    ExpireJob,
    FinishClose,
    JobStatus,
)
from cocoon_sandbox.account import AccountView

__all__ = ["Market"]


class Market(Thief):
    """What holds always, whoever does what."""

    @invariant()
    def money_adds_up(self) -> None:
        """P-4."""
        self.world.ledger.check_conservation()

    @invariant()
    def liabilities_are_covered(self) -> None:
        """E-1, W-1."""
        for address in [channel.address for channel in self.channels] + [
            worker.address for worker in self.world.workers
        ]:
            account: AccountView = self.world.ledger.account(address)
            owed = owed_by(account)
            assert owed is None or account.balance >= owed, f"{account} owes {owed}"

    @invariant()
    def thief_has_not_gained(self) -> None:
        """P-4."""
        assert self.thief_received <= self.thief_sent

    def teardown(self) -> None:
        """Whatever happened, the end can be reached: messages run dry, jobs expire, every deposit comes home."""
        self.settle()
        for channel in self.channels:
            if not self.is_open(channel):
                continue
            if channel.state.status == EscrowStatus.OPENING:
                self.world.ledger.advance(601)
                self.put(channel.client, channel.address, CancelOpen(1), TON // 100)
                self.settle()
                continue
            if channel.job == JobStatus.OPEN:
                channel.pass_deadline()
                self.put(channel.client, channel.address, ExpireJob(1), self.fees[3])
                self.settle()
            binding = channel.state.binding
            assert binding is not None
            end = binding.channel_end + binding.dispute_sec
            self.world.ledger.advance(max(0, end - self.world.ledger.now))
            self.put(channel.client, channel.address, FinishClose(1), self.fees[6])
            self.settle()
            assert not channel.exists, f"{channel.address} cannot be closed"
