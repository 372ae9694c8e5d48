"""What the demo prints of others' words is text: no markup of the console's, no control sequence of a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from cocoon.demo.playbill import Playbill


def test_quote_of_markup_and_control_characters_is_printed_as_text() -> None:
    out = io.StringIO()
    bill = Playbill(Console(file=out, width=100))
    bill.quote("<|im_start|>[/nope]\nsecond line \x1b[31m " + "long " * 50, "list[int] and [bold]x[/] \x1b]0;title\x07")
    bill.say("[/nope]")
    shown = out.getvalue()
    assert "list[int] and [bold]x[/]" in shown
    assert "<|im_start|>[/nope] second line" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
