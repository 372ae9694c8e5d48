"""Posting a forced job: checks, encryption, the store, the message, the worker's admission; and finding it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytoniq_core import Cell

from cocoon_sandbox.boc import count_cells

from ..chain.base import ChainTransaction
from ..chain.trace import trace
from ..chain.wallet import format_ton
from ..crypto.request import RequestBinding, seal_request
from ..crypto.statements import Channel as SignedChannel
from ..errors import ClientError, JobFailed
from ..fees import Fees
from ..wire.codec import read_body
from ..wire.common import Kind, PaymentReason
from ..wire.escrow import Binding, EscrowStatus, EscrowStorage, JobRefusal, JobRefused, JobStatus, PostJob
from ..wire.worker import AdmitJob
from .job import Job
from .reading import enum_name, messages_to, paid, succeeded
from .store import StoredJob
from .workers import find_hpke_key

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["post_job", "stored_jobs"]

_ALL = 1 << 20


async def post_job(channel: Channel, request: dict[str, Any], *, max_fee: int, duration: int) -> Job:
    """See `Channel.post_job`."""
    if not isinstance(request, dict):
        raise ClientError('a request is an object such as {"prompt": "..."}; the worker would refuse anything else')
    chain, worker = channel.chain, channel.stored.worker
    await channel.check_network()  # anyone may have rebound the channel to keys attested since it was opened
    state = await channel.state()
    binding = usable_binding(state)
    _check_terms(state, binding, max_fee, duration, await chain.time())
    signed = SignedChannel(chain.global_id, channel.address, state.epoch, binding.key_epoch)
    key = await find_hpke_key(chain, worker, binding.keys.hpke_key_hash, channel.store)
    sealed_for = RequestBinding(signed.domain(Kind.FORCED_RECEIPT), worker, binding.model_id)
    cell, secret = seal_request(request, to=key, binding=sealed_for)
    fees = await channel.fees()
    body = PostJob(channel.new_query_id(), max_fee, duration, cell)
    _check_size(body.to_cell(), fees)
    after = (await chain.account(channel.address)).last_lt
    stored = StoredJob(channel.address, state.epoch, None, cell, secret, max_fee, after, binding)
    channel.store.add_job(stored)
    sent = await channel.send(body, max_fee + fees.post_job())
    return _admitted(channel, stored, await trace(chain, sent))


async def stored_jobs(channel: Channel) -> list[Job]:
    """See `Channel.jobs`."""
    epoch = (await channel.state()).epoch
    found = []
    for stored in channel.store.jobs(channel.address):
        if stored.epoch != epoch:
            continue
        seq = stored.seq if stored.seq is not None else await _find_seq(channel, stored)
        if seq is not None:
            found.append(Job(channel, stored, seq))
    return found


def usable_binding(state: EscrowStorage) -> Binding:
    if state.status != EscrowStatus.ACTIVE or state.binding is None:
        raise ClientError(f"the channel is {enum_name(EscrowStatus, state.status)}; open another one")
    return state.binding


def _check_terms(state: EscrowStorage, binding: Binding, max_fee: int, duration: int, now: int) -> None:
    if state.job_status != JobStatus.NONE:
        raise ClientError(f"job {state.job_seq} of this channel has not ended; wait for its result first")
    if max_fee < binding.floor_fee_nano:
        raise ClientError(f"the worker does nothing below {format_ton(binding.floor_fee_nano)}; raise max_fee")
    if duration < binding.min_duration_sec:
        raise ClientError(f"the worker wants at least {binding.min_duration_sec} s for a job; raise duration")
    if (left := binding.channel_end - now) < duration:
        raise ClientError(f"the channel ends in {left} s, before this job would; open another one")


def _check_size(body: Cell, fees: Fees) -> None:
    """The escrow measures a PostJob by the forward fee it took."""
    cells, bits = count_cells(body)
    most = fees.call("forwardFee", fees.constant("MAX_REQUEST_BITS"), fees.constant("MAX_REQUEST_CELLS"))
    if fees.call("forwardFee", bits, cells) > most:
        raise ClientError(
            f"the encrypted request takes {bits // 8} bytes, more than the {fees.constant('MAX_REQUEST_BITS') // 8} "
            f"that the escrow carries; shorten it"
        )


def _admitted(channel: Channel, stored: StoredJob, caused: list[ChainTransaction]) -> Job:
    """The job, once the escrow took it and the worker admitted it; otherwise why not."""
    worker = channel.stored.worker
    asked = [said for _, said in messages_to(caused, worker, AdmitJob)]
    if not asked:
        failed = next((item for item in caused if item.account == channel.address), None)
        code = None if failed is None else failed.exit_code
        raise JobFailed(f"the escrow refused the job with exit code {code} (see docs/errors.md); its money came back")
    seq = asked[0].seq
    channel.store.set_seq(stored, seq)
    refund = format_ton(paid(caused, channel.client_address, PaymentReason.REFUND, sender=channel.address))
    for _, refused in messages_to(caused, channel.address, JobRefused):
        why = enum_name(JobRefusal, refused.reason)
        advice = "Call rebind()" if refused.reason == JobRefusal.KEY_REPLACED else "Try another worker"
        raise JobFailed(f"the worker refused the job: {why}; {refund} came back. {advice}")
    if not any(succeeded(item) for item in caused if item.account == worker):
        raise JobFailed(f"the worker could not be asked for the job; {refund} came back. Try another worker")
    return Job(channel, stored, seq, tuple(caused))


async def _find_seq(channel: Channel, stored: StoredJob) -> int | None:
    """What became of a job whose posting was interrupted; None if it never arrived."""
    after = stored.posted_after_lt
    for transaction in await channel.chain.transactions(channel.address, after_lt=after, limit=_ALL):
        message = transaction.in_msg
        if message is None or not succeeded(transaction):
            continue
        posted = read_body(message.body, PostJob)
        if posted is None or posted.request.hash != stored.request.hash:
            continue
        for _, asked in messages_to([transaction], channel.stored.worker, AdmitJob):
            channel.store.set_seq(stored, asked.seq)
            return asked.seq
    return None
