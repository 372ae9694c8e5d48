"""The last act: another worker serves another kind of model, one that turns texts into vectors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from ..chain.wallet import format_ton
from .act_gateway import OpenGateway, fetch_receipt
from .preparing import EMBEDDER
from .scene import Scene
from .stage import AgentProcess, DemoFailed

__all__ = ["embed_texts", "embedding_agent"]

_FOUND_SEC = 60.0
_TEXTS = ("A cat sleeps on the sofa.", "The kitten naps on a couch.", "Interest rates rose again.")


@contextlib.asynccontextmanager
async def embedding_agent(scene: Scene) -> AsyncIterator[AgentProcess]:
    """Worker C's agent, for the time of the context. It has its keys attested while other acts play."""
    async with scene.agent("worker-c", scene.c, EMBEDDER) as agent:
        yield agent


async def embed_texts(scene: Scene, market: OpenGateway, agent: AgentProcess) -> None:
    """Texts through OpenAI's SDK, compared by their vectors. DemoFailed if two of one meaning are not the closest."""
    stage, bill = scene.stage, scene.bill
    bill.act(f"Worker C serves {EMBEDDER}: the same SDK asks for embeddings")
    await stage.until_serving(agent, scene.c.address, scene.embedder_id)
    async with asyncio.timeout(_FOUND_SEC):
        while not any(model.workers for model in market.gateway.market.models() if EMBEDDER in model.names):
            await stage.chain.next_block()
    raw = await market.client.embeddings.with_raw_response.create(model=EMBEDDER, input=list(_TEXTS))
    found = raw.parse()
    vectors = [entry.embedding for entry in found.data]
    pairs = list(itertools.combinations(range(len(_TEXTS)), 2))
    likeness = {pair: sum(a * b for a, b in zip(*(vectors[i] for i in pair), strict=True)) for pair in pairs}
    for (i, j), value in likeness.items():
        bill.say(f"{value:+.3f}  {_TEXTS[i]!r} and {_TEXTS[j]!r}")
    if max(likeness, key=lambda pair: likeness[pair]) != (0, 1):
        raise DemoFailed("the vectors say that other texts than the two about a cat are alike")
    receipt = raw.headers["X-Cocoon-Receipt"]
    proof, checks = await fetch_receipt(scene, market.client, receipt)
    bill.say(
        f"receipt {receipt}: {proof.usage.prompt} tokens, {format_ton(proof.fee_nano)}, by worker {proof.worker_index}"
    )
    said: Any = found.model_extra or {}
    if proof.fee_nano != said["cocoon"]["cost_nano"] or proof.worker_index != scene.c.index:
        raise DemoFailed("the receipt is for another answer than the gateway's")
    bill.figures |= {
        "embedding_model_id": f"{scene.embedder_id:064x}",
        "embedding_dimensions": len(vectors[0]),
        "embedding_likeness": [round(likeness[pair], 6) for pair in pairs],
        "embedding_tokens": proof.usage.prompt,
        "embedding_fee_nano": proof.fee_nano,
        "embedding_receipt_checks": checks,
    }
