"""A payment channel from the client's side."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address

from ..chain.base import Chain, ChainTransaction
from ..chain.trace import trace
from ..chain.wallet import Wallet, format_ton
from ..crypto.ed25519 import sign
from ..crypto.statements import Channel as SignedChannel
from ..crypto.statements import close as close_statement
from ..crypto.statements import verify_close
from ..crypto.statements import voucher as voucher_statement
from ..deployment import Deployment
from ..errors import ClientError
from ..fees import Fees
from ..wire.codec import Struct
from ..wire.common import PaymentReason
from ..wire.escrow import (
    BeginClose,
    Binding,
    BindRefusal,
    BindRefused,
    CancelOpen,
    ClaimVoucher,
    CloseCooperative,
    EscrowStatus,
    EscrowStorage,
    FinishClose,
    JobStatus,
    RebindChannel,
    Signature,
    SignedReceipt,
    TopUpEscrow,
)
from .evidence import Slashed, report_equivocation
from .job import Job
from .posting import post_job, stored_jobs
from .reading import enum_name, messages_to, paid, succeeded
from .store import ClientStore, StoredChannel

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Channel", "Done"]


@dataclass(frozen=True, slots=True)
class Done:
    """An operation with everything it caused. `received_nano` is what came to the client's wallet as payments."""

    transactions: tuple[ChainTransaction, ...] = field(repr=False)
    received_nano: int = 0


