"""The fast path from the client's side: answers that stream over a channel, paid for quantum by quantum.

Nothing of a stream is believed before it is verified, and nothing is paid more than
one quantum ahead of what was, however many streams share the channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from ..crypto.request import RequestBinding, seal_encoded
from ..crypto.statements import Channel as SignedChannel
from ..crypto.usage import Usage
from ..errors import CocoonError
from ..stream.asked import Asked
from ..stream.errors import FrameMalformed, StreamProtocolError
from ..stream.frames import (
    Accepted,
    AskClose,
    Cancel,
    Chunk,
    CloseSigned,
    End,
    Fail,
    FrameType,
    Need,
    Request,
    unpack_reason,
)
from ..stream.payer import Overcharged
from ..wire.blob import blob_hash
from ..wire.common import Kind
from ..wire.escrow import SignedReceipt
from .channel import Channel, Done
from .connecting import Opened, open_connection
from .evidence import Equivocated
from .incoming import Incoming, Lie
from .purse import Purse
from .streamed import StreamError, StreamLied, StreamRefused, StreamStalled

__all__ = ["Delta", "FastChannel", "Finished", "StreamError", "StreamLied", "StreamRefused", "StreamStalled"]

_FAREWELL_SEC = 5.0


@dataclass(frozen=True, slots=True)
class Delta:
    """Text that came, whole characters, and the tokens it took (text may be empty, tokens not). `cost_nano`: of the
    answer so far, its prompt included, as its receipt has to count it; 0 until there are tokens.
    """

    text: str
    tokens: int
    cost_nano: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The verified end of a stream. `body`: what a forced job's answer holds (`text`, `finish_reason`, `build`)."""

    finish_reason: str
    body: dict[str, Any] = field(repr=False)
    usage: Usage
    fee_nano: int
    receipt: SignedReceipt = field(repr=False)
    channel: SignedChannel


