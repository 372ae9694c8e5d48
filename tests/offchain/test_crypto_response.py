"""Responses: only the request's secret opens them, for this job, whole; usage is what the receipt commits to."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon.crypto.errors import (
    PayloadTooLarge,
    ResponseMalformed,
    ResponseTruncated,
    ResponseUndecryptable,
    UsageMismatch,
)
from cocoon.crypto.response import Answer, ResponseKey, ResponseOpener, ResponseSealer, open_response, seal_response
from cocoon.crypto.usage import Usage, price
from cocoon.wire.blob import bytes_to_cell, cell_to_bytes
from cocoon.wire.common import Kind, ModelTerms

KEY = ResponseKey(b"\x07" * 32, 12345, Kind.FORCED_RECEIPT, 1)


def _answer(length: int = 10) -> Answer:
    return Answer({"text": "x" * length}, Usage(5, 0, 7))


@pytest.mark.parametrize("length", [0, 100, 1000, 3000, 60000])
def test_response_any_length_round_trips_padded(length: int) -> None:
    answer = _answer(length)
    cell = seal_response(answer, KEY)
    assert open_response(cell, KEY) == answer
    plain = len(cell_to_bytes(cell)) - 32
    plain -= 16 * -(-plain // 1040)
    assert plain >= 256
    assert plain & (plain - 1) == 0


def test_response_too_long_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        seal_response(_answer(70000), KEY)


def test_response_attempts_share_no_bytes() -> None:
    """A.17."""
    answer = _answer()
    first, second = (cell_to_bytes(seal_response(answer, KEY)) for _ in range(2))
    assert first[:32] != second[:32]
    assert first[32:] != second[32:]


@pytest.mark.parametrize(
    "key",
    [
        replace(KEY, secret=b"\x08" * 32),
        replace(KEY, request_digest=12346),
        replace(KEY, kind=Kind.STREAM_RECEIPT),
        replace(KEY, seq=2),
    ],
    ids=["secret", "request", "kind", "seq"],
)
def test_response_under_another_key_is_undecryptable(key: ResponseKey) -> None:
    with pytest.raises(ResponseUndecryptable):
        open_response(seal_response(_answer(), KEY), key)


def test_response_cut_at_a_piece_is_truncated() -> None:
    data = cell_to_bytes(seal_response(_answer(3000), KEY))
    for pieces in (1, 2, 3):
        with pytest.raises(ResponseTruncated):
            open_response(bytes_to_cell(data[: 32 + 1040 * pieces]), KEY)
    for short in (b"", data[:31], data[:32]):
        with pytest.raises(ResponseTruncated):
            open_response(bytes_to_cell(short), KEY)


def test_response_altered_or_reordered_is_undecryptable() -> None:
    data = cell_to_bytes(seal_response(_answer(3000), KEY))
    first, second = data[32 : 32 + 1040], data[32 + 1040 : 32 + 2080]
    altered = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (0, 31, 32, 1071, 1072, len(data) - 1)]
    altered += [data[:32] + second + first + data[32 + 2080 :], data[:-1], data + b"\0", data[:32] + first + data[32:]]
    for wrong in altered:
        with pytest.raises(ResponseUndecryptable):
            open_response(bytes_to_cell(wrong), KEY)


def test_response_streamed_in_pieces_notices_its_missing_end() -> None:
    sealer = ResponseSealer(KEY)
    frames = [sealer.seal(b"Hel", last=False), sealer.seal(b"lo", last=True)]
    with pytest.raises(ResponseMalformed):
        sealer.seal(b"!", last=False)
    opener = ResponseOpener(KEY, sealer.salt)
    assert opener.open(frames[0], last=False) == b"Hel"
    with pytest.raises(ResponseTruncated):
        opener.finish()
    assert opener.open(frames[1], last=True) == b"lo"
    opener.finish()
    with pytest.raises(ResponseUndecryptable):
        opener.open(frames[1], last=True)


def test_response_authentic_but_malformed_is_told_apart() -> None:
    sealer = ResponseSealer(KEY)
    with pytest.raises(ResponseMalformed):
        open_response(bytes_to_cell(sealer.salt + sealer.seal(b"nonsense", last=True)), KEY)


@settings(max_examples=50, deadline=None)
@given(garbage=st.binary(max_size=3000))
def test_response_any_bytes_are_undecryptable(garbage: bytes) -> None:
    with pytest.raises(ResponseUndecryptable):
        open_response(bytes_to_cell(garbage), KEY)


def test_usage_disclosed_otherwise_is_noticed() -> None:
    """B.31."""
    usage = Usage(5, 0, 7)
    usage.verify(usage.commitment)
    for other in (Usage(5, 0, 8, usage.salt), Usage(5, 0, 7)):
        with pytest.raises(UsageMismatch):
            other.verify(usage.commitment)


def test_price_is_rounded_up_and_not_below_the_floor() -> None:
    terms = ModelTerms(1_000_000, 500_000, 2_000_000, 100, 30)
    assert price(Usage(1, 0, 1), terms) == 100
    assert price(Usage(1000, 3, 1000), terms) == 3002
    assert price(Usage(0, 0, 0), terms) == 100
