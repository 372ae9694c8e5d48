"""The settings file: the documented one is read as it stands; mistakes are named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from market_world import ledger_world

from cocoon.attestation.errors import SimulatedTeeRefused
from cocoon.gateway.errors import GatewayError
from cocoon.gateway.serve import running
from cocoon.gateway.settings import GatewaySettings
from cocoon_sandbox.ledger import Ledger

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
LEAST = f'network = "n.json"\nregistry = "0:{"01" * 32}"\ndata_dir = "d"\n'


def read(folder: Path, text: str) -> GatewaySettings:
    path = folder / "gateway.toml"
    path.write_text(text)
    return GatewaySettings.from_file(path)


def test_settings_of_the_page_are_read_as_they_stand(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = read(tmp_path, example)
    assert found.data_dir == tmp_path / "gateway"
    assert found.pool.deposit_nano == 500_000_000
    assert found.endpoints == {0: "http://127.0.0.1:9443"}
    assert list(found.models) == ["smollm2-135m-instruct"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("prot = 1", "prot"), ("port = 70000", "port"), ('host = ""', "host"), ("poll_sec = -1", "poll_sec"),
        ("poll_sec = nan", "poll_sec"), ("pool = 1", "pool"), ("[pool]\ndeposit_nano = -1", "pool.deposit_nano"),
        ("[pool]\nwrong = 1", "pool.wrong"), ("[market]\nattempts = true", "market.attempts"),
        ('[models]\na = "xyz"', "models.a"), ('[endpoints]\nx = "ws://a"', "endpoints.x"),
        ('[endpoints]\n0 = "file:///etc"', "endpoints.0"), ('accept_measurements = ["1"]', "accept_measurements"),
        ("refuse_workers = [-1]", "refuse_workers"), ("[http]\nbody_bytes = 1.5", "http.body_bytes"),
        ("report_equivocation = 1", "report_equivocation"), ('private_endpoints = "no"', "private_endpoints"),
        ("a = = b", "can't read"),
    ],
)  # fmt: skip
def test_settings_with_a_mistake_are_refused_by_name(line: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=re.escape(named)):
        read(tmp_path, LEAST + line)


def test_settings_without_what_is_needed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="registry must be set"):
        read(tmp_path, 'network = "n.json"\ndata_dir = "d"\n')


async def test_open_page_on_a_public_address_is_refused(tmp_path: Path) -> None:
    settings = replace(read(tmp_path, LEAST), host="0.0.0.0", page_key="page")
    nothing: Any = None
    with pytest.raises(GatewayError, match="everybody"):
        async with running(settings, nothing, nothing):
            pytest.fail("it started")


async def test_running_on_a_simulated_network_is_refused_unless_allowed(tmp_path: Path, ledger: Ledger) -> None:
    world = await ledger_world(ledger)
    settings = replace(read(tmp_path, LEAST), registry=world.deployment.registry, port=0)
    with pytest.raises(SimulatedTeeRefused, match="allow-simulated-tee"):
        async with running(settings, world.chain, world.client):
            pytest.fail("it started")
    async with running(settings, world.chain, world.client, allow_simulated_tee=True) as gateway:
        assert "NOTHING IS CONFIDENTIAL" in str(gateway.banner)
