"""The client against the real contracts on an in-process ledger; the worker's agent is played by the test."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_chain import LedgerChain
from protocol_world import MODEL, TERMS, TON, World, make_world, named_key
from pytoniq_core import Cell

from cocoon.chain import ChainTransaction, Wallet
from cocoon.client import Answer, BadDelivery, BindFailed, Channel, Client, ClientStore, Expired, KeyLost, Rejected
from cocoon.crypto.ed25519 import sign
from cocoon.crypto.errors import BadSignature
from cocoon.crypto.statements import close
from cocoon.crypto.usage import Usage, price
from cocoon.errors import ClientError, JobFailed
from cocoon.wire.codec import Struct
from cocoon.wire.escrow import BindRefusal, ClaimVoucher, EscrowStatus, RejectReason
from cocoon.wire.worker import WorkerStatus, WorkerStorage
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger

REQUEST = {"messages": [{"role": "user", "content": "What is a cocoon?"}], "max_tokens": 40}


@pytest.fixture
async def world(ledger: Ledger) -> World:
    wallets = [Wallet(named_key(name)) for name in ("owner", "operator", "client")]
    for wallet in wallets:
        ledger.credit(wallet.address, 100 * TON)
    return await make_world(LedgerChain(ledger, global_id=SANDBOX_GLOBAL_ID, block_sec=5, pause=0), *wallets)


def client_of(world: World, store: Path | None = None) -> Client:
    return Client(world.chain, world.client, world.deployment, store, allow_simulated_tee=True)


async def open_channel(client: Client, **changes: object) -> Channel:
    terms = {"deposit": TON, "model_id": MODEL, "term": 86400, "max_prices": TERMS}
    return await client.open(0, **{**terms, **changes})  # type: ignore[arg-type]


async def balance(world: World) -> int:
    return (await world.chain.account(world.client.address)).balance


async def test_open_with_fitting_worker_binds_it(world: World) -> None:
    channel = await open_channel(client_of(world))
    state = await channel.state()
    assert (state.status, state.deposit_nano) == (EscrowStatus.ACTIVE, TON)
    assert (await channel.binding()).keys.hpke_key_hash == world.agent.hpke.public.cell_hash
    assert len(channel.transactions) == 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_id": 5}, BindRefusal.UNKNOWN_MODEL),
        ({"max_prices": replace(TERMS, prompt_nano=1)}, BindRefusal.PRICE_TOO_HIGH),
        ({"term": 31 * 86400}, BindRefusal.TERM_TOO_LONG),
    ],
)
async def test_open_refused_reports_reason_and_refund(
    world: World, changes: dict[str, object], reason: BindRefusal
) -> None:
    client, before = client_of(world), await balance(world)
    with pytest.raises(BindFailed, match=reason.name.lower().replace("_", " ")) as caught:
        await open_channel(client, **changes)
    assert caught.value.reason is reason
    spent = before - await balance(world)
    assert caught.value.refund_nano > TON
    assert spent < TON // 50
    assert await client.channels() == []


async def test_open_of_absent_worker_costs_nothing(world: World) -> None:
    with pytest.raises(ClientError, match="there is no worker"):
        await client_of(world).open(7, deposit=TON, model_id=MODEL, term=86400, max_prices=TERMS)


async def test_job_delivered_gives_the_verified_answer(world: World) -> None:
    channel = await open_channel(client_of(world))
    job = await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    _, body, _ = await world.agent.read_request(channel.address)
    assert body == REQUEST
    usage = Usage(12, 0, 20)
    receipt, _ = await world.agent.deliver(channel.address, "A pupa's shelter.", usage)
    answer = await job.result()
    assert isinstance(answer, Answer)
    assert (answer.text, answer.usage, answer.fee_nano) == ("A pupa's shelter.", usage, price(usage, TERMS))
    assert answer.receipt == receipt
    paid = (await world.chain.account(world.agent.payout)).balance
    assert paid == answer.fee_nano
    assert (await channel.state()).deposit_nano > TON


async def test_job_rejected_gives_the_signed_reason(world: World) -> None:
    channel = await open_channel(client_of(world))
    job = await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    await world.agent.reject(channel.address, RejectReason.TOO_LONG)
    outcome = await job.result()
    assert isinstance(outcome, Rejected)
    assert outcome.reason is RejectReason.TOO_LONG


async def test_job_unanswered_is_expired_and_refunded(world: World) -> None:
    """A.6."""
    channel = await open_channel(client_of(world))
    before = await balance(world)
    job = await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    outcome = await job.result()
    assert isinstance(outcome, Expired)
    assert outcome.refund_nano >= TON // 5
    assert (outcome.penalty_nano, outcome.compensation_nano) == (TON, TON // 5)
    assert before - await balance(world) < TON // 50 - outcome.compensation_nano
    data = (await world.chain.account(world.agent.address)).data
    assert data is not None
    assert WorkerStorage.from_cell(data).misses == 1


@pytest.mark.parametrize(
    ("flaws", "complaint"),
    [
        ({"secret": bytes(range(32))}, "no answer"),
        ({"disclosed": Usage(1, 0, 1)}, "token counts"),
        ({"fee_nano": TON // 5}, "costs"),
    ],
)
async def test_job_delivered_with_flaw_the_chain_cannot_see_is_refused(
    world: World, flaws: dict[str, object], complaint: str
) -> None:
    """B.31."""
    channel = await open_channel(client_of(world))
    job = await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    receipt, _ = await world.agent.deliver(channel.address, "x", **flaws)
    with pytest.raises(BadDelivery, match=complaint) as caught:
        await job.result()
    assert caught.value.receipt == receipt


@pytest.mark.parametrize(
    ("terms", "complaint"),
    [
        ({"max_fee": 1, "duration": 60}, "raise max_fee"),
        ({"max_fee": TON, "duration": 1}, "raise duration"),
        ({"max_fee": TON, "duration": 90000}, "channel ends"),
    ],
)
async def test_job_outside_the_channel_terms_is_not_sent(world: World, terms: dict[str, int], complaint: str) -> None:
    channel = await open_channel(client_of(world))
    before = await balance(world)
    with pytest.raises(ClientError, match=complaint):
        await channel.post_job(REQUEST, **terms)
    assert await balance(world) == before


async def test_job_second_while_one_is_open_is_not_sent(world: World) -> None:
    channel = await open_channel(client_of(world))
    await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    with pytest.raises(ClientError, match="has not ended"):
        await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)


async def test_job_beyond_the_escrow_size_is_not_sent(world: World) -> None:
    channel = await open_channel(client_of(world))
    before = await balance(world)
    with pytest.raises(ClientError, match="shorten it"):
        await channel.post_job({"prompt": "x" * 40_000}, max_fee=TON // 5, duration=60)
    assert await balance(world) == before


async def test_job_without_a_free_slot_is_refunded(world: World) -> None:
    await world.agent.set_offer({MODEL: TERMS}, slots=0)
    channel = await open_channel(client_of(world))
    with pytest.raises(JobFailed, match=r"no free slot; .* came back"):
        await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)


async def test_job_after_restart_is_found_in_the_store(world: World, tmp_path: Path) -> None:
    store = tmp_path / "client.sqlite"
    with client_of(world, store) as client:
        channel = await open_channel(client)
        await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    assert store.stat().st_mode & 0o777 == 0o600
    await world.agent.deliver(channel.address, "still here")
    with client_of(world, store) as client:
        (again,) = await client.channels()
        assert again.address == channel.address
        (job,) = await again.jobs()
        answer = await job.result()
        assert isinstance(answer, Answer)
        assert answer.text == "still here"


async def test_job_posted_by_a_client_that_crashed_then_is_found(world: World, tmp_path: Path) -> None:
    store = tmp_path / "client.sqlite"
    with client_of(world, store) as client:
        channel = await open_channel(client)
        send = channel.send

        async def crash(body: Struct, value: int) -> ChainTransaction:
            await send(body, value)
            raise KeyboardInterrupt

        channel.send = crash  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    for _ in range(3):
        await world.chain.next_block()
    await world.agent.deliver(channel.address, "found")
    with client_of(world, store) as client:
        (job,) = await client.channel(channel.address).jobs()
        answer = await job.result()
        assert isinstance(answer, Answer)
        assert answer.text == "found"


async def test_job_that_never_left_a_crashed_client_is_not_waited_for(world: World, tmp_path: Path) -> None:
    store = tmp_path / "client.sqlite"
    with client_of(world, store) as client:
        channel = await open_channel(client)

        async def crash(body: Struct, value: int) -> ChainTransaction:
            raise KeyboardInterrupt

        channel.send = crash  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    with client_of(world, store) as client:
        assert await client.channel(channel.address).jobs() == []


async def test_job_result_survives_a_lost_network(world: World) -> None:
    channel = await open_channel(client_of(world))
    job = await channel.post_job(REQUEST, max_fee=TON // 5, duration=600)
    await world.agent.deliver(channel.address, "late news")
    assert isinstance(world.chain, LedgerChain)
    world.chain.offline = True
    waiting = asyncio.create_task(job.result())
    await asyncio.sleep(0.3)
    world.chain.offline = False
    answer = await waiting
    assert isinstance(answer, Answer)
    assert await job.result() == answer


async def test_store_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "client.sqlite"
    path.write_bytes(b"not a database at all, " * 100)
    with pytest.raises(ClientError, match="choose another file"):
        ClientStore(path)


async def test_amounts_and_requests_that_make_no_sense_cost_nothing(world: World) -> None:
    client = client_of(world)
    channel = await open_channel(client)
    before = (await world.chain.account(client.wallet.address)).balance
    for deposit, term in ((0, 86400), (-1, 86400), (TON, 0), (TON, -1)):
        with pytest.raises(ClientError, match="above 0"):
            await client.open(0, deposit=deposit, model_id=MODEL, term=term, max_prices=TERMS)
    with pytest.raises(ClientError, match="indices"):
        await client.open(-1, deposit=TON, model_id=MODEL, term=86400, max_prices=TERMS)
    for amount in (0, -5):
        with pytest.raises(ClientError, match="above 0"):
            await channel.top_up(amount)
    with pytest.raises(ClientError, match="is an object"):
        await channel.post_job([1], max_fee=TON // 10, duration=120)  # type: ignore[arg-type]
    assert (await world.chain.account(client.wallet.address)).balance == before


async def test_top_up_adds_exactly_the_amount(world: World) -> None:
    channel = await open_channel(client_of(world))
    await channel.top_up(TON // 4)
    assert (await channel.state()).deposit_nano == TON + TON // 4


async def test_voucher_is_claimed_by_the_worker(world: World) -> None:
    channel = await open_channel(client_of(world))
    voucher = await channel.voucher(TON // 3)
    assert isinstance(voucher, ClaimVoucher)
    await world.agent.send(channel.address, voucher, (await channel.fees()).claim())
    assert (await channel.state()).claimed_nano == TON // 3
    assert (await world.chain.account(world.agent.payout)).balance == TON // 3


async def test_voucher_above_deposit_or_below_an_earlier_one_is_not_signed(world: World) -> None:
    channel = await open_channel(client_of(world))
    with pytest.raises(ClientError, match="top up first"):
        await channel.voucher(TON + 1)
    await channel.voucher(500)
    with pytest.raises(ClientError, match="signed before"):
        await channel.voucher(499)


async def test_close_after_the_dispute_window_returns_the_deposit(world: World) -> None:
    channel = await open_channel(client_of(world))
    with pytest.raises(ClientError, match="begin_close first"):
        await channel.finish_close()
    await channel.begin_close()
    with pytest.raises(ClientError, match="too early"):
        await channel.finish_close()
    assert isinstance(world.chain, LedgerChain)
    world.chain.ledger.advance(86400)
    await world.chain.next_block()
    done = await channel.finish_close()
    assert done.received_nano > TON
    assert not await channel.is_open()


async def test_close_cooperatively_pays_both_at_once(world: World) -> None:
    channel = await open_channel(client_of(world))
    statement = close(await channel.signed(), cumulative_nano=TON // 4)
    with pytest.raises(BadSignature):
        await channel.close_cooperative(TON // 4, bytes(64))
    done = await channel.close_cooperative(TON // 4, sign(world.agent.session, statement))
    assert done.received_nano > TON - TON // 4
    assert (await world.chain.account(world.agent.payout)).balance == TON // 4


async def test_rebind_after_the_workers_restart_gives_money_and_keys(world: World) -> None:
    """E-10, E-11: the open job ends with its key, and the channel goes on with the new one."""
    channel = await open_channel(client_of(world))
    with pytest.raises(ClientError, match="keys current"):
        await channel.rebind()
    job = await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    await world.agent.restart()
    await channel.rebind()
    lost = await job.result()
    assert isinstance(lost, KeyLost)
    assert lost.refund_nano > TON // 5
    again = await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    await world.agent.deliver(channel.address, "after the restart")
    answer = await again.result()
    assert isinstance(answer, Answer)
    assert answer.text == "after the restart"
    assert (await job.result()) == lost


async def test_equivocation_reported_slashes_the_worker(world: World) -> None:
    channel = await open_channel(client_of(world))
    job = await channel.post_job(REQUEST, max_fee=TON // 5, duration=60)
    state, signed = await world.agent.escrow(channel.address)
    other = world.agent.sign_receipt(signed, state, Cell.empty(), fee_nano=TON // 10, usage=Usage(1, 0, 1))
    await world.agent.deliver(channel.address, "one")
    answer = await job.result()
    assert isinstance(answer, Answer)
    with pytest.raises(ClientError, match="the same"):
        await channel.report_equivocation(answer.receipt, answer.receipt)
    slashed = await channel.report_equivocation(answer.receipt, other)
    assert (slashed.slashed_nano, slashed.received_nano) == (10 * TON, 2 * TON)
    data = (await world.chain.account(world.agent.address)).data
    assert data is not None
    assert WorkerStorage.from_cell(data).status == WorkerStatus.JAILED
    with pytest.raises(ClientError, match="could not be slashed"):
        await channel.report_equivocation(answer.receipt, other)
