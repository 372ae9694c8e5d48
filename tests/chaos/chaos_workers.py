"""Workers of the chaos run: the real agent each, killed and started again, and what the bad ones do to their frames."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from agent_world import LocalSigner
from chaos_chain import View
from chaos_kernel import MODEL, PacedKernel
from pytoniq_core import Address
from simulated_network import SIMULATION

from cocoon.agent.agent import Agent, Pace, Streaming
from cocoon.agent.channels import ServedChannel
from cocoon.agent.compute import Limits
from cocoon.agent.errors import JournalError
from cocoon.agent.journal import Journal
from cocoon.agent.platform import Platform
from cocoon.agent.serving import StreamSettings
from cocoon.agent.sessions import ServedSession
from cocoon.agent.upkeep import Offer
from cocoon.agent.vouchers import ChannelRecord, VoucherBook
from cocoon.chain.wallet import Wallet
from cocoon.crypto.ed25519 import sign
from cocoon.deployment import Deployment
from cocoon.signer.keys import SignerKeys
from cocoon.signer.table import Signed, SignedTable, Slot, Statement
from cocoon.stream.frames import Accepted, Chunk, End, Frame
from cocoon.stream.receipts import pack_receipt, unpack_receipt
from cocoon.wire.common import ModelTerms
from cocoon.wire.escrow import Receipt, SignedReceipt

__all__ = ["PRICES", "QUANTUM", "Host", "Lie", "install"]

TON = 10**9
PRICES = ModelTerms(10**12, 0, 2 * 10**12, floor_fee_nano=10_000, min_duration_sec=30)  # 1 and 2 million per word
QUANTUM = TON // 2
_DOWN_SEC = 0.2
_LIE_SHARE = 0.2

type Lie = Callable[[ServedSession, Host, Frame], list[Frame]]


class Forgetful(SignedTable):
    """A signer that signs whatever it is given, again and again."""

    def recall(self, slot: Slot, statement: Statement) -> Signed | None:
        return None


class MortalBook(VoucherBook):
    """Nothing reaches the disk once `dead`, as in a process that was killed."""

    dead = False

    def _write(self, rows: list[tuple[object, ...]], receipts: list[tuple[object, ...]]) -> None:
        if self.dead:
            raise JournalError("this process was killed")
        super()._write(rows, receipts)


@dataclass
class Host:
    """One worker. lies: what it does to streams, one kind for each it lies in. doubles: signs numbers twice."""

    index: int
    chain: View
    deployment: Deployment
    wallet: Wallet
    payout: Address
    directory: Path
    dice: random.Random
    lies: tuple[Lie, ...] = ()
    doubles: bool = False
    kernel: PacedKernel = field(default_factory=PacedKernel)
    kills: int = 0
    told: list[str] = field(default_factory=list)  # lies, by name
    receipts: list[SignedReceipt] = field(default_factory=list)  # everything that left with its signature

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.keys = SignerKeys(Forgetful() if self.doubles else None)
        self.signer = LocalSigner(self.keys)
        self._platform = Platform(
            SIMULATION.source(self.chain.now, allow_simulated_tee=True), SIMULATION.publisher(allow_simulated_tee=True)
        )
        self.agent: Agent | None = None
        self._book: MortalBook | None = None
        self._task: asyncio.Task[None] | None = None
        self._lying: dict[tuple[int, int], Lie] = {}
        self._last_seq: dict[int, int] = {}

    @property
    def address(self) -> Address:
        return self.deployment.worker(self.index)

    @property
    def url(self) -> str | None:
        """None while it is down."""
        server = None if self.agent is None else self.agent.server
        return None if server is None or not server.ready.is_set() else f"http://127.0.0.1:{server.port}"

    def start(self) -> None:
        self._book = MortalBook(self.directory / "vouchers.sqlite")
        self.agent = Agent(
            chain=self.chain,
            wallet=self.wallet,
            signer=self.signer,
            journal=Journal(self.directory / "journal.sqlite"),
            kernel=self.kernel,
            registry=self.deployment.registry,
            worker_index=self.index,
            offer=Offer(2, {MODEL: PRICES}),
            platform=self._platform,
            limits=Limits(reserve_sec=5),
            pace=Pace(first_pause=0.05, longest_pause=0.2),
            streaming=Streaming(
                self._book,
                "127.0.0.1:0",
                StreamSettings(credit_nano=QUANTUM, patience_sec=1.0, look_sec=0.5, idle_sec=0.5),
            ),
        )
        self._task = asyncio.create_task(self.agent.run())

    async def kill(self) -> None:
        """From one moment to the next nothing leaves, and nothing reaches the disk."""
        assert self.agent is not None
        assert self._book is not None
        assert self._task is not None
        self._book.dead = True
        if self.agent.server is not None:
            for socket in self.agent.server._sockets.values():
                if socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.agent.journal.close()
        self._book.close()
        self.agent = None

    async def restart(self) -> None:
        self.kills += 1
        await self.kill()
        await asyncio.sleep(_DOWN_SEC)
        self.start()

    @property
    def failure(self) -> BaseException | None:
        """Why the agent ended, if it did."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def record(self, escrow: Address, epoch: int) -> ChannelRecord:
        """What it has on the disk, dead or alive."""
        if self.agent is not None:
            assert self._book is not None
            return await self._book.load(escrow, epoch)
        with contextlib.closing(VoucherBook(self.directory / "vouchers.sqlite")) as book:
            return await book.load(escrow, epoch)

    # ---- lies ----

    def said(self, session: ServedSession, frame: Frame) -> list[Frame]:
        """What leaves instead of `frame`."""
        if isinstance(frame, Accepted) and self.lies and self.dice.random() < _LIE_SHARE:
            self._lying[id(session), frame.stream] = self.dice.choice(self.lies)
        lie = self._lying.get((id(session), getattr(frame, "stream", 0)))
        if lie is None:
            return [frame]
        if isinstance(frame, End):
            self.told.append(lie.__name__)
        return lie(session, self, frame)

    def number(self, channel: ServedChannel, seq: int) -> int:
        """The number a stream gets instead of `seq`."""
        last = self._last_seq.get(id(channel))
        if self.doubles and last is not None and self.dice.random() < _LIE_SHARE:
            self.told.append("double")
            return last
        self._last_seq[id(channel)] = seq
        return seq


