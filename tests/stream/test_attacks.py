"""Everything one side may try on the other: what is lost is bounded, and what can be shown is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pairs import WORDS, Pair, Tamper, collect, until

from cocoon.agent.errors import StreamRejected
from cocoon.client.connecting import open_connection
from cocoon.client.evidence import Equivocated
from cocoon.client.stream import StreamError, StreamLied, StreamRefused, StreamStalled
from cocoon.crypto.ed25519 import sign, verify
from cocoon.crypto.statements import Channel, voucher
from cocoon.crypto.usage import Usage
from cocoon.stream import frames
from cocoon.stream.errors import FrameMalformed
from cocoon.stream.frames import Accepted, Chunk, End, Frame, FrameType, Voucher
from cocoon.stream.receipts import pack_receipt, unpack_receipt
from cocoon.stream.session import Session, say_hello
from cocoon.wire.escrow import Receipt

type Install = Callable[[Tamper], None]


# ---- who may open a channel's connection ----


async def _greet(pair: Pair, change: Callable[[bytes], bytes] = lambda said: said, **names: Any) -> FrameType:
    """Says hello by hand: the type of the worker's answer."""
    fast = await pair.connect()
    key = names.pop("key", pair.stage.client_key)
    channel = replace(fast.signed, **names)
    async with aiohttp.ClientSession() as http, http.ws_connect(pair.url + frames.PATH) as socket:
        challenge = frames.Challenge.decode((await socket.receive_bytes())[1:])
        hpke = (await pair.stage.signer.identity()).hpke_key
        hello, _ = say_hello(channel, pair.stage.worker, key, hpke, challenge.nonce, secrets.token_bytes(32))
        await socket.send_bytes(change(bytes([hello.TYPE]) + hello.encode()))
        return FrameType((await socket.receive_bytes())[0])


async def test_hello_by_the_channels_client_is_welcome(pair: Pair) -> None:
    assert await _greet(pair) == FrameType.WELCOME


@pytest.mark.parametrize(
    "names",
    [{"key": Ed25519PrivateKey.from_private_bytes(b"\7" * 32)}, {"epoch": 5}, {"key_epoch": 2}, {"global_id": -239}],
    ids=["foreign client", "epoch", "key epoch", "network"],
)
async def test_hello_for_something_else_is_refused(pair: Pair, names: dict[str, Any]) -> None:
    assert await _greet(pair, **names) == FrameType.REFUSAL


async def test_hello_recorded_on_another_connection_is_refused(pair: Pair) -> None:
    said: list[bytes] = []

    def record(hello: bytes) -> bytes:
        said.append(hello)
        return said[0]

    assert await _greet(pair, record) == FrameType.WELCOME
    assert await _greet(pair, record) == FrameType.REFUSAL


@pytest.mark.parametrize("at", [3, 50, 100, 1000])
async def test_hello_altered_anywhere_is_refused(pair: Pair, at: int) -> None:
    altered = await _greet(pair, lambda hello: hello[:at] + bytes([hello[at] ^ 1]) + hello[at + 1 :])
    assert altered == FrameType.REFUSAL


async def test_hello_for_an_escrow_of_another_worker_is_refused(pair: Pair) -> None:
    identity = (await pair.stage.publish()).identity
    foreign = replace(identity, worker=pair.stage.deployment.worker(1))
    fast = await pair.connect()
    await pair.stage.publish(identity=foreign)
    assert fast.alive
    with pytest.raises(StreamRefused) as caught:
        await pair.connect()
    assert caught.value.reason == "no_channel"


def _sessions() -> tuple[Session, Session]:
    from cocoon.stream.session import HelloStatement, _domain

    statement = HelloStatement(_domain(Channel(-217, _anywhere(), 1, 1)), 5, 6)
    return tuple(Session(b"s" * 32, b"n" * 32, statement, client=side) for side in (True, False))  # type: ignore[return-value]


def _anywhere() -> Any:
    from pytoniq_core import Address

    return Address((0, b"\1" * 32))


