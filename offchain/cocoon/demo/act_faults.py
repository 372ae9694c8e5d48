"""Acts 4 and 5: worker B stays silent and is fined, signs two answers for one job and loses its stake."""

from __future__ import annotations

import hashlib
import secrets

from ..agent.config import DEFAULT_TERMS
from ..attestation.enrolling import EnclaveKeys
from ..chain.trace import trace
from ..chain.wallet import format_ton
from ..client.channel import Channel
from ..client.outcomes import Expired
from ..crypto.ed25519 import public_key, sign
from ..crypto.hpke import HpkePrivateKey
from ..crypto.statements import receipt
from ..crypto.usage import Usage
from ..enrollment import attest_worker
from ..fees import Fees
from ..wire.blob import bytes_to_cell
from ..wire.common import Kind
from ..wire.escrow import SignedReceipt
from ..wire.worker import SetOffer, WorkerStatus
from .scene import JOB_SEC, MAX_FEE_NANO, Scene
from .stage import DemoFailed

__all__ = ["equivocation", "silence"]


async def silence(scene: Scene) -> None:
    stage, bill = scene.stage, scene.bill
    bill.act("Worker B offers the same model, takes a job and stays silent")
    await _rogue_offer(scene)
    with scene.client() as client:
        channel = await scene.open(client, scene.b, "channel to worker B")
        job = await channel.post_job({"prompt": "Are you there?"}, max_fee=MAX_FEE_NANO, duration=JOB_SEC)
        bill.record("PostJob", job.transactions)
        bond_before = (await scene.worker(scene.b)).bond_nano
        bill.say("nobody answers; the deadline and the grace period pass")
        await stage.later(JOB_SEC + scene.rules.grace_sec + 1)
        outcome = await job.result()
        if not isinstance(outcome, Expired):
            raise DemoFailed(f"the silent worker was not caught: {outcome}")
        bill.record("ExpireJob: refund, and the miss reported", outcome.transactions)
        bond_after = (await scene.worker(scene.b)).bond_nano
        bill.say(f"refunded to the client: {format_ton(outcome.refund_nano)}")
        bill.say(f"of the penalty, {format_ton(outcome.compensation_nano)} to the client, the rest burned")
        bill.money("worker B's miss bond", bond_before, bond_after)
        bill.figures |= {
            "refund_nano": outcome.refund_nano,
            "penalty_nano": bond_before - bond_after,
            "compensation_nano": outcome.compensation_nano,
        }


async def _rogue_offer(scene: Scene) -> None:
    """Attested keys and an offer of a worker that runs no agent: an enclave alone makes nobody honest."""
    chain, b = scene.stage.chain, scene.b
    done = await attest_worker(
        chain,
        b.operator,
        scene.deployment,
        b.index,
        EnclaveKeys(public_key(scene.rogue_key), HpkePrivateKey().public.to_cell()),
        scene.simulation.source(await chain.time(), allow_simulated_tee=True),
        scene.simulation.publisher(allow_simulated_tee=True),
    )
    scene.bill.record("Attest: Intel's documents are there already", done.transactions)
    body = SetOffer(secrets.randbits(64), 2, {scene.model_id: DEFAULT_TERMS})
    sent = await b.operator.send(chain, b.address, (await Fees.of(chain)).manage_worker(), body.to_cell())
    scene.bill.record("SetOffer", await trace(chain, sent))


async def equivocation(scene: Scene) -> None:
    bill = scene.bill
    bill.act("Worker B signs two different answers for one job, and is slashed")
    with scene.client() as client:
        (channel,) = await client.channels()
        job = await channel.post_job({"prompt": "Which is it?"}, max_fee=MAX_FEE_NANO, duration=JOB_SEC)
        bill.record("PostJob", job.transactions)
        first, second = [
            await _rogue_receipt(scene, channel, job.seq, job.stored.request_digest, said) for said in (b"yes", b"no")
        ]
        stake_before = (await scene.worker(scene.b)).stake_nano
        slashed = await channel.report_equivocation(first, second)
        bill.record("SubmitEquivocation: both receipts, checked by the chain", slashed.transactions)
        found = await scene.worker(scene.b)
        bill.money("worker B's stake", stake_before, found.stake_nano)
        bill.say(f"{format_ton(slashed.received_nano)} to reporter and harmed client, the rest burned")
        bill.say(f"worker B is {WorkerStatus(found.status).name.lower()}")
        if found.status != WorkerStatus.JAILED:
            raise DemoFailed("worker B was not jailed")
        bill.figures |= {
            "slashed_nano": stake_before - found.stake_nano,
            "slash_reward_nano": slashed.received_nano,
        }


async def _rogue_receipt(scene: Scene, channel: Channel, seq: int, request_digest: int, answer: bytes) -> SignedReceipt:
    made = receipt(
        await channel.signed(),
        Kind.FORCED_RECEIPT,
        seq=seq,
        fee_nano=MAX_FEE_NANO,
        issued_at=await scene.stage.chain.time(),
        request_digest=request_digest,
        response_digest=int.from_bytes(bytes_to_cell(answer).hash, "big"),
        model_id=scene.model_id,
        usage=Usage(1, 0, 1, hashlib.sha256(answer).digest()),
        measurement=scene.simulation.measurement,
    )
    return SignedReceipt(made, sign(scene.rogue_key, made))
