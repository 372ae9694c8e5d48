"""One client's channel with one worker: its messages, the statements both sides sign, and what its Escrow owes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from actors import Key, actor, blob, digest
from outcome import Outcome
from pytoniq_core import Address, Cell

from cocoon.wire.codec import Struct
from cocoon.wire.common import Kind, SignedDomain
from cocoon.wire.escrow import (
    BeginClose,
    CancelOpen,
    ClaimVoucher,
    CloseCooperative,
    CloseStatement,
    CountVolume,
    DeliverJob,
    EscrowStorage,
    ExpireJob,
    FinishClose,
    JobStatus,
    OpenEscrow,
    PostJob,
    RebindChannel,
    Receipt,
    ReceiptDisclosure,
    ReceiptOutcome,
    RejectionStatement,
    RejectJob,
    ReleaseChannel,
    ReleaseStatement,
    RetryReport,
    Signature,
    SignedReceipt,
    TopUpEscrow,
    VoucherStatement,
)

if TYPE_CHECKING:
    from world import WorkerSide, World

__all__ = ["DAY", "DEPOSIT", "MAX_FEE", "REQUEST", "RESPONSE", "Channel"]

DAY = 86_400
DEPOSIT = 10**9
MAX_FEE = 2 * 10**8
REQUEST = blob("request", 9)
RESPONSE = blob("response", 9)
ANYONE = actor("anyone")


@dataclass
class Channel:
    """The channel of `client` (who signs with `client_key`) with `worker`."""

    world: World
    worker: WorkerSide
    client: Address
    client_key: Key
    salt: int = 0
    term_sec: int = DAY

    @property
    def address(self) -> Address:
        return self.world.deployment.escrow(self.client, self.worker.address, self.salt)

    @property
    def state(self) -> EscrowStorage:
        data = self.world.ledger.account(self.address).data
        assert data is not None, "the escrow is not open"
        return EscrowStorage.from_cell(data)

    @property
    def measurement(self) -> int:
        """Of the enclave this channel is bound to."""
        binding = self.state.binding
        assert binding is not None, "the channel is not bound"
        return binding.keys.measurement

    @property
    def job(self) -> JobStatus:
        return JobStatus(self.state.job_status)

    @property
    def exists(self) -> bool:
        return self.world.ledger.account(self.address).status != "nonexist"

    @property
    def balance(self) -> int:
        return self.world.ledger.balance(self.address)

    @property
    def owed(self) -> int:
        """What the Escrow must be able to pay: the unclaimed deposit and the job's money."""
        state = self.state
        return state.deposit_nano - state.claimed_nano + state.job_funds_nano

    # ---- least values ----

    @property
    def open_fees(self) -> int:
        return self.world.escrow_fees(self.term_sec)[0]

    @property
    def top_up_fees(self) -> int:
        return self.world.escrow_fees(0)[1]

    @property
    def post_fees(self) -> int:
        return self.world.escrow_fees(0)[2]

    @property
    def end_job_fees(self) -> int:
        return self.world.escrow_fees(0)[3]

    @property
    def claim_fees(self) -> int:
        return self.world.escrow_fees(0)[4]

    @property
    def begin_close_fees(self) -> int:
        return self.world.escrow_fees(0)[5]

    @property
    def close_fees(self) -> int:
        return self.world.escrow_fees(0)[6]

    @property
    def retry_fees(self) -> int:
        return self.world.escrow_fees(0)[7]

    @property
    def rebind_fees(self) -> int:
        return self.world.escrow_fees(0)[8]

    @property
    def count_fees(self) -> int:
        return self.world.escrow_fees(0)[9]

    # ---- messages ----

    def send(self, sender: Address, body: Struct | Cell, value: int) -> Outcome:
        return self.world.send(sender, self.address, body, value)

    def opening(self, **changes: Any) -> OpenEscrow:
        from world import MODEL, TERMS

        body = OpenEscrow(1, self.client_key.public, DEPOSIT, MODEL, self.term_sec, None, TERMS)
        return replace(body, **changes)

    def open(
        self, body: Struct | Cell | None = None, value: int | None = None, sender: Address | None = None
    ) -> Outcome:
        """OpenEscrow with the StateInit; by default with exactly the least value."""
        init = self.world.deployment.escrow_state_init(self.client, self.worker.address, self.salt)
        least = DEPOSIT + self.open_fees
        return self.world.send(
            sender or self.client,
            self.address,
            self.opening() if body is None else body,
            least if value is None else value,
            state_init=init,
        )

    def top_up(self, credit: int, sender: Address = ANYONE) -> Outcome:
        return self.send(sender, TopUpEscrow(2), credit + self.top_up_fees)

    def claim(self, cumulative: int, sender: Address = ANYONE, **changes: Any) -> Outcome:
        return self.send(sender, replace(self.voucher(cumulative), **changes), self.claim_fees)

    def post(self, request: Cell = REQUEST, max_fee: int = MAX_FEE, duration: int = 60, extra: int = 0) -> Outcome:
        """PostJob with exactly the least value (and `extra`)."""
        return self.send(self.client, PostJob(3, max_fee, duration, request), max_fee + self.post_fees + extra)

    def deliver(self, fee: int = MAX_FEE // 2, sender: Address | None = None, **flaws: Any) -> Outcome:
        body = DeliverJob(4, False, self.forced_receipt(fee, **flaws), RESPONSE)
        return self.send(sender or self.worker.operator, body, self.end_job_fees)

    def reject(self, reason: int = 1, sender: Address | None = None) -> Outcome:
        return self.send(sender or self.worker.operator, self.rejection(reason), self.end_job_fees)

    def expire(self, sender: Address = ANYONE) -> Outcome:
        return self.send(sender, ExpireJob(5), self.end_job_fees)

    def pass_deadline(self) -> None:
        """Let the first second pass in which the job can be expired."""
        binding = self.state.binding
        assert binding is not None
        self.world.ledger.advance(max(0, self.state.job_deadline + binding.grace_sec + 1 - self.world.ledger.now))

    def retry_report(self, sender: Address = ANYONE) -> Outcome:
        return self.send(sender, RetryReport(6), self.retry_fees)

    def begin_close(self, sender: Address | None = None) -> Outcome:
        return self.send(sender or self.client, BeginClose(7), self.begin_close_fees)

    def finish_close(self, sender: Address | None = None) -> Outcome:
        return self.send(sender or self.client, FinishClose(8), self.close_fees)

    def close_cooperatively(self, cumulative: int, sender: Address | None = None, **changes: Any) -> Outcome:
        return self.send(sender or self.client, replace(self.closing(cumulative), **changes), self.close_fees)

    def cancel_open(self, sender: Address | None = None, value: int = 10**7) -> Outcome:
        return self.send(sender or self.client, CancelOpen(9), value)

    def rebind(self, sender: Address | None = None, measurement: int | None = None) -> Outcome:
        """RebindChannel to the keys of `measurement`, the channel's own if None."""
        named = self.measurement if measurement is None else measurement
        return self.send(sender or self.client, RebindChannel(13, named), self.rebind_fees)

    def release(self, claimed: int, sender: Address = ANYONE, **flaws: Any) -> Outcome:
        return self.send(sender, self.releasing(claimed, **flaws), self.close_fees)

    def count_volume(self, burned: int, sender: Address = ANYONE) -> Outcome:
        return self.send(sender, CountVolume(14), burned + self.count_fees)

    # ---- statements ----

    def voucher(self, cumulative: int, receipt_chain: int = 7, signer: Key | None = None, **flaws: Any) -> ClaimVoucher:
        """A signed voucher, but for `flaws` in its domain."""
        domain = replace(self._domain(Kind.VOUCHER), **flaws)
        signature = (signer or self.client_key).sign(VoucherStatement(domain, cumulative, receipt_chain))
        return ClaimVoucher(10, domain.key_epoch, cumulative, receipt_chain, False, signature)

    def forced_receipt(self, fee: int = MAX_FEE // 2, response: Cell = RESPONSE, **changes: Any) -> SignedReceipt:
        """The worker's receipt for the open job. `changes` name fields of Receipt, ReceiptOutcome or SignedDomain, or
        `signer`."""
        state = self.state
        return self.receipt(
            **{
                "kind": Kind.FORCED_RECEIPT,
                "seq": state.job_seq,
                "request_digest": state.job_request_digest,
                "response_digest": digest(response),
                "fee_nano": fee,
                **changes,
            }
        )

    def receipt(self, *, signer: Key | None = None, **changes: Any) -> SignedReceipt:
        """Any receipt of this channel's worker; a streamed one with seq 1 unless `changes` say otherwise."""
        from world import MODEL

        def pick(*names: str) -> dict[str, Any]:
            return {name: changes[name] for name in names if name in changes}

        domain = replace(
            self._domain(Kind.STREAM_RECEIPT), **pick("tag", "kind", "global_id", "contract", "epoch", "key_epoch")
        )
        result = ReceiptOutcome(digest(RESPONSE), MODEL, ReceiptDisclosure(5, 0))
        result = replace(result, **pick("response_digest", "model_id", "disclosure"))
        receipt = Receipt(domain, 1, MAX_FEE // 2, self.world.ledger.now, digest(REQUEST), result)
        receipt = replace(receipt, **pick("seq", "fee_nano", "issued_at", "request_digest"))
        return SignedReceipt(receipt, (signer or self.worker.session).sign(receipt))

    def rejection(self, reason: int = 1, signer: Key | None = None, **flaws: Any) -> RejectJob:
        digest_ = flaws.pop("request_digest", self.state.job_request_digest)
        seq = flaws.pop("seq", self.state.job_seq)
        statement = RejectionStatement(replace(self._domain(Kind.REJECTION), **flaws), seq, digest_, reason)
        return RejectJob(11, seq, reason, (signer or self.worker.session).sign(statement))

    def closing(self, cumulative: int, **flaws: Any) -> CloseCooperative:
        statement = CloseStatement(replace(self._domain(Kind.CLOSE), **flaws), cumulative)
        worker_signature = Signature(self.worker.session.sign(statement))
        return CloseCooperative(12, cumulative, self.client_key.sign(statement), worker_signature)

    def releasing(self, claimed: int, signer: Key | None = None, **flaws: Any) -> ReleaseChannel:
        statement = ReleaseStatement(replace(self._domain(Kind.RELEASE), **flaws), claimed)
        return ReleaseChannel(15, claimed, (signer or self.worker.session).sign(statement))

    def _domain(self, kind: Kind) -> SignedDomain:
        """The domain of this channel's statements now; of epoch 1 and the first key if it is not open."""
        if self.world.ledger.account(self.address).data is None:
            return self.world.domain(kind, self.address, 1, 1)
        state = self.state
        return self.world.domain(kind, self.address, state.epoch, state.binding.key_epoch if state.binding else 0)