@pytest.mark.parametrize(
    "attack",
    [
        lambda first, second: [second],  # one is lost
        lambda first, second: [first, first],  # one comes twice
        lambda first, second: [first[:-1] + bytes([first[-1] ^ 1])],
        lambda first, second: [bytes([FrameType.CANCEL]) + first[1:]],  # taken for something else
        lambda first, second: [b""],
        lambda first, second: [b"\xff" + first[1:]],
    ],
)
def test_frames_lost_repeated_reordered_or_altered_are_noticed(attack: Callable[..., list[bytes]]) -> None:
    client, worker = _sessions()
    said = [client.seal(frames.Need(number, 1)) for number in (1, 2)]
    *before, last = attack(*said)
    for message in before:
        assert worker.open(message)
    with pytest.raises(FrameMalformed):
        worker.open(last)


def test_frame_sent_back_to_its_sender_is_noticed() -> None:
    client, _ = _sessions()
    with pytest.raises(FrameMalformed):
        client.open(client.seal(frames.Cancel(1)))


# ---- vouchers ----


async def _pay(pair: Pair, cumulative: int, **changes: Any) -> None:
    """Hands the worker a voucher by hand."""
    fast = await pair.connect()
    channel = replace(fast.signed, **{name: changes[name] for name in changes if name != "key"})
    key = changes.get("key", pair.stage.client_key)
    signature = sign(key, voucher(channel, cumulative_nano=cumulative, receipt_chain=9))

    async def look_again() -> None:
        return None

    await pair.served.take(Voucher(cumulative, (9).to_bytes(32, "big"), signature), look_again)


async def test_voucher_counts_once_it_is_on_the_disk(pair: Pair) -> None:
    await _pay(pair, 1000)
    assert (await pair.recorded()).cumulative == pair.served.ledger.paid == 1000


@pytest.mark.parametrize(
    "changes",
    [{"epoch": 5}, {"key_epoch": 2}, {"global_id": -239}, {"key": Ed25519PrivateKey.from_private_bytes(b"\7" * 32)}],
)
async def test_voucher_for_something_else_is_worth_nothing(pair: Pair, changes: dict[str, Any]) -> None:
    with pytest.raises(StreamRejected, match="does not hold"):
        await _pay(pair, 1000, **changes)
    assert pair.served.ledger.paid == 0


async def test_voucher_below_an_earlier_one_is_refused_and_changes_nothing(pair: Pair) -> None:
    await _pay(pair, 1000)
    with pytest.raises(StreamRejected, match="below"):
        await _pay(pair, 999)
    assert (await pair.recorded()).cumulative == 1000


async def test_voucher_above_the_deposit_is_refused_until_it_is_topped_up(pair: Pair) -> None:
    above = pair.stage.deposit + 1
    with pytest.raises(StreamRejected, match="top up"):
        await _pay(pair, above)
    assert pair.served.ledger.paid == 0
    await pair.stage.publish(deposit_nano=above)
    await _pay(pair, above)
    assert pair.served.ledger.paid == above


async def test_stream_number_used_twice_ends_the_connection(pair: Pair) -> None:
    opened = await open_connection(pair.stage.channel(pair.store), pair.url, None)
    for _ in range(2):
        await opened.send(frames.Request(1, b"x" * 100))
    kinds = [kind async for kind, _ in opened.frames()]
    await opened.close()
    assert FrameType.FAIL in kinds
    assert opened.socket.closed


async def test_request_sealed_for_another_channel_does_not_decrypt(pair: Pair) -> None:
    fast = await pair.connect()
    fast.signed = replace(fast.signed, epoch=5)
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "one two")
    assert caught.value.reason == "undecryptable"


# ---- a worker that lies ----


def _altered_chunk(frame: Frame) -> list[Frame]:
    return [Chunk(frame.stream, frame.rest[:-1] + bytes([frame.rest[-1] ^ 1]))] if isinstance(frame, Chunk) else [frame]


def _lost_chunk(frame: Frame) -> list[Frame]:
    return [] if isinstance(frame, Chunk) else [frame]


def _repeated_chunk(frame: Frame) -> list[Frame]:
    return [frame, frame] if isinstance(frame, Chunk) else [frame]


