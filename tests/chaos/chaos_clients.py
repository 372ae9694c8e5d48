"""Clients of the chaos run: each asks, leaves, vanishes and comes back as its dice say, and checks all that it gets."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from chaos_chain import View
from chaos_kernel import MODEL
from chaos_workers import PRICES, QUANTUM, Host
from pytoniq_core import Address

from cocoon.client import Client
from cocoon.client.channel import Channel
from cocoon.client.incoming import Incoming
from cocoon.client.stream import Delta, FastChannel, StreamError, StreamLied, StreamRefused, StreamStalled
from cocoon.crypto.usage import Usage
from cocoon.errors import ChainError, ClientError
from cocoon.stream.frames import End
from cocoon.wire.escrow import SignedReceipt

__all__ = ["Customer", "Line", "Meter"]

_PATIENCE_SEC = 1.0
_DOWN_SEC = 0.3
_PROMPT = 1_000_000  # nanoTON a word, and
_ANSWER = 2_000_000
_LIES_FORGIVEN = 2
_FOR_GOOD = frozenset({"history", "deposit", "not_active", "channel_end", "key_replaced", "no_channel", "epoch"})


class Meter:
    """What arrived and could be read, by escrow, counted apart from the library's own books."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.received: defaultdict[Address, int] = defaultdict(int)
        chunk, end = Incoming.chunk, Incoming.end
        begun: dict[int, Incoming] = {}  # kept, so that no two have one id

        def begin(incoming: Incoming) -> None:
            if id(incoming) not in begun:
                begun[id(incoming)] = incoming
                self.received[incoming._channel.escrow] += _PROMPT * incoming._prompt

        def counting_chunk(incoming: Incoming, sealed: bytes) -> tuple[str, int]:
            text, tokens = chunk(incoming, sealed)
            begin(incoming)
            assert tokens == len(text.split())
            self.received[incoming._channel.escrow] += _ANSWER * tokens
            return text, tokens

        def counting_end(incoming: Incoming, frame: End) -> tuple[dict[str, Any], Usage, SignedReceipt]:
            """Of an answer taken back before its first word, the prompt was read."""
            found = end(incoming, frame)
            begin(incoming)
            return found

        monkeypatch.setattr(Incoming, "chunk", counting_chunk)
        monkeypatch.setattr(Incoming, "end", counting_end)


@dataclass
class Line:
    """One channel to one worker. `over`: not used any more, and why."""

    channel: Channel
    host: Host
    epoch: int
    deposit: int
    fast: FastChannel | None = None
    lies: int = 0
    over: str = ""


