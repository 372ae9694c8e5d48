"""What the demo shows while it works, and the one JSON object it ends with. Every figure is read off the chain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytoniq_core import Address
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from ..chain.base import ChainTransaction
from ..chain.wallet import format_ton

__all__ = ["Playbill"]

_BLACK_HOLE = Address((0, bytes(32)))
_TITLE_CELLS = 60


class Playbill:
    """Collects transactions by act, names their accounts, prints as it goes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.names: dict[Address, str] = {_BLACK_HOLE: "black hole"}
        self.transactions: list[dict[str, Any]] = []
        self.figures: dict[str, Any] = {}

    def name(self, address: Address, name: str) -> None:
        self.names[address] = name

    def act(self, title: str) -> None:
        self.console.print(f"\n[bold]{title}[/bold]")

    def say(self, text: str) -> None:
        self.console.print(Text(f"  {text}"), soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(Panel(text, style="bold yellow", expand=False))

    def quote(self, title: str, text: str) -> None:
        """What others wrote: none of it is markup, and none of it reaches the terminal as a control sequence."""
        label = Text(_printable(title).replace("\n", " "))
        label.truncate(_TITLE_CELLS, overflow="ellipsis")
        self.console.print(Panel(Text(_printable(text)), title=label, title_align="left", expand=False))

    def record(self, what: str, transactions: Iterable[ChainTransaction]) -> None:
        """Remember and print the transactions that `what` took, with what validators collected for each."""
        self.console.print(f"  [cyan]{what}[/cyan]")
        for tx in transactions:
            address = tx.account.to_str(is_user_friendly=False)
            name = self.names.get(tx.account, address[:12] + "…")
            fees, digest = f"{tx.total_fees / 1e9:.6f}", tx.hash.hex()
            self.console.print(f"    {name:<24} {tx.gas_used:>6,} gas {fees} TON  [dim]{digest}[/dim]", soft_wrap=True)
            self.transactions.append(
                {
                    "what": what,
                    "account": address,
                    "name": name,
                    "lt": tx.lt,
                    "hash": digest,
                    "gas": tx.gas_used,
                    "fees_nano": tx.total_fees,
                    "exit_code": tx.exit_code,
                }
            )

    def money(self, who: str, before: int, after: int) -> None:
        self.say(f"{who}: {format_ton(before)} before, {format_ton(after)} after ({(after - before) / 1e9:+.9f})")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
