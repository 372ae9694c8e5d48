"""A deployed Cocoon on an in-process ledger: governance, workers and channels, in the words of the tests.

Actors are plain addresses: what they send is minted, what they receive stays there. Least values come from the
contracts'
own get methods. Amounts are nanoTON, times unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from actors import Key, actor, blob, digest, key
from channel import DAY, Channel
from mail import internal
from outcome import Outcome
from pytoniq_core import Address, Cell, begin_cell
from solvency import assert_pays_for_itself

from cocoon.contracts_build import load
from cocoon.deployment import (
    Deployment,
    Rules,
    policy,
    registry_state_init,
    slashing_state_init,
)
from cocoon.wire.codec import Struct
from cocoon.wire.common import DOMAIN_TAG, Kind, ModelTerms, Policy, SignedDomain, WorkerRoles
from cocoon.wire.escrow import EscrowStatus
from cocoon.wire.registry import (
    AllowMeasurement,
    ExecuteChange,
    ProposeChange,
    RebuildStatement,
    RegisterWorker,
    RegistryStorage,
    SyncPolicy,
)
from cocoon.wire.worker import IdentityStatement, SetIdentity, SetOffer, WorkerStorage
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.transaction import Transaction

__all__ = ["MODEL", "REBUILDERS", "RULES", "TERMS", "TON", "WorkerSide", "World"]

TON = 10**9
REBUILDERS = tuple(key(f"rebuilder {number}") for number in range(3))
MODEL = digest(blob("model"))
RULES = Rules(actor("governor"), tuple(rebuilder.public for rebuilder in REBUILDERS), rebuild_threshold=2)
TERMS = ModelTerms(
    prompt_nano=1000, cached_nano=500, completion_nano=2000, floor_fee_nano=TON // 100, min_duration_sec=30
)


@dataclass
class WorkerSide:
    """One GPU owner: the contract's address, the three parties, the enclave's current keys."""

    world: World
    index: int
    owner: Address
    operator: Address
    payout: Address
    session: Key
    hpke: Cell
    query_id: int = 0

    @property
    def address(self) -> Address:
        return self.world.deployment.worker(self.index)

    @property
    def state(self) -> WorkerStorage:
        data = self.world.ledger.account(self.address).data
        assert data is not None, "the worker is not deployed"
        return WorkerStorage.from_cell(data)

    @property
    def session_public(self) -> int:
        """The session key on chain, 0 before the first."""
        return self.state.people.keys.session_key

    @property
    def balance(self) -> int:
        return self.world.ledger.balance(self.address)

    @property
    def owed(self) -> int:
        """What the Worker must be able to pay: stake and bond."""
        state = self.state
        return state.stake_nano + state.bond_nano

    @property
    def manage_fees(self) -> int:
        """Least value of an operator's or owner's message."""
        return int(self.world.ledger.get(self.address, "get_fees")[0])

    def by_operator(self, body: Struct | Cell, value: int | None = None) -> Outcome:
        return self.world.send(self.operator, self.address, body, self.manage_fees if value is None else value)

    def by_owner(self, body: Struct | Cell, value: int | None = None) -> Outcome:
        return self.world.send(self.owner, self.address, body, self.manage_fees if value is None else value)

    def identity(self, session: Key | None = None, hpke: Cell | None = None, **flaws: int) -> SetIdentity:
        """A valid SetIdentity for `session`, but for the `flaws` in the signed domain."""
        session, hpke = session or self.session, hpke or self.hpke
        state = self.state
        rotates = session.public != self.session_public
        domain = self.world.domain(Kind.IDENTITY, self.address, self.index, state.key_epoch + rotates)
        statement = IdentityStatement(replace(domain, **flaws), session.public, digest(hpke))
        return SetIdentity(1, session.public, hpke, session.sign(statement))

    def set_identity(self, session: Key | None = None) -> Outcome:
        """Register `session` (the enclave's current key if None) and remember it."""
        self.session = session or self.session
        return self.by_operator(self.identity())

    def set_offer(self, terms: dict[int, ModelTerms] | None = None, slots: int = 2) -> Outcome:
        return self.by_operator(SetOffer(2, slots, {MODEL: TERMS} if terms is None else terms))


@dataclass
class World:
    """Registry and Slashing, deployed; `rules.owner` governs. Every transaction must pay for itself while `watch` is
    set."""

    ledger: Ledger
    rules: Rules = field(default_factory=lambda: RULES)
    workers: list[WorkerSide] = field(default_factory=list)
    watch: bool = True

    @property
    def deployment(self) -> Deployment:
        return Deployment.of(self.rules)

    @property
    def registry(self) -> Address:
        return self.deployment.registry

    @property
    def slashing(self) -> Address:
        return self.deployment.slashing

    @property
    def governor(self) -> Address:
        return self.rules.owner

    @property
    def registry_state(self) -> RegistryStorage:
        data = self.ledger.account(self.registry).data
        assert data is not None, "the registry is not deployed"
        return RegistryStorage.from_cell(data)

    def deploy(self) -> World:
        """Registry and Slashing with a little rent."""
        empty = begin_cell().end_cell()
        for address, init in (
            (self.registry, registry_state_init(self.rules)),
            (self.slashing, slashing_state_init()),
        ):
            self.send(actor("deployer"), address, empty, TON, state_init=init).assert_succeeded()
        return self

    # ---- sending ----

    def send(
        self,
        sender: Address,
        to: Address,
        body: Struct | Cell,
        value: int,
        *,
        state_init: Cell | None = None,
        bounce: bool = True,
    ) -> Outcome:
        """A message and everything it causes, with the sum of all money checked."""
        cell = body.to_cell() if isinstance(body, Struct) else body
        before = self.ledger.account(to)
        message = internal(self.ledger, sender, to, value, cell, state_init=state_init, bounce=bounce)
        self.ledger.lt += -self.ledger.lt % 1_000_000
        held = len(self.ledger.pending)
        sent = self.ledger.enqueue(message)
        transactions = self.run(behind=held)
        after = self.ledger.account(to)
        data = before.data if before.status == "active" or state_init is None else state_init.refs[1]
        return Outcome(sent, transactions, data, after.data, before.balance, after.balance)

    def run(self, behind: int = 0) -> list[Transaction]:
        """Deliver what is in flight, but for the `behind` oldest messages: those stay held back."""
        done: list[Transaction] = []
        while len(self.ledger.pending) > behind:
            done.append(self.step(behind))
        return done

    def step(self, index: int = 0) -> Transaction:
        """Deliver one message. All money must add up afterwards, and the transaction must have paid for itself."""
        address = self.ledger.pending[index].dst
        assert isinstance(address, Address)
        before = self.ledger.account(address)
        transaction = self.ledger.step(index)
        self.ledger.check_conservation()
        if self.watch:
            assert_pays_for_itself(before, self.ledger.account(address), transaction)
        return transaction

    def put(
        self, sender: Address, to: Address, body: Struct | Cell, value: int, *, state_init: Cell | None = None
    ) -> None:
        """Put a message in flight and deliver nothing: what `send` sends later overtakes it."""
        cell = body.to_cell() if isinstance(body, Struct) else body
        self.ledger.enqueue(internal(self.ledger, sender, to, value, cell, state_init=state_init))

    def domain(self, kind: int, contract: Address, epoch: int, key_epoch: int) -> SignedDomain:
        return SignedDomain(DOMAIN_TAG, kind, SANDBOX_GLOBAL_ID, contract, epoch, key_epoch)

    # ---- workers ----

    @property
    def registry_fees(self) -> tuple[int, int, int]:
        """Least values: register (beyond stake and bond), sync a policy, govern."""
        register, sync, govern = self.ledger.get(self.registry, "get_fees")
        return int(register), int(sync), int(govern)

    @property
    def evidence_fees(self) -> int:
        return int(self.ledger.get(self.slashing, "get_fees")[0])

    def registration(self, name: str = "worker", **changes: Any) -> RegisterWorker:
        """A RegisterWorker with the least stake and bond."""
        roles = WorkerRoles(actor(f"{name} operator"), actor(f"{name} payout"))
        body = RegisterWorker(1, self.rules.min_stake_nano, self.rules.min_bond_nano, roles)
        return replace(body, **changes)

    def register(self, name: str = "worker") -> WorkerSide:
        """A registered worker without identity or offer."""
        body = self.registration(name)
        index = self.registry_state.next_index
        worker = WorkerSide(
            self,
            index,
            actor(f"{name} owner"),
            body.roles.operator_wallet,
            body.roles.payout,
            key(f"{name} session 1"),
            blob(f"{name} hpke key", 10),
        )
        value = body.stake_nano + body.bond_nano + self.registry_fees[0]
        self.send(worker.owner, self.registry, body, value).assert_succeeded()
        self.workers.append(worker)
        return worker

    def active_worker(self, name: str = "worker", slots: int = 2) -> WorkerSide:
        """A worker with identity and an offer for MODEL at TERMS."""
        worker = self.register(name)
        worker.set_identity().assert_succeeded()
        worker.set_offer(slots=slots).assert_succeeded()
        return worker

    def channel(self, worker: WorkerSide, client: str = "client", salt: int = 0, term_sec: int = DAY) -> Channel:
        """A channel that is not open yet."""
        return Channel(self, worker, actor(client), key(f"{client} key"), salt, term_sec)

    def open_channel(self, worker: WorkerSide, client: str = "client", salt: int = 0, term_sec: int = DAY) -> Channel:
        channel = self.channel(worker, client, salt, term_sec)
        channel.open().assert_succeeded()
        assert channel.state.status == EscrowStatus.ACTIVE
        return channel

    def escrow_fees(self, term_sec: int) -> list[int]:
        """Least values at an Escrow, asked of its code: open, top up, post, end a job, claim, begin closing, close,
        retry, rebind, count volume."""
        result = self.ledger.executor.run_getter(
            config=self.ledger.config,
            code=load("Escrow").code,
            data=self.deployment.escrow_identity(actor("client"), actor("worker")).to_cell(),
            address=actor("escrow"),
            balance=TON,
            now=self.ledger.now,
            method="get_fees",
            stack=[term_sec],
        )
        assert result.exit_code == 0
        return [int(fee) for fee in result.stack]

    # ---- governance ----

    def policy(self, version: int, **changes: Any) -> Policy:
        """This deployment's policy with another version and other terms."""
        return replace(policy(self.rules, version), **changes)

    def govern(self, body: Struct | Cell, value: int | None = None) -> Outcome:
        return self.send(self.governor, self.registry, body, self.registry_fees[2] if value is None else value)

    def adopt(self, change: Struct) -> Outcome:
        """Propose a change, wait out the delay, execute it with the rebuilds it needs."""
        self.govern(ProposeChange(1, change.to_cell())).assert_succeeded()
        self.ledger.advance(self.rules.change_delay_sec)
        rebuilds = self.rebuilds(change.measurement) if isinstance(change, AllowMeasurement) else {}
        return self.execute(rebuilds)

    def execute(self, rebuilds: dict[int, bytes] | None = None) -> Outcome:
        """ExecuteChange by a stranger, with the least value."""
        return self.send(actor("anyone"), self.registry, ExecuteChange(2, rebuilds or {}), self.registry_fees[2])

    def rebuilds(self, measurement: int, *signers: Key, **flaws: int) -> dict[int, bytes]:
        """Signatures of `signers` (the first `rebuild_threshold` rebuilders) but for the `flaws` in their domain."""
        statement = RebuildStatement(replace(self.domain(Kind.REBUILD, self.registry, 0, 0), **flaws), measurement)
        chosen = signers or REBUILDERS[: self.rules.rebuild_threshold]
        return {signer.public: signer.sign(statement) for signer in chosen}

    def sync(self, worker: WorkerSide) -> Outcome:
        return self.send(actor("anyone"), self.registry, SyncPolicy(3, worker.index), self.registry_fees[1])
