"""What really went from account to account in a flow, and the Mermaid diagram of it.

Names of messages and reasons come from `contracts/scheme.tlb`, gas and values from the executor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outcome import Outcome
from pytoniq_core import Address, Cell
from tlb import Named, Schema
from tlb_cells import CellMismatch, Codec, Record
from world import WorkerSide, World

from cocoon.wire.codec import read_body
from cocoon.wire.common import Payment
from cocoon_sandbox.message import Message
from cocoon_sandbox.transaction import Transaction

__all__ = ["Flow", "Recorder", "pascal"]

ROOT = Path(__file__).parents[2]
_SCHEMA = Schema.parse((ROOT / "contracts" / "scheme.tlb").read_text())
_CODEC = Codec(_SCHEMA)
_MESSAGES = {made.opcode: made for made in _SCHEMA.constructors.values() if made.opcode is not None}
_TELLING = ("reason", "outcome", "change")
_BLACK_HOLE = Address((0, bytes(32)))


@dataclass(frozen=True, slots=True)
class Flow:
    """`play` sends messages through the recorder; its docstring says what the flow shows."""

    title: str
    play: Callable[[Recorder], None]

    @property
    def text(self) -> str:
        return " ".join((self.play.__doc__ or "").split())


@dataclass
class Recorder:
    """Plays flows on `world` and writes down every message that was delivered."""

    world: World
    names: dict[Address, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    gas: int = 0

    def __post_init__(self) -> None:
        self.names |= {self.world.registry: "Registry", self.world.slashing: "Slashing", _BLACK_HOLE: "Burned"}

    def name(self, address: Address, name: str) -> None:
        self.names[address] = name

    def know(self, worker: WorkerSide) -> WorkerSide:
        """Name a worker's contract and its three parties."""
        self.names |= {worker.owner: "Owner", worker.operator: "Operator", worker.payout: "Payout"}
        self.names[worker.address] = "Worker"
        return worker

    def note(self, text: str) -> None:
        """A remark over everything seen so far."""
        first, last = self.seen[0], self.seen[-1]
        self.lines.append(f"Note over {first}{',' + last if first != last else ''}: {text}")

    def record(self, outcome: Outcome) -> Outcome:
        """Write down the message of a test's sender and all it caused, in the order of delivery."""
        for transaction in outcome.transactions:
            self.deliver(transaction)
        return outcome

    def diagram(self) -> str:
        shown = [f"participant {name}" for name in self.seen]
        return "\n".join(["sequenceDiagram", *(f"    {line}" for line in [*shown, *self.lines])])

    def deliver(self, transaction: Transaction) -> None:
        """Write down one delivery."""
        message = transaction.in_msg
        assert message is not None
        assert isinstance(message.src, Address)
        sender, receiver = self._party(message.src), self._party(transaction.account)
        arrow = "-->>" if message.bounced else "->>"
        self.lines.append(f"{sender}{arrow}{receiver}: {describe(message)}, {message.value / 1e9:.6f} TON")
        if transaction.compute_skipped is None:
            self.gas += transaction.gas_used
            ending = "" if transaction.success else f", exit {transaction.exit_code}"
            gone = ", account deleted" if transaction.status_after == "nonexist" else ""
            self.lines.append(f"Note right of {receiver}: {transaction.gas_used:,} gas{ending}{gone}")

    def _party(self, address: Address) -> str:
        name = self.names.get(address, "Anyone")
        if name not in self.seen:
            self.seen.append(name)
        return name


def describe(message: Message) -> str:
    """The message's name, and what it chiefly says."""
    if message.bounced:
        return "bounced"
    payment = read_body(message.body, Payment)
    if payment is not None:
        return f'Payment "{payment.reason}"'
    made = None if message.opcode is None else _MESSAGES.get(message.opcode)
    if made is None:
        return "empty message"
    init = "StateInit + " if message.state_init is not None else ""
    return f"{init}{pascal(made.name)}{_said(made.result, message.body)}"


def pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _said(kind: str, body: Cell) -> str:
    """` {reason}` for messages with a field that tells how it went."""
    try:
        record: Any = _CODEC.decode(Named(kind), body)
    except CellMismatch:
        return " {malformed}"
    for name, inner in _SCHEMA.constructors[record.constructor].fields:
        value = record.fields[name]
        if name not in _TELLING:
            continue
        if isinstance(value, Record):
            return f" {{{pascal(value.constructor)}}}"
        ways = _SCHEMA.types[str(inner)]
        return f" {{{next(pascal(w.name.removeprefix(_prefix(str(inner)))) for w in ways if int(w.tag, 2) == value)}}}"
    return ""


def _prefix(kind: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).strip("_") + "_"
