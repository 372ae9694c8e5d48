"""Receipts: what `cocoon receipt verify` believes, and what it does not."""

from __future__ import annotations

import copy
import importlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from market_world import ledger_world
from protocol_world import MODEL, TERMS, TON, World
from pytoniq_core import Address
from scripted import make_proof
from simulated_network import SIMULATION

from cocoon.attestation.trust import INTEL_ROOT_KEY
from cocoon.chain.base import AccountState
from cocoon.cli import main
from cocoon.client import Client
from cocoon.client.channel import Channel
from cocoon.crypto.ed25519 import public_key, sign
from cocoon.crypto.statements import Channel as SignedChannel
from cocoon.crypto.statements import receipt
from cocoon.crypto.usage import Usage
from cocoon.deployment import Deployment
from cocoon.gateway.estimate import streamed_price
from cocoon.gateway.market_page import MarketPage
from cocoon.gateway.receipts import Proof, ReceiptMalformed
from cocoon.gateway.verify import Check, check_offline, check_on_chain, missing, verdict
from cocoon.wire.attestation import AttestationStorage
from cocoon.wire.common import Kind
from cocoon.wire.escrow import SignedReceipt
from cocoon.wire.registry import RegistryStorage
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.toolchain import node_binary

USAGE = Usage(10, 2, 5)
PAGE = Path(__file__).parents[2] / "offchain" / "cocoon" / "gateway" / "page"


def failing(proof: Proof) -> list[str]:
    return [check.name for check in check_offline(proof) if check.holds is not True]


def test_verify_of_a_genuine_receipt_holds_and_survives_json() -> None:
    proof = make_proof(USAGE)
    assert failing(proof) == []
    again = Proof.from_text(json.dumps(proof.to_json("rcpt_1")))
    assert again == proof


def test_verify_of_another_key_or_usage_or_price_fails_by_name() -> None:
    proof = make_proof(USAGE)
    other = public_key(Ed25519PrivateKey.from_private_bytes(b"\x09" * 32))
    assert failing(replace(proof, session_key=other)) == ["signature"]
    assert failing(replace(proof, session_key=0)) == ["signature"]
    assert failing(replace(proof, usage=Usage(11, 2, 5, USAGE.salt))) == ["usage"]
    assert failing(replace(proof, channel=replace(proof.channel, epoch=1))) == ["domain"]
    assert failing(make_proof(USAGE, fee_nano=proof.fee_nano + 1)) == ["fee"]


