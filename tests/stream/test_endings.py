"""Workers that stop, forget, or lose sight of the chain, and clients that help themselves on the chain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from agent_kernel import MODEL
from agent_world import TERMS, TON, World
from pairs import WORDS, Held, Pair, Tamper, collect, until

from cocoon.agent.agent import Streaming
from cocoon.agent.serving import StreamSettings
from cocoon.agent.vouchers import VoucherBook
from cocoon.chain.wallet import Wallet
from cocoon.client import Answer, Client
from cocoon.client.connecting import _add
from cocoon.client.evidence import Equivocated
from cocoon.client.store import ClientStore, StoredStreams
from cocoon.client.stream import Delta, FastChannel, StreamError, StreamLied, StreamRefused, StreamStalled
from cocoon.crypto.ed25519 import sign
from cocoon.stream.frames import End, Frame, Receipts
from cocoon.stream.pricing import stream_price
from cocoon.stream.receipts import pack_receipt, unpack_receipt
from cocoon_sandbox.ledger import Ledger

held = pytest.mark.parametrize("kernel", [Held], indirect=True)
type Install = Callable[[Tamper], None]


@held
async def test_drain_waits_for_streams_under_way_and_their_money(pair: Pair) -> None:
    """F-10."""
    fast = await pair.connect()
    stream = fast.stream({"prompt": WORDS}, max_fee=10**7)
    assert isinstance(await anext(stream), Delta)
    draining = asyncio.create_task(pair.server.drain())
    await asyncio.sleep(0.05)
    assert not draining.done()
    with pytest.raises(StreamRefused) as caught:
        await collect(fast, "one two")
    assert caught.value.reason == "draining"
    await stream.aclose()  # its receipt comes, and is paid
    async with asyncio.timeout(5):
        await draining
    assert pair.served.record.receipts == 1
    assert pair.served.ledger.paid >= pair.served.ledger.earned > 0


@held
@pytest.mark.parametrize("settings", [StreamSettings(drain_sec=0.1)])
async def test_drain_does_not_wait_for_a_stream_without_end(pair: Pair) -> None:
    fast = await pair.connect()
    stream = fast.stream({"prompt": WORDS}, max_fee=10**7)
    assert isinstance(await anext(stream), Delta)
    async with asyncio.timeout(5):
        await pair.server.drain()
    assert pair.server.running == 1
    await stream.aclose()


@pytest.mark.parametrize("settings", [StreamSettings(idle_sec=0.1)])
async def test_channel_nobody_uses_leaves_the_memory_and_is_counted_on_when_it_returns(pair: Pair) -> None:
    """F-6."""
    fast = await pair.connect()
    _, first = await collect(fast, "one two three")
    await asyncio.sleep(0.3)
    assert pair.served.record.receipts == 1  # in use, however quiet
    await fast.close()
    await until(lambda: not pair.server._channels)
    again = await pair.connect()
    _, second = await collect(again, "four five")
    assert second.receipt.receipt.seq > first.receipt.receipt.seq
    assert pair.served.record.receipts == 2
    assert pair.served.ledger.earned == first.fee_nano + second.fee_nano == again.ledger.verified


@held
@pytest.mark.parametrize("settings", [StreamSettings(idle_sec=0.1)])
async def test_work_of_a_client_that_vanished_is_on_the_disk_before_its_channel_is_forgotten(pair: Pair) -> None:
    """F-6: nobody can make a worker forget by hanging up."""
    fast = await pair.connect()
    assert isinstance(await anext(fast.stream({"prompt": WORDS}, max_fee=10**7)), Delta)
    fast._opened.socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await until(lambda: not pair.server._channels)
    record = await pair.server._book.load(pair.stage.escrow, fast.signed.epoch)
    assert record.earned == stream_price(pair.stage.terms, 200, 0, 3)


@held
@pytest.mark.parametrize("settings", [StreamSettings(credit_nano=400_000)])
async def test_work_worth_much_of_the_credit_is_on_the_disk_while_it_goes_on(pair: Pair) -> None:
    """F-2: a process that is killed now forgets little."""
    fast = await pair.connect()
    stream = fast.stream({"prompt": WORDS}, max_fee=10**7)
    assert isinstance(await anext(stream), Delta)
    assert (await pair.recorded()).earned >= stream_price(pair.stage.terms, 200, 0, 0)
    await stream.aclose()


async def test_answer_ends_with_its_receipt_while_the_chain_is_away(pair: Pair) -> None:
    """F-7."""
    fast = await pair.connect()
    _, before = await collect(fast, "one two")
    pair.stage.chain.offline = True
    _, finished = await collect(fast, "one two three")
    assert finished.receipt.receipt.issued_at >= before.receipt.receipt.issued_at
    assert fast._purse.receipts == 2


async def test_false_receipt_and_the_true_one_of_its_number_are_evidence(
    pair: Pair, tamper: Install, tmp_path: Path
) -> None:
    """F-8: the worker shows its clients one receipt and its book another; reconnecting brings both together."""
    fast = await pair.connect()

    def overcharge(frame: Frame) -> list[Frame]:
        if not isinstance(frame, End):
            return [frame]
        receipt = unpack_receipt(frame.receipt, fast.signed)
        receipt = replace(receipt, fee_nano=receipt.fee_nano + 1)
        return [replace(frame, receipt=pack_receipt(receipt), signature=sign(pair.keys._session, receipt))]

    tamper(overcharge)
    with pytest.raises(StreamLied) as caught:
        await collect(fast, "one two")
    (false,) = caught.value.receipts
    await fast.close()
    with pytest.raises(StreamLied, match="report_equivocation") as shown:
        await pair.connect()
    first, second = shown.value.receipts
    assert first == false
    assert first.receipt.seq == second.receipt.seq
    assert first.receipt.fee_nano == second.receipt.fee_nano + 1
    assert isinstance(shown.value, Equivocated)
    with ClientStore(tmp_path / "client.sqlite") as reopened:  # both are on the disk, whatever becomes of this process
        (kept,) = reopened.unsent_evidence()
    assert kept == shown.value.evidence
    assert (kept.first, kept.second) == (first, second)
    assert kept.session_key == pair.keys.identity().session_key


async def test_two_receipts_of_one_number_among_those_shown_are_evidence(pair: Pair) -> None:
    """Neither was known before: the worker's book holds both, and shows them to a client that lost its answers."""
    fast = await pair.connect()
    _, honest = await collect(fast, "one two")
    said = replace(honest.receipt.receipt, seq=7)
    both = [said, replace(said, request_digest=1)]
    rest = b"".join(
        pack_receipt(receipt) + fast.signed.key_epoch.to_bytes(4, "big") + sign(pair.keys._session, receipt)
        for receipt in both
    )
    with pytest.raises(Equivocated) as caught:
        _add(fast._opened, fast._channel, StoredStreams(), Receipts(0, rest))
    assert [signed.receipt for signed in caught.value.receipts] == both
    assert pair.store.unsent_evidence() == [caught.value.evidence]


