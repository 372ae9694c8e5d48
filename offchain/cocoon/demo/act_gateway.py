"""The gateway: OpenAI's official SDK streams an answer through the gateway, paid by vouchers, claimed on the chain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..chain.base import ChainTransaction
from ..chain.trace import trace
from ..chain.wallet import Wallet, format_ton
from ..client.reading import paid
from ..fees import Fees
from ..gateway.held import Held
from ..gateway.receipts import Proof
from ..gateway.sandbox import Market, staged_gateway
from ..gateway.serve import Gateway
from ..gateway.verify import check_offline, check_on_chain
from ..wire.common import PaymentReason
from .preparing import EMBEDDER, MODEL
from .scene import SYSTEM, Scene
from .stage import AgentProcess, DemoFailed

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["OpenGateway", "fetch_receipt", "open_gateway", "stream_an_answer"]

_ALL = 1 << 20
_SHARED_BY = 1000
_SETTLED_SEC = 60.0
_MORE = ("Say it in one short sentence.", "Give me an example.", "Why is that so?", "Is it old?", "Who needs it?")


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    pieces: int
    receipt: str
    fee_nano: int


@dataclass(frozen=True, slots=True)
class _Claim:
    nano: int
    transaction: str


@dataclass(frozen=True, slots=True)
class OpenGateway:
    """client: OpenAI's SDK with a key of the gateway's. wallet: pays for its channels. agent: worker A's."""

    gateway: Gateway
    client: AsyncOpenAI
    wallet: Wallet
    agent: AgentProcess


@contextlib.asynccontextmanager
async def open_gateway(scene: Scene, agent: AgentProcess) -> AsyncIterator[OpenGateway]:
    """The gateway, and who asks it, for the time of the context."""
    from openai import AsyncOpenAI

    scene.bill.act("cocoon gateway: OpenAI's official SDK, with another base_url, streams an answer")
    wallet = await scene.stage.wallet(5)
    scene.bill.name(wallet.address, "gateway's wallet")
    model_id = f"{scene.model_id:064x}"
    market = Market(scene.stage, scene.deployment, scene.a.index, model_id, agent)
    names = {MODEL: model_id, EMBEDDER: f"{scene.embedder_id:064x}"}
    async with (
        staged_gateway(market, names, wallet=wallet) as (gateway, key),
        AsyncOpenAI(base_url=gateway.base_url, api_key=key, max_retries=0) as client,
    ):
        yield OpenGateway(gateway, client, wallet, agent)


async def stream_an_answer(scene: Scene, market: OpenGateway, prompt: str, max_tokens: int) -> None:
    """Answers over one channel: the first is streamed and claimed, the others use up what it had prepaid."""
    stage, bill, gateway, client, wallet = scene.stage, scene.bill, market.gateway, market.client, market.wallet
    before = await _balances(scene, wallet)
    _introduce(scene, gateway)
    first = await _ask(client, prompt, max_tokens)
    (held,) = gateway.pool.channels
    bill.name(held.channel.address, "Escrow")
    bill.record("OpenEscrow: the gateway's channel", await _caused(scene, wallet, held))
    bill.quote(prompt, first.text)
    checks = await _show_receipt(scene, client, first)
    claim = await _claim(scene, held)
    answers = [first, *await _use_up(client, claim.nano - first.fee_nano, max_tokens)]
    fees = sum(answer.fee_nano for answer in answers)
    bill.say(f"{len(answers) - 1} more answers over the same channel, {format_ton(fees)} in all: no transactions")
    gateway.pool.retire(scene.a.index)
    async with asyncio.timeout(_SETTLED_SEC):
        while gateway.pool.channels:
            market.agent.check()
            await stage.chain.next_block()
    closing = await _caused(scene, wallet, held)
    bill.record("CloseCooperative: the rest of the deposit comes back", closing)
    received = claim.nano + _paid(scene, closing)
    if received != max(fees, claim.nano):
        raise DemoFailed(f"worker A got {received} nanoTON for answers of {fees} and a voucher of {claim.nano}")
    settling = before - await _balances(scene, wallet) - received
    exactly = "what the receipts add up to" if received == fees else "the voucher, which the answers did not use up"
    bill.say(f"worker A's cold address was paid {format_ton(received)}: {exactly}")
    bill.say(
        f"opening, claiming and closing took {format_ton(settling)}, once per channel: "
        f"{format_ton(settling // _SHARED_BY)} an answer where {_SHARED_BY:,} share it (`cocoon bench settlement`)"
    )
    bill.figures |= {
        "stream_answer": first.text,
        "stream_pieces": first.pieces,
        "stream_fee_nano": first.fee_nano,
        "stream_receipt": first.receipt,
        "stream_receipt_checks": checks,
        "stream_answers": len(answers),
        "stream_fees_nano": fees,
        "stream_worker_paid_nano": received,
        "voucher_nano": claim.nano,
        "claim_transaction": claim.transaction,
        "channel_fees_nano": settling,
    }