@dataclass
class Customer:
    """evidence: pairs of receipts that show a fault. done: answers that came whole and were right."""

    number: int
    client: Client
    view: View
    meter: Meter
    dice: random.Random
    lines: list[Line] = field(default_factory=list)
    done: int = 0
    ends: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    evidence: list[tuple[Line, SignedReceipt, SignedReceipt]] = field(default_factory=list)

    async def open(self, host: Host, deposit: int) -> None:
        channel = await self.client.open(
            host.index, deposit=deposit, model_id=MODEL, term=20 * 86400, max_prices=PRICES
        )
        self.lines.append(Line(channel, host, (await channel.state()).epoch, deposit))

    async def live(self, until: int) -> None:
        """Until that time of the chain, or no channel is left."""
        habits = [self._ask] * 3 + [self._ask_at_once] * 3 + [self._leave, self._lose_the_line, self._crash]
        if self.number % 4 == 3:
            habits += [self._stop_paying] * 3
        while self.view.now < until and (usable := [line for line in self.lines if not line.over]):
            line, habit = self.dice.choice(usable), self.dice.choice(habits)
            try:
                await habit(line)
                await self._after(line)
            except (ClientError, ChainError) as error:
                self._met(line, error)
            self.check(line)
            await asyncio.sleep(self.dice.uniform(0, 0.2))

    async def leave(self, *, politely: bool) -> None:
        """politely: pay what is owed and hang up."""
        for line in self.lines:
            if line.fast is not None and politely:
                await line.fast.close()
            elif line.fast is not None:
                await _abandon(line.fast)
            line.fast = None

    def check(self, line: Line) -> None:
        """Nothing is promised that is more than a quantum beyond what arrived, and nothing above the deposit."""
        promised = self.client.store.voucher_nano(line.channel.address, line.epoch)
        received = self.meter.received[line.channel.address]
        assert promised <= received + QUANTUM

    # ---- habits ----

    async def _ask(self, line: Line) -> None:
        await self._answer(await self._connected(line))

    async def _ask_at_once(self, line: Line) -> None:
        fast = await self._connected(line)
        for found in await asyncio.gather(*(self._answer(fast) for _ in range(3)), return_exceptions=True):
            if isinstance(found, ClientError | ChainError):
                self._met(line, found)
            elif found is not None:
                raise found

    async def _leave(self, line: Line) -> None:
        """Has enough of an answer after its first words."""
        stream = (await self._connected(line)).stream({"prompt": self._prompt()}, max_fee=QUANTUM)
        async with contextlib.aclosing(stream):
            await anext(stream)

    async def _lose_the_line(self, line: Line) -> None:
        """The connection breaks in mid-stream; what arrived is remembered."""
        await self._break(line, politely=True)

    async def _crash(self, line: Line) -> None:
        """The process ends in mid-stream: what was not stored is forgotten."""
        await self._break(line, politely=False)

    async def _stop_paying(self, line: Line) -> None:
        """Asks for much, signs one voucher, takes what it can get for that, and is gone."""
        fast = await self._connected(line)
        fast._patience = 2 * _PATIENCE_SEC  # the worker's ends first
        sign, signed = fast._purse._promise, False

        async def once(cumulative: int) -> None:
            nonlocal signed
            if not signed:
                signed = True
                await sign(cumulative)

        fast._purse._promise = once  # type: ignore[method-assign]
        line.fast = None
        try:
            await self._answer(fast, 400)  # above quantum and credit, its prompt well below a quantum
        finally:
            await _abandon(fast)

    async def _break(self, line: Line, *, politely: bool) -> None:
        fast = await self._connected(line)
        stream = fast.stream({"prompt": self._prompt()}, max_fee=QUANTUM)
        async with contextlib.aclosing(stream):
            await anext(stream)
            _cut(fast)
            line.fast = None
            if politely:
                await fast.close()
            else:
                await _abandon(fast)

    async def _answer(self, fast: FastChannel, words: int | None = None) -> None:
        prompt, text = self._prompt(words), ""
        right = " ".join(prompt.split()[::-1])
        most = QUANTUM if words is None else 3 * QUANTUM
        async for found in fast.stream({"prompt": prompt, "max_tokens": 1000}, max_fee=most):
            assert fast.ledger.promised <= self.meter.received[fast.signed.escrow] + QUANTUM
            if isinstance(found, Delta):
                text += found.text
                assert right.startswith(text)
            else:
                assert found.body["text"] == text == right
                assert found.fee_nano == (_PROMPT + _ANSWER) * len(prompt.split())
                self.done += 1

    def _prompt(self, words: int | None = None) -> str:
        return " ".join(f"w{self.dice.randrange(1000)}" for _ in range(words or self.dice.randint(10, 150)))

    # ---- what comes of it ----

    async def _connected(self, line: Line) -> FastChannel:
        if line.fast is None:
            if line.host.url is None:
                await asyncio.sleep(_DOWN_SEC)
                raise StreamStalled("the worker is down")
            line.fast = await FastChannel.connect(
                line.channel, line.host.url, quantum_nano=QUANTUM, patience_sec=_PATIENCE_SEC
            )
        return line.fast

    async def _after(self, line: Line) -> None:
        if line.fast is not None and not line.fast.alive:
            await line.fast.close()
            line.fast = None

    def _met(self, line: Line, error: ClientError | ChainError) -> None:
        name = error.reason if isinstance(error, StreamRefused) else type(error).__name__
        self.ends[name] += 1
        if isinstance(error, StreamRefused) and error.reason in _FOR_GOOD:
            line.over = error.reason
        if isinstance(error, StreamLied):
            line.lies += 1
            if len(error.receipts) == 2:
                self.evidence.append((line, *error.receipts))
                line.over = "two receipts"
            elif line.lies > _LIES_FORGIVEN:
                line.over = "lies"
        elif not isinstance(error, StreamError | ChainError):
            raise error


def _cut(fast: FastChannel) -> None:
    response = fast._opened.socket._response
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()


async def _abandon(fast: FastChannel) -> None:
    """Nothing more is sent, paid or stored."""
    for task in fast._tasks:
        task.cancel()
    await asyncio.gather(*fast._tasks, return_exceptions=True)
    _cut(fast)
    await fast._opened.http.close()
