"""deploy.py: what it refuses before anything is sent, and that the chain ends up holding what was planned."""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from protocol_world import TON
from pytoniq_core import Address
from simulated_network import SIMULATION, simulated_rules

from cocoon import contracts_build, deploy_command
from cocoon.chain import Wallet
from cocoon.chain.networks import NetworkName, check_network, load_global_config
from cocoon.contracts_build import contracts_dir
from cocoon.deploy_command import Request
from cocoon.deploying import Plan
from cocoon.deployment import Deployment, Rules, attestation_policy
from cocoon.errors import ChainError, CocoonError, DeployError, WalletError
from cocoon.rules import check_for_network, check_rules, parse_rules, rules_to_json
from cocoon.wire.attestation import AttestationStorage
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.network import Network

OWNER = Address((0, b"\x31" * 32))
WORDS = Wallet.new_mnemonic()
ROOT = Path(__file__).parents[2]


@dataclass
class Site:
    """A network with a wallet that has money, and files for the command line."""

    network: Network
    directory: Path

    def request(self, **changes: Any) -> Request:
        given: dict[str, Any] = {
            "network": NetworkName.SANDBOX,
            "global_config": self.directory / "global.json",
            "mnemonic_file": self.directory / "words.txt",
            "rules": None,
            "offline": None,
            "send": None,
            "seqno": None,
            "valid_until": None,
            "yes": True,
            "dry_run": False,
            "as_json": True,
            "trust_build": True,
            "allow_simulated_tee": False,
        }
        return Request(**{**given, **changes})

    async def run(self, **changes: Any) -> dict[str, Any]:
        return await deploy_command._run(self.request(**changes))


@pytest.fixture
async def site(executor: Executor, tmp_path: Path) -> AsyncIterator[Site]:
    async with Network(executor=executor, block_interval=0.2) as network:
        await network.credit(Wallet.from_mnemonic(WORDS).address, 10 * TON)
        (tmp_path / "global.json").write_text(json.dumps(network.global_config()))
        (tmp_path / "words.txt").write_text(WORDS)
        yield Site(network, tmp_path)


def account(site: Site, raw: str) -> Any:
    return site.network.ledger.account(Address(raw))


