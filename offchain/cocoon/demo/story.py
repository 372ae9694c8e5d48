"""The story: a job through the chain alone, a silent worker fined, a lying one slashed, and OpenAI's API on top."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from .act_faults import equivocation, silence
from .act_forced import forced_job, serving_agent
from .act_gateway import open_gateway, stream_an_answer
from .act_network import deploy, register
from .act_vectors import embed_texts, embedding_agent
from .playbill import Playbill
from .scene import Scene
from .stage import Stage

__all__ = ["play"]


async def play(prompt: str, max_tokens: int, console: Console) -> dict[str, Any]:
    """Run the whole story; the figures of `cocoon demo --json`. CocoonError if any step does not hold."""
    bill = Playbill(console)
    with tempfile.TemporaryDirectory(prefix="cocoon-demo-") as directory:
        bill.act("A local TON network")
        async with Stage.build(Path(directory)) as stage:
            scene = Scene(stage, bill)
            await deploy(scene)
            await register(scene)
            async with serving_agent(scene) as chatting, embedding_agent(scene) as embedding:
                await forced_job(scene, prompt, max_tokens)
                await silence(scene)
                await equivocation(scene)
                async with open_gateway(scene, chatting) as market:
                    await stream_an_answer(scene, market, prompt, max_tokens)
                    await embed_texts(scene, market, embedding)
    return {**bill.figures, "transactions": bill.transactions}