def _end_as_chunk(frame: Frame) -> list[Frame]:
    return [Chunk(frame.stream, frame.rest)] if isinstance(frame, End) else [frame]


def _other_seq(frame: Frame) -> list[Frame]:
    return [replace(frame, seq=frame.seq + 1)] if isinstance(frame, Accepted) else [frame]


def _more_prompt(frame: Frame) -> list[Frame]:
    return [replace(frame, prompt=frame.prompt + 1000)] if isinstance(frame, Accepted) else [frame]


def _skipped_count(frame: Frame) -> list[Frame]:
    return [replace(frame, receipts=frame.receipts + 1)] if isinstance(frame, End) else [frame]


def _unknown_stream(frame: Frame) -> list[Frame]:
    return [Chunk(77, b"x" * 80), frame] if isinstance(frame, Chunk) else [frame]


@pytest.mark.parametrize(
    "lie",
    [
        _altered_chunk, _lost_chunk, _repeated_chunk, _end_as_chunk, _other_seq, _more_prompt, _skipped_count,
        _unknown_stream,
    ],
)  # fmt: skip
async def test_answer_that_does_not_verify_ends_payment_within_a_quantum(
    pair: Pair, tamper: Install, lie: Tamper
) -> None:
    fast = await pair.connect()
    tamper(lie)
    with pytest.raises(StreamError) as caught:
        await collect(fast, WORDS)
    await until(lambda: not fast.alive)
    with pytest.raises(StreamLied):
        await collect(fast, "one")
    assert caught.value.paid_nano <= caught.value.verified_nano + fast.ledger.quantum
    assert fast.ledger.promised == caught.value.paid_nano


def _resigned(pair: Pair, change: Callable[[Receipt], Receipt]) -> Tamper:
    """Another receipt, and really the worker's."""

    def lie(frame: Frame) -> list[Frame]:
        if not isinstance(frame, End):
            return [frame]
        receipt = change(unpack_receipt(frame.receipt, pair.connected[0].signed))
        return [replace(frame, receipt=pack_receipt(receipt), signature=sign(pair.keys._session, receipt))]

    return lie


def _outcome(receipt: Receipt, **changes: Any) -> Receipt:
    return replace(receipt, outcome=replace(receipt.outcome, **changes))


def _disclosure(receipt: Receipt, **changes: Any) -> Receipt:
    return _outcome(receipt, disclosure=replace(receipt.outcome.disclosure, **changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda receipt: replace(receipt, fee_nano=receipt.fee_nano + 1), "usage costs"),
        (lambda receipt: replace(receipt, fee_nano=10**8), "more than the"),
        (lambda receipt: _disclosure(receipt, usage_commitment=Usage(1, 0, 1).commitment), "token counts"),
        (lambda receipt: _disclosure(receipt, measurement=1), "measurement"),
        (lambda receipt: _outcome(receipt, response_digest=1), "response digest"),
        (lambda receipt: _outcome(receipt, model_id=1), "model"),
        (lambda receipt: replace(receipt, request_digest=1), "request digest"),
        (lambda receipt: replace(receipt, seq=receipt.seq + 1), "seq"),
    ],
)
async def test_receipt_that_says_something_else_is_shown_and_not_paid(
    pair: Pair, tamper: Install, change: Callable[[Receipt], Receipt], message: str
) -> None:
    fast = await pair.connect()
    tamper(_resigned(pair, change))
    with pytest.raises(StreamLied, match=message) as caught:
        await collect(fast, "one two three")
    (shown,) = caught.value.receipts
    verify(pair.keys.identity().session_key, shown.receipt, shown.signature)
    assert fast._purse.receipts == 0


async def test_receipt_of_a_stranger_is_not_believed(pair: Pair, tamper: Install) -> None:
    fast = await pair.connect()
    tamper(lambda frame: [replace(frame, signature=b"\1" * 64)] if isinstance(frame, End) else [frame])
    with pytest.raises(StreamLied, match="not the worker's") as caught:
        await collect(fast, "one two three")
    assert caught.value.receipts == ()


