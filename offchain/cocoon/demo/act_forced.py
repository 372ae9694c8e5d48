"""Act 3: worker A's agent, and an encrypted job that it does through the chain alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from ..attestation.pcs import TcbStatus
from ..chain.trace import trace
from ..chain.wallet import format_ton
from ..client.client import Client
from ..client.outcomes import Answer, Rejected
from ..wire.attestation import TcbStatusCode
from ..wire.escrow import RejectReason
from .enrollment import read_enrollment
from .preparing import MODEL
from .scene import JOB_SEC, MAX_FEE_NANO, SYSTEM, Scene
from .stage import AgentProcess, DemoFailed

__all__ = ["forced_job", "serving_agent"]


@contextlib.asynccontextmanager
async def serving_agent(scene: Scene) -> AsyncIterator[AgentProcess]:
    """Worker A's agent, attested and on offer, for the time of the context."""
    stage, bill = scene.stage, scene.bill
    bill.act("Worker A's agent starts: its keys are attested, its offer goes on chain")
    async with scene.agent("worker-a", scene.a, MODEL) as agent:
        found = await stage.until_serving(agent, scene.a.address, scene.model_id)
        terms = found.models[scene.model_id]
        bill.say(f"model {scene.model_id:064x}")
        bill.say(
            f"prices per million tokens: prompt {format_ton(terms.prompt_nano)}, completion "
            f"{format_ton(terms.completion_nano)}; at least {format_ton(terms.floor_fee_nano)} a forced job"
        )
        await _show_attestation(scene)
        yield agent


async def _show_attestation(scene: Scene) -> None:
    """What the agent sent to have its keys attested, read from the chain, with what it cost."""
    bill, a = scene.bill, scene.a
    found = await read_enrollment(scene.stage.chain, a.operator.address, scene.deployment, a.address)
    for document in found.documents:
        bill.record("one of Intel's documents, checked by the chain, kept for all", document.transactions)
    bill.record("Attest: the enclave's quote, verified by the chain", found.quote.transactions)
    status = TcbStatus[TcbStatusCode(found.verdict.tcb_status).name]
    measurement = found.verdict.platform.keys.measurement
    bill.say(f"measurement {measurement:064x}, TCB status {status}")
    collateral = {
        "documents": len(found.documents),
        "gas": sum(document.gas for document in found.documents),
        "cost_nano": sum(document.cost_nano for document in found.documents),
    }
    bill.say(
        f"verifying the quote cost {format_ton(found.quote.cost_nano)}; Intel's {len(found.documents)} documents "
        f"{format_ton(collateral['cost_nano'])} with their rent, once for everybody"
    )
    bill.figures |= {
        "measurement": f"{measurement:064x}",
        "tcb_status": str(status),
        "attest_gas": found.quote.gas,
        "attest_cost_nano": found.quote.cost_nano,
        **{f"collateral_{name}": figure for name, figure in collateral.items()},
    }


async def forced_job(scene: Scene, prompt: str, max_tokens: int) -> None:
    scene.client_wallet = await scene.stage.wallet(20)
    scene.bill.name(scene.client_wallet.address, "client's wallet")
    with scene.client() as client:
        await _job(scene, client, prompt, max_tokens)


async def _job(scene: Scene, client: Client, prompt: str, max_tokens: int) -> None:
    stage, bill, cold = scene.stage, scene.bill, scene.a.cold
    bill.act("A client opens an escrow and posts an encrypted prompt on chain")
    client_before, cold_before = await stage.balance(scene.client_wallet.address), await stage.balance(cold)
    channel = await scene.open(client, scene.a, "channel to worker A")
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    job = await channel.post_job(
        {"messages": messages, "max_tokens": max_tokens}, max_fee=MAX_FEE_NANO, duration=JOB_SEC
    )
    bill.record("PostJob: the prompt, encrypted to the worker's key", job.transactions)
    bill.say("waiting for the worker: it sees the job on the chain, decrypts it, runs the model, delivers …")
    outcome = await job.result()
    if isinstance(outcome, Rejected) and outcome.reason == RejectReason.TOO_LONG:
        raise DemoFailed("the prompt does not fit the model's context, so the worker rejected it; shorten --prompt")
    if not isinstance(outcome, Answer):
        raise DemoFailed(f"the job was not answered: {outcome}")
    bill.record("DeliverJob: the encrypted answer, paid", await trace(stage.chain, outcome.transaction))
    bill.quote(prompt, outcome.text)
    usage = outcome.usage
    bill.say(f"{usage.prompt} prompt tokens, {usage.completion} completion tokens; decrypted by the client")
    bill.act("The client closes the channel alone; what it did not spend comes back")
    bill.record("BeginClose", (await channel.begin_close()).transactions)
    await stage.later(scene.rules.dispute_sec + 1)
    bill.record("FinishClose, after the dispute window", (await channel.finish_close()).transactions)
    client_after, cold_after = await stage.balance(scene.client_wallet.address), await stage.balance(cold)
    bill.money("client", client_before, client_after)
    bill.money("worker A's cold address", cold_before, cold_after)
    bill.figures |= {
        "prompt": prompt,
        "answer": outcome.text,
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "model_id": f"{scene.model_id:064x}",
        "fee_nano": outcome.fee_nano,
        "worker_paid_nano": cold_after - cold_before,
        "client_spent_nano": client_before - client_after,
    }
