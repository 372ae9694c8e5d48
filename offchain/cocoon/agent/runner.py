"""One job, from its admission to a signature. Each step reads the journal, does one thing, and journals it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pytoniq_core import Address

from ..chain.base import Chain
from ..crypto import statements
from ..crypto.errors import PayloadMalformed, RequestUndecryptable
from ..crypto.request import RequestBinding, parse_request, request_ciphertext, request_digest
from ..crypto.response import ResponseKey, response_digest
from ..signer.client import Signer
from ..signer.errors import AlreadySigned
from ..signer.table import Signed
from ..wire.blob import bytes_to_cell
from ..wire.common import Kind
from ..wire.escrow import PostJob, Receipt, RejectionStatement, RejectReason
from .compute import Limits, Refused, compute
from .jobs import Accepted, Job, JobState
from .journal import Journal
from .kernel import Kernel
from .views import find_post, read_escrow

__all__ = ["JobRunner"]

_log = logging.getLogger(__name__)
_POST_PAGE = 16


class JobRunner:
    """Takes jobs as far as a signature. Different jobs may be run by different tasks at once, one job by one only."""

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        journal: Journal,
        kernel: Kernel,
        worker: Address,
        limits: Limits,
        turns: asyncio.Semaphore,
    ) -> None:
        """turns: bounds how many models compute at once; other steps do not wait for one."""
        self._chain = chain
        self._signer = signer
        self._journal = journal
        self._kernel = kernel
        self._worker = worker
        self._limits = limits
        self._turns = turns
        self._steps: dict[JobState, Callable[[Job], Awaitable[bool]]] = {
            JobState.SEEN: self._accept,
            JobState.ACCEPTED: self._answer,
            JobState.ANSWERED: self._sign_receipt,
            JobState.REFUSING: self._sign_rejection,
        }

    async def advance(self, job_id: int) -> None:
        """As many steps as are possible now. Raises ChainError, SignerError or KernelFailure: call again later."""
        while True:
            job = self._journal.job(job_id)
            step = self._steps.get(job.state)
            if step is None or not await step(job):
                return

    async def _accept(self, job: Job) -> bool:
        """seen -> accepted: terms from the escrow's proven state, the request from the transaction that posted it."""
        escrow = read_escrow(await self._chain.account(job.key.escrow))
        if escrow is None or (escrow.epoch, escrow.seq) != (job.key.epoch, job.key.seq) or not escrow.is_open:
            return False  # it has ended; the worker's transactions will tell how
        binding = escrow.binding
        if binding is None:
            return False
        if binding.keys.session_key != (await self._signer.identity()).session_key:
            return self._lose(job, "the channel is bound to a key that a restart of the signer destroyed")
        post = await self._find_post(job)
        if post is None:
            _log.warning("%s: its request is not to be found yet", job)
            return False
        if request_digest(post.request) != escrow.request_digest:
            return self._lose(job, "the request found is not the one the escrow names")
        try:
            ciphertext = request_ciphertext(post.request)
        except RequestUndecryptable:
            ciphertext = None
        self._journal.accept(
            job.id, Accepted(escrow.request_digest, escrow.max_fee_nano, escrow.deadline, binding, ciphertext)
        )
        _log.info("%s: accepted, at most %d nanoTON, due at %d", job, escrow.max_fee_nano, escrow.deadline)
        return True

    async def _find_post(self, job: Job) -> PostJob | None:
        after = job.key.posted_lt
        while found := await self._chain.transactions(job.key.escrow, after_lt=after, limit=_POST_PAGE):
            post = find_post(found, job.key, self._worker)
            if post is not None:
                return post
            after = found[-1].lt
        return None

    async def _answer(self, job: Job) -> bool:
        """accepted -> answered, refusing, or what the signer remembers having signed."""
        terms = job.accepted
        if terms.binding.keys.session_key != (await self._signer.identity()).session_key:
            return self._lose(job, "the channel's key was lost with a restart of the signer")
        remembered = await self._signer.find(job.slot(self._chain.global_id))
        if remembered is not None:
            return self._adopt(job, remembered)
        try:
            await self._compute(job)
        except Refused as refusal:
            self._journal.refuse(job.id, refusal.reason, refusal.note)
            _log.info("%s: rejecting, %s (%s)", job, refusal.reason.name, refusal.note)
        return True

    async def _compute(self, job: Job) -> None:
        terms, channel = job.accepted, job.channel(self._chain.global_id)
        if terms.ciphertext is None:
            raise Refused(RejectReason.UNDECRYPTABLE, "the request cell holds no ciphertext")
        binding = RequestBinding(channel.domain(Kind.FORCED_RECEIPT), self._worker, terms.binding.model_id)
        try:
            request = parse_request(await self._signer.decrypt(binding, terms.ciphertext))
        except RequestUndecryptable as error:
            raise Refused(RejectReason.UNDECRYPTABLE, "it does not decrypt with this channel's key") from error
        except PayloadMalformed as error:
            raise Refused(RejectReason.MALFORMED, "the plaintext is not laid out as a request") from error
        async with self._turns:
            done = await compute(
                self._kernel,
                request,
                terms.binding,
                ResponseKey(request.secret, terms.request_digest, Kind.FORCED_RECEIPT, job.key.seq),
                max_fee_nano=terms.max_fee_nano,
                seconds=terms.deadline - await self._chain.time(),
                limits=self._limits,
                owner=job.key.escrow.hash_part.hex(),
            )
        receipt = statements.receipt(
            channel,
            Kind.FORCED_RECEIPT,
            seq=job.key.seq,
            fee_nano=done.fee_nano,
            issued_at=await self._chain.time(),
            request_digest=terms.request_digest,
            response_digest=response_digest(bytes_to_cell(done.response)),
            model_id=terms.binding.model_id,
            usage=done.usage,
            measurement=terms.binding.keys.measurement,
        )
        self._journal.answer(job.id, receipt, done.response)
        _log.info("%s: answered for %d nanoTON", job, done.fee_nano)

    async def _sign_receipt(self, job: Job) -> bool:
        if job.receipt is None or job.response is None:
            raise ValueError(f"{job} is answered without an answer")
        try:
            signed = await self._signer.sign_receipt(job.receipt, job.response)
        except AlreadySigned as error:
            return self._adopt(job, error.stored)
        return self._adopt(job, signed)

    async def _sign_rejection(self, job: Job) -> bool:
        if job.reason is None:
            raise ValueError(f"{job} is refused without a reason")
        statement = statements.rejection(
            job.channel(self._chain.global_id),
            seq=job.key.seq,
            request_digest=job.accepted.request_digest,
            reason=job.reason,
        )
        try:
            signed = await self._signer.sign_rejection(statement)
        except AlreadySigned as error:
            return self._adopt(job, error.stored)
        return self._adopt(job, signed)

    def _adopt(self, job: Job, signed: Signed) -> bool:
        """-> signed, with what the signer has; that counts, whatever was journaled."""
        statement = signed.statement
        if statement.request_digest != job.accepted.request_digest:
            return self._lose(job, "the signer has signed for another request under this number")
        if isinstance(statement, RejectionStatement):
            self._journal.sign_rejection(job.id, RejectReason(statement.reason), signed.signature)
        else:
            response = self._response_of(job, statement, signed)
            if response is None:
                return self._lose(job, "signed, but neither journal nor signer has the response any more")
            self._journal.sign_receipt(job.id, statement, response, signed.signature)
        _log.info("%s: signed", job)
        return True

    @staticmethod
    def _response_of(job: Job, receipt: Receipt, signed: Signed) -> bytes | None:
        for response in (signed.response, job.response):
            if response is not None and response_digest(bytes_to_cell(response)) == receipt.outcome.response_digest:
                return response
        return None

    def _lose(self, job: Job, note: str) -> bool:
        self._journal.lose(job.id, note)
        _log.error("%s is lost and will cost a part of the bond: %s", job, note)
        return True