def install(monkeypatch: pytest.MonkeyPatch, hosts: list[Host]) -> None:
    """Puts the hosts' lies between the agents and the wire, and notes every signature that leaves."""
    by_signer = {id(host.signer): host for host in hosts}
    by_worker = {host.address: host for host in hosts}
    send, take_seq = ServedSession.send, ServedChannel.take_seq

    async def lying_send(self: ServedSession, frame: Frame) -> None:
        host = by_signer[id(self._desk.signer)]
        for changed in host.said(self, frame):
            if isinstance(changed, End):
                receipt = unpack_receipt(changed.receipt, self._channel.signed)
                host.receipts.append(SignedReceipt(receipt, changed.signature))
            await send(self, changed)

    async def lying_take_seq(self: ServedChannel, stream: int) -> int:
        seq = await take_seq(self, stream)
        return by_worker[self.proven.state.identity.worker].number(self, seq)

    monkeypatch.setattr(ServedSession, "send", lying_send)
    monkeypatch.setattr(ServedChannel, "take_seq", lying_take_seq)


def wrong_chunk(_session: ServedSession, _host: Host, frame: Frame) -> list[Frame]:
    return [Chunk(frame.stream, bytes([frame.rest[0] ^ 1]) + frame.rest[1:])] if isinstance(frame, Chunk) else [frame]


def truncated(_session: ServedSession, _host: Host, frame: Frame) -> list[Frame]:
    """The end comes, but nothing before it."""
    return [] if isinstance(frame, Chunk) else [frame]


def overcharge(session: ServedSession, host: Host, frame: Frame) -> list[Frame]:
    return _resigned(session, host, frame, lambda receipt: replace(receipt, fee_nano=receipt.fee_nano + 1))


def wrong_usage(session: ServedSession, host: Host, frame: Frame) -> list[Frame]:
    def change(receipt: Receipt) -> Receipt:
        disclosure = receipt.outcome.disclosure
        other = replace(disclosure, usage_commitment=disclosure.usage_commitment ^ 1)
        return replace(receipt, outcome=replace(receipt.outcome, disclosure=other))

    return _resigned(session, host, frame, change)


def _resigned(session: ServedSession, host: Host, frame: Frame, change: Callable[[Receipt], Receipt]) -> list[Frame]:
    """Another receipt under the same number, really signed."""
    if not isinstance(frame, End):
        return [frame]
    receipt = change(unpack_receipt(frame.receipt, session._channel.signed))
    changes: dict[str, Any] = {"receipt": pack_receipt(receipt), "signature": sign(host.keys._session, receipt)}
    return [replace(frame, **changes)]