class FastChannel:
    """A connection to a worker over one channel. Streams may run at the same time."""

    def __init__(self, channel: Channel, opened: Opened, patience_sec: float) -> None:
        """See `connect`."""
        self._channel, self._opened, self._patience = channel, opened, patience_sec
        self.signed = opened.signed
        self.ledger = opened.ledger
        self._streams: dict[int, Incoming] = {}
        self._numbers = itertools.count(1)
        self._ended: StreamError | None = None
        self._idle = asyncio.Event()  # set when the last stream ends
        self._close_signed: asyncio.Future[CloseSigned] = asyncio.get_running_loop().create_future()
        self._purse = Purse(channel, opened)
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._pay())]

    @classmethod
    async def connect(
        cls, channel: Channel, endpoint: str, *, quantum_nano: int | None = None, patience_sec: float = 60.0
    ) -> Self:
        """Connect to `endpoint` (http://, https://, ws:// or wss://).

        quantum_nano: the most that is paid ahead; no prompt may cost more. None: what a long request costs.
        patience_sec: how long a worker may be silent in a stream. StreamRefused, StreamStalled, StreamLied.
        """
        return cls(channel, await open_connection(channel, endpoint, quantum_nano), patience_sec)

    @property
    def available_nano(self) -> int:
        """Deposit not yet promised to the worker."""
        return self.ledger.available

    @property
    def alive(self) -> bool:
        """False once the connection is gone; connect again then."""
        return self._ended is None

    @property
    def lied(self) -> StreamLied | None:
        """What the connection was given up for; nobody else may have heard of it, if the stream had been left."""
        return self._ended if isinstance(self._ended, StreamLied) else None

    def deposited(self, deposit_nano: int) -> None:
        """The chain shows a greater deposit, after a top-up: so much may be promised in all from now on."""
        self.ledger.deposit = max(self.ledger.deposit, deposit_nano)

    async def stream(self, body: dict[str, Any] | Asked, *, max_fee: int) -> AsyncGenerator[Delta | Finished, None]:
        """Ask; iterate over the answer, which ends with a Finished. Leaving the iterator early (aclose) ends the work
        and pays for what was made of it.

        PayloadMalformed or PayloadTooLarge, before anything is sent, for a body that no worker could be sent.
        """
        if self._ended is not None:
            raise self._ended
        if max_fee > self.available_nano:
            raise self._refused("deposit", f"{max_fee} nanoTON are more than the deposit has left; top up")
        opened = self._opened
        sealed_for = RequestBinding(
            self.signed.domain(Kind.STREAM_RECEIPT), self._channel.stored.worker, opened.binding.model_id
        )
        asked = body if isinstance(body, Asked) else Asked.of(body)
        ciphertext, secret = seal_encoded(asked.with_max_fee(max_fee), to=opened.hpke, binding=sealed_for)
        digest = int.from_bytes(blob_hash(ciphertext), "big")
        number = next(self._numbers)
        incoming = Incoming(digest, secret, max_fee, self.signed, opened.binding)
        self._streams[number] = incoming
        self._idle.clear()
        self.ledger.open(number, max_fee)
        self._purse.wake()
        await opened.send(Request(number, ciphertext))
        done = False
        try:
            while not done:
                found = await self._next(incoming)
                done = not isinstance(found, Delta)
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            if number in self._streams:
                with contextlib.suppress(StreamStalled):
                    await opened.send(Cancel(number))  # its receipt still comes, and is paid

    async def end_channel(self) -> Done:
        """Agree with the worker on what it gets, end the channel on the chain, and take back the rest at once."""
        state = await self._channel.state()
        cumulative = max(state.claimed_nano, self.ledger.verified)
        await self._opened.send(AskClose(cumulative))
        try:
            async with asyncio.timeout(self._patience):
                signed = await self._close_signed
        except TimeoutError as error:
            raise self._money(StreamStalled("the worker does not agree to end the channel; use begin_close")) from error
        return await self._channel.close_cooperative(signed.cumulative, signed.signature)

    async def close(self) -> None:
        """Settle and disconnect. The channel stays open on the chain."""
        # the connection may break at any moment; what arrived is stored all the same
        with contextlib.suppress(TimeoutError, StreamStalled):
            async with asyncio.timeout(_FAREWELL_SEC):
                if self._ended is None:
                    for number in list(self._streams):
                        await self._opened.send(Cancel(number))
                    if self._streams:
                        await self._idle.wait()
        if self._ended is None:
            with contextlib.suppress(StreamStalled):
                await self._purse.settle()
        self._end(StreamStalled("the connection was closed; connect again"))
        await self._opened.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._purse.save()

    # ---- one stream ----

    async def _next(self, incoming: Incoming) -> Delta | Finished | Exception:
        try:
            async with asyncio.timeout(self._patience):
                found: Delta | Finished | Exception = await incoming.out.get()
                return found
        except TimeoutError:
            return self._money(StreamStalled("the worker is silent; try the next one, or force the job (post_job)"))

    def _refused(self, reason: str, message: str) -> StreamRefused:
        return StreamRefused(reason, message, paid_nano=self.ledger.promised, verified_nano=self.ledger.verified)

    def _money[T: StreamError](self, error: T) -> T:
        error.paid_nano, error.verified_nano = self.ledger.promised, self.ledger.verified
        return error

    # ---- the connection ----

    async def _listen(self) -> None:
        try:
            async for kind, body in self._opened.frames():
                self._take(kind, body)
            self._end(StreamStalled("the worker hung up; try the next one, or force the job (post_job)"))
        except StreamError as error:
            self._end(error)
        except StreamProtocolError as error:
            self._end(StreamLied(f"the worker broke the protocol: {error}"))

    def _take(self, kind: FrameType, body: bytes) -> None:
        match kind:
            case FrameType.ACCEPTED:
                accepted = Accepted.decode(body)
                self._judge(accepted.stream, lambda incoming: incoming.accepted(accepted))
            case FrameType.CHUNK:
                self._chunk(Chunk.decode(body))
            case FrameType.END:
                self._finish(End.decode(body))
            case FrameType.NEED:
                self._need(Need.decode(body))
            case FrameType.FAIL:
                self._fail(Fail.decode(body))
            case FrameType.CLOSE_SIGNED:
                if not self._close_signed.done():
                    self._close_signed.set_result(CloseSigned.decode(body))
            case _:
                raise FrameMalformed(f"a worker does not send {kind.name}")

    def _judge[T](self, number: int, check: Callable[[Incoming], T]) -> T:
        """What `check` says of this stream. StreamLied if it does not hold: nothing more is paid on this connection."""
        incoming = self._streams.get(number)
        if incoming is None:
            raise FrameMalformed("a frame for a stream that does not run")
        try:
            return check(incoming)
        except (Lie, Overcharged) as error:
            self._forget(number)
            self.ledger.drop(number)
            lied = self._money(self._lied(error))
            incoming.out.put_nowait(lied)
            raise lied from error

    def _lied(self, error: Lie | Overcharged) -> StreamLied:
        signed = error.receipt if isinstance(error, Lie) else None
        if signed is not None and (evidence := self._purse.suspect(signed)) is not None:
            return Equivocated(self._channel, evidence)
        shown = () if signed is None else (signed,)
        return StreamLied(f"{error}; stop paying this worker and try the next one", receipts=shown)

    def _chunk(self, frame: Chunk) -> None:
        def check(incoming: Incoming) -> Delta:
            text, tokens = incoming.chunk(frame.rest)
            self.ledger.meter(frame.stream, incoming.cost)
            return Delta(text, tokens, incoming.cost)

        delta = self._judge(frame.stream, check)
        self._streams[frame.stream].out.put_nowait(delta)
        self._purse.wake()

    def _finish(self, frame: End) -> None:
        def check(incoming: Incoming) -> Finished:
            body, usage, signed = incoming.end(frame)
            if self._purse.receipt(signed.receipt.seq) is not None:
                raise Lie("the worker gave a number again", signed)
            if frame.receipts != self._purse.receipts + 1:
                raise Lie(f"the worker counts {frame.receipts} receipts, and this is number {self._purse.receipts + 1}")
            fee = signed.receipt.fee_nano
            self.ledger.settle(frame.stream, fee)
            return Finished(str(body.get("finish_reason", "")), body, usage, fee, signed, self.signed)

        finished = self._judge(frame.stream, check)
        self._purse.count(finished.receipt)
        incoming = self._forget(frame.stream)
        if incoming is not None:
            incoming.out.put_nowait(finished)
        self._purse.wake()

    def _need(self, frame: Need) -> None:
        incoming = self._streams.get(frame.stream)
        if incoming is None or frame.cumulative <= self.ledger.promised:
            return
        incoming.need = frame.cumulative
        stuck = all(found.need > self.ledger.target for found in self._streams.values())
        if stuck:
            what = "deposit" if frame.cumulative > self.ledger.deposit else "quantum"
            advice = "top up" if what == "deposit" else "connect with a greater quantum_nano"
            message = f"the worker wants vouchers of {frame.cumulative} nanoTON to go on; {advice}"
            incoming.out.put_nowait(self._refused(what, message))
            return
        self._purse.need = max(self._purse.need, frame.cumulative)
        self._purse.wake()

    def _fail(self, frame: Fail) -> None:
        reason, message = unpack_reason(frame.rest)
        incoming = self._forget(frame.stream)
        if incoming is None:
            raise self._refused(reason, message)
        self.ledger.drop(frame.stream)
        incoming.out.put_nowait(self._refused(reason, message))
        self._purse.wake()

    def _forget(self, number: int) -> Incoming | None:
        found = self._streams.pop(number, None)
        if not self._streams:
            self._idle.set()
        return found

    def _end(self, error: StreamError) -> None:
        """Nothing comes any more: what arrived counts, and every stream is told."""
        if self._ended is None:
            self._ended = self._money(error)
            silent = StreamStalled("the connection to the worker ended; try the next one, or force the job (post_job)")
            for number, incoming in self._streams.items():
                self.ledger.drop(number)
                incoming.out.put_nowait(error if isinstance(error, StreamRefused) else self._money(silent))
            self._streams.clear()
            self._idle.set()
            self._tasks[1].cancel()

    async def _pay(self) -> None:
        try:
            await self._purse.run()
        except StreamStalled as error:
            self._end(error)
        except CocoonError as error:  # the store can't be written: nothing more may be signed
            self._end(StreamRefused("store", str(error)))
            await self._opened.close()
