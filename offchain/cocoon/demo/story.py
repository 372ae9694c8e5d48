"""The story: an encrypted job done and paid through the chain alone, a silent worker fined, a lying one slashed."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address
from rich.console import Console

from ..agent.config import DEFAULT_TERMS
from ..chain.trace import trace
from ..chain.wallet import Wallet, format_ton
from ..client.channel import Channel
from ..client.client import Client
from ..client.outcomes import Answer, Expired, Rejected
from ..crypto.ed25519 import public_key, sign
from ..crypto.hpke import HpkePrivateKey
from ..crypto.statements import identity, receipt
from ..crypto.usage import Usage
from ..deployment import Deployment, Rules
from ..fees import Fees
from ..kernels.shelf import find_bundle
from ..registration import Registered, register_worker
from ..wire.blob import bytes_to_cell
from ..wire.common import Kind
from ..wire.escrow import RejectReason, SignedReceipt
from ..wire.worker import SetIdentity, SetOffer, WorkerStatus, WorkerStorage
from .playbill import Playbill
from .preparing import MODEL
from .stage import TON, AgentProcess, DemoFailed, Stage

__all__ = ["play"]

DAY_SEC = 86400
_SYSTEM = "You are a helpful assistant. Answer briefly and clearly."
_JOB_SEC = 120
_READY_SEC = 120.0
_MAX_FEE_NANO = TON // 10


async def play(prompt: str, max_tokens: int, console: Console) -> dict[str, Any]:
    """Run the whole story; the figures of `cocoon demo --json`. CocoonError if any step does not hold."""
    bill = Playbill(console)
    with tempfile.TemporaryDirectory(prefix="cocoon-demo-") as directory:
        bill.act("A local TON network")
        async with Stage.build(Path(directory)) as stage:
            story = _Story(stage, bill)
            await story.deploy()
            await story.register()
            await story.answer(prompt, max_tokens)
            await story.silence()
            await story.equivocation()
    return {**bill.figures, "transactions": bill.transactions}


class _Story:
    def __init__(self, stage: Stage, bill: Playbill) -> None:
        self.stage, self.bill = stage, bill
        self.rules: Rules
        self.deployment: Deployment
        self.model_id = int.from_bytes(find_bundle(MODEL).model_id, "big")
        # the second worker has no agent: this program holds its key, and is its dishonest operator
        self.rogue_key = Ed25519PrivateKey.generate()

    # ---- act 1 ----

    async def deploy(self) -> None:
        stage, bill = self.stage, self.bill
        network = stage.network
        bill.say(f"lite server on {network.host}:{network.port}, global id {stage.chain.global_id}")
        bill.act("deploy.py deploys Registry and Slashing")
        words = Wallet.new_mnemonic()
        deployer = Wallet.from_mnemonic(words)
        await stage.fund(deployer.address, 10)
        self.rules = Rules(owner=deployer.address)
        self.deployment = Deployment.of(self.rules)
        for address, name in (
            (deployer.address, "deployer's wallet"),
            (self.deployment.registry, "Registry"),
            (self.deployment.slashing, "Slashing"),
        ):
            bill.name(address, name)
        await stage.run_deploy(words, {})
        found = await stage.chain.transactions(deployer.address)
        bill.record("deployment", await trace(stage.chain, found[-1]))
        bill.warn(
            "NO ENCLAVE IS VERIFIED: policy attestationRequired = false. Keys are taken on the operator's word,\n"
            "so nothing below is confidential towards the workers' hosts. Everything else is the real thing."
        )

    # ---- act 2 ----

    async def register(self) -> None:
        self.bill.act("Two workers register with stake and miss bond")
        self.owner_a, self.agent_wallet = await self.stage.wallet(30), await self.stage.wallet(5)
        self.owner_b, self.operator_b = await self.stage.wallet(30), await self.stage.wallet(5)
        self.cold_a, self.cold_b = Address((0, secrets.token_bytes(32))), Address((0, secrets.token_bytes(32)))
        self.a = await self._register("worker A", self.owner_a, self.agent_wallet, self.cold_a)
        self.b = await self._register("worker B", self.owner_b, self.operator_b, self.cold_b)

    async def _register(self, name: str, owner: Wallet, operator: Wallet, payout: Address) -> Registered:
        bill = self.bill
        bill.name(owner.address, f"{name}'s owner")
        bill.name(operator.address, f"{name}'s agent wallet")
        bill.name(payout, f"{name}'s cold address")
        done = await register_worker(
            self.stage.chain,
            owner,
            self.deployment,
            stake_nano=self.rules.min_stake_nano,
            bond_nano=self.rules.min_bond_nano,
            operator=operator.address,
            payout=payout,
        )
        bill.name(done.worker, f"{name}'s contract")
        bill.record(f"{name} registers", done.transactions)
        found = await self._worker(done)
        bill.say(
            f"{name}: index {done.index}, stake {format_ton(found.stake_nano)}, bond {format_ton(found.bond_nano)}"
        )
        return done

    async def _worker(self, registered: Registered) -> WorkerStorage:
        data = (await self.stage.chain.account(registered.worker)).data
        if data is None:
            raise DemoFailed("the worker's contract is gone")
        return WorkerStorage.from_cell(data)

    # ---- act 3 ----

    async def answer(self, prompt: str, max_tokens: int) -> None:
        stage, bill = self.stage, self.bill
        bill.act("Worker A's agent starts: signer, model, identity and offer on chain")
        settings = {
            "registry": self.deployment.registry.to_str(is_user_friendly=False),
            "worker_index": self.a.index,
            "kernel": MODEL,
            "terms": asdict(DEFAULT_TERMS),
        }
        async with stage.agent("worker-a", settings, self.agent_wallet) as agent:
            await self._until_ready(agent)
            self.client_wallet = await stage.wallet(20)
            bill.name(self.client_wallet.address, "client's wallet")
            with Client(stage.chain, self.client_wallet, self.deployment, stage.home / "client.sqlite") as client:
                await self._job(client, prompt, max_tokens)

    async def _until_ready(self, agent: AgentProcess) -> None:
        waited_since = await self.stage.chain.time()
        while True:
            agent.check()
            found = await self._worker(self.a)
            if found.status == WorkerStatus.ACTIVE and self.model_id in found.models:
                break
            if await self.stage.chain.time() > waited_since + _READY_SEC:
                raise DemoFailed(f"the agent did not get ready: {agent.log.read_text()[-2000:]}")
            await self.stage.chain.next_block()
        terms = found.models[self.model_id]
        self.bill.say(f"model {self.model_id:064x}")
        self.bill.say(
            f"prices per million tokens: prompt {format_ton(terms.prompt_nano)}, completion "
            f"{format_ton(terms.completion_nano)}; at least {format_ton(terms.floor_fee_nano)} a forced job"
        )

    async def _job(self, client: Client, prompt: str, max_tokens: int) -> None:
        stage, bill = self.stage, self.bill
        bill.act("A client opens an escrow and posts an encrypted prompt on chain")
        client_before, cold_before = await stage.balance(self.client_wallet.address), await stage.balance(self.cold_a)
        channel = await self._open(client, self.a.index, "channel to worker A")
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": prompt}]
        job = await channel.post_job(
            {"messages": messages, "max_tokens": max_tokens}, max_fee=_MAX_FEE_NANO, duration=_JOB_SEC
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
        await stage.later(self.rules.dispute_sec + 1)
        bill.record("FinishClose, after the dispute window", (await channel.finish_close()).transactions)
        client_after, cold_after = await stage.balance(self.client_wallet.address), await stage.balance(self.cold_a)
        bill.money("client", client_before, client_after)
        bill.money("worker A's cold address", cold_before, cold_after)
        bill.figures |= {
            "prompt": prompt,
            "answer": outcome.text,
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "model_id": f"{self.model_id:064x}",
            "fee_nano": outcome.fee_nano,
            "worker_paid_nano": cold_after - cold_before,
            "client_spent_nano": client_before - client_after,
        }

    async def _open(self, client: Client, worker: int, name: str) -> Channel:
        channel = await client.open(
            worker,
            deposit=TON,
            model_id=self.model_id,
            term=2 * DAY_SEC,
            max_prices=DEFAULT_TERMS,
            allow_unattested=True,
        )
        self.bill.name(channel.address, "Escrow")
        self.bill.record(f"OpenEscrow: {name}", channel.transactions)
        return channel

    # ---- act 4 ----

    async def silence(self) -> None:
        stage, bill = self.stage, self.bill
        bill.act("Worker B offers the same model, takes a job and stays silent")
        await self._rogue_offer()
        with Client(stage.chain, self.client_wallet, self.deployment, stage.home / "client.sqlite") as client:
            channel = await self._open(client, self.b.index, "channel to worker B")
            job = await channel.post_job({"prompt": "Are you there?"}, max_fee=_MAX_FEE_NANO, duration=_JOB_SEC)
            bill.record("PostJob", job.transactions)
            bond_before = (await self._worker(self.b)).bond_nano
            bill.say("nobody answers; the deadline and the grace period pass")
            await stage.later(_JOB_SEC + self.rules.grace_sec + 1)
            outcome = await job.result()
            if not isinstance(outcome, Expired):
                raise DemoFailed(f"the silent worker was not caught: {outcome}")
            bill.record("ExpireJob: refund, and the miss reported", outcome.transactions)
            bond_after = (await self._worker(self.b)).bond_nano
            bill.say(f"refunded to the client: {format_ton(outcome.refund_nano)}")
            bill.say(f"of the penalty, {format_ton(outcome.compensation_nano)} to the client, the rest burned")
            bill.money("worker B's miss bond", bond_before, bond_after)
            bill.figures |= {
                "refund_nano": outcome.refund_nano,
                "penalty_nano": bond_before - bond_after,
                "compensation_nano": outcome.compensation_nano,
            }

    async def _rogue_offer(self) -> None:
        """Keys and offer of a worker that runs no agent."""
        chain, key = self.stage.chain, self.rogue_key
        hpke = HpkePrivateKey().public.to_cell()
        hpke_hash = int.from_bytes(hpke.hash, "big")
        statement = identity(
            chain.global_id,
            self.b.worker,
            index=self.b.index,
            key_epoch=1,
            session_key=public_key(key),
            hpke_key_hash=hpke_hash,
        )
        fee = (await Fees.of(chain)).manage_worker()
        for what, body in (
            ("SetIdentity", SetIdentity(secrets.randbits(64), public_key(key), hpke, sign(key, statement))),
            ("SetOffer", SetOffer(secrets.randbits(64), 2, {self.model_id: DEFAULT_TERMS})),
        ):
            sent = await self.operator_b.send(chain, self.b.worker, fee, body.to_cell())
            self.bill.record(what, await trace(chain, sent))

    # ---- act 5 ----

    async def equivocation(self) -> None:
        stage, bill = self.stage, self.bill
        bill.act("Worker B signs two different answers for one job, and is slashed")
        with Client(stage.chain, self.client_wallet, self.deployment, stage.home / "client.sqlite") as client:
            (channel,) = await client.channels()
            job = await channel.post_job({"prompt": "Which is it?"}, max_fee=_MAX_FEE_NANO, duration=_JOB_SEC)
            bill.record("PostJob", job.transactions)
            first, second = [
                await self._rogue_receipt(channel, job.seq, job.stored.request_digest, n) for n in (b"yes", b"no")
            ]
            stake_before = (await self._worker(self.b)).stake_nano
            slashed = await channel.report_equivocation(first, second)
            bill.record("SubmitEquivocation: both receipts, checked by the chain", slashed.transactions)
            found = await self._worker(self.b)
            bill.money("worker B's stake", stake_before, found.stake_nano)
            bill.say(f"{format_ton(slashed.received_nano)} to reporter and harmed client, the rest burned")
            bill.say(f"worker B is {WorkerStatus(found.status).name.lower()}")
            if found.status != WorkerStatus.JAILED:
                raise DemoFailed("worker B was not jailed")
            bill.figures |= {
                "slashed_nano": stake_before - found.stake_nano,
                "slash_reward_nano": slashed.received_nano,
            }

    async def _rogue_receipt(self, channel: Channel, seq: int, request_digest: int, answer: bytes) -> SignedReceipt:
        made = receipt(
            await channel.signed(),
            Kind.FORCED_RECEIPT,
            seq=seq,
            fee_nano=_MAX_FEE_NANO,
            issued_at=await self.stage.chain.time(),
            request_digest=request_digest,
            response_digest=int.from_bytes(bytes_to_cell(answer).hash, "big"),
            model_id=self.model_id,
            usage=Usage(1, 0, 1, hashlib.sha256(answer).digest()),
            measurement=0,
        )
        return SignedReceipt(made, sign(self.rogue_key, made))
