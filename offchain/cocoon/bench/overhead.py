"""What the fast path adds to the engine: time to the first token, time per token, throughput; and its own ceiling.

The same requests go to two engines with the same build, in turns: to one directly, and to the other over a socket with
encryption, receipts and vouchers; and that once more behind a gateway, over HTTP. Whatever else the machine does hits
all of them. Worker, signer, gateway and client are processes of their own, as in earnest, but share a machine's cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..agent.engine_kernel import EngineKernel
from ..agent.kernel import Ended, Event, Piece, StreamKernel
from ..client.stream import Delta, FastChannel
from ..kernels.engine.request import Metering
from ..signer.launch import ensure_signer
from .apart import Scenery, far_gateway, far_worker
from .hop import Hop, gateway_client
from .null_kernel import NullKernel

__all__ = ["measure"]

_MAX_FEE = 10**8
_DEPOSIT = 10**13
_ROUNDS = 9
_WORDS = "Tell me in a few sentences what a silkworm does all day and why it spins a cocoon."


@dataclass(slots=True)
class _Samples:
    """Seconds to the first token, seconds between tokens, tokens per second of a whole round."""

    first: list[float] = field(default_factory=list)
    token: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)


type _Ask = Callable[[dict[str, Any]], Awaitable[tuple[float, float, int]]]  # first token, whole, tokens


def measure(
    model: str = "smollm2-135m-instruct",
    streams: tuple[int, ...] = (1, 8, 32),
    tokens: int = 48,
    requests: int = 1500,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Everything, as JSON. The model's build is made first if it is not in the cache."""
    return asyncio.run(_measure(model, streams, tokens, requests, progress))


async def _measure(
    model: str, streams: tuple[int, ...], tokens: int, requests: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    progress("protocol alone")
    figures: dict[str, Any] = {"null_kernel": await _ceiling(requests), "model": model, "tokens": tokens}
    if not streams:
        return figures
    figures["slots"] = max(streams)
    rows: dict[str, Any] = {}
    kernel = await asyncio.to_thread(Scenery(Path(), model, max(streams)).load)
    try:
        async with _connected(kernel, model, max(streams)) as (fast, hop):
            ways = {"direct": _direct(kernel), "through": _through(fast), "gateway": hop.ask}
            for count in streams:
                rows[str(count)] = await _compare(ways, count, tokens, progress)
    finally:
        if isinstance(kernel, EngineKernel):
            kernel.close()
    return {**figures, "streams": rows}


async def _compare(ways: dict[str, _Ask], count: int, tokens: int, progress: Callable[[str], None]) -> dict[str, float]:
    samples = {name: _Samples() for name in ways}
    for turn in range(_ROUNDS + 1):  # the first one warms up
        order = list(ways.items())
        for name, ask in order if turn % 2 else reversed(order):
            progress(f"{count} streams, round {turn}, {name}")
            began = time.perf_counter()
            done = await asyncio.gather(*(ask(_request(turn, number, tokens)) for number in range(count)))
            took = time.perf_counter() - began
            if turn:
                found = samples[name]
                found.first += [first for first, _, _ in done]
                found.token += [(whole - first) / max(1, made - 1) for first, whole, made in done]
                found.rate.append(sum(made for _, _, made in done) / took)
    direct = samples["direct"]
    return {
        "direct_first_token_ms": _ms(statistics.median(direct.first)),
        "direct_tokens_per_s": round(statistics.median(direct.rate), 1),
        **_added(samples["through"], direct, "through", ""),
        **_added(samples["gateway"], direct, "gateway", "gateway_"),
    }


def _added(way: _Samples, direct: _Samples, name: str, prefix: str) -> dict[str, float]:
    """What a way costs beside the engine alone."""
    return {
        f"{name}_first_token_ms": _ms(statistics.median(way.first)),
        f"{name}_tokens_per_s": round(statistics.median(way.rate), 1),
        f"{prefix}added_first_token_ms_p50": _ms(statistics.median(way.first) - statistics.median(direct.first)),
        f"{prefix}added_first_token_ms_p99": _ms(_p99(way.first) - _p99(direct.first)),
        f"{prefix}added_ms_per_token": _ms(statistics.median(way.token) - statistics.median(direct.token)),
        f"{prefix}throughput_ratio": round(statistics.median(_ratios(way.rate, direct.rate)), 4),
    }


def _ratios(rates: list[float], others: list[float]) -> list[float]:
    """Round by round: what slowed a round down slowed down both."""
    return [rate / other for rate, other in zip(rates, others, strict=True)]


def _request(turn: int, number: int, tokens: int) -> dict[str, Any]:
    """No two rounds ask the same, so that no way profits from what the other had computed."""
    prompt = f"{turn}.{number} {_WORDS}"
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "temperature": 1.0, "seed": number}