CHANGES = {
    "fee_nano": 1, "measurement": "00" * 32, "model_id": "11" * 32, "issued_at": 5, "seq": 9, "version": 2,
    "receipt": "AAAA", "signature": "zz", "worker": None, "usage": {}, "session_key": "x", "terms": {"a": 1},
    "channel": {"escrow": "0:00", "epoch": "1", "key_epoch": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_reading_a_receipt_with_a_changed_field_is_refused(name: str) -> None:
    """Whatever a reader sees is what was signed: a readable field can't say something else than the cell."""
    document = copy.deepcopy(make_proof(USAGE).to_json("rcpt_1"))
    document[name] = CHANGES[name]
    with pytest.raises(ReceiptMalformed):
        Proof.from_json(document)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"version": 1}'])
def test_reading_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(ReceiptMalformed):
        Proof.from_text(text)


def run(document: dict[str, Any], *words: str) -> Any:
    return CliRunner().invoke(main, ["receipt", "verify", "-", "--offline", *words], input=json.dumps(document))


def test_receipt_verify_command_reads_standard_input_and_exits_by_the_verdict() -> None:
    open_still = run(make_proof(USAGE).to_json("rcpt_1"), "--json")
    assert open_still.exit_code == 3, open_still.output
    said = json.loads(open_still.output)
    assert said["holds"] is None
    assert "the chain was not asked" in said["missing"]
    bad = run(make_proof(USAGE, fee_nano=10**9).to_json("rcpt_1"))
    assert bad.exit_code == 1
    assert "FAIL fee" in bad.output


def test_receipt_verify_command_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    done = CliRunner().invoke(main, ["receipt", "verify", str(tmp_path / "r.json"), "--offline"])
    assert done.exit_code == 1
    assert "this is no receipt" in done.output


# ---- against a chain ----


@dataclass
class Answered:
    """A worker's genuine receipt for an answer over a channel that is open. `chain`: what is asked about it."""

    world: World
    client: Client
    channel: Channel
    proof: Proof
    chain: Any

    async def checks(self, proof: Proof | None = None, **options: Any) -> dict[str, Check]:
        found = await check_on_chain(proof or self.proof, self.chain, **options)
        return {check.name: check for check in found}

    async def verdict(self, proof: Proof | None = None) -> bool | None:
        proof = proof or self.proof
        return verdict([*check_offline(proof), *await check_on_chain(proof, self.chain)])


class Altered:
    """A chain that shows some accounts in another state."""

    def __init__(self, chain: Any, changes: dict[Address, Callable[[AccountState], AccountState]]) -> None:
        self._chain, self._changes, self.global_id = chain, changes, chain.global_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def account(self, address: Address) -> AccountState:
        found: AccountState = await self._chain.account(address)
        return self._changes.get(address, lambda same: same)(found)


def under_intels_root(world: World) -> Altered:
    x, y = (int.from_bytes(half) for half in (INTEL_ROOT_KEY[:32], INTEL_ROOT_KEY[32:]))

    def registry(account: AccountState) -> AccountState:
        state = RegistryStorage.from_cell(account.data)
        policy = replace(state.measurements.attestation, root_key_x=x, root_key_y=y)
        listed = {SIMULATION.measurement: None}
        known = replace(state.measurements, attestation=policy, listed=listed, listed_count=1)
        return replace(account, data=replace(state, measurements=known).to_cell())

    def attestation(account: AccountState) -> AccountState:
        state = AttestationStorage.from_cell(account.data)
        return replace(account, data=replace(state, policy=replace(state.policy, root_key_x=x, root_key_y=y)).to_cell())

    return Altered(world.chain, {world.deployment.registry: registry, world.deployment.attestation: attestation})


def signed_proof(world: World, channel: SignedChannel, key: Ed25519PrivateKey, **changes: Any) -> Proof:
    """Of USAGE, by `key`. changes: fields of the proof."""
    said = receipt(
        channel, Kind.STREAM_RECEIPT, seq=1, fee_nano=streamed_price(USAGE, TERMS), issued_at=1_700_000_000,
        request_digest=5, response_digest=6, model_id=MODEL, usage=USAGE, measurement=SIMULATION.measurement,
    )  # fmt: skip
    made = Proof(
        channel, world.deployment.registry, world.agent.address, 0, public_key(key), TERMS, USAGE,
        SignedReceipt(said, sign(key, said)), simulated_tee=True,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
async def answered(ledger: Ledger) -> Answered:
    world = await ledger_world(ledger)
    client = Client(world.chain, world.client, world.deployment, allow_simulated_tee=True)
    channel = await client.open(0, deposit=TON, model_id=MODEL, term=86400, max_prices=TERMS)
    proof = signed_proof(world, await channel.signed(), world.agent.session)
    return Answered(world, client, channel, proof, world.chain)


def forged(answered: Answered, **changes: Any) -> Proof:
    """By a key that nobody attested, of a channel that never was."""
    nowhere = replace(answered.proof.channel, escrow=Address((0, b"\x77" * 32)))
    return signed_proof(answered.world, nowhere, Ed25519PrivateKey.generate(), **changes)


async def test_receipt_of_an_open_channel_holds_and_simulated_hardware_proves_no_measurement(
    answered: Answered,
) -> None:
    found = await answered.checks()
    assert {name: check.holds for name, check in found.items()} == {
        "worker": True, "channel": True, "session key": True, "measurement": None,
    }  # fmt: skip
    assert "simulated" in found["measurement"].detail
    assert await answered.verdict() is True


async def test_receipt_by_a_key_that_nobody_attested_is_undecided_and_proves_no_measurement(
    answered: Answered,
) -> None:
    """Forged whole: fresh key, made-up channel and usage. Nothing contradicts it, and nothing supports it."""
    answered.chain = under_intels_root(answered.world)
    proof = forged(answered, simulated_tee=False)
    found = await answered.checks(proof)
    assert {name: check.holds for name, check in found.items()} == {
        "worker": True, "channel": None, "session key": None, "measurement": None,
    }  # fmt: skip
    assert "whose key signed is not known" in found["measurement"].detail
    assert await answered.verdict(proof) is None
    assert "there never was one" in missing(found.values())
    assert "the worker has no such key" in missing(found.values())


async def test_receipt_by_another_key_in_an_open_channel_fails(answered: Answered) -> None:
    proof = signed_proof(answered.world, answered.proof.channel, Ed25519PrivateKey.generate())
    assert (await answered.checks(proof))["channel"].holds is False
    assert await answered.verdict(proof) is False


async def test_receipt_with_inflated_terms_fails_while_the_channel_is_open(answered: Answered) -> None:
    terms = replace(TERMS, completion_nano=TERMS.completion_nano * 100)
    assert await answered.verdict(replace(answered.proof, terms=terms)) is False


async def test_receipt_that_says_the_wrong_root_of_trust_fails(answered: Answered) -> None:
    """Whether hardware stands behind it is read off the chain, never off the receipt."""
    said = replace(answered.proof, simulated_tee=False)
    assert (await answered.checks(said))["measurement"].holds is False
    assert await answered.verdict(said) is False
    answered.chain = under_intels_root(answered.world)
    assert (await answered.checks(said))["measurement"].holds is True
    assert await answered.verdict(said) is True
    assert await answered.verdict(answered.proof) is False


async def test_receipt_of_a_closed_channel_holds_by_the_workers_keys_present_and_earlier(answered: Answered) -> None:
    answered.chain = under_intels_root(answered.world)
    empty = dict.fromkeys([answered.proof.channel.escrow], lambda account: replace(account, data=None))
    answered.chain._changes |= empty
    said = replace(answered.proof, simulated_tee=False)
    found = await answered.checks(said)
    assert [found[name].holds for name in ("channel", "session key", "measurement")] == [None, True, True]
    assert await answered.verdict(said) is True
    await answered.world.agent.restart()
    found = await answered.checks(said)
    assert "earlier key" in found["session key"].detail
    # what an earlier key was attested for is kept nowhere
    assert [found[name].holds for name in ("channel", "session key", "measurement")] == [None, True, None]
    assert await answered.verdict(said) is True


async def test_receipt_with_another_measurement_than_its_key_was_attested_for_fails(answered: Answered) -> None:
    other = 0xBAD
    said = answered.proof.signed.receipt
    disclosure = replace(said.outcome.disclosure, measurement=other)
    changed = replace(said, outcome=replace(said.outcome, disclosure=disclosure))
    signed = SignedReceipt(changed, sign(answered.world.agent.session, changed))
    closed = dict.fromkeys([answered.proof.channel.escrow], lambda account: replace(account, data=None))
    answered.chain = Altered(answered.world.chain, closed)  # the channel would notice by itself
    assert (await answered.checks(replace(answered.proof, signed=signed)))["measurement"].holds is False


async def test_receipt_of_a_registry_or_worker_that_its_maker_wrote_is_undecided(answered: Answered) -> None:
    """Contracts that only look like ours say of themselves whatever their maker likes."""
    registry = answered.proof.registry
    other_code = Altered(answered.chain, {registry: lambda account: replace(account, code_hash=bytes(32))})
    answered.chain = other_code
    assert await answered.verdict() is None
    answered.chain = answered.world.chain
    strange = Address((0, b"\x55" * 32))
    copied = await answered.chain.account(answered.proof.worker)
    answered.chain = Altered(answered.chain, {strange: lambda _: copied})
    assert await answered.verdict(replace(answered.proof, worker=strange)) is None
    escrow = Address((0, b"\x66" * 32))
    fake = await answered.chain.account(answered.proof.channel.escrow)
    answered.chain = Altered(answered.world.chain, {escrow: lambda _: fake})
    elsewhere = replace(answered.proof.channel, escrow=escrow)
    proof = signed_proof(answered.world, elsewhere, answered.world.agent.session)
    found = await answered.checks(proof)
    assert [found[name].holds for name in ("channel", "session key")] == [None, True]


async def test_receipt_of_another_registry_than_meant_fails(answered: Answered) -> None:
    found = await answered.checks(registry=Address((0, b"\x11" * 32)))
    assert found["network"].holds is False
    assert verdict(found.values()) is False
    assert "network" not in await answered.checks(registry=answered.proof.registry)


async def test_page_shows_a_forged_receipt_as_not_established(answered: Answered) -> None:
    page = MarketPage(
        answered.chain, Deployment(answered.proof.registry),
        SimpleNamespace(settings=SimpleNamespace(stale_sec=1)),  # type: ignore[arg-type]
        SimpleNamespace(), answered.world.client.address, {},  # type: ignore[arg-type]
    )  # fmt: skip
    shown = await page.prove(forged(answered))
    assert shown["holds"] is None
    assert "nothing shows that this session key is the worker's" in shown["missing"]
    genuine = await page.prove(answered.proof)
    assert (genuine["holds"], genuine["missing"]) == (True, None)


_NODE = """
globalThis.document = { getElementById: () => ({ addEventListener() {} }), addEventListener() {} };
const { verdict } = await import(process.argv[1]);
for (const holds of [true, null, false, undefined])
  console.log(JSON.stringify(verdict({ receipt: { simulated_tee: false }, checks: [], holds, missing: "no key" })));
"""


def test_page_says_proven_of_what_holds_alone(tmp_path: Path) -> None:
    shutil.copytree(PAGE, tmp_path / "page")
    (tmp_path / "page" / "package.json").write_text('{"type": "module"}')
    command = [str(node_binary()), "--input-type=module", "-e", _NODE, str(tmp_path / "page" / "proof.js")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    proven, undecided, failed, lost = map(json.loads, done.stdout.splitlines())
    assert proven[:3] == ["good", "✓", "Proven"]
    assert undecided == ["warn", "?", "Not established", "no key"]
    assert failed[:3] == lost[:3] == ["bad", "✕", "This proof does not hold"]


@pytest.mark.parametrize(
    ("holds", "code"),
    [({"channel": True}, 0), ({"session key": True}, 0), ({"session key": None}, 3), ({"worker": True}, 3),
     ({"channel": True, "measurement": False}, 1)],
)  # fmt: skip
def test_receipt_verify_command_exits_3_unless_the_chain_shows_whose_key_it_is(
    holds: dict[str, bool | None], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def on_chain(*_: object) -> list[Check]:
        return [Check(name, value, "said the chain") for name, value in holds.items()]

    monkeypatch.setattr(importlib.import_module("cocoon.cli.receipt"), "_on_chain", on_chain)
    document = json.dumps(make_proof(USAGE).to_json("rcpt_1"))
    words = ["receipt", "verify", "-"]
    plain = CliRunner().invoke(main, words, input=document)
    assert plain.exit_code == code, plain.output
    assert ("UNDECIDED" in plain.output) == (code == 3)
    told = json.loads(CliRunner().invoke(main, [*words, "--json"], input=document).output)
    assert told["holds"] is {0: True, 1: False, 3: None}[code]