def give_number_again(pair: Pair, seq: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker takes a number it has used, and its signer has forgotten that."""

    async def same_seq(_stream: int) -> int:
        return seq

    async def sign_anything(receipt: Receipt) -> bytes:
        return sign(pair.keys._session, receipt)

    monkeypatch.setattr(pair.served, "take_seq", same_seq)
    monkeypatch.setattr(pair.stage.signer, "sign_stream_receipt", sign_anything)


async def test_two_receipts_with_one_number_are_evidence_that_a_contract_takes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are genuine and differ, with equal domain and seq: what Slashing asks for, whenever they were given."""
    fast = await pair.connect()
    _, honest = await collect(fast, "one two three")
    await fast.close()
    again = await pair.connect()

    give_number_again(pair, honest.receipt.receipt.seq, monkeypatch)
    with pytest.raises(Equivocated, match="report_equivocation") as caught:
        await collect(again, "four five six")
    first, second = caught.value.receipts
    assert first == honest.receipt
    assert (first.receipt.domain, first.receipt.seq) == (second.receipt.domain, second.receipt.seq)
    assert first.receipt != second.receipt
    for signed in (first, second):
        verify(pair.keys.identity().session_key, signed.receipt, signed.signature)


async def test_receipt_that_does_not_hold_and_has_a_number_used_before_is_kept_with_the_earlier_one(
    pair: Pair, tamper: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = await pair.connect()
    _, honest = await collect(fast, "one two three")

    give_number_again(pair, honest.receipt.receipt.seq, monkeypatch)
    tamper(_resigned(pair, lambda receipt: replace(receipt, fee_nano=receipt.fee_nano + 1)))
    with pytest.raises(Equivocated) as caught:
        await collect(fast, "four five six")
    (kept,) = pair.store.unsent_evidence()
    assert kept == caught.value.evidence
    assert (kept.first, kept.second) == caught.value.receipts
    assert kept.first == honest.receipt
    assert kept.channel == pair.store.channel(pair.stage.escrow)


async def test_worker_whose_book_was_set_back_does_not_sign_a_number_twice(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = await pair.connect()
    await collect(fast, "one two three")
    pair.served.record.next_seq = 1
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "four five six")
    assert caught.value.reason == "worker_failed"
    _, finished = await collect(fast, "four five six")
    assert finished.receipt.receipt.seq > 1024


async def test_worker_that_forgot_receipts_is_refused(pair: Pair) -> None:
    fast = await pair.connect()
    await collect(fast, "one two three")
    await fast.close()
    pair.served.record.receipts = 0
    with pytest.raises(StreamRefused) as caught:
        await pair.connect()
    assert caught.value.reason == "history"


async def test_worker_that_counts_more_than_was_received_is_refused_beyond_a_quantum(pair: Pair) -> None:
    fast = await pair.connect()
    await collect(fast, "one two three")
    await fast.close()
    pair.served.ledger._settled += fast.ledger.quantum + 1
    with pytest.raises(StreamRefused, match="lost on the way") as caught:
        await pair.connect()
    assert caught.value.reason == "history"


async def test_worker_that_is_not_there_is_stalled(pair: Pair) -> None:
    pair.url = "http://127.0.0.1:9"
    with pytest.raises(StreamStalled, match="next one"):
        await pair.connect()


async def test_worker_without_the_chain_serves_nobody_new_and_recovers(pair: Pair) -> None:
    """The client still has a lite server: it sees what was there before the worker's went away."""
    channel = pair.stage.channel(pair.store)
    state = await channel.state()
    await channel.check_network()

    async def known() -> Any:
        return state

    async def trusted() -> None:
        return None

    channel.state, channel.check_network = known, trusted  # type: ignore[method-assign]
    pair.stage.chain.offline = True
    with pytest.raises(StreamRefused) as caught:
        await open_connection(channel, pair.url, None)
    assert caught.value.reason == "worker_failed"
    pair.stage.chain.offline = False
    assert (await collect(await pair.connect(), "one two"))[0] == "two one"
