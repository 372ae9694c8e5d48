"""Cutting streamed text at stop strings."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.kernels.engine.stops import StopScanner
from cocoon.kernels.errors import InvalidRequest

letters = st.text("ab", max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(letters, max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_stop_scanner_shows_exactly_the_text_before_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    found = [at for at in map(whole.find, stops) if at >= 0]
    scanner = StopScanner(stops)
    shown, stopped = "", False
    for piece in pieces:
        text, stopped = scanner.push(piece)
        shown += text
        if stopped:
            break
    if not stopped:
        assert not found
        assert shown + scanner.flush() == whole
    else:
        # A stop found in an earlier piece wins over an overlapping one that begins before it but ends later.
        assert shown == whole[: len(shown)]
        assert any(whole.startswith(stop, len(shown)) for stop in stops)
        assert not any(stop in shown for stop in stops)


@pytest.mark.parametrize("stops", [[""], ["x"] * 17, ["x" * 1025]])
def test_stop_scanner_with_unreasonable_stops_refuses(stops: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="stop strings"):
        StopScanner(stops)
