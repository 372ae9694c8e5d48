"""A forced job from the client's side: wait for its outcome, verify it, expire it if the worker stays silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..chain.base import ChainTransaction
from ..chain.delivery import patiently
from ..chain.trace import trace
from ..crypto.statements import Channel as SignedChannel
from ..errors import ClientError, JobFailed, WalletError
from ..wire.codec import read_body
from ..wire.common import PaymentReason
from ..wire.escrow import DeliverJob, ExpireJob, JobRefusal, JobRefused, JobStatus, KeysRenewed, RejectJob
from .outcomes import Expired, KeyLost, Outcome, check_delivery, check_rejection
from .reading import burned, enum_name, paid, succeeded
from .store import StoredJob

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Job"]


class Job:
    """Made by `Channel.post_job` or, after a restart, by `Channel.jobs`. `transactions`: what posting it took."""

    def __init__(
        self, channel: Channel, stored: StoredJob, seq: int, transactions: tuple[ChainTransaction, ...] = ()
    ) -> None:
        self.channel = channel
        self.stored = stored
        self.seq = seq
        self.transactions = transactions
        self._cursor = stored.posted_after_lt

    def __repr__(self) -> str:
        return f"<Job {self.seq} of {self.channel!r}>"

    async def deadline(self) -> int | None:
        """Unix time by which the worker must answer; None if the job has ended."""
        state = await self.channel.state()
        open_now = state.job_seq == self.seq and state.job_status == JobStatus.OPEN
        return state.job_deadline if open_now else None

    async def result(self) -> Outcome:
        """Wait for the outcome. After deadline and grace it is enforced: this client expires the job itself.

        BadDelivery if the chain took a delivery that is no answer; JobFailed if the worker took the job back. May be
        called again, after any error too: what has ended stays ended. A network that goes away is waited for.
        """
        while True:
            if (outcome := await patiently(self._look)) is not None:
                return outcome
            if await patiently(self._overdue):
                await self._expire()
            else:
                await patiently(self.channel.chain.next_block)

    async def _look(self) -> Outcome | None:
        """The outcome, if the escrow's transactions show one."""
        for transaction in await self.channel.chain.transactions(self.channel.address, after_lt=self._cursor):
            if (outcome := await self._outcome_in(transaction)) is not None:
                return outcome
            self._cursor = transaction.lt
        return None

    async def _outcome_in(self, transaction: ChainTransaction) -> Outcome | None:
        """The outcome of this job, if `transaction` (of the escrow) is it."""
        message = transaction.in_msg
        if message is None or not succeeded(transaction):
            return None
        binding = self.stored.binding
        channel = SignedChannel(
            self.channel.chain.global_id, self.channel.address, self.stored.epoch, binding.key_epoch
        )
        delivered = read_body(message.body, DeliverJob)
        if delivered is not None and delivered.signed.receipt.request_digest == self.stored.request_digest:
            return check_delivery(
                delivered, transaction, job=self.stored, seq=self.seq, channel=channel, binding=binding
            )
        rejected = read_body(message.body, RejectJob)
        if rejected is not None and rejected.seq == self.seq:
            return check_rejection(
                rejected, transaction, job=self.stored, seq=self.seq, channel=channel, binding=binding
            )
        refused = read_body(message.body, JobRefused)
        if refused is not None and refused.seq == self.seq and message.src == self.channel.stored.worker:
            raise JobFailed(f"the worker refused the job: {enum_name(JobRefusal, refused.reason)}; its money is back")
        if read_body(message.body, KeysRenewed) is not None:
            refund = paid([transaction], self.channel.client_address, PaymentReason.REFUND)
            return KeyLost(refund, transaction) if refund else None
        if read_body(message.body, ExpireJob) is not None:
            return await self._expired(transaction)
        return None

    async def _expired(self, transaction: ChainTransaction) -> Expired:
        """Jobs run one at a time, so the first expiry after this one was posted is its own."""
        caused = await trace(self.channel.chain, transaction)
        client, worker = self.channel.client_address, self.channel.stored.worker
        compensation = paid(caused, client, PaymentReason.MISS_COMPENSATION, sender=worker)
        lost = compensation + burned(item for item in caused if item.account == worker)
        return Expired(
            refund_nano=paid([transaction], client, PaymentReason.REFUND),
            compensation_nano=compensation,
            penalty_nano=lost,
            transactions=tuple(caused),
        )

    async def _overdue(self) -> bool:
        state = await self.channel.state()
        if state.job_seq != self.seq or state.job_status != JobStatus.OPEN:
            return False
        assert state.binding is not None
        return await self.channel.chain.time() > state.job_deadline + state.binding.grace_sec

    async def _expire(self) -> None:
        fees = await self.channel.fees()
        try:
            sent = await self.channel.send(ExpireJob(self.channel.new_query_id()), fees.end_job())
        except WalletError as error:
            raise ClientError(f"the job is overdue and can't be expired: {error}") from error
        await trace(self.channel.chain, sent)
