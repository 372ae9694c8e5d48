"""A backend that answers from a script, with receipts really signed, and a page's data to go with it."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from openai import AsyncOpenAI
from pytoniq_core import Address

from cocoon.attestation.trust import SIMULATED_BANNER
from cocoon.crypto.ed25519 import public_key, sign
from cocoon.crypto.statements import Channel, receipt
from cocoon.crypto.usage import Usage, price
from cocoon.deployment import Deployment
from cocoon.gateway.archive import ReceiptArchive
from cocoon.gateway.backend import Delta, Finished, Model, Quote
from cocoon.gateway.context import Context, HttpLimits
from cocoon.gateway.database import open_database
from cocoon.gateway.errors import NoWorker
from cocoon.gateway.estimate import Estimate
from cocoon.gateway.http_server import listening
from cocoon.gateway.keys import KeyStore
from cocoon.gateway.metrics import GatewayMetrics
from cocoon.gateway.receipts import Proof
from cocoon.gateway.server import make_app
from cocoon.stream.asked import Asked
from cocoon.wire.common import Kind, ModelTerms
from cocoon.wire.escrow import SignedReceipt

TON = 10**9
MODEL = "ab" * 32
EMBEDDER = "cd" * 32
NAME = "test-model"
TERMS = ModelTerms(10**9, 10**9 // 4, 4 * 10**9, 1000, 60)
REGISTRY = Address((0, b"\1" * 32))
SESSION = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)


def make_proof(usage: Usage, *, seq: int = 1, fee_nano: int | None = None, model: str = MODEL) -> Proof:
    """A receipt of worker 3, as a worker makes it."""
    channel = Channel(-217, Address((0, b"\2" * 32)), 1 << 60, 1)
    said = receipt(
        channel, Kind.STREAM_RECEIPT, seq=seq, fee_nano=price(usage, TERMS) if fee_nano is None else fee_nano,
        issued_at=1_800_000_000, request_digest=5, response_digest=6, model_id=int(model, 16), usage=usage,
        measurement=9,
    )  # fmt: skip
    signed = SignedReceipt(said, sign(SESSION, said))
    worker = Deployment(REGISTRY).worker(3)
    return Proof(channel, REGISTRY, worker, 3, public_key(SESSION), TERMS, usage, signed, simulated_tee=True)


def body_of(quote: Quote) -> dict[str, Any]:
    """What a worker is sent."""
    body: dict[str, Any] = json.loads(quote.asked.encoded)
    return body


@dataclass
class ScriptedBackend:
    """Echoes the last message word by word. fail_after: pieces before `error` is raised. gate: awaited before each
    piece but the first. `bodies` is what was asked, `closed` how many answers were left early.
    """

    error: Exception | None = None
    fail_after: int = 0
    gate: Callable[[], Any] | None = None
    workers: int = 2
    bodies: list[dict[str, Any]] = field(default_factory=list)
    closed: int = 0
    finish_reason: str = "stop"
    vectors: Any = None

    def models(self) -> list[Model]:
        terms = TERMS if self.workers else None
        return [Model(MODEL, (NAME, MODEL), self.workers, terms), Model(EMBEDDER, (EMBEDDER,), 1, TERMS)]

    def model_id(self, name: str) -> str | None:
        return next((model.model_id for model in self.models() if name in model.names), None)

    def quote(self, body: dict[str, Any], model_id: str) -> Quote:
        if not self.workers:
            raise NoWorker("no worker can be used for this model now (worker 3: it is paused)")
        estimate = Estimate.of(body)
        return Quote(model_id, Asked.of(body), estimate, price(estimate.most, TERMS), price(estimate.prompt, TERMS))

    async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
        body = body_of(quote)
        self.bodies.append(body)
        if "input" in body:
            usage = Usage(2 * len(body["input"]), 0, 0)
            packed = [struct.pack("<2f", len(text), 0.5) for text in body["input"]]
            vectors = [base64.b64encode(vector).decode() for vector in packed]
            body = {"embeddings": vectors if self.vectors is None else self.vectors}
            yield Finished("stop", body, usage, price(usage, TERMS), make_proof(usage))
            return
        text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        words = [word + " " for word in text.split()][: body["max_tokens"]]
        ended = False
        try:
            for number, word in enumerate(words):
                if self.error is not None and number == self.fail_after:
                    raise self.error
                if number and self.gate is not None:
                    await self.gate()
                yield Delta(word, 1, price(Usage(4, 0, number + 1, b""), TERMS), 3)
            if self.error is not None:
                raise self.error
            ended = True
            usage = Usage(4, 1, len(words))
            body_of_answer = {"text": "".join(words), "finish_reason": self.finish_reason, "build": "ee" * 32}
            yield Finished(self.finish_reason, body_of_answer, usage, price(usage, TERMS), make_proof(usage))
        finally:
            self.closed += not ended


@dataclass
class ScriptedPage:
    """What the page would be told about a network."""

    stale_sec: float = 60.0
    age: float | None = 1.0
    refused: str | None = None
    worker_list: list[dict[str, Any]] = field(default_factory=list)
    flow_list: list[dict[str, Any]] = field(default_factory=list)
    channel_list: list[dict[str, Any]] = field(default_factory=list)

    def facts_age(self) -> float | None:
        return self.age

    def network(self) -> dict[str, Any]:
        return {"global_id": -217, "registry": "0:" + "01" * 32, "time": 1_800_000_000, "refused": self.refused}

    def workers(self) -> list[dict[str, Any]]:
        return self.worker_list

    def channels(self) -> dict[str, Any]:
        return {
            "wallet": {"address": "0:" + "03" * 32, "nano": str(12 * TON)}, "locked_nano": str(TON),
            "most_locked_nano": str(5 * TON), "most_channels": 8, "channels": self.channel_list,
        }  # fmt: skip

    def flows(self) -> list[dict[str, Any]]:
        return self.flow_list

    def gauges(self) -> tuple[int, int, int | None]:
        return len(self.channel_list), TON, 12 * TON

    async def prove(self, proof: Proof) -> dict[str, Any]:
        from dataclasses import asdict

        from cocoon.gateway.verify import check_offline

        checks = check_offline(proof)
        return {
            "checks": [asdict(check) | {"title": check.name.capitalize()} for check in checks],
            "holds": all(check.holds is not False for check in checks),
            "transactions": [
                {"hash": "f0" * 32, "lt": "1", "time": 1_800_000_000, "what": "OpenEscrow", "ok": True},
                {"hash": "f1" * 32, "lt": "2", "time": 1_800_000_100, "what": "ClaimVoucher", "ok": True},
            ],
        }


@dataclass
class Served:
    """A gateway over HTTP. `key` has a budget of one TON."""

    base_url: str
    key: str
    backend: ScriptedBackend
    context: Context
    page: ScriptedPage

    @property
    def root(self) -> str:
        return self.base_url.removesuffix("/v1")

    def client(self, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(**{"base_url": self.base_url, "api_key": self.key, "max_retries": 0, **options})

    def spent(self) -> tuple[int, int]:
        """(spent, reserved) of the first key."""
        entry = self.context.keys.list()[0]
        return entry.spent_nano, entry.reserved_nano


@asynccontextmanager
async def served(
    backend: ScriptedBackend | None = None,
    *,
    limits: HttpLimits | None = None,
    budget: int | None = TON,
    **context: Any,
) -> AsyncIterator[Served]:
    backend, page, db = backend or ScriptedBackend(), ScriptedPage(), open_database(None)
    keys = KeyStore(db)
    key = keys.add("team", budget)
    made = Context(
        backend, keys, ReceiptArchive(db, keep_days=1), GatewayMetrics(), lambda: SIMULATED_BANNER,
        limits or HttpLimits(), **context,
    )  # fmt: skip
    async with listening(make_app(made, page), "127.0.0.1", 0) as base_url:
        yield Served(base_url, key, backend, made, page)
    db.close()


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that happens elsewhere in this process."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
