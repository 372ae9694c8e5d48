"""What the contracts send, bounce and store in a real run decodes by `contracts/scheme.tlb`, down to the last bit."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell
from tlb import Named, Schema
from tlb_cells import Codec

from cocoon.bench.attesting import Enclave
from cocoon.crypto import statements
from cocoon.crypto.ed25519 import public_key, sign
from cocoon.crypto.statements import Channel
from cocoon.crypto.usage import Usage
from cocoon.deployment import Deployment, Rules, attestation_state_init, registry_state_init, slashing_state_init
from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.codec import Struct
from cocoon.wire.common import Kind, ModelTerms, WorkerRoles
from cocoon.wire.escrow import (
    BeginClose,
    ClaimVoucher,
    DeliverJob,
    EscrowStorage,
    ExpireJob,
    FinishClose,
    OpenEscrow,
    PostJob,
    SignedReceipt,
    TopUpEscrow,
)
from cocoon.wire.registry import RegisterWorker, SyncAttestation, SyncPolicy
from cocoon.wire.slashing import SubmitEquivocation
from cocoon.wire.worker import SetOffer
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.transaction import Transaction
from cocoon_sandbox.treasury import Treasury

TON = 10**9
TERMS = ModelTerms(1000, 500, 2000, TON // 100, 30)
MODEL = 123
SCHEMA = Schema.parse((Path(__file__).parents[2] / "contracts" / "scheme.tlb").read_text())
CODEC = Codec(SCHEMA)


class _Witness:
    """Decodes every internal message and every account's data as it appears."""

    def __init__(self, ledger: Ledger, contracts: dict[Address, tuple[str, str, str]]) -> None:
        self.ledger = ledger
        self.contracts = contracts
        self.seen: set[str] = set()
        ledger.observer = self

    def __call__(self, transaction: Transaction) -> None:
        message = transaction.in_msg
        if message.kind != "internal" or (not message.body.bits and not message.body.refs):
            return
        messages, stored, first = self.contracts.get(message.dst, ("WalletMessage", "", ""))
        kind = "BouncedBody" if message.bounced else messages
        record = CODEC.decode(Named(kind), message.body)
        self.seen.add(record.constructor)
        data = self.ledger.account(message.dst).data
        if stored and data is not None:
            self.seen.add(CODEC.decode(Named(stored if data.refs else first), data).constructor)


