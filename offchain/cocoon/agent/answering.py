"""One streamed answer: from a sealed request to a signed receipt, never further than it is paid for."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..crypto import statements
from ..crypto.errors import PayloadMalformed, RequestUndecryptable
from ..crypto.request import Request, RequestBinding, parse_request
from ..crypto.response import ResponseKey, ResponseSealer
from ..crypto.usage import Usage
from ..kernels.engine.request import Metering
from ..kernels.errors import EngineBusy, OverBudget, PromptTooLong, RequestError
from ..signer.client import Signer
from ..signer.errors import AlreadySigned, SeqClosed
from ..stream.frames import Accepted, Chunk, End, Frame, Need
from ..stream.pieces import PieceDigest, pack_end, pack_piece
from ..stream.pricing import stream_price
from ..stream.receipts import pack_receipt
from ..wire.blob import blob_hash
from ..wire.common import Kind
from .channels import ServedChannel
from .compute import Limits
from .errors import StreamRejected
from .kernel import Began, Ended, Event, Piece, Run, StreamKernel
from .vouchers import CountedReceipt

__all__ = ["Answering", "Desk"]

_PER = 1_000_000
_SLICE = 32  # tokens allowed at a time
_FIRST_GUESS = 64  # tokens of a prompt beyond a third of its bytes
_PACE_SEC = 0.02  # between two chunks of one stream, for each that runs
_LONGEST_PACE_SEC = 0.1
_MOST_TOKENS = (1 << 31) - 1


@dataclass(slots=True)
class Desk:
    """What every stream of this worker shares. patience_sec: how long an answer waits for money."""

    signer: Signer
    kernel: StreamKernel
    limits: Limits
    clock: Callable[[], Awaitable[int]]
    patience_sec: float
    running: int = 0


class Answering:
    """Runs in one task. `cancel` ends the work with a receipt; cancelling the task ends it without."""

    def __init__(
        self,
        desk: Desk,
        channel: ServedChannel,
        stream: int,
        entry: int,
        ciphertext: bytes,
        send: Callable[[Frame], Awaitable[None]],
    ) -> None:
        """stream: its number on the wire. entry: its number in the channel\'s ledger."""
        self._desk, self._channel, self._send = desk, channel, send
        self._stream, self._entry, self._ciphertext = stream, entry, ciphertext
        self._digest = int.from_bytes(blob_hash(ciphertext), "big")
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._waking = False
        self._loop = asyncio.get_running_loop()
        self._run: Run | None = None
        self._cancelled = False
        self._began: Began | None = None
        self._text, self._held = "", 0  # not sent yet, and its tokens
        self._produced = self._allowed = 0
        self._sent_at = 0.0
        self._max_fee = 0

    def cancel(self) -> None:
        """The client wants no more."""
        self._cancelled = True
        if self._run is not None:
            self._run.cancel()
        self._wake.set()
        self._channel.notify()

    async def run(self) -> tuple[End, CountedReceipt] | None:
        """The last frame with what must be saved before it is sent; None where no work was done. StreamRejected."""
        self._desk.running += 1
        try:
            return await self._answer()
        finally:
            self._desk.running -= 1
            if self._run is not None:
                self._run.cancel()

    async def _answer(self) -> tuple[End, CountedReceipt] | None:
        ledger = self._channel.ledger
        if not await self._paid(lambda: ledger.prepaid > 0, ledger.reserved + 1):
            return None
        request = await self._open()
        body, self._max_fee = _read(request)
        most = self._tokens_asked(body)
        await self._start(body, most)
        seq = await self._channel.take_seq(self._entry)
        began = await self._until_began()
        if began is None:
            return None
        await self._channel.checkpoint()
        key = ResponseKey(request.secret, self._digest, Kind.STREAM_RECEIPT, seq)
        self._sealer = ResponseSealer(key)
        self._pieces = PieceDigest(self._sealer.salt)
        await self._send(Accepted(self._stream, seq, self._sealer.salt, began.prompt_tokens, began.cached_tokens))
        ended = await self._pump()
        return await self._finish(seq, ended)

    # ---- before the work ----

    async def _open(self) -> Request:
        binding = self._channel.proven.binding
        domain = self._channel.signed.domain(Kind.STREAM_RECEIPT)
        sealed_for = RequestBinding(domain, self._channel.proven.state.identity.worker, binding.model_id)
        try:
            return parse_request(await self._desk.signer.decrypt(sealed_for, self._ciphertext))
        except (RequestUndecryptable, PayloadMalformed) as error:
            raise StreamRejected("undecryptable", str(error)) from error

    def _tokens_asked(self, body: dict[str, Any]) -> int:
        if int.from_bytes(self._desk.kernel.model_id, "big") != self._channel.proven.binding.model_id:
            raise StreamRejected("unknown_model", "the channel is for a model this worker does not run")
        try:
            asked = self._desk.kernel.asked_tokens(body)
        except RequestError as error:
            raise StreamRejected("malformed", str(error)) from error
        limits = self._desk.limits
        return min(limits.default_tokens if asked is None else asked, limits.max_tokens)

    async def _start(self, body: dict[str, Any], most: int) -> None:
        """Begins once the prompt is paid for. How long it is only the kernel can tell, so the first try is a guess."""
        ledger, terms = self._channel.ledger, self._channel.terms
        guess = len(json.dumps(body)) // 3 + _FIRST_GUESS
        if terms.prompt_nano:
            guess = max(1, min(guess, ledger.prepaid * _PER // terms.prompt_nano))
        self._allowed = min(_SLICE, most)
        while True:
            prompt = min(self._price(guess, 0, 0), self._max_fee)
            first = min(self._price(guess, 0, self._allowed), self._max_fee) - prompt
            admit = partial(ledger.admit, self._entry, prompt, first)
            if not await self._paid(admit, ledger.reserved + max(1, prompt, prompt + first - ledger.credit)):
                raise StreamRejected("cancelled", "the client took the request back")
            metering = Metering(
                guess if terms.prompt_nano else _MOST_TOKENS,
                self._allowed,
                terms.prompt_nano,
                terms.completion_nano,
                self._max_fee * _PER,
            )
            owner = self._channel.signed.escrow.hash_part.hex()
            self._events.clear()
            start = partial(self._desk.kernel.start, body, metering, self._told, max_tokens=most, owner=owner)
            try:
                self._run = start() if self._desk.kernel.ready else await asyncio.to_thread(start)
            except Exception as error:
                raise _rejected(error) from error
            if self._cancelled:
                self._run.cancel()
            event = await self._event()
            if not isinstance(event, OverBudget):
                self._events.appendleft(event)
                return
            ledger.drop(self._entry)
            if not metering.pays_for(event.tokens, min(1, most)):
                raise StreamRejected("fee_too_low", f"{self._max_fee} nanoTON do not pay for the prompt and a token")
            guess = event.tokens

    async def _until_began(self) -> Began | None:
        event = await self._event()
        match event:
            case Began():
                ledger, self._began = self._channel.ledger, event
                ledger.adjust(self._entry, self._cost(self._allowed))
                ledger.meter(self._entry, self._cost(0))
                return event
            case Ended():
                return None
            case Exception():
                raise _rejected(event) from event
        raise StreamRejected("kernel_failed", "the kernel began with its answer")

    # ---- at work ----

    async def _pump(self) -> Ended:
        while True:
            event = await self._event() if self._events or not self._held else await self._soon()
            match event:
                case None:
                    await self._flush()
                case Piece():
                    self._text += event.text
                    self._held += 1
                    self._produced += 1
                    self._channel.ledger.meter(self._entry, self._cost(self._produced))
                    if self._produced > self._allowed - _SLICE // 2:
                        await self._extend()
                    if not self._events and time.monotonic() >= self._sent_at + self._pace:
                        await self._flush()
                case Ended():
                    await self._flush()
                    return event
                case Exception():
                    raise _rejected(event) from event

    async def _extend(self) -> None:
        """Allows more tokens if they are paid for; where none are left, waits for money."""
        await self._channel.checkpoint()
        ledger, wanted = self._channel.ledger, self._allowed + _SLICE
        cost = min(self._cost(wanted), self._max_fee)
        if not ledger.extend(self._entry, cost):
            if self._produced < self._allowed:
                return
            await self._flush()
            enough = ledger.reserved - self._reserved + cost - ledger.credit
            if not await self._paid(partial(ledger.extend, self._entry, cost), enough):
                return  # cancelled: its end is on the way
        self._allowed = wanted
        assert self._run is not None
        self._run.allow(wanted)

    async def _flush(self) -> None:
        if self._held:
            sealed = self._sealer.seal(pack_piece(self._text, self._held), last=False)
            self._text, self._held, self._sent_at = "", 0, time.monotonic()
            self._pieces.add(sealed)
            await self._send(Chunk(self._stream, sealed))

    async def _paid(self, holds: Callable[[], bool], enough: int) -> bool:
        """Waits for vouchers; tells the client how far they must go. False if it cancels; StreamRejected when patience
        ends. `holds` is not asked again once it has said yes.
        """
        if holds():
            return True
        await self._send(Need(self._stream, max(0, enough)))
        paid = False

        def settled() -> bool:
            nonlocal paid
            paid = not self._cancelled and holds()
            return paid or self._cancelled

        if not await self._channel.until(settled, self._desk.patience_sec):
            raise StreamRejected("unpaid", "the vouchers did not keep up with the work")
        return paid

    # ---- at the end ----

    async def _finish(self, seq: int, ended: Ended) -> tuple[End, CountedReceipt]:
        assert self._began is not None
        prompt, cached = self._began.prompt_tokens, self._began.cached_tokens
        usage = Usage(prompt - cached, cached, self._produced)
        last = self._sealer.seal(pack_end(ended.body, usage), last=True)
        self._pieces.add(last)
        binding = self._channel.proven.binding
        receipt = statements.receipt(
            self._channel.signed,
            Kind.STREAM_RECEIPT,
            seq=seq,
            fee_nano=min(self._cost(self._produced), self._max_fee),
            issued_at=await self._desk.clock(),
            request_digest=self._digest,
            response_digest=self._pieces.value,
            model_id=binding.model_id,
            usage=usage,
            measurement=binding.keys.measurement,
        )
        try:
            signature = await self._desk.signer.sign_stream_receipt(receipt)
        except (AlreadySigned, SeqClosed) as error:
            # the book was set back: the signer remembers better, and what it signed is never signed again
            self._channel.skip_seqs()
            raise StreamRejected("worker_failed", "the worker lost count of its receipts; ask again") from error
        counted = self._channel.count(self._entry, receipt, signature)
        return End(self._stream, counted.number + 1, pack_receipt(receipt), signature, last), counted

    # ---- money, events ----

    def _price(self, prompt: int, cached: int, completion: int) -> int:
        return stream_price(self._channel.terms, prompt, cached, completion)

    def _cost(self, completion: int) -> int:
        assert self._began is not None
        cached = self._began.cached_tokens
        return self._price(self._began.prompt_tokens - cached, cached, completion)

    @property
    def _reserved(self) -> int:
        return self._channel.ledger.reserved_for(self._entry)

    @property
    def _pace(self) -> float:
        """Seconds between chunks: tokens that go together tell an observer less, and cost less."""
        return min(_LONGEST_PACE_SEC, _PACE_SEC * self._desk.running)

    def _told(self, event: Event) -> None:
        """By any thread."""
        self._events.append(event)
        if not self._waking:
            self._waking = True
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._waking = False
        self._wake.set()

    async def _event(self) -> Event:
        while not self._events:
            self._wake.clear()
            if not self._events:
                await self._wake.wait()
        return self._events.popleft()

    async def _soon(self) -> Event | None:
        """The next event, or None when it is time to send what there is."""
        left = self._sent_at + self._pace - time.monotonic()
        if left <= 0:
            return None
        try:
            async with asyncio.timeout(left):
                return await self._event()
        except TimeoutError:
            return None


def _rejected(error: Exception) -> StreamRejected:
    """Why a kernel gives no answer, as the client is told: whether the request is at fault, or anything else."""
    match error:
        case PromptTooLong():
            return StreamRejected("too_long", str(error))
        case EngineBusy():
            return StreamRejected("busy", str(error))
        case RequestError():
            return StreamRejected("malformed", str(error))
    return StreamRejected("kernel_failed", "the kernel failed; try again, or another worker")


def _read(request: Request) -> tuple[dict[str, Any], int]:
    """(body, the most it may cost)."""
    match request.body:
        case {"request": dict(body), "max_fee_nano": int(most), **rest} if most > 0 and not rest:
            return body, most
    raise StreamRejected("malformed", "a stream's request holds `request` and `max_fee_nano`")