def _introduce(scene: Scene, gateway: Gateway) -> None:
    scene.bill.say(f"base_url {gateway.base_url}; where worker A listens was read from the chain")
    facts = gateway.market.facts
    for worker in () if facts is None else facts.workers:
        reason = gateway.market.why_not(worker, scene.model_id)
        if worker.index != scene.c.index and reason is not None:
            scene.bill.say(f"worker {worker.index} is not asked: {reason}")


async def _ask(client: AsyncOpenAI, prompt: str, max_tokens: int) -> _Answer:
    """Streamed, over HTTP; what it cost is in the last piece's usage."""
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, pieces, usage = "", 0, None
    async for chunk in raw.parse():
        for choice in chunk.choices:
            text, pieces = text + (choice.delta.content or ""), pieces + 1
        usage = chunk.usage or usage
    if usage is None:
        raise DemoFailed("the gateway did not say what the answer cost")
    cost: Any = usage.model_extra or {}
    return _Answer(text, pieces, raw.headers["X-Cocoon-Receipt"], int(cost["cost_nano"]))


async def _caused(scene: Scene, wallet: Wallet, held: Held) -> list[ChainTransaction]:
    """Everything that the last message from `wallet` to the channel caused."""
    for sent in reversed(await scene.stage.chain.transactions(wallet.address, limit=_ALL)):
        if any(message.dst == held.channel.address for message in sent.out_msgs):
            return await trace(scene.stage.chain, sent)
    raise DemoFailed("the gateway's wallet sent nothing to its channel")


async def _show_receipt(scene: Scene, client: AsyncOpenAI, answer: _Answer) -> dict[str, bool | None]:
    proof, checks = await fetch_receipt(scene, client, answer.receipt)
    scene.bill.say(
        f"receipt {answer.receipt}: {proof.usage.prompt} prompt and {proof.usage.completion} completion tokens, fee "
        f"{format_ton(proof.fee_nano)}, signed by the enclave's session key; it came in {answer.pieces} pieces"
    )
    return checks


async def fetch_receipt(scene: Scene, client: AsyncOpenAI, receipt: str) -> tuple[Proof, dict[str, bool | None]]:
    """Fetched as anybody with the key would, and checked without the gateway. DemoFailed if it does not hold."""
    proof = Proof.from_json(await client.get(f"/receipts/{receipt}", cast_to=object))
    checks = [*check_offline(proof), *await check_on_chain(proof, scene.stage.chain)]
    if any(check.holds is False for check in checks):
        raise DemoFailed(f"the receipt does not hold: {checks}")
    return proof, {check.name: check.holds for check in checks}


async def _use_up(client: AsyncOpenAI, prepaid_nano: int, max_tokens: int) -> list[_Answer]:
    answers: list[_Answer] = []
    for question in _MORE:
        if prepaid_nano <= 0:
            break
        answers.append(await _ask(client, question, max_tokens))
        prepaid_nano -= answers[-1].fee_nano
    return answers


async def _claim(scene: Scene, held: Held) -> _Claim:
    """By worker A's owner. An agent waits until fees are a hundredth of a claim; an owner need not.

    The voucher is the one the worker holds: signed anew by the same key it is the same to the bit.
    """
    chain, channel = scene.stage.chain, held.channel
    cumulative = channel.store.voucher_nano(channel.address, held.epoch)
    scene.bill.say(
        f"the worker holds a voucher for {format_ton(cumulative)}: what the answer could cost at most was prepaid, and "
        "the next answers use up the rest"
    )
    body = await channel.voucher(cumulative)
    value = (await Fees.of(chain)).claim()
    done = await trace(chain, await scene.a.owner.send(chain, channel.address, value, body.to_cell()))
    scene.bill.record("ClaimVoucher: paid to worker A's cold address", done)
    took = [item for item in done if item.account == channel.address and item.exit_code == 0]
    if not took or _paid(scene, done) != cumulative:
        raise DemoFailed("the chain did not take the voucher")
    return _Claim(cumulative, took[0].hash.hex())


def _paid(scene: Scene, transactions: list[ChainTransaction]) -> int:
    """To worker A's cold address."""
    return paid(transactions, scene.a.cold, PaymentReason.EARNINGS)


async def _balances(scene: Scene, wallet: Wallet) -> int:
    """Of both who pay for transactions here."""
    return await scene.stage.balance(wallet.address) + await scene.stage.balance(scene.a.owner.address)
