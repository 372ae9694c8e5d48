"""A request encoded once is what it would be encoded anew, and no bigger one gets out."""

from __future__ import annotations

from typing import Any

import pytest
from pairs import WORDS, Pair, collect

from cocoon.client.stream import Delta, Finished
from cocoon.crypto.errors import PayloadMalformed, PayloadTooLarge
from cocoon.crypto.payload import MAX_PADDED_BYTES, encode_object
from cocoon.crypto.request import check_fits
from cocoon.stream.asked import Asked

BODY = {"prompt": 'ä "quoted" \N{SNOWMAN}\u2028', "max_tokens": 3, "stop": ["}", "\\"], "temperature": 0.5}


@pytest.mark.parametrize("fee", [0, 1, (1 << 64) - 1])
def test_asked_is_encoded_as_the_whole_object_would_be(fee: int) -> None:
    assert Asked.of(BODY).with_max_fee(fee) == encode_object({"request": BODY, "max_fee_nano": fee})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"prompt": "a\ud800"}, PayloadMalformed), ({"n": float("nan")}, PayloadMalformed),
        ({"n": 1 << 64}, PayloadMalformed), ({1: 2, "1": 2}, PayloadMalformed),
        ({"prompt": "x" * MAX_PADDED_BYTES}, PayloadTooLarge),
    ],
    ids=["surrogate", "nan", "number", "names", "long"],
)  # fmt: skip
def test_asked_of_what_no_worker_could_be_sent_is_refused(body: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Asked.of(body)


def test_asked_that_fits_at_one_price_fits_at_every_price() -> None:
    room = MAX_PADDED_BYTES - 36 - len(Asked(b'{"prompt":""}').with_max_fee((1 << 64) - 1))
    check_fits(Asked.of({"prompt": "x" * room}).with_max_fee((1 << 64) - 1))
    with pytest.raises(PayloadTooLarge):
        Asked.of({"prompt": "x" * (room + 1)})


async def test_asked_may_be_streamed_more_than_once(pair: Pair) -> None:
    fast = await pair.connect()
    asked = Asked.of({"prompt": WORDS})
    whole, _ = await collect(fast, WORDS)
    for _ in range(2):
        events = [event async for event in fast.stream(asked, max_fee=10**7)]
        assert "".join(event.text for event in events if isinstance(event, Delta)) == whole
        assert isinstance(events[-1], Finished)
