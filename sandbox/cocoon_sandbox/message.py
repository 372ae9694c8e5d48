"""Messages: a read-only view of a `Message` cell, and the two kinds that a test or a client makes.

Amounts are nanoTON.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pytoniq_core import Address, Builder, Cell, Slice
from pytoniq_core.boc.address import ExternalAddress

from .errors import BadCell

__all__ = ["Message", "build_external", "build_internal", "format_address", "format_ton", "state_init"]

Kind = Literal["internal", "external-in", "external-out"]
NANO = 1_000_000_000


def format_ton(nano: int) -> str:
    """`1.5 TON`: as few digits as are exact."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    fraction = f"{nano % NANO:09}".rstrip("0")
    return f"{sign}{nano // NANO}{'.' + fraction if fraction else ''} TON"


def format_address(address: Address | ExternalAddress | None) -> str:
    """`0:1a2b3c..`: enough to recognize an account in a listing."""
    if address is None:
        return "-"
    if isinstance(address, ExternalAddress):
        return f"ext:{address.external_address or 0:x}"
    return f"{address.wc}:{address.hash_part.hex()[:8]}"


def state_init(code: Cell, data: Cell) -> Cell:
    """A `StateInit` with code and data; its hash is the address of the contract it deploys."""
    return Builder().store_bits("00").store_maybe_ref(code).store_maybe_ref(data).store_bits("0").end_cell()


def build_internal(
    *,
    src: Address | None,
    dst: Address,
    value: int,
    body: Cell | None = None,
    state_init: Cell | None = None,
    bounce: bool = True,
    bounced: bool = False,
    created_lt: int = 0,
    created_at: int = 0,
) -> Cell:
    """An internal message as it would arrive from `src`, its forward fee already spent.

    `src` is None in a message that a contract is to emit: the network fills it in.
    """
    message = Builder().store_bits("01").store_bool(bounce).store_bool(bounced)
    message.store_address(src).store_address(dst).store_coins(value).store_bits("0")
    message.store_coins(0).store_coins(0).store_uint(created_lt, 64).store_uint(created_at, 32)
    return _store_content(message, body, state_init)


def build_external(*, dst: Address, body: Cell | None = None, state_init: Cell | None = None) -> Cell:
    """An external message, as a wallet application sends it."""
    message = Builder().store_bits("1000").store_address(dst).store_coins(0)
    return _store_content(message, body, state_init)


def _store_content(message: Builder, body: Cell | None, init: Cell | None) -> Cell:
    if init is None:
        message.store_bits("0")
    else:
        message.store_bits("11").store_ref(init)
    if body is None:
        return message.store_bits("0").end_cell()
    if len(body.bits) < message.available_bits and len(body.refs) <= message.available_refs and not body.is_exotic:
        return message.store_bits("0").store_cell(body).end_cell()
    return message.store_bits("1").store_ref(body).end_cell()


class Message:
    """A parsed `Message`. BadCell if the cell isn't one.

    `src` and `dst` are None, an external address, or an account; `value`, `fwd_fee` are 0 and `bounce`, `bounced` False
    for external messages. `extra_flags` is the field that was the IHR fee before TVM 12: flags, not money.
    """

    __slots__ = (
        "__dict__",
        "_body_in_ref",
        "_rest",
        "bounce",
        "bounced",
        "cell",
        "created_at",
        "created_lt",
        "dst",
        "extra_flags",
        "fwd_fee",
        "kind",
        "src",
        "state_init",
        "value",
    )

    kind: Kind
    src: Address | ExternalAddress | None
    dst: Address | ExternalAddress | None
    state_init: Cell | None

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.bounce = self.bounced = False
        self.value = self.fwd_fee = self.extra_flags = self.created_lt = self.created_at = 0
        try:
            part = cell.begin_parse()
            self._load_header(part)
            self._load_content(part)
        except BadCell:
            raise
        except Exception as error:
            raise BadCell(f"not a message: {error}") from error

    def _load_header(self, part: Slice) -> None:
        if not part.load_bit():
            self.kind = "internal"
            part.load_bit()  # ihr_disabled
            self.bounce, self.bounced = part.load_bool(), part.load_bool()
            self.src, self.dst = part.load_address(), part.load_address()
            self.value = part.load_coins()
            part.load_maybe_ref()  # extra currencies
            self.extra_flags, self.fwd_fee = part.load_coins(), part.load_coins()
            self.created_lt, self.created_at = part.load_uint(64), part.load_uint(32)
        elif not part.load_bit():
            self.kind = "external-in"
            self.src, self.dst = part.load_address(), part.load_address()
            part.load_coins()  # import fee, ignored by the network
        else:
            self.kind = "external-out"
            self.src, self.dst = part.load_address(), part.load_address()
            self.created_lt, self.created_at = part.load_uint(64), part.load_uint(32)

    def _load_content(self, part: Slice) -> None:
        self.state_init = None
        if part.load_bit():
            self.state_init = part.load_ref() if part.load_bit() else _load_inline_init(part)
        self._body_in_ref = part.load_bit()
        self._rest = part

    @cached_property
    def body(self) -> Cell:
        """The body, whether it is stored inline or in a reference."""
        cell: Cell = self._rest.preload_ref() if self._body_in_ref else self._rest.to_cell()
        return cell

    @property
    def opcode(self) -> int | None:
        """The first 32 bits of the body, None if it is shorter."""
        bits = self.body.bits
        return int.from_bytes(bits[:32].tobytes(), "big") if len(bits) >= 32 else None

    @property
    def hash(self) -> bytes:
        """Hash of the message cell (not the normalized hash of an external message)."""
        digest: bytes = self.cell.hash
        return digest

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Message) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        opcode = self.opcode
        parts = [f"{self.kind} {format_address(self.src)} -> {format_address(self.dst)}"]
        if self.kind == "internal":
            parts.append(format_ton(self.value))
        parts.append("no opcode" if opcode is None else f"op {opcode:#010x}")
        parts += [name for name in ("bounce", "bounced") if getattr(self, name)]
        if self.state_init is not None:
            parts.append("with state init")
        return f"<Message {', '.join(parts)}>"


def _load_inline_init(part: Slice) -> Cell:
    """Copy a `StateInit` stored inline into a cell of its own, which is what addresses are derived from."""
    init = Builder()
    for width in (5, 2):  # fixed prefix length, tick-tock
        present = part.load_bit()
        init.store_bit(present)
        if present:
            init.store_bits(part.load_bits(width))
    for _ in ("code", "data", "library"):
        init.store_maybe_ref(part.load_maybe_ref())
    return init.end_cell()