class Channel:
    """One escrow between this client and one worker. Amounts are nanoTON, times unix seconds.

    `transactions` is what opening it took. Every method reads the chain again: nothing is assumed to stay.
    """

    def __init__(self, client: Client, stored: StoredChannel, transactions: tuple[ChainTransaction, ...] = ()) -> None:
        self._client = client
        self.stored = stored
        self.transactions = transactions
        self._key = Ed25519PrivateKey.from_private_bytes(stored.client_key)

    def __repr__(self) -> str:
        return f"<Channel {self.address.to_str(is_user_friendly=False)}>"

    @property
    def address(self) -> Address:
        return self.stored.escrow

    @property
    def chain(self) -> Chain:
        return self._client.chain

    @property
    def store(self) -> ClientStore:
        return self._client.store

    @property
    def wallet(self) -> Wallet:
        return self._client.wallet

    @property
    def deployment(self) -> Deployment:
        return self._client.deployment

    @property
    def client_address(self) -> Address:
        return self.wallet.address

    async def check_network(self) -> None:
        """What `Client.check_network` raises."""
        await self._client.check_network()

    # ---- reading ----

    async def state(self) -> EscrowStorage:
        """The escrow's proven state. ClientError if it is not open (any more)."""
        account = await self.chain.account(self.address)
        if account.data is None or not account.data.refs:
            raise ClientError(f"channel {self.address.to_str(is_user_friendly=False)} is closed or was never opened")
        return EscrowStorage.from_cell(account.data)

    async def is_open(self) -> bool:
        account = await self.chain.account(self.address)
        return account.data is not None and bool(account.data.refs)

    async def binding(self) -> Binding:
        """What the channel relies on about its worker. ClientError while it is opening."""
        state = await self.state()
        if state.binding is None:
            raise ClientError("the channel is still opening; wait, or cancel it after its deadline")
        return state.binding

    async def signed(self) -> SignedChannel:
        """What signatures in this channel are bound to."""
        state = await self.state()
        if state.binding is None:
            raise ClientError("the channel is still opening; wait, or cancel it after its deadline")
        return SignedChannel(self.chain.global_id, self.address, state.epoch, state.binding.key_epoch)

    async def fees(self) -> Fees:
        return await Fees.of(self.chain)

    # ---- forced jobs, faults ----

    async def post_job(self, request: dict[str, Any], *, max_fee: int, duration: int) -> Job:
        """Encrypt `request` to the worker's enclave, post it on the chain, wait until the worker's contract admits it.

        The most this costs is `max_fee` and fees; what is left of both returns to the deposit with the answer.
        ClientError before anything is sent if the channel can't take the job; JobFailed, with the refund, if the worker
        refuses it.
        """
        return await post_job(self, request, max_fee=max_fee, duration=duration)

    async def jobs(self) -> list[Job]:
        """Jobs of this epoch out of the store, to go on waiting for after a restart."""
        return await stored_jobs(self)

    async def report_equivocation(
        self, first: SignedReceipt, second: SignedReceipt, *, session_key: int | None = None
    ) -> Slashed:
        """Have the worker slashed for two receipts of one seq. EvidenceRefused, a ClientError, if the chain does not or
        would not believe it.

        `session_key` is the key that signed them; it must be given once the channel is closed.
        """
        if session_key is None:
            session_key = (await self.binding()).keys.session_key
        return await report_equivocation(self, first, second, session_key)

    # ---- money ----

    async def top_up(self, amount: int) -> Done:
        """Add exactly `amount` to the deposit."""
        if amount <= 0:
            raise ClientError(f"can't top up by {amount} nanoTON; give an amount above 0")
        return await self._do(TopUpEscrow(self.new_query_id()), amount + (await self.fees()).top_up())

    async def voucher(self, cumulative: int, receipt_chain: int = 0) -> ClaimVoucher:
        """Sign that the worker may have `cumulative` over the channel's life, as the message that claims it.

        ClientError if that is more than the deposit, or less than an earlier voucher (which would be used instead).
        """
        state = await self.state()
        signed = await self.signed()
        if cumulative > state.deposit_nano:
            raise ClientError(
                f"the deposit is {format_ton(state.deposit_nano)}, the voucher {format_ton(cumulative)}; top up first"
            )
        most = self.store.raise_voucher(self.address, state.epoch, cumulative)
        if cumulative < max(most, state.claimed_nano):
            raise ClientError(f"a voucher of {format_ton(most)} was signed before; a lower one means nothing")
        statement = voucher_statement(signed, cumulative_nano=cumulative, receipt_chain=receipt_chain)
        return ClaimVoucher(
            self.new_query_id(), signed.key_epoch, cumulative, receipt_chain, False, sign(self._key, statement)
        )

    async def rebind(self, measurement: int | None = None) -> Done:
        """Take the worker's new keys into this channel after its enclave was restarted; terms stay as they are.

        A job still open under the lost keys ends: its money comes back, with a compensation. `measurement` is accepted
        for the new keys; None: only the one the channel has. ClientError if the worker has no newer keys of it.
        """
        before = await self.binding()
        wanted = before.keys.measurement if measurement is None else measurement
        done = await self._do(RebindChannel(self.new_query_id(), wanted), (await self.fees()).rebind())
        for _, refused in messages_to(done.transactions, self.address, BindRefused):
            raise ClientError(f"the worker has no keys for this channel: {enum_name(BindRefusal, refused.reason)}")
        if (await self.binding()).key_epoch <= before.key_epoch:
            raise ClientError("the worker did not answer; close the channel and try another worker")
        return done

    # ---- closing ----

    async def cancel_open(self) -> Done:
        """Take the deposit back if the handshake was never answered. ClientError before its deadline."""
        state = await self.state()
        if state.status != EscrowStatus.OPENING:
            raise ClientError(f"the channel is {enum_name(EscrowStatus, state.status)}; begin_close instead")
        await self._not_before(state.deadline, "the handshake may still be answered")
        return self._closed(await self._do(CancelOpen(self.new_query_id()), (await self.fees()).close()))

    async def begin_close(self) -> Done:
        """Announce the end: nothing new begins, and `finish_close` is possible after the dispute window."""
        return await self._do(BeginClose(self.new_query_id()), (await self.fees()).begin_close())

    async def finish_close(self) -> Done:
        """End the channel and take back what was not claimed. ClientError before its time, or with a job open."""
        state = await self.state()
        if state.binding is None:
            raise ClientError("the channel is still opening; use cancel_open after its deadline")
        if state.job_status == JobStatus.OPEN:
            raise ClientError(f"job {state.job_seq} has not ended; wait for its result first")
        end = state.binding.channel_end + state.binding.dispute_sec
        if state.status == EscrowStatus.CLOSING:
            end = min(end, state.deadline)
        await self._not_before(
            end, "the worker may still claim" if state.status == EscrowStatus.CLOSING else "begin_close first"
        )
        return self._closed(await self._do(FinishClose(self.new_query_id()), (await self.fees()).close()))

    async def sign_close(self, cumulative: int) -> bytes:
        """This client's half of a cooperative close, for the worker to add its own."""
        state = await self.state()
        if not state.claimed_nano <= cumulative <= state.deposit_nano:
            raise ClientError(
                f"a close pays the worker between {format_ton(state.claimed_nano)} (claimed) and "
                f"{format_ton(state.deposit_nano)} (deposit) in all, not {format_ton(cumulative)}"
            )
        return sign(self._key, close_statement(await self.signed(), cumulative_nano=cumulative))

    async def close_cooperative(self, cumulative: int, worker_signature: bytes) -> Done:
        """End the channel at once, the worker having agreed to `cumulative` in all."""
        binding, signed = await self.binding(), await self.signed()
        mine = await self.sign_close(cumulative)
        verify_close(worker_signature, key=binding.keys.session_key, channel=signed, cumulative_nano=cumulative)
        body = CloseCooperative(self.new_query_id(), cumulative, mine, Signature(worker_signature))
        return self._closed(await self._do(body, (await self.fees()).close()))

    # ---- sending ----

    @staticmethod
    def new_query_id() -> int:
        return secrets.randbits(64)

    async def send(self, body: Struct, value: int) -> ChainTransaction:
        """Send a message to the escrow from the client's wallet; the wallet's transaction."""
        return await self.wallet.send(self.chain, self.address, value, body.to_cell())

    async def _do(self, body: Struct, value: int) -> Done:
        caused = await trace(self.chain, await self.send(body, value))
        answered = next((item for item in caused if item.account == self.address), None)
        if answered is None or not succeeded(answered):
            code = None if answered is None else answered.exit_code
            raise ClientError(f"the escrow refused {type(body).__name__} with exit code {code} (see docs/errors.md)")
        received = paid(caused, self.client_address, PaymentReason.REFUND, sender=self.address)
        return Done(tuple(caused), received)

    async def _not_before(self, when: int, why: str) -> None:
        now = await self.chain.time()
        if now < when:
            raise ClientError(f"too early by {when - now} s: {why}")

    def _closed(self, done: Done) -> Done:
        self.store.forget_channel(self.address)
        return done