def test_scheme_decodes_every_message_and_storage_of_a_run(ledger: Ledger) -> None:
    owner, operator, client, payout = (ledger.treasury(name) for name in ("owner", "operator", "client", "payout"))
    enclave = Enclave(ledger, SANDBOX_GLOBAL_ID)
    rules = Rules(owner=owner.address, measurements=(enclave.measurement,), attestation_root=enclave.root)
    network = Deployment.of(rules)
    worker, absent = network.worker(0), network.worker(1)
    escrow, orphan = network.escrow(client.address, worker), network.escrow(client.address, absent)
    escrow_kinds = ("EscrowMessage", "EscrowStorage", "EscrowIdentity")
    witness = _Witness(
        ledger,
        {
            network.registry: ("RegistryMessage", "RegistryStorage", "RegistryStorage"),
            network.slashing: ("SlashingMessage", "SlashingData", "SlashingData"),
            network.attestation: ("AttestationMessage", "AttestationStorage", "AttestationIdentity"),
            network.tcb_store(enclave.fmspc): ("TcbStoreMessage", "TcbStoreStorage", "TcbStoreIdentity"),
            worker: ("WorkerMessage", "WorkerStorage", "WorkerIdentityData"),
            absent: ("WorkerMessage", "WorkerStorage", "WorkerIdentityData"),
            escrow: escrow_kinds,
            orphan: escrow_kinds,
        },
    )
    session, client_key = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))

    def send(sender: Treasury, to: Address, value: int, body: Struct, state_init: Cell | None = None) -> None:
        done = sender.send(ledger, to, value, body.to_cell(), state_init=state_init)
        assert done[1].success, f"{type(body).__name__}: {done[1]!r}"

    owner.send(ledger, network.registry, TON, state_init=registry_state_init(rules))
    owner.send(ledger, network.slashing, TON, state_init=slashing_state_init())
    owner.send(ledger, network.attestation, TON, state_init=attestation_state_init(network.registry))
    roles = WorkerRoles(operator.address, payout.address, enclave.measurement)
    send(owner, network.registry, 13 * TON, RegisterWorker(1, 10 * TON, 2 * TON, roles))
    send(client, network.registry, TON, SyncAttestation(2))
    for document in enclave.collateral():
        send(client, network.attestation, TON, document)
    hpke = bytes_to_cell(bytes(1216))
    refused = enclave.attest(network.registry, orphan, 1, public_key(session), hpke)
    send(operator, worker, TON, refused)  # the quote names another worker: bounces
    send(operator, worker, TON, enclave.attest(network.registry, worker, 2, public_key(session), hpke))
    send(operator, worker, TON, SetOffer(3, 2, {MODEL: TERMS}))
    send(client, network.registry, TON, SyncPolicy(4, 0))

    opening = OpenEscrow(5, public_key(client_key), TON, MODEL, 86400, None, TERMS)
    state = network.escrow_state_init
    send(client, orphan, 2 * TON, opening, state(client.address, absent))  # the worker is not there: bounces
    send(client, escrow, 2 * TON, OpenEscrow(5, 9 << 8, TON, 5, 86400, None, TERMS), state(client.address, worker))
    assert ledger.account(escrow).status == "nonexist"  # refused: this model is not offered
    send(client, escrow, 2 * TON, opening, state(client.address, worker))
    data = ledger.account(escrow).data
    assert data is not None
    channel = Channel(SANDBOX_GLOBAL_ID, escrow, EscrowStorage.from_cell(data).epoch, 1)

    send(client, escrow, TON, TopUpEscrow(6))
    voucher = sign(client_key, statements.voucher(channel, cumulative_nano=TON // 4, receipt_chain=77))
    send(operator, escrow, TON, ClaimVoucher(7, 1, TON // 4, 77, False, voucher))

    request, response = bytes_to_cell(b"request" * 99), bytes_to_cell(b"response" * 99)

    def receipt(seq: int, fee_nano: int) -> SignedReceipt:
        said = statements.receipt(
            channel, Kind.FORCED_RECEIPT, seq=seq, fee_nano=fee_nano, issued_at=ledger.now,
            request_digest=_number(request), response_digest=_number(response), model_id=MODEL,
            usage=Usage(1, 0, 2, bytes(32)), measurement=0,
        )  # fmt: skip
        return SignedReceipt(said, sign(session, said))

    send(client, escrow, TON, PostJob(8, TON // 5, 600, request))
    send(operator, escrow, TON, DeliverJob(9, False, receipt(1, TON // 10), response))
    send(client, escrow, TON, PostJob(10, TON // 5, 600, request))
    ledger.advance(700)
    send(operator, escrow, TON, ExpireJob(11))
    send(operator, worker, TON, SetOffer(12, 0, {MODEL: TERMS}))
    send(client, escrow, TON, PostJob(13, TON // 5, 600, request))  # refused: no slot

    evidence = SubmitEquivocation(
        14, public_key(session), network.escrow_identity(client.address, worker), receipt(1, 5), receipt(1, 6)
    )
    send(client, network.slashing, TON, evidence)
    send(client, network.slashing, TON, evidence)  # slashed already: bounces, rich
    send(client, escrow, TON, BeginClose(15))
    ledger.advance(rules.dispute_sec)
    send(client, escrow, TON, FinishClose(16))

    internal = {
        "init_worker", "update_policy", "bind_escrow", "confirm_bind", "bind_confirmed", "bind_refused", "admit_job",
        "job_refused", "settle_job", "report_miss", "miss_recorded", "slash_worker", "payment", "excesses", "bounced",
        "bounced_rich", "update_attestation_policy", "verify_quote", "judge_platform", "platform_judged",
        "quote_verified", "store_tcb", "post_certificate", "post_crl", "post_qe_identity", "post_tcb_info",
        "attestation_storage", "tcb_store_storage", "registry_storage", "worker_storage", "escrow_storage",
        "slashing_data",
    }  # fmt: skip
    assert internal <= witness.seen


def _number(cell: Cell) -> int:
    return int.from_bytes(cell.hash, "big")


def test_scheme_fields_that_bounce_handlers_skip_to_lie_first() -> None:
    """Handlers of rich bounces step over a fixed number of bits of the original's root cell."""
    fields = [(name, str(kind)) for name, kind in SCHEMA.constructors["slash_worker"].fields]
    assert fields[:3] == [("query_id", "uint64"), ("session_key", "uint256"), ("reporter", "MsgAddressInt")]
    fields = [(name, str(kind)) for name, kind in SCHEMA.constructors["confirm_bind"].fields]
    assert fields[:3] == [("worker_index", "uint64"), ("epoch", "uint64"), ("escrow", "MsgAddressInt")]
    fields = [(name, str(kind)) for name, kind in SCHEMA.constructors["verify_quote"].fields]
    assert fields[0] == ("attest_seq", "uint64")
    fields = [(name, str(kind)) for name, kind in SCHEMA.constructors["init_worker"].fields]
    assert fields[:2] == [("query_id", "uint64"), ("owner", "MsgAddressInt")]
