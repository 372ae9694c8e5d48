"""Streams end to end, over real sockets: answers, vouchers, receipts, many at once, breaking off, starting again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pairs import WORDS, Held, Pair, collect, until

from cocoon.agent.kernel import Event, Piece
from cocoon.agent.serving import StreamSettings
from cocoon.bench.null_kernel import NullKernel
from cocoon.client.stream import Delta, FastChannel, StreamRefused, StreamStalled
from cocoon.crypto.statements import verify_close, verify_voucher
from cocoon.kernels.errors import InvalidRequest, PromptTooLong
from cocoon.stream.frames import CloseSigned
from cocoon.stream.pricing import stream_price
from cocoon.stream.receipts import extend_chain, receipt_hash
from cocoon.wire.escrow import EscrowStatus

held = pytest.mark.parametrize("kernel", [Held], indirect=True)


async def test_stream_request_is_answered_with_a_receipt_that_both_sides_count(pair: Pair) -> None:
    fast = await pair.connect()
    text, finished = await collect(fast, "one two three")
    assert text == "three two one" == finished.body["text"]
    assert (finished.usage.prompt, finished.usage.completion) == (3, 3)
    assert finished.fee_nano == stream_price(pair.stage.terms, 3, 0, 3) == fast.ledger.verified
    assert pair.served.ledger.earned == finished.fee_nano
    assert pair.served.record.head == extend_chain(0, receipt_hash(finished.receipt.receipt))


async def test_close_leaves_the_worker_a_voucher_that_names_every_receipt(pair: Pair) -> None:
    fast = await pair.connect()
    chain = 0
    for _ in range(3):
        _, finished = await collect(fast, "one two three")
        chain = extend_chain(chain, receipt_hash(finished.receipt.receipt))
    await fast.close()
    await until(lambda: pair.served.record.chain == chain)
    record = await pair.recorded()
    assert (record.receipts, record.head, record.chain) == (3, chain, chain)
    verify_voucher(
        record.signature, client_key=(await pair.stage.publish()).client_key, channel=fast.signed,
        cumulative_nano=record.cumulative, receipt_chain=chain,
    )  # fmt: skip


async def test_stream_without_money_waits_and_is_refused_as_unpaid(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """No voucher, no work: the request is not even decrypted."""
    fast = await pair.connect()
    monkeypatch.setattr(fast._purse, "_promise", lambda _cumulative: asyncio.sleep(0))
    decrypted: list[object] = []
    monkeypatch.setattr(pair.stage.signer, "decrypt", lambda *given: decrypted.append(given))
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "one two three")
    assert caught.value.reason == "unpaid"
    assert decrypted == []
    assert (caught.value.verified_nano, pair.served.ledger.earned) == (0, 0)


async def test_many_streams_in_one_channel_never_risk_more_than_a_quantum(pair: Pair) -> None:
    """32 answers of 200 tokens over a quantum that pays for two of them: checked at every piece, on both sides."""
    quantum = 2 * stream_price(pair.stage.terms, 200, 0, 200)
    fast = await pair.connect(quantum_nano=quantum)
    pair.served.ledger.credit = quantum

    async def run(number: int) -> int:
        fee = 0
        async for found in fast.stream({"prompt": f"{number} {WORDS}"}, max_fee=10**7):
            assert fast.ledger.promised <= fast.ledger.verified + quantum
            assert pair.served.ledger.reserved <= pair.served.ledger.paid + quantum
            fee = 0 if isinstance(found, Delta) else found.fee_nano
        return fee

    fees = await asyncio.gather(*(run(number) for number in range(32)))
    assert sum(fees) == fast.ledger.verified == pair.served.ledger.earned
    assert pair.served.record.receipts == 32


async def test_vouchers_are_few_while_a_quantum_covers_many_requests(pair: Pair) -> None:
    fast = await pair.connect()
    for _ in range(20):
        await collect(fast, "one two three")
    assert fast.ledger.promised == 10**7  # the first voucher still suffices


async def test_prompt_above_the_quantum_is_refused_and_says_what_to_do(pair: Pair) -> None:
    fast = await pair.connect(quantum_nano=1000)
    with pytest.raises(StreamRefused, match="greater quantum_nano") as caught:
        await collect(fast, WORDS)
    assert caught.value.reason == "quantum"
    assert caught.value.paid_nano <= 1000


async def test_fee_that_does_not_cover_the_prompt_is_refused(pair: Pair) -> None:
    fast = await pair.connect()
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, WORDS, max_fee=1000)
    assert caught.value.reason == "fee_too_low"


async def test_fee_limit_ends_the_answer_where_the_money_ends(pair: Pair) -> None:
    fast = await pair.connect()
    limit = stream_price(pair.stage.terms, 200, 0, 50)
    _, finished = await collect(fast, WORDS, max_fee=limit)
    assert (finished.usage.completion, finished.fee_nano) == (50, limit)


async def test_request_above_the_deposit_is_refused_before_anything_is_sent(pair: Pair) -> None:
    fast = await pair.connect()
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "one", max_fee=pair.stage.deposit + 1)
    assert caught.value.reason == "deposit"


async def test_malformed_request_is_refused_and_the_channel_goes_on(pair: Pair) -> None:
    fast = await pair.connect()
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, " ")
    assert caught.value.reason == "malformed"
    assert (await collect(fast, "one two"))[0] == "two one"


async def _first(fast: FastChannel, prompt: str = WORDS) -> Any:
    """A stream of which one piece has come."""
    stream = fast.stream({"prompt": prompt}, max_fee=10**7)
    assert isinstance(await anext(stream), Delta)
    return stream


@held
async def test_leaving_the_iterator_ends_the_work_with_a_receipt_for_what_was_made(pair: Pair) -> None:
    fast = await pair.connect()
    await (await _first(fast)).aclose()
    await fast._idle.wait()
    assert fast.ledger.verified == pair.served.ledger.earned == stream_price(pair.stage.terms, 200, 0, 3)
    assert fast._purse.receipts == 1


@held
async def test_client_that_vanishes_stops_the_work_and_what_was_made_stays_counted(pair: Pair) -> None:
    fast = await pair.connect()
    await _first(fast)
    earned = pair.served.ledger.earned
    fast._opened.socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await until(lambda: not pair.server.running)
    assert pair.served.ledger.earned == earned == stream_price(pair.stage.terms, 200, 0, 3)
    assert (await pair.recorded()).cumulative >= earned


@held
async def test_worker_that_falls_silent_is_given_up_with_the_money_known(pair: Pair) -> None:
    fast = await pair.connect(patience_sec=0.1)
    stream = await _first(fast)
    with pytest.raises(StreamStalled, match="post_job") as caught:
        await anext(stream)
    assert caught.value.verified_nano == stream_price(pair.stage.terms, 200, 0, 3)
    assert caught.value.paid_nano <= caught.value.verified_nano + fast.ledger.quantum


@held
async def test_worker_restarted_in_mid_stream_goes_on_with_the_same_channel(pair: Pair) -> None:
    fast = await pair.connect()
    stream = await _first(fast)
    for socket in list(pair.server._sockets.values()):
        await socket.close()
    with pytest.raises(StreamStalled):
        async for _ in stream:
            pass
    assert not fast.alive
    promised, verified = fast.ledger.promised, fast.ledger.verified
    await fast.close()
    pair.server._channels.clear()  # what a new process knows is on the disk
    again = await pair.connect()
    assert (again.ledger.promised, again.ledger.verified) == (promised, verified)
    assert pair.served.record.cumulative == promised
    assert pair.served.record.next_seq > 1  # the number of the stream that broke off is never used again
    pair.stage.kernel.run = NullKernel().run  # type: ignore[attr-defined]
    assert (await collect(again, "one two"))[0] == "two one"


async def test_client_restarted_without_its_last_receipts_fetches_them(pair: Pair) -> None:
    fast = await pair.connect()
    await collect(fast, "one two three")
    await fast._purse.save()
    before = pair.store.streams(pair.stage.escrow, fast.signed.epoch)
    _, lost = await collect(fast, "four five six")
    await fast.close()
    with pair.store._lock:
        pair.store._db.execute("UPDATE streams SET verified_nano = ?, receipts = ?, chain = ?",
                               (before.verified_nano, before.receipts, before.chain.to_bytes(32, "big")))  # fmt: skip
        pair.store._db.execute("DELETE FROM receipts WHERE number >= ?", (before.receipts,))
    again = await pair.connect()
    assert again._purse.receipts == 2
    assert again._purse.chain == pair.served.record.head
    assert again._purse.receipt(lost.receipt.receipt.seq) == lost.receipt
    assert again.ledger.verified == before.verified_nano  # what it has not seen it does not count
    assert (await collect(again, "one two"))[0] == "two one"


async def test_voucher_that_was_stored_but_not_sent_is_sent_at_the_next_connection(pair: Pair) -> None:
    fast = await pair.connect()
    await collect(fast, "one two three")
    await fast.close()
    pair.store.raise_voucher(pair.stage.escrow, fast.signed.epoch, fast.ledger.promised + 5)
    again = await pair.connect()
    await until(lambda: pair.served.record.cumulative == fast.ledger.promised + 5)
    assert again.ledger.promised == fast.ledger.promised + 5


async def test_second_connection_of_a_client_replaces_the_first(pair: Pair) -> None:
    first = await pair.connect()
    second = await pair.connect()
    assert (await collect(second, "one two"))[0] == "two one"
    assert not first.alive


async def test_draining_worker_refuses_new_requests(pair: Pair) -> None:
    fast = await pair.connect()
    pair.server.draining = True
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "one two")
    assert caught.value.reason == "draining"


async def test_channel_that_begins_to_close_is_not_served_any_more(pair: Pair) -> None:
    fast = await pair.connect()
    await pair.stage.publish(status=EscrowStatus.CLOSING)
    with pytest.raises(StreamRefused) as caught:
        await FastChannel.connect(_as_if_active(pair), pair.url)
    assert caught.value.reason == "not_active"
    await fast.close()


def _as_if_active(pair: Pair) -> Any:
    """The client's channel, whose own view of the chain is older than the worker's."""
    channel = pair.stage.channel(pair.store)
    read = channel.state

    async def state() -> Any:
        return replace(await read(), status=EscrowStatus.ACTIVE)

    channel.state = state  # type: ignore[method-assign]
    return channel


async def test_agreed_end_is_signed_once_everything_is_paid_and_nothing_is_served_after(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = await pair.connect()
    _, finished = await collect(fast, "one two three")
    agreed: list[tuple[int, bytes]] = []

    async def close_cooperative(_channel: Any, cumulative: int, signature: bytes) -> None:
        agreed.append((cumulative, signature))

    monkeypatch.setattr("cocoon.client.channel.Channel.close_cooperative", close_cooperative)
    await fast.end_channel()
    ((cumulative, signature),) = agreed
    assert cumulative == finished.fee_nano
    key = pair.keys.identity().session_key
    verify_close(signature, key=key, channel=fast.signed, cumulative_nano=cumulative)
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "one two")
    assert caught.value.reason == "not_active"
    assert (await pair.recorded()).closing
    assert CloseSigned(cumulative, signature).encode()


async def test_text_is_never_split_within_a_character(pair: Pair) -> None:
    fast = await pair.connect()
    prompt = " ".join(["🐛", "naïve", "日本語"] * 30)
    text, _ = await collect(fast, prompt)
    assert text == " ".join(prompt.split()[::-1])


@pytest.mark.parametrize("settings", [StreamSettings(streams=1)])
@held
async def test_more_streams_than_allowed_are_refused_as_busy(pair: Pair) -> None:
    fast = await pair.connect()
    stream = await _first(fast)
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "one two")
    assert caught.value.reason == "busy"
    await stream.aclose()


def test_pieces_of_a_token_are_events_of_the_kernel() -> None:
    told: list[Event] = []
    NullKernel().run(["a", "b"], 1, 1, told.append)
    assert Piece("a") in told
    assert Piece("b") not in told


class Raising(NullKernel):
    """Refuses, or breaks, as it begins."""

    def start(self, request: dict[str, Any], *given: Any, **named: Any) -> Any:
        match request["prompt"]:
            case "wrong":
                raise InvalidRequest("wrong")
            case "long":
                raise PromptTooLong(9, 8)
            case "broken":
                raise OverflowError
        return super().start(request, *given, **named)


@pytest.mark.parametrize("kernel", [Raising], indirect=True)
async def test_stream_that_the_kernel_does_not_begin_ends_alone(pair: Pair) -> None:
    """The connection, and with it every other stream, outlives it."""
    fast = await pair.connect()
    for prompt, reason in (("wrong", "malformed"), ("long", "too_long"), ("broken", "kernel_failed")):
        with pytest.raises(StreamRefused) as caught:
            await collect(fast, prompt)
        assert caught.value.reason == reason
    assert (await collect(fast, "one two three"))[0] == "three two one"


async def test_stream_that_finds_a_fault_of_the_workers_ends_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = await pair.connect()
    with monkeypatch.context() as patched:
        patched.setattr(pair.stage.signer, "decrypt", lambda *_given: 1 // 0)
        with pytest.raises(StreamRefused) as caught:
            await collect(fast, "one two three")
        assert caught.value.reason == "worker_failed"
    assert (await collect(fast, "one two three"))[0] == "three two one"
