"""A deployed protocol with one registered worker whose agent is played by the test, over any Chain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell
from simulated_network import SIMULATION, simulated_rules

from cocoon.attestation.enrolling import EnclaveKeys
from cocoon.chain import Chain, Wallet, trace
from cocoon.chain.base import ChainTransaction
from cocoon.crypto.ed25519 import public_key, sign
from cocoon.crypto.hpke import HpkePrivateKey
from cocoon.crypto.request import RequestBinding, parse_request, request_ciphertext
from cocoon.crypto.response import Answer, ResponseKey, response_digest, seal_response
from cocoon.crypto.statements import Channel, receipt, rejection
from cocoon.crypto.usage import Usage, price
from cocoon.deploying import plan
from cocoon.deployment import Deployment, Rules
from cocoon.enrollment import Attested, attest_worker
from cocoon.fees import Fees, Prices
from cocoon.wire.codec import Struct
from cocoon.wire.common import Kind, ModelTerms, WorkerRoles
from cocoon.wire.escrow import DeliverJob, EscrowStorage, PostJob, RejectJob, RejectReason, SignedReceipt
from cocoon.wire.registry import RegisterWorker
from cocoon.wire.worker import SetOffer

__all__ = ["ENDPOINT", "MODEL", "TERMS", "TON", "AgentInTest", "World", "make_world", "named_key"]

TON = 10**9
ENDPOINT = "https://worker.example:4242"
MODEL = 0xC0C0
TERMS = ModelTerms(2_000_000_000, 500_000_000, 4_000_000_000, 10_000_000, 30)


def named_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"cocoon offchain test " + name.encode()).digest())


@dataclass
class AgentInTest:
    """Does what an agent does, when the test says so."""

    chain: Chain
    deployment: Deployment
    index: int
    operator: Wallet
    payout: Address
    session: Ed25519PrivateKey
    hpke: HpkePrivateKey = field(default_factory=HpkePrivateKey)

    @property
    def address(self) -> Address:
        return self.deployment.worker(self.index)

    async def send(self, to: Address, body: Struct, value: int) -> list[ChainTransaction]:
        """Send from the operator's wallet; the receiver must not throw."""
        done = await trace(self.chain, await self.operator.send(self.chain, to, value, body.to_cell()))
        assert done[1].exit_code == 0, f"{type(body).__name__} failed with exit code {done[1].exit_code}"
        return done

    async def attest(self) -> Attested:
        """Have the present keys attested, after Intel's documents if they are not there."""
        now = await self.chain.time()
        return await attest_worker(
            self.chain,
            self.operator,
            self.deployment,
            self.index,
            EnclaveKeys(public_key(self.session), self.hpke.public.to_cell(), ENDPOINT),
            SIMULATION.source(now, allow_simulated_tee=True),
            SIMULATION.publisher(allow_simulated_tee=True),
        )

    async def restart(self) -> None:
        """The enclave comes up with other keys, which are attested."""
        self.session, self.hpke = named_key("session after a restart"), HpkePrivateKey()
        await self.attest()

    async def set_offer(self, models: dict[int, ModelTerms], slots: int = 2) -> None:
        await self.send(self.address, SetOffer(2, slots, models), (await Fees.of(self.chain)).manage_worker())

    async def escrow(self, escrow: Address) -> tuple[EscrowStorage, Channel]:
        account = await self.chain.account(escrow)
        assert account.data is not None
        state = EscrowStorage.from_cell(account.data)
        assert state.binding is not None
        return state, Channel(self.chain.global_id, escrow, state.epoch, state.binding.key_epoch)

    async def read_request(self, escrow: Address) -> tuple[Cell, dict[str, Any], bytes]:
        """(request cell, decrypted body, response secret) of the open job."""
        state, channel = await self.escrow(escrow)
        for transaction in reversed(await self.chain.transactions(escrow)):
            body = transaction.in_msg.body if transaction.in_msg is not None else Cell.empty()
            if len(body.bits) >= 32 and body.begin_parse().load_uint(32) == PostJob.PREFIX[0]:
                cell = PostJob.from_cell(body).request
                if int.from_bytes(cell.hash, "big") == state.job_request_digest:
                    info = RequestBinding(channel.domain(Kind.FORCED_RECEIPT), self.address, MODEL).info
                    request = parse_request(self.hpke.decrypt(request_ciphertext(cell), info))
                    return cell, request.body, request.secret
        raise AssertionError("the escrow has no job")

    async def deliver(
        self, escrow: Address, text: str, usage: Usage | None = None, **flaws: Any
    ) -> tuple[SignedReceipt, list[ChainTransaction]]:
        """Answer the open job. flaws: `fee_nano`, `disclosed` (usage in the response), `secret`."""
        usage = usage or Usage(12, 0, 20)
        state, channel = await self.escrow(escrow)
        _, _, secret = await self.read_request(escrow)
        key = ResponseKey(flaws.get("secret", secret), state.job_request_digest, Kind.FORCED_RECEIPT, state.job_seq)
        response = seal_response(Answer({"text": text}, flaws.get("disclosed", usage)), key)
        signed = self.sign_receipt(
            channel, state, response, fee_nano=flaws.get("fee_nano", price(usage, TERMS)), usage=usage
        )
        body = DeliverJob(3, False, signed, response)
        return signed, await self.send(escrow, body, (await Fees.of(self.chain)).end_job())

    def sign_receipt(
        self, channel: Channel, state: EscrowStorage, response: Cell, *, fee_nano: int, usage: Usage
    ) -> SignedReceipt:
        made = receipt(
            channel,
            Kind.FORCED_RECEIPT,
            seq=state.job_seq,
            fee_nano=fee_nano,
            issued_at=1_700_000_000,
            request_digest=state.job_request_digest,
            response_digest=response_digest(response),
            model_id=MODEL,
            usage=usage,
            measurement=SIMULATION.measurement,
        )
        return SignedReceipt(made, sign(self.session, made))

    async def reject(self, escrow: Address, reason: RejectReason) -> list[ChainTransaction]:
        state, channel = await self.escrow(escrow)
        statement = rejection(channel, seq=state.job_seq, request_digest=state.job_request_digest, reason=reason)
        body = RejectJob(4, state.job_seq, reason, sign(self.session, statement))
        return await self.send(escrow, body, (await Fees.of(self.chain)).end_job())


@dataclass
class World:
    chain: Chain
    deployment: Deployment
    owner: Wallet
    client: Wallet
    agent: AgentInTest


async def make_world(
    chain: Chain, owner: Wallet, operator: Wallet, client: Wallet, rules: Rules | None = None
) -> World:
    """Deploy, register worker 0, attest its keys, make an offer. The wallets must have money."""
    rules = rules or simulated_rules(owner.address)
    deployment = Deployment.of(rules)
    planned = plan(rules, await Prices.of(chain))
    await trace(chain, await owner.send_all(chain, planned.transfers()))
    payout = Wallet(named_key("payout")).address
    roles = WorkerRoles(operator.address, payout, SIMULATION.measurement)
    register = RegisterWorker(1, rules.min_stake_nano, rules.min_bond_nano, roles)
    value = rules.min_stake_nano + rules.min_bond_nano + (await Fees.of(chain)).register()
    await trace(chain, await owner.send(chain, deployment.registry, value, register.to_cell()))
    agent = AgentInTest(chain, deployment, 0, operator, payout, named_key("session"))
    await agent.attest()
    await agent.set_offer({MODEL: TERMS})
    return World(chain, deployment, owner, client, agent)