async def test_deploy_puts_the_planned_contracts_on_chain(site: Site) -> None:
    result = await site.run()
    assert result["verified"] is True
    rules = Rules(owner=Wallet.from_mnemonic(WORDS).address)
    assert Address(result["registry"]) == Deployment.of(rules).registry
    for contract in result["contracts"]:
        found = account(site, contract["address"])
        assert (found.code.hash.hex(), found.data.hash.hex()) == (contract["code_hash"], contract["data_hash"])
        # Attestation keeps what is left of the message that brought its policy
        most = contract["value_nano"] + (TON // 200 if contract["name"] == "Attestation" else 0)
        assert most > found.balance > contract["value_nano"] - TON // 1000
    # the wallet; each contract's own; SyncAttestation, and the policy it brought
    assert len(result["transactions"]) == 1 + 3 + 2
    assert all(item["fees_nano"] > 0 for item in result["transactions"])


async def test_deploy_again_sends_nothing(site: Site) -> None:
    await site.run()
    before = account(site, Wallet.from_mnemonic(WORDS).address.to_str(False)).balance
    result = await site.run()
    assert (result["verified"], result["transactions"]) == (True, [])
    assert account(site, Wallet.from_mnemonic(WORDS).address.to_str(False)).balance == before


async def test_deploy_leaves_an_attestation_that_has_its_policy(site: Site) -> None:
    result = await site.run()
    found = account(site, Deployment(Address(result["registry"])).attestation.to_str(False))
    policy = AttestationStorage.from_cell(found.data).policy
    assert policy.to_cell().hash == attestation_policy(Rules(owner=OWNER)).to_cell().hash


async def test_deploy_whose_sync_message_was_lost_is_finished_by_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contracts arrive, the message that brings Attestation its policy does not: sent again, it is all there is."""
    whole = Plan.transfers
    monkeypatch.setattr(Plan, "transfers", lambda self: [item for item in whole(self) if item.body is None])
    with pytest.raises(DeployError, match="other data than planned"):
        await site.run()
    monkeypatch.undo()
    result = await site.run()
    assert result["verified"] is True
    # the wallet, the Registry, Attestation
    assert len(result["transactions"]) == 3
    assert (await site.run())["transactions"] == []


async def test_deploy_dry_run_sends_nothing(site: Site) -> None:
    result = await site.run(dry_run=True, yes=False)
    assert "verified" not in result
    assert account(site, result["registry"]).status == "nonexist"


async def test_deploy_offline_then_send_is_the_same_deployment(site: Site) -> None:
    (site.directory / "rules.json").write_text('{"min_stake_nano": 5}')
    boc = site.directory / "out.boc"
    planned = await site.run(
        offline=boc, seqno=0, valid_until=4_000_000_000, rules=site.directory / "rules.json", global_config=None
    )
    assert account(site, planned["registry"]).status == "nonexist"
    sent = await site.run(send=boc, mnemonic_file=None)
    assert (sent["registry"], sent["verified"]) == (planned["registry"], True)
    assert account(site, planned["registry"]).status == "active"
    with pytest.raises(WalletError, match="signed for seqno 0, the wallet is at 1"):
        await site.run(send=boc, mnemonic_file=None)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"offline": Path("x.boc")}, "needs --seqno"),
        ({"offline": Path("x.boc"), "send": Path("x.boc")}, "give one of them"),
        ({"offline": Path("x.boc"), "seqno": 0, "valid_until": 1000}, "has passed"),
        ({"seqno": 5}, "are for --offline"),
        ({"mnemonic_file": None}, "there is no wallet"),
        ({"mnemonic_file": Path("/nonexistent")}, "can't be read"),
        ({"rules": Path("/nonexistent")}, "can't be read"),
        ({"global_config": None}, "with --global-config"),
        ({"global_config": Path("/nonexistent")}, "name another file"),
        ({"send": Path("/nonexistent")}, "can't be read"),
        ({"yes": False}, "asks no questions"),
        ({"network": NetworkName.TESTNET}, "this is not testnet"),
    ],
)
async def test_deploy_with_unusable_input_says_what_to_do(
    site: Site, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str
) -> None:
    monkeypatch.delenv("COCOON_MNEMONIC", raising=False)
    with pytest.raises(CocoonError, match=complaint):
        await site.run(**changes)


async def test_deploy_of_a_stale_build_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts_build, "check", lambda: ["Escrow: committed code has another hash"])
    with pytest.raises(DeployError, match="not what the sources compile to: Escrow"):
        await site.run(trust_build=False)


async def test_deploy_without_money_says_how_much_is_needed(site: Site) -> None:
    (site.directory / "words.txt").write_text(Wallet.new_mnemonic())
    with pytest.raises(WalletError, match="holds 0 TON and needs"):
        await site.run()


async def test_send_of_something_else_is_refused(site: Site) -> None:
    (site.directory / "x.boc").write_bytes(b"garbage")
    with pytest.raises(DeployError, match="holds no signed deployment"):
        await site.run(send=site.directory / "x.boc")
    from cocoon.chain.boc import to_boc

    payment = Wallet.from_mnemonic(WORDS).sign(OWNER, 1, seqno=0, valid_until=4_000_000_000)
    (site.directory / "x.boc").write_bytes(to_boc(payment))
    with pytest.raises(DeployError, match="deploys no Registry"):
        await site.run(send=site.directory / "x.boc")


async def test_deploy_script_prints_the_plan_and_verifies(site: Site) -> None:
    (site.directory / "rules.json").write_text(json.dumps(SIMULATION.rules()))
    arguments = [
        "--network",
        "sandbox",
        "--global-config",
        str(site.directory / "global.json"),
        "--rules",
        str(site.directory / "rules.json"),
        "--yes",
        "--trust-build",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "deploy.py"),
        *arguments,
        env={"COCOON_MNEMONIC": WORDS, "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    for word in ("Registry", "Slashing", "Attestation", "NOTHING IS CONFIDENTIAL", "costs", "executed", "verified"):
        assert word in out.decode()


# ---- rules ----


def clauses(path: str, function: str) -> list[str]:
    """What a function of the contracts demands, clause by clause."""
    text = (contracts_dir() / path).read_text()
    body = text.split(f"fun {function}")[1].split("return")[1].split(";")[0]
    return [re.sub(r"\s+", " ", clause).strip() for clause in body.split("\n         & ")]


def constant(path: str, name: str) -> int:
    """A number or product of numbers that the contracts name."""
    found = re.search(rf"const {name} = ([0-9a-fA-Fx* ]+)", (contracts_dir() / path).read_text())
    assert found is not None, name
    return math.prod(int(factor, 0) for factor in found[1].split("*"))


def test_rules_bounds_are_those_of_the_contract() -> None:
    """Every clause of both `isWithinBounds` has its counterpart in `check_rules`."""
    assert clauses("common/policy.tolk", "Policy.isWithinBounds") == [
        "(self.missClientBps <= MAX_REWARD_BPS)",
        "(self.slashReporterBps + self.slashClientBps <= MAX_REWARD_BPS)",
        "(self.minBondNano >= self.missPenaltyNano)",
        "(self.missPenaltyNano > 0)",
        "(self.keyLossNano <= mulDivFloor(self.missPenaltyNano, self.missClientBps, BPS))",
        "(self.volumeBurnBps >= MIN_VOLUME_BURN_BPS)",
        "(self.volumeBurnBps <= BPS)",
        "(self.noticeSec <= self.maxTermSec)",
        "(self.disputeSec > 0)",
        "(self.maxTermSec > 0)",
        "(self.unbondingSec <= MAX_UNBONDING_SEC)",
        "(self.unbondingSec >= self.maxTermSec + self.disputeSec + self.graceSec + self.evidenceSec)",
    ]
    assert clauses("attestation/policy.tolk", "AttestationPolicy.isWithinBounds") == [
        "(self.leaseSec > 0)",
        "(self.leaseSec <= MAX_ATTESTATION_LEASE_SEC)",
        "(self.maxBlockAge <= MAX_BLOCK_AGE)",
        "((self.acceptedStatuses >> (TcbStatus.Revoked as int)) == 0)",
        "((self.forbiddenAttributes & (self.requiredAttributes | TD_SEPT_VE_DISABLE)) == 0)",
        "((self.requiredAttributes & (TD_DEBUG_GROUP | TD_MIGRATABLE | TD_RESERVED)) == 0)",
    ]
    from cocoon import rules

    for path, name, value in (
        ("common/policy.tolk", "MAX_REWARD_BPS", rules.BPS_MAX_REWARD),
        ("common/policy.tolk", "MIN_VOLUME_BURN_BPS", rules.MIN_VOLUME_BURN_BPS),
        ("common/policy.tolk", "BPS", rules.BPS),
        ("common/policy.tolk", "MAX_UNBONDING_SEC", rules.MAX_UNBONDING_SEC),
        ("attestation/policy.tolk", "MAX_ATTESTATION_LEASE_SEC", rules.MAX_LEASE_SEC),
        ("attestation/policy.tolk", "MAX_BLOCK_AGE", rules.MAX_BLOCK_AGE),
        ("attestation/policy.tolk", "TD_SEPT_VE_DISABLE", rules.SEPT_VE_DISABLE),
    ):
        assert constant(path, name) == value, name
    groups = [constant("attestation/policy.tolk", f"TD_{name}") for name in ("DEBUG_GROUP", "MIGRATABLE", "RESERVED")]
    assert sum(groups) == rules.NEVER_REQUIRED


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"miss_client_bps": 2001}, "miss_client_bps"),
        ({"slash_reporter_bps": 1001}, "together"),
        ({"min_bond_nano": 1}, "below miss_penalty_nano"),
        ({"miss_penalty_nano": 0}, "must not be 0"),
        ({"dispute_sec": 0}, "dispute_sec"),
        ({"max_term_sec": 0}, "max_term_sec"),
        ({"lease_sec": 0}, "lease_sec"),
        ({"lease_sec": 400 * 86400}, "lease_sec is above"),
        ({"unbonding_sec": 181 * 86400}, "unbonding_sec is above"),
        ({"unbonding_sec": 86400}, "unbonding_sec is below"),
        ({"min_stake_nano": -1}, "64 bits"),
        ({"grace_sec": 1 << 32}, "32 bits"),
        ({"stake": 1}, "there is no rule stake"),
        ({"min_stake_nano": "1"}, "whole number"),
        ({"min_stake_nano": True}, "whole number"),
        ({"attestation_root": "00"}, "128 hex digits"),
        ({"accepted_statuses": ["REVOKED"]}, "accepted_statuses"),
        ({"measurements": [1]}, "64 hex digits"),
        ({"measurements": ["00" * 32]}, "measurement 0"),
        ({"owner": "nobody"}, "is no TON address"),
        ({"owner": "0:00"}, "64 hex digits"),
        ({"owner": "-1:" + "11" * 32}, "workchain -1"),
    ],
)
def test_rules_out_of_bounds_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DeployError, match=complaint):
        parse_rules(json.dumps(changes), OWNER)


def test_rules_that_name_one_twice_are_refused() -> None:
    with pytest.raises(DeployError, match="given twice"):
        parse_rules('{"grace_sec": 1, "grace_sec": 2}', OWNER)


@pytest.mark.parametrize("option", ["mnemonic_file", "rules", "global_config"])
async def test_deploy_of_a_file_in_another_encoding_says_what_to_do(site: Site, option: str) -> None:
    (site.directory / "latin").write_bytes(b"\x85")
    with pytest.raises(CocoonError, match="can't be read"):
        await site.run(**{option: site.directory / "latin"})


async def test_deploy_offline_dry_run_signs_nothing(site: Site) -> None:
    path = site.directory / "signed.boc"
    await site.run(offline=path, seqno=0, dry_run=True)
    assert not path.exists()


async def test_send_from_a_wallet_without_money_says_how_much_is_needed(site: Site) -> None:
    (site.directory / "words.txt").write_text(Wallet.new_mnemonic())
    path = site.directory / "signed.boc"
    await site.run(offline=path, seqno=0)
    with pytest.raises(DeployError, match="holds 0 TON and needs"):
        await site.run(send=path)


@pytest.mark.parametrize("text", ["", "[]", "{", "1", "[" * 200_000])
def test_rules_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(DeployError, match=r"no JSON|JSON object"):
        parse_rules(text, OWNER)


def test_rules_round_trip_through_json() -> None:
    rules = parse_rules(json.dumps({**SIMULATION.rules(), "grace_sec": 5}), OWNER)
    assert rules == simulated_rules(OWNER, grace_sec=5)
    assert parse_rules(json.dumps(rules_to_json(rules)), Address((0, bytes(32)))) == rules
    assert check_rules(Rules(owner=OWNER)) == []


def test_rules_for_networks_others_rely_on_are_stricter() -> None:
    loose, simulated = Rules(owner=OWNER, change_delay_sec=0), simulated_rules(OWNER)
    check_for_network(loose, NetworkName.SANDBOX, allow_simulated_tee=False)
    check_for_network(simulated, NetworkName.SANDBOX, allow_simulated_tee=False)
    check_for_network(simulated, NetworkName.TESTNET, allow_simulated_tee=True)
    with pytest.raises(DeployError, match="--allow-simulated-tee"):
        check_for_network(simulated, NetworkName.MAINNET, allow_simulated_tee=False)
    with pytest.raises(DeployError, match="change_delay_sec"):
        check_for_network(loose, NetworkName.TESTNET, allow_simulated_tee=True)


def test_network_with_another_global_id_is_refused() -> None:
    check_network(NetworkName.MAINNET, -239)
    check_network(NetworkName.SANDBOX, -217)
    with pytest.raises(ChainError, match="this is not mainnet"):
        check_network(NetworkName.MAINNET, -3)
    with pytest.raises(ChainError, match="leads to mainnet"):
        check_network(NetworkName.SANDBOX, -239)


def test_global_config_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "global.json"
    for text in ("<html>", "[]"):
        path.write_text(text)
        with pytest.raises(ChainError, match="global configuration"):
            load_global_config(NetworkName.SANDBOX, path)