def _direct(kernel: StreamKernel) -> _Ask:
    async def ask(request: dict[str, Any]) -> tuple[float, float, int]:
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        done: asyncio.Future[None] = loop.create_future()
        times: list[float] = []

        def told(event: Event) -> None:
            loop.call_soon_threadsafe(hear, event)

        def hear(event: Event) -> None:
            if isinstance(event, Piece):
                times.append(time.perf_counter())
            elif isinstance(event, Ended):
                done.set_result(None)
            elif isinstance(event, Exception):
                done.set_exception(event)

        most = int(request["max_tokens"])
        free = Metering(1 << 30, most, 0, 0, 0)
        await asyncio.to_thread(kernel.start, request, free, told, max_tokens=most)
        await done
        return times[0] - began, times[-1] - began, len(times)

    return ask


def _through(fast: FastChannel) -> _Ask:
    async def ask(request: dict[str, Any]) -> tuple[float, float, int]:
        began, first, last, made = time.perf_counter(), 0.0, 0.0, 0
        async for found in fast.stream(request, max_fee=_MAX_FEE):
            if isinstance(found, Delta):
                last = time.perf_counter()
                first, made = first or last, made + found.tokens
        return first - began, last - began, made

    return ask


async def _ceiling(requests: int) -> dict[str, Any]:
    """Requests of four tokens that cost nothing to compute, as fast as they go."""
    async with _connected(NullKernel(), None, 1) as (fast, hop):
        return {**await _fastest(_through(fast), requests), "gateway": await _fastest(hop.ask, requests // 2)}


async def _fastest(ask: _Ask, requests: int, at_once: int = 32) -> dict[str, float]:
    request = {"prompt": "one two three four", "max_tokens": 4}
    left = iter(range(requests))

    async def worker() -> None:
        for _ in left:
            await ask(request)

    await ask(request)
    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    took = time.perf_counter() - began
    alone = [(await ask(request))[0] for _ in range(200)]
    return {
        "requests_per_s": round(requests / took, 1),
        "at_once": at_once,
        "first_token_ms_alone_p50": _ms(statistics.median(alone)),
        "first_token_ms_alone_p99": _ms(_p99(alone)),
    }


@contextlib.asynccontextmanager
async def _connected(kernel: StreamKernel, model: str | None, slots: int) -> AsyncIterator[tuple[FastChannel, Hop]]:
    """A client of a worker with a kernel like this one, and of a gateway before that worker."""
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        scenery = Scenery(Path(folder), model, slots)
        signer = await ensure_signer(Path(folder) / "signer" / "signer.sock")
        try:
            async with (
                far_worker(scenery) as url,
                scenery.channel(kernel, gateway=False) as (channel, _),
                far_gateway(scenery, kernel.model_id, url) as told,
                gateway_client(*told.split()) as hop,
            ):
                fast = await FastChannel.connect(channel, url)
                try:
                    yield fast, hop
                finally:
                    await fast.close()
        finally:
            await signer.stop()


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
