"""The market's contracts in use: one worker, one client, their channels, every operation recorded as it happens."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell, begin_cell

from ..deployment import Deployment, Rules, attestation_state_init, registry_state_init, slashing_state_init
from ..fees import PRICE_PARAMS, Fees, Prices
from ..wire import blob
from ..wire.codec import Struct
from ..wire.common import DOMAIN_TAG, Kind, ModelTerms, SignedDomain, WorkerRoles
from ..wire.escrow import (
    BeginClose,
    ClaimVoucher,
    CloseCooperative,
    CloseStatement,
    DeliverJob,
    EscrowStorage,
    ExpireJob,
    FinishClose,
    OpenEscrow,
    PostJob,
    Receipt,
    ReceiptDisclosure,
    ReceiptOutcome,
    RejectionStatement,
    RejectJob,
    RejectReason,
    Signature,
    SignedReceipt,
    TopUpEscrow,
    VoucherStatement,
)
from ..wire.registry import RegisterWorker, SyncAttestation, SyncPolicy
from ..wire.slashing import SubmitEquivocation
from ..wire.worker import BeginUnbond, SetOffer, WithdrawStake, WorkerPeople
from .attesting import Enclave
from .operation import GOALS, TON, Operation

if TYPE_CHECKING:
    from cocoon_sandbox.ledger import Ledger
    from cocoon_sandbox.treasury import Treasury

__all__ = ["MODEL", "REQUEST", "RESPONSE", "TERMS", "Scenario", "sandbox_prices"]

MODEL = int.from_bytes(hashlib.sha256(b"cocoon bench model").digest(), "big")
TERMS = ModelTerms(100_000, 50_000, 400_000, TON // 100, 30)
# A sealed 1 kB prompt is the padded prompt, the KEM's ciphertext and two tags; a 1 kB answer is padded and sealed.
REQUEST = blob.bytes_to_cell(bytes(2048 + 1120 + 64))
RESPONSE = blob.bytes_to_cell(bytes(1024 + 96))
HPKE_KEY = blob.bytes_to_cell(bytes(1216))


class Scenario:
    """One worker, one client, one channel; operations recorded as they happen."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.operations: list[Operation] = []
        self.owner, self.agent, self.client = (
            ledger.treasury(name, 1000 * TON) for name in ("owner", "agent", "client")
        )
        self.payout = Address((0, hashlib.sha256(b"cold payout address").digest()))
        self.global_id = -217
        self.enclave = Enclave(ledger, self.global_id)
        self.rules = Rules(
            owner=self.owner.address,
            measurements=(self.enclave.measurement,),
            attestation_root=self.enclave.root,
        )
        self.deployment = Deployment.of(self.rules)
        self.names = {
            self.deployment.registry: "Registry",
            self.deployment.slashing: "Slashing",
            self.deployment.attestation: "Attestation",
            self.deployment.tcb_store(self.enclave.fmspc): "TcbStore",
        }
        self.session, self.client_key = _key("session"), _key("client")

    def run(
        self,
        name: str,
        sender: Treasury,
        to: Address,
        value: int,
        body: Struct,
        least: int | None = None,
        init: Cell | None = None,
    ) -> None:
        before = self.ledger.burned_fees
        transactions = sender.send(self.ledger, to, value, body.to_cell(), state_init=init)
        caused = transactions[1:]
        failed = [tx for tx in caused if tx.account in self.names and not tx.success]
        if failed:
            raise AssertionError(f"{name} failed: {failed}")
        gas = tuple((self.names[tx.account], tx.gas_used) for tx in caused if tx.account in self.names)
        fees = self.ledger.burned_fees - before - transactions[0].total_fees
        self.operations.append(Operation(name, gas, len(caused), fees, least, GOALS.get(name)))

    def domain(self, kind: Kind, contract: Address, epoch: int, key_epoch: int) -> SignedDomain:
        return SignedDomain(DOMAIN_TAG, kind, self.global_id, contract, epoch, key_epoch)

    def set_up(self) -> None:
        for address, init in (
            (self.deployment.registry, registry_state_init(self.rules)),
            (self.deployment.slashing, slashing_state_init()),
            (self.deployment.attestation, attestation_state_init(self.deployment.registry)),
        ):
            self.owner.send(self.ledger, address, TON, begin_cell().end_cell(), state_init=init)
        self.worker = self.deployment.worker(0)
        self.names[self.worker] = "Worker"
        fee = self.ledger.get(self.deployment.registry, "get_fees")
        rules = self.rules
        self.run("sync attestation policy", self.client, self.deployment.registry, fee[3], SyncAttestation(1), fee[3])
        for document in self.enclave.collateral():
            self.client.send(self.ledger, self.deployment.attestation, TON, document.to_cell())
        roles = WorkerRoles(self.agent.address, self.payout, self.enclave.measurement)
        self.run(
            "register",
            self.owner,
            self.deployment.registry,
            rules.min_stake_nano + rules.min_bond_nano + fee[0],
            RegisterWorker(1, rules.min_stake_nano, rules.min_bond_nano, roles),
            fee[0],
        )
        manage = self.ledger.get(self.worker, "get_fees")[0]
        self.attest("attest", self.session, 1)
        self.run("set offer", self.agent, self.worker, manage, SetOffer(3, 2, {MODEL: TERMS}), manage)
        self.run("sync policy", self.client, self.deployment.registry, fee[1], SyncPolicy(4, 0), fee[1])

    def attest(self, name: str, key: Ed25519PrivateKey, key_epoch: int) -> None:
        """Have the enclave's keys verified. AssertionError unless the Worker then has them under `key_epoch`."""
        seq = WorkerPeople.from_cell(self.ledger.get(self.worker, "get_worker_data")[14]).attest_seq + 1
        body = self.enclave.attest(self.deployment.registry, self.worker, seq, _public(key), HPKE_KEY)
        least = self.ledger.get(self.worker, "get_fees")[1]
        self.run(name, self.agent, self.worker, least, body, least)
        if self.ledger.get(self.worker, "get_worker_data")[7] != key_epoch:
            raise AssertionError(f"{name} failed: the Worker has not taken the keys")

    def open(self, salt: int) -> Address:
        escrow = self.deployment.escrow(self.client.address, self.worker, salt)
        self.names[escrow] = "Escrow"
        init = self.deployment.escrow_state_init(self.client.address, self.worker, salt)
        term = 86400
        least = Fees(sandbox_prices()).open(term)
        body = OpenEscrow(5, _public(self.client_key), 2 * TON, MODEL, term, None, TERMS)
        self.run("open", self.client, escrow, 2 * TON + least, body, least, init)
        return escrow

    def state(self, escrow: Address) -> EscrowStorage:
        data = self.ledger.account(escrow).data
        if data is None:
            raise AssertionError("the escrow is gone")
        return EscrowStorage.from_cell(data)

    def receipt(self, escrow: Address, fee: int, seq: int, response: Cell) -> SignedReceipt:
        epoch = self.state(escrow).epoch
        outcome = ReceiptOutcome(_digest(response), MODEL, ReceiptDisclosure(1, 0))
        domain = self.domain(Kind.FORCED_RECEIPT, escrow, epoch, 1)
        receipt = Receipt(domain, seq, fee, self.ledger.now, _digest(REQUEST), outcome)
        return SignedReceipt(receipt, self.session.sign(receipt.to_cell().hash))

    def pay(self, escrow: Address) -> None:
        _, top_up, _, _, claim, *_ = self.ledger.get(escrow, "get_fees", 0)
        self.run("top up", self.client, escrow, TON + top_up, TopUpEscrow(6), top_up)
        for name, cumulative, merged in (("claim", TON // 2, True), ("claim, change to caller", TON, False)):
            statement = VoucherStatement(self.domain(Kind.VOUCHER, escrow, self.state(escrow).epoch, 1), cumulative, 7)
            signature = self.client_key.sign(statement.to_cell().hash)
            self.run(name, self.agent, escrow, claim, ClaimVoucher(7, 1, cumulative, 7, merged, signature), claim)

    def force(self, escrow: Address) -> None:
        _, _, post, end, *_ = self.ledger.get(escrow, "get_fees", 0)
        job = PostJob(8, TON // 10, 600, REQUEST)
        self.run("post job", self.client, escrow, TON // 10 + post, job, post)
        receipt = self.receipt(escrow, TON // 20, 1, RESPONSE)
        self.run("deliver job", self.agent, escrow, end, DeliverJob(9, True, receipt, RESPONSE), end)
        posted, delivered = self.operations[-2:]
        self.operations.append(
            Operation(
                "forced job",
                posted.gas + delivered.gas,
                posted.transactions + delivered.transactions,
                posted.fees_nano + delivered.fees_nano,
                post,
                GOALS["forced job"],
            )
        )
        self.client.send(self.ledger, escrow, TON // 10 + post, job.to_cell())
        state = self.state(escrow)
        rejection = RejectionStatement(
            self.domain(Kind.REJECTION, escrow, state.epoch, 1), 2, _digest(REQUEST), RejectReason.UNDECRYPTABLE
        )
        signature = self.session.sign(rejection.to_cell().hash)
        self.run("reject job", self.agent, escrow, end, RejectJob(10, 2, RejectReason.UNDECRYPTABLE, signature), end)
        self.client.send(self.ledger, escrow, TON // 10 + post, job.to_cell())
        self.ledger.advance(600 + self.rules.grace_sec + 1)
        self.run("expire job (missed)", self.client, escrow, end, ExpireJob(11), end)

    def close(self, cooperative: Address, announced: Address) -> None:
        begin, finish = self.ledger.get(announced, "get_fees", 0)[5:7]
        statement = CloseStatement(self.domain(Kind.CLOSE, cooperative, self.state(cooperative).epoch, 1), TON)
        digest = statement.to_cell().hash
        close = CloseCooperative(12, TON, self.client_key.sign(digest), Signature(self.session.sign(digest)))
        self.run("close cooperatively", self.client, cooperative, finish, close, finish)
        self.run("begin close", self.client, announced, begin, BeginClose(13), begin)
        self.ledger.advance(self.rules.dispute_sec)
        self.run("finish close", self.client, announced, finish, FinishClose(14), finish)

    def slash(self, escrow: Address, signed: tuple[SignedReceipt, SignedReceipt]) -> None:
        fee = self.ledger.get(self.deployment.slashing, "get_fees")[0]
        identity = self.deployment.escrow_identity(self.client.address, self.worker, 1)
        evidence = SubmitEquivocation(15, _public(self.session), identity, *signed)
        self.run("slash", self.client, self.deployment.slashing, fee, evidence, fee)
        manage = self.ledger.get(self.worker, "get_fees")[0]
        self.run("begin unbond", self.owner, self.worker, manage, BeginUnbond(16), manage)
        self.ledger.advance(self.rules.unbonding_sec)
        self.run("withdraw", self.owner, self.worker, manage, WithdrawStake(17), manage)


def sandbox_prices() -> Prices:
    """The prices of the sandbox's configuration: today's mainnet prices."""
    from cocoon_sandbox.config import config_param
    from cocoon_sandbox.ledger import Ledger

    config = Ledger().config
    return Prices.from_config({number: config_param(config, number) for number in PRICE_PARAMS})


def _key(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())


def _public(key: Ed25519PrivateKey) -> int:
    return int.from_bytes(key.public_key().public_bytes_raw(), "big")


def _digest(cell: Cell) -> int:
    return int.from_bytes(cell.hash, "big")
