"""A deployed Cocoon on an in-process ledger: governance, workers and channels, in the words of the tests.

Actors are plain addresses: what they send is minted, what they receive stays there. Least values come from the
contracts' own get methods. Amounts are nanoTON, times unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from actors import Key, actor, blob, digest, key
from channel import DAY, Channel
from mail import internal
from outcome import Outcome
from pytoniq_core import Address, Cell, begin_cell
from solvency import assert_pays_for_itself

from cocoon.contracts_build import ENTRYPOINTS, load
from cocoon.deployment import (
    Deployment,
    Rules,
    attestation_policy,
    attestation_state_init,
    policy,
    registry_state_init,
    slashing_state_init,
)
from cocoon.wire.attestation import (
    AttestationPolicy,
    AttestationStorage,
    AttestedPlatform,
    P256Hint,
    QuoteEvidence,
    QuoteVerified,
    SignedDocument,
    TcbStatusCode,
)
from cocoon.wire.codec import Struct
from cocoon.wire.common import DOMAIN_TAG, AttestedKeys, Kind, ModelTerms, Policy, SignedDomain, WorkerRoles
from cocoon.wire.escrow import EscrowStatus
from cocoon.wire.registry import (
    AllowMeasurement,
    ExecuteChange,
    ProposeChange,
    RebuildStatement,
    RegisterWorker,
    RegistryStorage,
    SyncAttestation,
    SyncPolicy,
)
from cocoon.wire.worker import Attest, SetOffer, WorkerStorage
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.transaction import Transaction

__all__ = ["MEASUREMENT", "MODEL", "REBUILDERS", "RULES", "TERMS", "TON", "WorkerSide", "World"]

TON = 10**9
REBUILDERS = tuple(key(f"rebuilder {number}") for number in range(3))
MODEL = digest(blob("model"))
MEASUREMENT = digest(blob("measurement"))
RULES = Rules(
    actor("governor"),
    tuple(rebuilder.public for rebuilder in REBUILDERS),
    rebuild_threshold=2,
    measurements=(MEASUREMENT,),
)
_SIGNED = SignedDocument(0, bytes(64), P256Hint(0, 0, 0), blob("text"))
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
    measurement: int = MEASUREMENT
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

    @property
    def attest_fees(self) -> int:
        return int(self.world.ledger.get(self.address, "get_fees")[1])

    def by_operator(self, body: Struct | Cell, value: int | None = None) -> Outcome:
        return self.world.send(self.operator, self.address, body, self.manage_fees if value is None else value)

    def by_owner(self, body: Struct | Cell, value: int | None = None) -> Outcome:
        return self.world.send(self.owner, self.address, body, self.manage_fees if value is None else value)

    def quote(self, session: Key | None = None, hpke: Cell | None = None) -> Attest:
        """An Attest for `session` with evidence that no Attestation would accept: the verdict is the test's to give."""
        evidence = QuoteEvidence(0, 0, 0, 0, 1, _SIGNED, _SIGNED, _SIGNED)
        return Attest(
            1, (session or self.session).public, 0, hpke or self.hpke, blob("https://worker.example"), evidence
        )

    def verdict(self, session: Key | None = None, hpke: Cell | None = None, **changes: int) -> QuoteVerified:
        """Attestation's answer to the last `quote`, but for the `changes`."""
        state = self.state
        said = {
            "attest_seq": state.people.attest_seq,
            "tcb_status": TcbStatusCode.UP_TO_DATE,
            "tcb_date": self.world.ledger.now - DAY,
            "block_seqno": state.people.block_seqno + 1,
            "lease_end": self.world.ledger.now + self.world.rules.lease_sec,
            "measurement": self.measurement,
        } | changes
        keys = AttestedKeys((session or self.session).public, digest(hpke or self.hpke), said["measurement"])
        platform = AttestedPlatform(0, 0, 17, said["block_seqno"], said["lease_end"], keys)
        return QuoteVerified(said["attest_seq"], said["tcb_status"], said["tcb_date"], platform)

    def give_verdict(self, body: Struct | Cell, value: int = TON // 100) -> Outcome:
        """A message from the network's Attestation."""
        return self.world.send(self.world.attestation, self.address, body, value, bounce=False)

    def attest(self, session: Key | None = None) -> Outcome:
        """Register `session` (the current key if None), as if its quote had been verified, and remember it."""
        self.session = session or self.session
        sent = self.by_operator(self.quote(), self.attest_fees)
        if not sent.first.success:
            return sent
        return self.give_verdict(self.verdict())

    def set_offer(self, terms: dict[int, ModelTerms] | None = None, slots: int = 2) -> Outcome:
        return self.by_operator(SetOffer(2, slots, {MODEL: TERMS} if terms is None else terms))


@dataclass
class World:
    """Registry, Slashing and Attestation, deployed; `rules.owner` governs. Every transaction must pay for itself while
    `watch` is set."""

    ledger: Ledger
    rules: Rules = field(default_factory=lambda: RULES)
    workers: list[WorkerSide] = field(default_factory=list)
    watch: bool = True

    @property
    def deployment(self) -> Deployment:
        return _deployment(self.rules, tuple(load(name).hash for name in ENTRYPOINTS))

    @property
    def registry(self) -> Address:
        return self.deployment.registry

    @property
    def slashing(self) -> Address:
        return self.deployment.slashing

    @property
    def attestation(self) -> Address:
        return self.deployment.attestation

    @property
    def governor(self) -> Address:
        return self.rules.owner

    @property
    def registry_state(self) -> RegistryStorage:
        data = self.ledger.account(self.registry).data
        assert data is not None, "the registry is not deployed"
        return RegistryStorage.from_cell(data)

    @property
    def attestation_state(self) -> AttestationStorage:
        data = self.ledger.account(self.attestation).data
        assert data is not None, "Attestation is not deployed"
        return AttestationStorage.from_cell(data)

    def deploy(self) -> World:
        """The contracts of a network with a little rent; Attestation has its policy."""
        empty = begin_cell().end_cell()
        for address, init in (
            (self.registry, registry_state_init(self.rules)),
            (self.slashing, slashing_state_init()),
            (self.attestation, attestation_state_init(self.registry)),
        ):
            self.send(actor("deployer"), address, empty, TON, state_init=init).assert_succeeded()
        self.sync_attestation().assert_succeeded()
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
    def registry_fees(self) -> tuple[int, int, int, int]:
        """Least values: register (beyond stake and bond), sync a policy, govern, sync the attestation policy."""
        register, sync, govern, sync_attestation = self.ledger.get(self.registry, "get_fees")
        return int(register), int(sync), int(govern), int(sync_attestation)

    @property
    def evidence_fees(self) -> int:
        return int(self.ledger.get(self.slashing, "get_fees")[0])

    def registration(self, name: str = "worker", **changes: Any) -> RegisterWorker:
        """A RegisterWorker with the least stake and bond."""
        roles = WorkerRoles(actor(f"{name} operator"), actor(f"{name} payout"), self.rules.measurements[0])
        body = RegisterWorker(1, self.rules.min_stake_nano, self.rules.min_bond_nano, roles)
        return replace(body, **changes)

    def register(self, name: str = "worker") -> WorkerSide:
        """A registered worker without keys or offer."""
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
            body.roles.measurement,
        )
        value = body.stake_nano + body.bond_nano + self.registry_fees[0]
        self.send(worker.owner, self.registry, body, value).assert_succeeded()
        self.workers.append(worker)
        return worker

    def active_worker(self, name: str = "worker", slots: int = 2) -> WorkerSide:
        """A worker with attested keys and an offer for MODEL at TERMS."""
        worker = self.register(name)
        worker.attest().assert_succeeded()
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

    def attestation_policy(self, version: int, **changes: Any) -> AttestationPolicy:
        """This deployment's demands on enclaves with another version and other terms."""
        return replace(attestation_policy(self.rules, version), **changes)

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

    def sync_attestation(self) -> Outcome:
        return self.send(actor("anyone"), self.registry, SyncAttestation(4), self.registry_fees[3])


@cache
def _deployment(rules: Rules, codes: tuple[bytes, ...]) -> Deployment:
    """codes: of which contracts; a mutation run puts others in their place."""
    return Deployment.of(rules)
