"""Requests: only the right key, channel, kind, worker and model open them; sizes are padded; nothing raw is raised."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytoniq_core import Address, begin_cell

from cocoon.crypto.errors import KeyMalformed, PayloadMalformed, PayloadTooLarge, RequestUndecryptable
from cocoon.crypto.hpke import OVERHEAD_BYTES, PUBLIC_KEY_BYTES, HpkePrivateKey, HpkePublicKey
from cocoon.crypto.payload import decode_object, encode_object, pack, unpack
from cocoon.crypto.request import RequestBinding, parse_request, request_ciphertext, seal_request
from cocoon.crypto.statements import Channel
from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.common import Kind

ESCROW, WORKER = Address((0, b"\x11" * 32)), Address((0, b"\x22" * 32))
CHANNEL = Channel(-239, ESCROW, 7, 1)
BINDING = RequestBinding(CHANNEL.domain(Kind.FORCED_RECEIPT), WORKER, 99)
KEY = HpkePrivateKey()
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "Grüße, 世界"}], "max_tokens": 12}


def _open(cell: Any, binding: RequestBinding = BINDING, key: HpkePrivateKey = KEY) -> Any:
    return parse_request(key.decrypt(request_ciphertext(cell), binding.info))


def test_request_sealed_for_this_worker_round_trips() -> None:
    cell, secret = seal_request(BODY, to=KEY.public, binding=BINDING)
    request = _open(cell)
    assert (request.body, request.secret) == (BODY, secret)
    assert "Grüße" not in repr(request)
    assert secret.hex() not in repr(request)


@pytest.mark.parametrize(
    "binding",
    [
        replace(BINDING, worker=ESCROW),
        replace(BINDING, model_id=98),
        replace(BINDING, domain=CHANNEL.domain(Kind.STREAM_RECEIPT)),
        replace(BINDING, domain=replace(CHANNEL, global_id=-3).domain(Kind.FORCED_RECEIPT)),
        replace(BINDING, domain=replace(CHANNEL, escrow=WORKER).domain(Kind.FORCED_RECEIPT)),
        replace(BINDING, domain=replace(CHANNEL, epoch=8).domain(Kind.FORCED_RECEIPT)),
        replace(BINDING, domain=replace(CHANNEL, key_epoch=2).domain(Kind.FORCED_RECEIPT)),
    ],
    ids=["worker", "model", "kind", "network", "escrow", "epoch", "key epoch"],
)
def test_request_moved_elsewhere_is_undecryptable(binding: RequestBinding) -> None:
    cell, _ = seal_request(BODY, to=KEY.public, binding=BINDING)
    with pytest.raises(RequestUndecryptable):
        _open(cell, binding)


def test_request_for_another_key_is_undecryptable() -> None:
    cell, _ = seal_request(BODY, to=HpkePrivateKey().public, binding=BINDING)
    with pytest.raises(RequestUndecryptable):
        _open(cell)


def test_request_altered_anywhere_is_undecryptable() -> None:
    cell, _ = seal_request(BODY, to=KEY.public, binding=BINDING)
    data = request_ciphertext(cell)
    assert len(data) == OVERHEAD_BYTES + 512
    cut = [b"", data[:1], data[:1119], data[:1120], data[:1135], data[:-1], data + b"\0"]
    flipped = [
        data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        for at in (0, 500, 1087, 1088, 1119, 1120, 1500, len(data) - 1)
    ]
    for wrong in cut + flipped:
        with pytest.raises(RequestUndecryptable):
            _open(bytes_to_cell(wrong))


def test_request_in_a_cell_that_is_no_blob_is_undecryptable() -> None:
    for cell in (begin_cell().end_cell(), begin_cell().store_uint(5, 32).end_cell(), bytes_to_cell(bytes(70000))):
        with pytest.raises(RequestUndecryptable):
            request_ciphertext(cell)


def test_request_sizes_are_padded_to_powers_of_two() -> None:
    sizes = {len(request_ciphertext(seal_request({"p": "x" * n}, to=KEY.public, binding=BINDING)[0])) - OVERHEAD_BYTES
             for n in (0, 100, 460, 500, 1500, 5000)}  # fmt: skip
    assert sizes == {512, 1024, 2048, 8192}
    with pytest.raises(PayloadTooLarge):
        seal_request({"p": "x" * 65536}, to=KEY.public, binding=BINDING)


@pytest.mark.parametrize("text", [
    b"[]", b"1", b"", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\\ud800"}', b"\xff", b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":' * 100000, b"{} {}",
    b'{"a":18446744073709551616}', b'{"a":-18446744073709551616}', b'{"a":1e400}', b'{"a":1e20}',
])  # fmt: skip
def test_request_object_that_is_not_strict_json_is_malformed(text: bytes) -> None:
    with pytest.raises(PayloadMalformed):
        decode_object(text)


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": b""}, {"a": "\ud800"}, {1: 2, "1": 3}, {"a": 1 << 64}])
def test_request_object_that_is_not_json_is_not_sent(body: dict[str, Any]) -> None:
    with pytest.raises(PayloadMalformed):
        encode_object(body)


def test_request_plaintext_with_other_framing_is_malformed() -> None:
    good = pack(b"\1" * 32, BODY, least=512)
    for wrong in [b"", good[:35], good[:-1], good + bytes(512), good[:-1] + b"\1", b"\0" * 512,
                  good[:32] + b"\xff" * 4 + good[36:], good[:32] + (1).to_bytes(4, "big") + good[36:]]:  # fmt: skip
        with pytest.raises(PayloadMalformed):
            parse_request(wrong)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - (1 << 64), (1 << 64) - 1)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(
    body=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), json_values, max_size=5),
    header=st.binary(min_size=32, max_size=32),
)
def test_payload_any_object_round_trips(body: dict[str, Any], header: bytes) -> None:
    packed = pack(header, body, least=512)
    assert len(packed) & (len(packed) - 1) == 0
    assert unpack(packed, header_bytes=32, least=512) == (header, body)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=700))
def test_payload_any_bytes_are_read_or_malformed(data: bytes) -> None:
    try:
        unpack(data, header_bytes=32, least=512)
    except PayloadMalformed:
        return
    assert len(data) == 512


def test_hpke_key_as_cell_round_trips_and_garbage_is_refused() -> None:
    cell = KEY.public.to_cell()
    assert HpkePublicKey.from_cell(cell) == KEY.public
    assert KEY.public.cell_hash == int.from_bytes(cell.hash, "big")
    for wrong in (
        begin_cell().end_cell(),
        bytes_to_cell(b"x"),
        bytes_to_cell(b"\xff" * PUBLIC_KEY_BYTES),
        bytes_to_cell(bytes(PUBLIC_KEY_BYTES + 1)),
    ):
        with pytest.raises(KeyMalformed):
            HpkePublicKey.from_cell(wrong)
