"""The worker's endpoint: clients connect with a WebSocket, prove whose channel they use, and are served."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import WSMsgType, web
from pytoniq_core import Address

from ..chain.base import Chain
from ..deployment import Deployment
from ..errors import ChainError, CocoonError
from ..signer.client import Signer
from ..stream.errors import StreamProtocolError
from ..stream.frames import (
    MAX_FRAME_BYTES,
    PATH,
    VERSION,
    Challenge,
    FrameType,
    Hello,
    Refusal,
    Welcome,
    pack_reason,
)
from ..stream.pricing import default_quantum
from ..stream.session import Session, hello_binding, open_hello, split, verify_hello
from .answering import Desk
from .channels import ProvenChannel, ServedChannel, read_channel
from .clock import SteadyClock
from .compute import Limits
from .errors import JournalError, SetupError, StreamRejected
from .kernel import StreamKernel
from .sessions import ServedSession
from .vouchers import VoucherBook

__all__ = ["StreamServer", "StreamSettings"]

_log = logging.getLogger(__name__)
_HELLO_SEC = 15.0
_HEARTBEAT_SEC = 20.0
_GOODBYE_SEC = 1.0  # for a client that may have vanished
_NONCE_BYTES = 32


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """credit_nano: how far work may run ahead of vouchers, per channel; 0 means what a long request costs. streams: at
    once in one channel; all_streams: in all. patience_sec: how long an answer waits for vouchers. look_sec: how often a
    channel in use is looked up on the chain. idle_sec: how long one without a connection is kept in memory. drain_sec:
    how long answers under way may take once the worker is told to stop.
    """

    credit_nano: int = 0
    streams: int = 64
    all_streams: int = 256
    connections: int = 1024
    patience_sec: float = 10.0
    look_sec: float = 30.0
    idle_sec: float = 300.0
    drain_sec: float = 60.0


class StreamServer:
    """Serves until cancelled. `port` is known once `ready` is set."""

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        book: VoucherBook,
        kernel: StreamKernel,
        deployment: Deployment,
        worker: Address,
        limits: Limits,
        *,
        listen: str,
        settings: StreamSettings,
    ) -> None:
        self._chain, self._signer, self._book = chain, signer, book
        self._deployment, self._worker = deployment, worker
        self._listen, self._settings = listen, settings
        self._desk = Desk(signer, kernel, limits, SteadyClock(chain).now, settings.patience_sec)
        self._channels: dict[tuple[Address, int], ServedChannel] = {}
        self._sockets: dict[tuple[Address, int], web.WebSocketResponse] = {}
        self._sessions: set[ServedSession] = set()
        self._connections = 0
        self._failed: asyncio.Future[None] | None = None
        self.ready = asyncio.Event()
        self.draining = False
        self.port = 0

    @property
    def running(self) -> int:
        """Answers under way."""
        return self._desk.running

    async def drain(self) -> None:
        """Takes no new streams, and returns when those under way have ended and are paid for, or it took too long."""
        self.draining = True
        try:
            async with asyncio.timeout(self._settings.drain_sec):
                while under_way := [task for session in self._sessions for task in session.under_way]:
                    await asyncio.wait(under_way)
                await asyncio.gather(*(self._last_voucher(key) for key in self._sockets))
        except TimeoutError:
            _log.warning("%d streams break off: they took longer than drain_sec", self.running)

    async def run(self) -> None:
        """Raises a JournalError when the book can't be relied on, SetupError when the address can't be had."""
        self._failed = asyncio.get_running_loop().create_future()
        application = web.Application()
        application.router.add_get(PATH, self._connect)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        host, _, port = self._listen.rpartition(":")
        try:
            site = web.TCPSite(runner, host or None, int(port))
            await site.start()
            addresses = runner.addresses
            self.port = int(addresses[0][1])
            self.ready.set()
            _log.info("serving streams at %s", addresses[0])
            forgetting = asyncio.create_task(self._forget_idle())
            try:
                await self._failed
            finally:
                forgetting.cancel()
        except (OSError, ValueError) as error:
            raise SetupError(f"can't listen at {self._listen!r}: {error}; set listen to host:port") from error
        finally:
            self.ready.clear()
            for socket in list(self._sockets.values()):
                await socket.close()
            await runner.cleanup()

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            max_msg_size=MAX_FRAME_BYTES, compress=False, heartbeat=_HEARTBEAT_SEC, timeout=_GOODBYE_SEC
        )
        await socket.prepare(request)
        if self._connections >= self._settings.connections:
            await self._refuse(socket, "busy", "too many connections; try another worker")
            return socket
        self._connections += 1
        try:
            await self._converse(socket)
        except StreamRejected as error:
            await self._refuse(socket, error.reason, str(error))
        except (StreamProtocolError, TimeoutError) as error:
            await self._refuse(socket, "protocol", str(error) or "the opening took too long")
        except JournalError as error:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
        except ChainError as error:
            _log.warning("can't look up a channel: %s", error)
            await self._refuse(socket, "worker_failed", "the worker has lost sight of the chain; try another one")
        except CocoonError as error:
            _log.warning("a connection failed: %s", error)
            await self._refuse(socket, "worker_failed", "the worker is in trouble; try another one")
        finally:
            self._connections -= 1
            await socket.close()
        return socket

    async def _converse(self, socket: web.WebSocketResponse) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        challenge = Challenge(VERSION, nonce)
        await socket.send_bytes(bytes([challenge.TYPE]) + challenge.encode())
        message = await socket.receive(_HELLO_SEC)
        if message.type != WSMsgType.BINARY:
            return
        kind, body = split(message.data)
        if kind != FrameType.HELLO:
            raise StreamRejected("protocol", "a connection begins with a hello")
        hello = Hello.decode(body)
        proven, session = await self._admit(hello, nonce)
        key = (proven.signed.escrow, proven.signed.epoch)
        earlier = self._sockets.get(key)
        if earlier is not None:
            await earlier.close()  # its client is here now
        channel = await self._channel(proven)
        channel.users += 1
        self._sockets[key] = socket
        try:
            await self._serve(channel, session, socket)
        finally:
            channel.left(asyncio.get_running_loop().time())
            if self._sockets.get(key) is socket:
                del self._sockets[key]
            await channel.save()  # what was made of answers that broke off

    async def _admit(self, hello: Hello, nonce: bytes) -> tuple[ProvenChannel, Session]:
        identity = await self._signer.identity()
        proven = await read_channel(self._chain, self._deployment, self._worker, hello.escrow, identity.session_key)
        channel = proven.signed
        if (hello.epoch, hello.key_epoch) != (channel.epoch, channel.key_epoch):
            raise StreamRejected("epoch", "the channel was opened or bound anew; look it up and connect again")
        verify_hello(hello, channel, proven.state.client_key, nonce)
        binding = hello_binding(channel, self._worker, nonce)
        return proven, open_hello(hello, channel, nonce, await self._signer.decrypt(binding, hello.rest))

    async def _channel(self, proven: ProvenChannel) -> ServedChannel:
        key = (proven.signed.escrow, proven.signed.epoch)
        known = self._channels.get(key)
        if known is None:
            record = await self._book.load(*key)
            credit = self._settings.credit_nano or default_quantum(proven.binding.terms)
            # another connection of the same client may have come first meanwhile
            known = self._channels.setdefault(key, ServedChannel(proven, record, self._book, credit))
        known.renew(proven)
        if known.record.closing:
            raise StreamRejected("not_active", "the channel's end is agreed on; open another one")
        return known

    async def _last_voucher(self, key: tuple[Address, int]) -> None:
        """Waits a little for a connected client to pay for the end of its last answer."""
        ledger = self._channels[key].ledger
        await self._channels[key].until(lambda: ledger.paid >= ledger.earned, self._settings.patience_sec)

    async def _forget_idle(self) -> None:
        """Channels nobody has used for a while leave the memory: the book has all of them."""
        idle = self._settings.idle_sec
        while True:
            await asyncio.sleep(idle / 4)
            now = asyncio.get_running_loop().time()
            for key, channel in list(self._channels.items()):
                if not channel.users and now - channel.left_at >= idle:
                    del self._channels[key]

    async def _serve(self, channel: ServedChannel, session: Session, socket: web.WebSocketResponse) -> None:
        async def look_again() -> None:
            identity = await self._signer.identity()
            escrow = channel.signed.escrow
            proven = await read_channel(self._chain, self._deployment, self._worker, escrow, identity.session_key)
            if proven.signed != channel.signed:
                raise StreamRejected("epoch", "the channel was opened or bound anew; connect again")
            channel.renew(proven)

        def may_begin(running: int) -> None:
            if self.draining:
                raise StreamRejected("draining", "the worker is about to stop; try another one")
            if running >= self._settings.streams or self._desk.running >= self._settings.all_streams:
                raise StreamRejected("busy", "too many answers are under way; wait, or try another worker")

        served = ServedSession(self._desk, channel, session, socket, look_again=look_again, may_begin=may_begin)
        await served.send(_welcome(channel, self._settings.streams))
        looking = asyncio.create_task(self._keep_looking(look_again, socket))
        self._sessions.add(served)
        try:
            await served.serve()
        finally:
            self._sessions.discard(served)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _keep_looking(self, look_again: Callable[[], Awaitable[None]], socket: web.WebSocketResponse) -> None:
        """Ends the connection once its channel is not what it was."""
        while True:
            await asyncio.sleep(self._settings.look_sec)
            try:
                await look_again()
            except StreamRejected as error:
                _log.info("ending a connection: %s", error)
                await socket.close()
                return
            except CocoonError as error:
                _log.warning("can't look at a channel now: %s", error)

    async def _refuse(self, socket: web.WebSocketResponse, reason: str, message: str) -> None:
        _log.info("refused a connection (%s): %s", reason, message)
        if not socket.closed:
            await socket.send_bytes(bytes([FrameType.REFUSAL]) + Refusal(pack_reason(reason, message)).encode())
            await socket.close()


def _welcome(channel: ServedChannel, streams: int) -> Welcome:
    record = channel.record
    return Welcome(
        record.cumulative,
        record.chain.to_bytes(32, "big"),
        record.key_epoch,
        record.signature or bytes(64),
        channel.ledger.earned,
        record.receipts,
        record.head.to_bytes(32, "big"),
        channel.ledger.credit,
        streams,
    )
