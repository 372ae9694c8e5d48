"""Messages and their envelopes: the few fields a block needs of them."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell, CellError
from cocoon_sandbox.tlb.currency import ZERO, Currency

__all__ = ["EXTERNAL_IN", "EXTERNAL_OUT", "INTERNAL", "Address", "Message", "envelope", "read_address", "write_address"]

INTERNAL, EXTERNAL_IN, EXTERNAL_OUT = "internal", "external in", "external out"

type Address = tuple[int, int]
"""Workchain and account id (the 256-bit hash part as an integer)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `forward_fee` is what is left of it when the message sets out; external messages have no value.

    The field that was the IHR fee is a set of flags since TVM 12, so it isn't money and isn't kept here.
    """

    cell: Cell
    kind: str
    source: Address | None
    destination: Address | None
    value: Currency
    forward_fee: int
    created_lt: int

    @property
    def hash(self) -> bytes:
        return self.cell.hash

    @property
    def carried(self) -> Currency:
        """Everything an internal message takes along: its value and what is left of its forward fee."""
        return self.value + Currency(self.forward_fee)

    @staticmethod
    def read(cell: Cell) -> Message:
        """Parse CommonMsgInfo of a message cell."""
        source = Slice(cell)
        if not source.bit():
            source.uint(3)
            sender, receiver = read_address(source), read_address(source)
            value = Currency.read(source)
            source.coins()
            forward_fee = source.coins()
            return Message(cell, INTERNAL, sender, receiver, value, forward_fee, source.uint(64))
        if not source.bit():
            sender, receiver = read_address(source), read_address(source)
            return Message(cell, EXTERNAL_IN, sender, receiver, ZERO, 0, 0)
        sender, receiver = read_address(source), read_address(source)
        return Message(cell, EXTERNAL_OUT, sender, receiver, ZERO, 0, source.uint(64))


def read_address(source: Slice) -> Address | None:
    """Read MsgAddress; None stands for addr_none and for addresses outside the network."""
    tag = source.uint(2)
    if tag == 0:
        return None
    if tag == 1:
        source.uint(source.uint(9))
        return None
    if tag == 3:
        raise CellError("addr_var addresses are not in use on the network")
    prefix = source.uint(source.uint(5)) if source.bit() else None
    if prefix is not None:
        raise CellError("anycast addresses are not supported on the network since TVM version 10")
    return source.sint(8), source.uint(256)


def write_address(builder: Builder, address: Address) -> Builder:
    """Append addr_std."""
    return builder.uint(0b100, 3).sint(address[0], 8).uint(address[1], 256)


def envelope(message: Message) -> Cell:
    """MsgEnvelope: within a shard the message is where it is going already, to another workchain it takes one hop."""
    assert message.source is not None
    assert message.destination is not None
    here = message.source[0] == message.destination[0]
    builder = Builder().uint(4, 4).uint(96 if here else 0, 8).uint(96, 8)
    return builder.coins(message.forward_fee).ref(message.cell).cell()
