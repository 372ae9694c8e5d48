"""One connection of one client: its frames in, its streams' frames out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from ..crypto import statements
from ..errors import ChainError
from ..signer.errors import SignerError
from ..stream.errors import FrameMalformed
from ..stream.frames import (
    AskClose,
    AskReceipts,
    Cancel,
    CloseSigned,
    End,
    Fail,
    Frame,
    FrameType,
    Receipts,
    Request,
    Voucher,
    pack_reason,
)
from ..stream.session import Session
from .answering import Answering, Desk
from .channels import ServedChannel
from .errors import JournalError, StreamRejected
from .vouchers import CountedReceipt

__all__ = ["ServedSession"]

_log = logging.getLogger(__name__)
_IN_TROUBLE = pack_reason("worker_failed", "the worker is in trouble; try another one")
_RECEIPTS_PER_FRAME = 512


class ServedSession:
    """Serves an opened connection until it ends. Streams end with it: nobody is there to read or pay for them."""

    def __init__(
        self,
        desk: Desk,
        channel: ServedChannel,
        session: Session,
        socket: web.WebSocketResponse,
        *,
        look_again: Callable[[], Awaitable[None]],
        may_begin: Callable[[int], None],
    ) -> None:
        """look_again: reads the channel from the chain. may_begin: raises StreamRejected where no more streams, given
        how many this session has, are taken.
        """
        self._desk, self._channel, self._session, self._socket = desk, channel, session, socket
        self._look_again, self._may_begin = look_again, may_begin
        self._running: dict[int, Answering] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen = 0  # greatest stream number so far
        self._ends: dict[int, End | None] = {}  # by their place in the chain; None until on the disk

    @property
    def under_way(self) -> tuple[asyncio.Task[None], ...]:
        """Answers, to their last frame."""
        return tuple(self._tasks)

    async def serve(self) -> None:
        """Until the client is gone. Raises a JournalError; everything else ends the connection only."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._listen(tasks)
                for task in self._tasks:
                    task.cancel()
        except BaseExceptionGroup as group:
            broken = group.subgroup(JournalError)
            if broken is None:
                raise
            raise broken.exceptions[0] from group

    async def send(self, frame: Frame) -> None:
        if not self._socket.closed:
            with contextlib.suppress(ConnectionError):  # the listening side notices
                await self._socket.send_bytes(self._session.seal(frame))

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        try:
            async for message in self._socket:
                if message.type != WSMsgType.BINARY:
                    break
                await self._take(tasks, *self._session.open(message.data))
        except (FrameMalformed, StreamRejected, ChainError, SignerError) as error:
            _log.info("ended a connection: %s", error)
            reason = error.reason if isinstance(error, StreamRejected) else "protocol"
            await self.send(Fail(0, pack_reason(reason, str(error))))
        finally:
            await self._socket.close()

    async def _take(self, tasks: asyncio.TaskGroup, kind: FrameType, body: bytes) -> None:
        match kind:
            case FrameType.REQUEST:
                request = Request.decode(body)
                if request.stream <= self._seen:
                    raise FrameMalformed("a stream's number was used before")
                self._seen = request.stream
                task = tasks.create_task(self._answer(request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case FrameType.VOUCHER:
                await self._channel.take(Voucher.decode(body), self._look_again)
            case FrameType.CANCEL:
                found = self._running.get(Cancel.decode(body).stream)
                if found is not None:
                    found.cancel()
            case FrameType.ASK_RECEIPTS:
                await self._tell_receipts(AskReceipts.decode(body).first)
            case FrameType.ASK_CLOSE:
                await self._agree(AskClose.decode(body).cumulative)
            case _:
                raise FrameMalformed(f"a client does not send {kind.name}")

    async def _answer(self, request: Request) -> None:
        stream, entry = request.stream, self._channel.new_entry()
        try:
            if self._channel.record.closing:
                raise StreamRejected("not_active", "the channel's end is agreed on; open another one")
            self._may_begin(len(self._running))
            answering = Answering(self._desk, self._channel, stream, entry, request.rest, self.send)
            self._running[stream] = answering
            done = await answering.run()
            if done is None:
                raise StreamRejected("cancelled", "the client took the request back")
            await self._end(*done)
        except StreamRejected as error:
            await self.send(Fail(stream, pack_reason(error.reason, str(error))))
        except (ChainError, SignerError) as error:
            _log.warning("a stream failed: %s", error)
            await self.send(Fail(stream, _IN_TROUBLE))
        except (ConnectionError, JournalError):
            raise  # the connection's end, and the agent's
        except Exception:  # noqa: BLE001 - a fault of ours, found by one request, must not end the streams beside it
            _log.exception("a stream failed")
            await self.send(Fail(stream, _IN_TROUBLE))
        finally:
            self._running.pop(stream, None)
            self._channel.drop(entry)

    async def _end(self, end: End, counted: CountedReceipt) -> None:
        """Receipts leave once they are on the disk, in the order in which they were counted."""
        self._ends[counted.number] = None
        await self._channel.save(counted)
        self._ends[counted.number] = end
        while self._ends and (ready := self._ends[min(self._ends)]) is not None:
            del self._ends[min(self._ends)]
            await self.send(ready)

    async def _tell_receipts(self, first: int) -> None:
        found = await self._channel.receipts(first, _RECEIPTS_PER_FRAME)
        packed = [item.receipt + item.key_epoch.to_bytes(4, "big") + item.signature for item in found]
        await self.send(Receipts(first, b"".join(packed)))

    async def _agree(self, cumulative: int) -> None:
        """Agrees to end the channel for what was earned or promised, whichever is less; serves nothing in it after."""
        record, ledger = self._channel.record, self._channel.ledger
        least = min(ledger.earned, record.cumulative)
        if self._running:
            raise StreamRejected("busy", "answers are under way in this channel; wait for them, or cancel them")
        if cumulative < least:
            raise StreamRejected("voucher", f"the worker wants {least} nanoTON for what it did")
        record.closing = True
        await self._channel.save()
        statement = statements.close(self._channel.signed, cumulative_nano=cumulative)
        await self.send(CloseSigned(cumulative, await self._desk.signer.sign_close(statement)))
