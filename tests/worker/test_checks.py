"""Every check before money moves, with what it is there to find."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from ledger_chain import LedgerChain
from protocol_world import TON, named_key
from pytoniq_core import Address
from simulated_network import SEED, SIMULATION, simulated_rules

from cocoon.agent.platform import AttestationSettings
from cocoon.chain.networks import NetworkName
from cocoon.chain.trace import trace
from cocoon.chain.wallet import Wallet
from cocoon.deploying import plan
from cocoon.deployment import Deployment, policy
from cocoon.fees import Prices
from cocoon.worker import checking_host
from cocoon.worker.checking_chain import (
    check_balance,
    check_evidence,
    check_measurement,
    check_registry,
    check_stake,
)
from cocoon.worker.checking_endpoint import check_endpoint
from cocoon.worker.checking_host import check_disk, check_model, check_port, check_socket_path, parse_listen
from cocoon.worker.choices import Choices
from cocoon.worker.errors import ChecksFailed
from cocoon.worker.findings import Finding, Level, failed, fine, require, warning
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger

MODEL = "cocoon.bench.null_kernel:NullKernel"
SIMULATED = AttestationSettings(source="simulated", seed=SEED, allow_simulated_tee=True)
OWNER = Wallet(named_key("owner"))


def choices(**changes: Any) -> Choices:
    registry = Deployment.of(simulated_rules(OWNER.address)).registry
    made = Choices(
        network=NetworkName.SANDBOX, registry=registry, owner=OWNER.address, payout=OWNER.address,
        stake_nano=10 * TON, bond_nano=2 * TON, operator_nano=2 * TON, model=MODEL, metrics="127.0.0.1:0",
        attestation=SIMULATED,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
async def chain(executor: Executor) -> LedgerChain:
    """With the contracts on it."""
    ledger = Ledger(executor)
    ledger.credit(OWNER.address, 100 * TON)
    made = LedgerChain(ledger, global_id=-217)
    rules = simulated_rules(OWNER.address)
    await trace(made, await OWNER.send_all(made, plan(rules, await Prices.of(made)).transfers()))
    return made


def assert_failed(found: Finding, saying: str) -> None:
    assert found.level == Level.FAILED
    assert saying in found.text


# ---- the machine ----


def test_disk_with_too_little_room_is_refused(tmp_path: Path) -> None:
    assert check_disk(tmp_path / "not" / "made", least=1).level == Level.OK
    assert_failed(check_disk(tmp_path / "not" / "made", least=1 << 60), "free some space")


def test_socket_path_too_long_for_the_system_is_refused(tmp_path: Path) -> None:
    assert check_socket_path(Path("/tmp/w/signer.sock")).level == Level.OK
    assert_failed(check_socket_path(tmp_path / ("x" * 90) / "signer.sock"), "shorter name")


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_port_that_is_taken_is_refused() -> None:
    with taken_port() as port:
        assert_failed(check_port("metrics", f"127.0.0.1:{port}"), "something else listens there")
    assert check_port("metrics", f"127.0.0.1:{port}").level == Level.OK


def test_port_chosen_twice_is_refused() -> None:
    assert_failed(check_port("metrics", "127.0.0.1:4000", ["0.0.0.0:4000"]), "chosen twice")


@pytest.mark.parametrize("text", ["4000", ":4000", "host:", "host:port", "host:65536", "host:-1"])
def test_listen_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        parse_listen(text)
    assert_failed(check_port("listen", text), "is not host:port")


def test_model_that_is_not_there_is_refused() -> None:
    found, model = check_model("no-such-model", None)
    assert_failed(found, "there is no kernel 'no-such-model'")
    assert model is None


def test_model_with_another_id_is_refused() -> None:
    found, model = check_model(MODEL, f"{0xABCDEF:064X}")
    assert found.level == Level.OK
    assert model is not None
    assert model.model_id == f"{0xABCDEF:064x}"
    found, model = check_model(MODEL, "00" * 32)
    assert_failed(found, "is model")
    assert model is None


def test_model_that_needs_more_memory_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = SimpleNamespace(model_id="11" * 32, needed_bytes=3 << 30)
    monkeypatch.setattr(checking_host, "_find", lambda spec, progress: needed)
    monkeypatch.setattr(checking_host, "_available_bytes", lambda: 4 << 30)
    assert check_model("big", None)[0].level == Level.OK
    monkeypatch.setattr(checking_host, "_available_bytes", lambda: 2 << 30)
    found, model = check_model("big", None)
    assert_failed(found, "needs 3072 MiB of memory and 2048 are available")
    assert model is None


# ---- the endpoint ----


async def test_endpoint_that_leads_here_is_fine() -> None:
    with taken_port() as port:
        pass
    listen = f"127.0.0.1:{port}"
    assert (await check_endpoint(f"http://{listen}", listen, is_local=True)).level == Level.OK


async def test_endpoint_where_something_else_answers_is_refused() -> None:
    application = web.Application()
    application.router.add_get("/{tail:.*}", _said)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with taken_port() as port:
        pass
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    found = await check_endpoint(endpoint, f"127.0.0.1:{port}", is_local=True)
    await runner.cleanup()
    assert_failed(found, "something else answers")


async def _said(_: web.Request) -> web.Response:
    return web.Response(text="welcome")


async def test_endpoint_that_cannot_be_reached_from_here_is_worth_a_warning() -> None:
    with taken_port() as port, taken_port() as other:
        pass
    found = await check_endpoint(f"http://127.0.0.1:{other}", f"127.0.0.1:{port}", is_local=True)
    assert found.level == Level.WARNING
    assert "port is forwarded" in found.text


@pytest.mark.parametrize(
    ("endpoint", "listen", "saying"),
    [
        ("http://127.0.0.1:4000", "127.0.0.1:4000", "which nobody outside reaches"),
        ("http://10.0.0.1:4000", "127.0.0.1:4000", "which nobody outside reaches"),
        ("http://worker.invalid:4000", "127.0.0.1:4000", "is not known"),
        ("ftp://worker.example", "127.0.0.1:4000", "is no address such as"),
        ("worker.example:4000", "127.0.0.1:4000", "is no address such as"),
        ("https://worker.example", None, "nothing listens"),
    ],
)
async def test_endpoint_that_clients_cannot_use_is_refused(endpoint: str, listen: str | None, saying: str) -> None:
    assert_failed(await check_endpoint(endpoint, listen, is_local=False), saying)


async def test_endpoint_that_is_missing_is_fine_only_without_a_listener() -> None:
    assert (await check_endpoint("", None, is_local=False)).level == Level.OK
    assert (await check_endpoint("", "127.0.0.1:4000", is_local=False)).level == Level.WARNING


# ---- the network ----


async def test_registry_of_this_release_is_fine_and_its_simulated_root_named(chain: LedgerChain) -> None:
    found, trust = await check_registry(chain, choices())
    assert [one.level for one in found] == [Level.OK, Level.WARNING]
    assert "NOTHING IS CONFIDENTIAL" in found[1].text
    assert trust is not None


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"network": NetworkName.MAINNET}, "this is not mainnet"),
        ({"registry": Address((0, b"\x01" * 32))}, "there is no registry"),
        ({"registry": OWNER.address}, "no Registry that this version knows"),
        ({"attestation": AttestationSettings()}, "another root than Intel's"),
    ],
)
async def test_registry_that_is_wrong_is_refused(chain: LedgerChain, changes: dict[str, Any], saying: str) -> None:
    found, trust = await check_registry(chain, choices(**changes))
    assert_failed(found[-1], saying)
    assert trust is None


@pytest.mark.parametrize("changes", [{"stake_nano": 10 * TON - 1}, {"bond_nano": 2 * TON - 1}])
def test_stake_below_the_minimum_is_refused(changes: dict[str, int]) -> None:
    rules = policy(simulated_rules(OWNER.address))
    assert check_stake(choices(), rules).level == Level.OK
    assert_failed(check_stake(choices(**changes), rules), "the network wants 10 TON and 2 TON")


async def test_evidence_is_tried_and_its_price_known(chain: LedgerChain) -> None:
    _, trust = await check_registry(chain, choices())
    assert trust is not None
    found, evidence = await check_evidence(chain, choices(), trust)
    assert [one.level for one in found] == [Level.OK, Level.OK]
    assert "6 of Intel's documents" in found[0].text
    assert evidence is not None
    assert evidence.measurement == SIMULATION.measurement
    assert TON // 20 < evidence.start_nano < 2 * TON


@pytest.mark.parametrize(
    ("settings", "saying"),
    [
        (AttestationSettings(source="simulated", seed="another", allow_simulated_tee=True), "another seed"),
        (AttestationSettings(source="simulated", seed=SEED), "--allow-simulated-tee"),
        (AttestationSettings(), "TDX"),
    ],
)
async def test_evidence_that_the_network_would_refuse_is_refused(
    chain: LedgerChain, settings: AttestationSettings, saying: str
) -> None:
    _, trust = await check_registry(chain, choices())
    assert trust is not None
    (found,), evidence = await check_evidence(chain, choices(attestation=settings), trust)
    assert_failed(found, saying)
    assert evidence is None


async def test_measurement_denied_is_refused_and_unlisted_explained(chain: LedgerChain) -> None:
    _, trust = await check_registry(chain, choices())
    assert trust is not None
    assert check_measurement(SIMULATION.measurement, trust).level == Level.OK
    unlisted = check_measurement(7, trust)
    assert unlisted.level == Level.WARNING
    assert "only clients that name it" in unlisted.text
    denying = replace(trust, measurements=replace(trust.measurements, denied={7: None}))
    assert_failed(check_measurement(7, denying), "is denied")


def test_balance_too_small_names_what_is_missing() -> None:
    assert check_balance("owner", OWNER.address, 5, 5).level == Level.OK
    found = check_balance("owner", OWNER.address, 3 * TON, 5 * TON)
    assert_failed(found, "holds 3 TON and needs 5 TON: send it 2 TON")
    assert OWNER.address.to_str(is_bounceable=False) in found.text


def test_require_names_everything_that_is_in_the_way() -> None:
    require([fine("a", "well"), warning("b", "hm")])
    with pytest.raises(ChecksFailed, match=r"nothing was sent. c: one; d: two"):
        require([fine("a", "well"), failed("c", "one"), failed("d", "two")])
