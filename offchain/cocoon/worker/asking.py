"""`cocoon worker try`: a client of the sandbox's, with money from its faucet, that gives a worker one forced job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..agent.config import AgentConfig
from ..chain.base import Chain
from ..chain.wallet import Wallet
from ..client.client import Client
from ..client.outcomes import Answer
from ..deployment import Deployment
from ..wire.common import ModelTerms
from ..wire.worker import WorkerStatus
from .errors import WorkerCommandError
from .facts import WorkerFacts, read_worker_facts
from .sandbox import give

__all__ = ["Tried", "try_worker"]

_TON = 10**9
_JOB_SEC = 180
_TERM_SEC = 86_400 * 2


@dataclass(frozen=True, slots=True)
class Tried:
    """The answer, and what it cost."""

    text: str
    fee_nano: int
    prompt_tokens: int
    completion_tokens: int


async def try_worker(
    chain: Chain, config: AgentConfig, sandbox: Path, prompt: str, *, max_tokens: int, wait_sec: int
) -> Tried:
    """wait_sec: for a worker that has just been started. WorkerCommandError if it is not ready, or does not answer."""
    deployment = Deployment(config.registry)
    facts = await _ready(chain, deployment, config.worker_index, wait_sec)
    (model, terms), *_ = facts.models.items()
    wallet = Wallet(Ed25519PrivateKey.generate())
    await give(chain, sandbox, wallet.address, 5 * _TON)
    with Client(chain, wallet, deployment, allow_simulated_tee=True) as client:
        channel = await client.open(
            config.worker_index, deposit=2 * _TON, model_id=model, term=_TERM_SEC, max_prices=terms
        )
        job = await channel.post_job(
            {"prompt": prompt, "max_tokens": max_tokens}, max_fee=_most(terms), duration=_JOB_SEC
        )
        outcome = await job.result()
    if not isinstance(outcome, Answer):
        raise WorkerCommandError(f"the job was not answered: {outcome}; see the agent's log")
    return Tried(outcome.text, outcome.fee_nano, outcome.usage.prompt, outcome.usage.completion)


async def _ready(chain: Chain, deployment: Deployment, index: int, wait_sec: int) -> WorkerFacts:
    started = await chain.time()
    while True:
        facts = await read_worker_facts(chain, deployment, index, None)
        if facts.status == WorkerStatus.ACTIVE and facts.models:
            return facts
        if await chain.time() >= started + wait_sec:
            raise WorkerCommandError(
                f"worker {index} is {facts.status.name.lower()} and offers {len(facts.models)} models: start it with "
                "`cocoon worker run` and see its log"
            )
        await chain.next_block()


def _most(terms: ModelTerms) -> int:
    return max(_TON // 2, terms.floor_fee_nano)
