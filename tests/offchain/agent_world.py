"""A small world for agent tests: contracts deployed on a ledger, one worker, one client, a kernel that thinks fast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent_kernel import MODEL, WordKernel
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_chain import LedgerChain
from pytoniq_core import Address, Cell
from simulated_network import SIMULATION, simulated_rules

from cocoon.agent.agent import Agent, Pace
from cocoon.agent.compute import Limits
from cocoon.agent.jobs import JobState
from cocoon.agent.journal import Journal
from cocoon.agent.platform import Platform
from cocoon.agent.upkeep import Offer
from cocoon.agent.views import EscrowView, WorkerView, read_escrow, read_worker
from cocoon.chain.base import ChainTransaction
from cocoon.chain.wallet import Wallet
from cocoon.crypto import statements
from cocoon.crypto.request import RequestBinding, seal_request
from cocoon.crypto.response import Answer, ResponseKey, open_response, response_digest
from cocoon.crypto.statements import Channel
from cocoon.deploying import plan
from cocoon.deployment import Deployment
from cocoon.signer.keys import SignerIdentity, SignerKeys
from cocoon.signer.table import Signed, SignedTable, Slot
from cocoon.wire.common import Kind, ModelTerms, WorkerRoles
from cocoon.wire.escrow import CloseStatement, DeliverJob, OpenEscrow, PostJob, Receipt, RejectionStatement
from cocoon.wire.registry import RegisterWorker
from cocoon.wire.worker import WorkerStorage
from cocoon_sandbox.ledger import Ledger, Snapshot

TON = 10**9
TERMS = ModelTerms(10**9, 0, 2 * 10**9, floor_fee_nano=10_000, min_duration_sec=30)
SALT = 7
ENDPOINT = "https://worker.example:4242"


class LocalSigner:
    """A `Signer` in this process: the same keys and table, without the socket."""

    def __init__(self, keys: SignerKeys) -> None:
        self.keys = keys

    async def identity(self) -> SignerIdentity:
        return self.keys.identity()

    async def decrypt(self, binding: RequestBinding, ciphertext: bytes) -> bytes:
        return self.keys.decrypt(binding, ciphertext)

    async def find(self, slot: Slot) -> Signed | None:
        return self.keys.find(slot)

    async def sign_receipt(self, receipt: Receipt, response: bytes) -> Signed:
        return self.keys.sign_receipt(receipt, response)

    async def sign_stream_receipt(self, receipt: Receipt) -> bytes:
        return self.keys.sign_stream_receipt(receipt)

    async def sign_rejection(self, rejection: RejectionStatement) -> Signed:
        return self.keys.sign_rejection(rejection)

    async def sign_close(self, statement: CloseStatement) -> bytes:
        return self.keys.sign_close(statement)


@dataclass
class Posted:
    """A job the client posted, with what it needs to read the answer."""

    seq: int
    request: Cell
    secret: bytes = field(repr=False)


class World:
    """Everything around an agent. `global_id` is what the sandbox's configuration says."""

    def __init__(
        self, ledger: Ledger, *, keys: SignerKeys | None = None, measurement: int = SIMULATION.measurement
    ) -> None:
        self.ledger = ledger
        self.owner, self.client, self.payout = (
            ledger.treasury(name, 1000 * TON) for name in ("owner", "client", "payout")
        )
        self.wallet = Wallet(Ed25519PrivateKey.from_private_bytes(b"\5" * 32))
        ledger.credit(self.wallet.address, 20 * TON)
        rules = simulated_rules(self.owner.address)
        self.deployment = Deployment.of(rules)
        self.worker = self.deployment.worker(0)
        self.client_key = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
        self.keys = SignerKeys() if keys is None else keys
        self.kernel = WordKernel()
        self.posted = 0
        self.salt = SALT
        for planned in plan(rules).transfers():
            self.owner.send(ledger, planned.to, planned.value, planned.body, state_init=planned.state_init)
        roles = WorkerRoles(self.wallet.address, self.payout.address, measurement)
        self.owner.send(
            ledger, self.deployment.registry, 13 * TON, RegisterWorker(1, 10 * TON, 2 * TON, roles).to_cell()
        )
        self.chain = LedgerChain(ledger, global_id=-217)

    def reset(self, snapshot: Snapshot) -> None:
        """Back to a snapshot of the ledger, with a chain and a signer's table that know nothing of what came after."""
        self.ledger.restore(snapshot)
        history = [done for done in self.chain.history if done.lt <= snapshot.lt]
        self.chain = LedgerChain(self.ledger, global_id=-217, seqno=self.chain.seqno)
        self.chain.history.extend(history)
        self.keys._table = SignedTable()
        self.kernel = WordKernel()

    # ---- the agent ----

    def platform(self, **changes: Any) -> Platform:
        """A simulated machine of today."""
        publisher = SIMULATION.publisher(allow_simulated_tee=True)
        made = Platform(SIMULATION.source(self.ledger.now, allow_simulated_tee=True), publisher, ENDPOINT)
        return replace(made, **changes)

    def agent(
        self, directory: Path, *, wrap: Callable[[str, Any], Any] = lambda _name, made: made, **changes: Any
    ) -> Agent:
        """An agent with its journal in `directory`. wrap: puts something between the agent and what it depends on."""
        parts: dict[str, Any] = {
            "chain": wrap("chain", self.chain),
            "wallet": self.wallet,
            "signer": wrap("signer", LocalSigner(self.keys)),
            "journal": wrap("journal", Journal(directory / "journal.sqlite")),
            "kernel": self.kernel,
            "registry": self.deployment.registry,
            "worker_index": 0,
            "offer": Offer(2, {MODEL: TERMS}),
            "platform": self.platform(),
            "limits": Limits(reserve_sec=5),
            "pace": Pace(first_pause=0.002, longest_pause=0.01),
        }
        return Agent(**{**parts, **changes})

    async def run_until(self, agent: Agent, holds: Callable[[], bool], *, seconds: float = 20) -> None:
        """Runs `agent` until `holds`, then stops it. Whatever ends the agent before is raised."""
        running = asyncio.create_task(agent.run())
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    if running.done():
                        await running
                        raise AssertionError("the agent ended")
                    await asyncio.sleep(0.001)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            agent.journal.close()

    # ---- looking ----

    def worker_view(self) -> WorkerView:
        view = read_worker(_now(self.ledger, self.worker))
        assert view is not None
        return view

    def escrow_view(self) -> EscrowView | None:
        return read_escrow(_now(self.ledger, self.escrow))

    @property
    def bond(self) -> int:
        """The worker's miss bond, nanoTON."""
        data = self.ledger.account(self.worker).data
        assert data is not None
        return WorkerStorage.from_cell(data).bond_nano

    @property
    def open_job(self) -> bool:
        view = self.escrow_view()
        return view is not None and view.is_open

    @property
    def ready(self) -> bool:
        """Whether identity and offer are on chain."""
        view = self.worker_view()
        return view.session_key == self.keys.identity().session_key and view.models == {MODEL: TERMS}

    def settled(self, agent: Agent) -> Callable[[], bool]:
        """Whether `agent` knows all jobs the client posted, and has seen the end of each."""
        return lambda: [job.state for job in agent.journal.jobs()] == [JobState.SETTLED] * self.posted

    def transactions_with(self, address: Address, wanted: int) -> list[ChainTransaction]:
        """Transactions of `address` begun by a message with this opcode, in order."""
        return [
            done for done in self.chain.history
            if done.account == address and done.in_msg is not None and opcode(done.in_msg.body) == wanted
        ]  # fmt: skip

    # ---- the client ----

    @property
    def escrow(self) -> Address:
        """The one the client uses now; `salt` names it."""
        return self.deployment.escrow(self.client.address, self.worker, self.salt)

    def opening(self) -> Cell:
        """The message that opens the escrow."""
        return OpenEscrow(4, _public(self.client_key), TON, MODEL, 20 * 86400, None, TERMS).to_cell()

    def open(self) -> None:
        init = self.deployment.escrow_state_init(self.client.address, self.worker, self.salt)
        self.client_sends(self.escrow, 3 * TON, self.opening(), init)
        view = self.escrow_view()
        assert view is not None
        assert view.binding is not None

    def channel(self) -> Channel:
        view = self.escrow_view()
        assert view is not None
        assert view.binding is not None
        return Channel(-217, self.escrow, view.epoch, view.binding.key_epoch)

    def binding(self, model: int = MODEL) -> RequestBinding:
        return RequestBinding(self.channel().domain(Kind.FORCED_RECEIPT), self.worker, model)

    def post(
        self,
        body: dict[str, Any] | None = None,
        *,
        request: Cell | None = None,
        max_fee: int = TON // 10,
        duration: int = 3600,
    ) -> Posted:
        """Posts a job and lets it be admitted. request: a cell of one's own instead of a sealed body."""
        secret = b""
        if request is None:
            request, secret = seal_request(
                {"prompt": "one two three"} if body is None else body,
                to=self.keys.identity().hpke_key,
                binding=self.binding(),
            )
        self.client_sends(self.escrow, 2 * TON, PostJob(8, max_fee, duration, request).to_cell())
        view = self.escrow_view()
        assert view is not None
        assert view.is_open
        self.posted += 1
        return Posted(view.seq, request, secret)

    def answer(self, posted: Posted, epoch_channel: Channel) -> tuple[Answer, Receipt]:
        """The answer as the client reads it from the chain, everything checked."""
        tried = self.transactions_with(self.escrow, DeliverJob.PREFIX[0])
        messages = [DeliverJob.from_cell(done.in_msg.body) for done in tried if done.in_msg and done.exit_code == 0]
        (message,) = [found for found in messages if found.signed.receipt.seq == posted.seq]
        digest = int.from_bytes(posted.request.hash, "big")
        statements.verify_receipt(
            message.signed, session_key=self.keys.identity().session_key, channel=epoch_channel,
            kind=Kind.FORCED_RECEIPT, seq=posted.seq, request_digest=digest,
            response_digest=response_digest(message.response), model_id=MODEL, max_fee_nano=TON,
        )  # fmt: skip
        answer = open_response(message.response, ResponseKey(posted.secret, digest, Kind.FORCED_RECEIPT, posted.seq))
        answer.usage.verify(message.signed.receipt.outcome.disclosure.usage_commitment)
        return answer, message.signed.receipt

    def client_sends(self, to: Address, value: int, body: Cell, init: Cell | None = None) -> None:
        """A message of the client's wallet, and blocks until all it causes has happened."""
        self.ledger.enqueue(self.client.message(self.ledger, to, value, body, state_init=init))
        self.settle()

    def settle(self) -> None:
        """Blocks until nothing is in flight."""
        self.chain.make_block()
        while self.ledger.pending:
            self.chain.make_block()


def opcode(body: Cell) -> int | None:
    """The first 32 bits."""
    return int.from_bytes(body.bits[:32].tobytes(), "big") if len(body.bits) >= 32 else None


def _public(key: Ed25519PrivateKey) -> int:
    return int.from_bytes(key.public_key().public_bytes_raw(), "big")


def _now(ledger: Ledger, address: Address) -> Any:
    account = ledger.account(address)

    @dataclass
    class State:
        data: Cell | None

    return State(account.data if account.status == "active" else None)
