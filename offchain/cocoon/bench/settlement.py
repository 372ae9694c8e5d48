"""What settling a request costs when a channel is opened, served by vouchers, claimed from and closed: all of it.

Everything is real but the model: a network, the contracts, a worker's agent, a client's channel. The cost is what all
wallets together have less than before, beyond what the worker's payout address has more: gas, forwarding, rent, the
wallets' own transactions included.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ..agent.config import DEFAULT_TERMS
from ..chain.base import ChainTransaction
from ..chain.trace import trace
from ..chain.wallet import Wallet
from ..client.channel import Channel
from ..client.client import Client
from ..client.stream import FastChannel, Finished
from ..client.workers import find_endpoint
from ..demo.stage import TON, DemoFailed, Stage
from ..fees import Fees
from ..gateway.sandbox import Market, staged_worker
from .existing import EXISTING_SETTLEMENT_NANO
from .scenario import sandbox_prices

__all__ = ["Settlement", "measure"]

KERNEL = "cocoon.bench.null_kernel:NullKernel"
_MODEL_ID = f"{0xABCDEF:064x}"
_AT_ONCE = 16
_MAX_FEE = 10**6
_OLD_GAS_PRICE = 400
_GOAL = 100


@dataclass(frozen=True, slots=True)
class Settlement:
    """Amounts in nanoTON. cost_at_400_nano: as if every fee had risen as much as gas; an upper bound."""

    requests: int
    claims: int
    transactions: int
    paid_to_worker_nano: int
    gas_price_nano: float
    cost_nano: int
    cost_at_400_nano: int

    @property
    def per_request_nano(self) -> float:
        return self.cost_nano / self.requests

    @property
    def per_request_at_400_nano(self) -> float:
        return self.cost_at_400_nano / self.requests

    @property
    def cheaper_by(self) -> float:
        """Than one settlement of the existing network, both at 400 nanoTON a gas unit."""
        return EXISTING_SETTLEMENT_NANO / self.per_request_at_400_nano

    @property
    def meets_goal(self) -> bool:
        return self.cheaper_by >= _GOAL

    def to_json(self) -> dict[str, object]:
        return {
            **asdict(self),
            "per_request_nano": round(self.per_request_nano, 1),
            "per_request_at_400_nano": round(self.per_request_at_400_nano, 1),
            "existing_network_nano": EXISTING_SETTLEMENT_NANO,
            "cheaper_by": round(self.cheaper_by, 1),
            "goal": _GOAL,
            "meets_goal": self.meets_goal,
        }


def measure(requests: int = 1000, claims: int = 4, progress: Callable[[str], None] = lambda line: None) -> Settlement:
    """One channel's whole life. The worker claims `claims` times on the way, evenly spread."""
    return asyncio.run(_measure(requests, claims, progress))


async def _measure(requests: int, claims: int, progress: Callable[[str], None]) -> Settlement:
    progress("a network, the contracts, a worker")
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        async with (
            Stage.build(Path(folder)) as stage,
            staged_worker(stage, kernel=KERNEL, model_id=_MODEL_ID) as market,
        ):
            payer, claimer = await stage.wallet(5), await stage.wallet(5)
            wallets = (payer, claimer)
            before = await _total(stage, wallets)
            client = Client(stage.chain, payer, market.deployment, allow_simulated_tee=True)
            with client:
                progress("open")
                channel = await client.open(
                    market.index, deposit=TON, model_id=int(_MODEL_ID, 16), term=86400, max_prices=DEFAULT_TERMS
                )
                payout = (await channel.binding()).payout
                paid_before = await stage.balance(payout)
                transactions = len(channel.transactions)
                async with _connected(channel, market) as fast:
                    for number, share in enumerate(_shares(requests, claims), start=1):
                        await _ask(fast, share)
                        if number <= claims:
                            progress(f"claim {number}")
                            transactions += len(await _claim(channel, claimer, fast.ledger.promised))
                    progress("close")
                    transactions += len((await fast.end_channel()).transactions)
            paid = await stage.balance(payout) - paid_before
            cost = before - await _total(stage, wallets) - paid
    gas_price = sandbox_prices().gas_price / (1 << 16)
    at_400 = round(cost * _OLD_GAS_PRICE / gas_price)
    return Settlement(requests, claims, transactions, paid, round(gas_price, 2), cost, at_400)


@asynccontextmanager
async def _connected(channel: Channel, market: Market) -> AsyncIterator[FastChannel]:
    endpoint = await find_endpoint(channel.chain, market.deployment.worker(market.index))
    if endpoint is None:
        raise DemoFailed("the worker announced no endpoint")
    fast = await FastChannel.connect(channel, endpoint)
    try:
        yield fast
    finally:
        await fast.close()


async def _ask(fast: FastChannel, requests: int) -> None:
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            async for event in fast.stream({"prompt": "one two three four", "max_tokens": 4}, max_fee=_MAX_FEE):
                done = isinstance(event, Finished)
            if not done:
                raise DemoFailed("an answer broke off")

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def _claim(channel: Channel, claimer: Wallet, cumulative: int) -> list[ChainTransaction]:
    """The worker's best voucher, sent by whoever wants it paid. An agent would wait for more to claim."""
    body = await channel.voucher(cumulative)
    value = (await Fees.of(channel.chain)).claim()
    done = await trace(channel.chain, await claimer.send(channel.chain, channel.address, value, body.to_cell()))
    if (await channel.state()).claimed_nano != cumulative:
        raise DemoFailed("the claim was refused")
    return done


def _shares(requests: int, claims: int) -> list[int]:
    """So many requests before each claim, and after the last one."""
    parts = claims + 1
    return [requests // parts + (number < requests % parts) for number in range(parts)]


async def _total(stage: Stage, wallets: tuple[Wallet, ...]) -> int:
    return sum([await stage.balance(wallet.address) for wallet in wallets])
