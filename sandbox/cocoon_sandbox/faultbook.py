"""Faults by name: rules about messages and lies of the lite server, as the control channel sets and lists them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytoniq_core import Address

from cocoon_sandbox.blocks.faults import DELIVER, DROP, Fate, delay, repeat
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.executor import method_id
from cocoon_sandbox.inspection import parse_address
from cocoon_sandbox.liteserver.faults import Lie, forge_balance, forge_getter, forge_signatures, hide_account
from cocoon_sandbox.message import Message
from cocoon_sandbox.network import Network

__all__ = ["FaultBook"]


@dataclass(slots=True)
class _Rule:
    """One rule about messages; None matches anything. `left` is how many more messages it is applied to."""

    text: str
    fate: Fate
    external: bool
    to: Address | None = None
    source: Address | None = None
    opcode: int | None = None
    left: int | None = None

    def judge(self, message: Message) -> Fate | None:
        if self.left == 0 or (message.kind == "external-in") != self.external:
            return None
        if self.to is not None and message.dst != self.to:
            return None
        if self.source is not None and message.src != self.source:
            return None
        if self.opcode is not None and message.opcode != self.opcode:
            return None
        if self.left is not None:
            self.left -= 1
        return self.fate


@dataclass(slots=True)
class FaultBook:
    """The faults in force on `network`, and the commands that set them. The first rule that matches decides."""

    network: Network
    _rules: list[_Rule] = field(default_factory=list)
    _lies: list[tuple[str, Lie]] = field(default_factory=list)
    _order: str | None = None

    def add_message_rule(
        self,
        what: str,
        amount: int,
        *,
        external: bool,
        to: str | None,
        source: str | None,
        opcode: int | None,
        count: int | None,
    ) -> None:
        """`what` is drop, delay (by `amount` blocks) or repeat (`amount` times, external messages only)."""
        if what == "repeat" and not external:
            raise SandboxError("only external messages can be repeated: no chain delivers an internal one twice")
        fates = {"drop": DROP, "delay": delay(amount), "repeat": repeat(amount)}
        if what not in fates or amount < 1:
            raise SandboxError(f"a fault is drop, delay or repeat, by 1 or more; not {what} {amount}")
        conditions = [f"{what} {amount}" if what != "drop" else what, "external" if external else "internal"]
        conditions += [f"to {to}"] * (to is not None) + [f"from {source}"] * (source is not None)
        conditions += [f"op {opcode:#010x}"] if opcode is not None else []
        self._rules.append(
            _Rule(
                " ".join(conditions),
                fates[what],
                external,
                None if to is None else parse_address(to),
                None if source is None else parse_address(source),
                opcode,
                count,
            )
        )
        faults = self.network.message_faults
        faults.internal = faults.external = self._judge

    def _judge(self, message: Message) -> Fate:
        for rule in self._rules:
            fate = rule.judge(message)
            if fate is not None:
                return fate
        return DELIVER

    def set_order(self, order: str, seed: int) -> None:
        """Deliver the newest message first, or one at random."""
        chosen = random.Random(seed)
        if order == "newest":
            self.network.message_faults.order = _newest
        elif order == "random":
            self.network.message_faults.order = lambda messages: chosen.randrange(len(messages))
        else:
            raise SandboxError(f"an order is newest or random, not {order}")
        self._order = order

    def set_latency(self, seconds: float) -> None:
        """Have every answer of the lite server wait."""
        if not 0 <= seconds <= 3600:
            raise SandboxError(f"a latency lies between 0 and 3600 seconds, not {seconds}")
        self.network.server_faults.latency = seconds

    def set_lag(self, blocks: int) -> None:
        """Have the lite server show the chain that many blocks short."""
        if blocks < 0:
            raise SandboxError("a lag is a number of blocks, 0 or more")
        self.network.server_faults.lag = blocks

    def lie(self, about: str, address: str | None, value: int | None, method: str | None) -> None:
        """Have the lite server lie: hide an account, forge a balance, a get-method's result, or signatures."""
        subject = None if address is None else parse_address(address)
        if about == "signatures":
            made = forge_signatures()
        elif subject is None:
            raise SandboxError(f"name the account that the lite server is to lie about: {about} ADDRESS")
        elif about == "hide":
            made = hide_account(subject)
        elif about == "balance" and value is not None:
            made = forge_balance(subject, value)
        elif about == "getter" and method is not None:
            number = int(method) if method.isdecimal() else method_id(method)
            made = forge_getter(subject, number, value or 0)
        else:
            raise SandboxError("a lie is hide, balance, getter or signatures, with what it needs; see --help")
        parts = [about, address, method, None if value is None else str(value)]
        self._lies.append((" ".join(part for part in parts if part is not None), made))
        self.network.server_faults.lies = [lie for _, lie in self._lies]

    async def set_serving(self, serving: bool) -> None:
        """Stop or start the lite server; blocks go on."""
        if serving and not self.network.server.running:
            await self.network.start_liteserver()
        elif not serving:
            await self.network.stop_liteserver()

    async def clear(self) -> None:
        """End all faults. What was dropped stays lost."""
        messages, server = self.network.message_faults, self.network.server_faults
        messages.internal = messages.external = messages.order = None
        server.latency, server.lag, server.lies = 0.0, 0, []
        self._rules, self._lies, self._order = [], [], None
        await self.set_serving(True)

    def to_json(self) -> dict[str, Any]:
        """What is in force."""
        server = self.network.server_faults
        return {
            "messages": [{"rule": rule.text, "left": rule.left} for rule in self._rules],
            "order": self._order,
            "lies": [text for text, _ in self._lies],
            "latency_s": server.latency,
            "lag_blocks": server.lag,
            "serving": self.network.server.running,
        }


def _newest(messages: Sequence[Message]) -> int:
    return len(messages) - 1