@held
async def test_close_of_a_connection_that_breaks_keeps_what_arrived(pair: Pair) -> None:
    """F-6."""
    fast = await pair.connect()
    stream = fast.stream({"prompt": WORDS}, max_fee=10**7)
    assert isinstance(await anext(stream), Delta)
    fast._opened.socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await fast.close()
    with pytest.raises(StreamStalled):
        await anext(stream)
    stored = pair.store.streams(pair.stage.escrow, fast.signed.epoch)
    assert stored.verified_nano == stream_price(pair.stage.terms, 200, 0, 3)


async def test_worker_that_hangs_up_during_the_opening_is_a_stall(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang_up(*_given: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(type(pair.server), "_admit", hang_up)
    with pytest.raises(StreamError) as caught:
        await pair.connect()
    assert isinstance(caught.value, StreamStalled)


async def test_client_of_a_silent_worker_forces_the_job_on_the_chain(ledger: Ledger, tmp_path: Path) -> None:
    """F-11, P-7: the stream stalls, the same question is posted, and the chain brings its answer."""
    world = World(ledger)
    world.kernel = Held(MODEL)  # type: ignore[assignment]
    wallet = Wallet(world.client_key)
    ledger.credit(wallet.address, 20 * TON)
    question = {"prompt": "what does a silent worker say"}
    with contextlib.closing(VoucherBook(tmp_path / "vouchers.sqlite")) as book:
        agent = world.agent(tmp_path, streaming=Streaming(book, "127.0.0.1:0"))
        running = asyncio.create_task(agent.run())
        try:
            await until(lambda: world.ready and agent.server is not None and agent.server.ready.is_set(), 20)
            with Client(world.chain, wallet, world.deployment, allow_simulated_tee=True) as client:
                channel = await client.open(0, deposit=TON, model_id=MODEL, term=20 * 86400, max_prices=TERMS)
                assert agent.server is not None
                url = f"http://127.0.0.1:{agent.server.port}"
                fast = await FastChannel.connect(channel, url, quantum_nano=TON // 10, patience_sec=0.3)
                with pytest.raises(StreamStalled, match="post_job") as caught:
                    await collect(fast, question["prompt"], max_fee=TON // 10)
                await fast.close()
                assert caught.value.paid_nano <= caught.value.verified_nano + TON // 10
                job = await channel.post_job(question, max_fee=TON // 10, duration=600)
                answer = await job.result()
                assert isinstance(answer, Answer)
                assert answer.text == "say worker silent a does what"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            agent.journal.close()
