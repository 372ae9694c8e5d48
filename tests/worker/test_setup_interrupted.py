"""A set-up that is killed, or whose owner signs elsewhere: it goes on, and nothing is paid twice."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pytoniq_core import Address, Cell
from worker_stage import COCOON, MODEL, Place

from cocoon.chain.trace import trace
from cocoon.chain.wallet import Wallet
from cocoon.deployment import Deployment

pytestmark = pytest.mark.timeout(240)


def state(path: Path) -> dict[str, Any]:
    """As the killed set-up has left it."""
    file = path / "worker.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        pytest.param("k1", lambda found: bool(found), id="choices are known"),
        pytest.param("k2", lambda found: found.get("first_index") is not None, id="before signing"),
        pytest.param("k3", lambda found: found.get("message") is not None, id="signed"),
        pytest.param("k4", lambda found: found.get("index") is not None, id="registered"),
    ],
)
async def test_init_killed_at_any_moment_goes_on_and_pays_once(
    place: Place, name: str, moment: Callable[[dict[str, Any]], bool]
) -> None:
    path = place.path / name
    with place.start("worker", "init", name, "--sandbox", "--yes", "--model", MODEL) as process:
        place.until(lambda: moment(state(path)) or process.poll() is not None)
        process.kill()
        process.wait()
    committed = state(path)
    first = committed["first_index"]
    done = place.init(name)
    deployment = Deployment(Address(committed["choices"]["registry"]))
    assert first is None or done["worker_index"] == first
    assert await place.next_index(deployment) == done["worker_index"] + 1
    assert done["operator_nano"] == 2 * 10**9
    # one stake and one bond have left the owner's wallet, and nothing else but fees
    owner = Wallet.from_mnemonic((path / "owner.words").read_text())
    async with await place.chain() as chain:
        sent = [out for tx in await chain.transactions(owner.address) for out in tx.out_msgs]
    assert len([out for out in sent if out.dst == deployment.registry]) == 1
    assert (path / "agent.toml").exists()


async def test_owner_who_signs_elsewhere_is_told_what_to_send_and_waited_for(place: Place) -> None:
    place.init("first")  # deploys the contracts, too
    registry = state(place.path / "first")["choices"]["registry"]
    owner = Wallet.from_mnemonic(Wallet.new_mnemonic())
    place.json("sandbox", "faucet", owner.address.to_str(is_user_friendly=False), "20", "--json")
    payout = Address((0, b"\x17" * 32)).to_str(is_user_friendly=False)
    command = [
        *("worker", "init", "cold", "--network", "sandbox", "--registry", registry, "--yes", "--json"),
        *("--owner", owner.address.to_str(), "--payout", payout, "--model", MODEL, "--wait-sec", "0"),
        *("--evidence", "simulated", "--seed", "sandbox", "--allow-simulated-tee"),
    ]
    waiting = place.command(*command)
    assert waiting.returncode == 1
    said = json.loads(waiting.stdout)
    assert "the owner has not sent the registration yet" in said["error"]
    register, fund = said["transfers"]
    assert fund["amount_nano"] == 2 * 10**9
    assert fund["payload"] is None
    # what the link says is what the fields say
    link = urlsplit(register["link"])
    query = parse_qs(link.query)
    assert (link.scheme, link.netloc, link.path) == ("ton", "transfer", f"/{register['address']}")
    assert int(query["amount"][0]) == register["amount_nano"] == 12 * 10**9 + said["costs"]["registration"]
    body = Cell.one_from_boc(base64.urlsafe_b64decode(query["bin"][0]))
    assert body.hash == Cell.one_from_boc(base64.b64decode(register["payload"])).hash
    assert Address(register["address"]) == Address(registry)

    again = json.loads(place.command(*command).stdout)
    assert again["transfers"][0]["payload"] == register["payload"]  # the same message, should both be sent
    async with await place.chain() as chain:
        await trace(chain, await owner.send(chain, Address(register["address"]), register["amount_nano"], body))
        await trace(chain, await owner.send(chain, Address(fund["address"]), fund["amount_nano"], bounce=False))
    done = place.json(*command)
    status = place.json("worker", "status", "cold", "--json")
    assert status["owner"] == owner.address.to_str(is_user_friendly=False)
    assert (status["payout"], status["index"]) == (payout, done["worker_index"])
    assert done["operator_nano"] == status["operator_nano"] == 2 * 10**9
    words = [file.read_text() for file in (place.path / "cold").iterdir() if file.is_file()]
    assert all(owner.key.private_bytes_raw().hex() not in text for text in words)


def test_init_again_with_another_stake_is_refused(place: Place) -> None:
    place.init("fixed")
    done = place.command("worker", "init", "fixed", "--sandbox", "--yes", "--model", MODEL, "--stake", "11")
    assert done.returncode == 1
    assert "set up already with another stake_nano" in done.stderr


def test_init_interactive_shows_the_costs_and_takes_no_for_an_answer(place: Place) -> None:
    done = subprocess.run(
        [*COCOON, "worker", "init", "asked", "--sandbox", "--model", MODEL],
        cwd=place.path, input="\n" * 8 + "n\n", capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "comes back after unbonding" in done.stdout
    assert "stopped; nothing was sent" in done.stderr
    assert state(place.path / "asked")["message"] is None
    assert not (place.path / "asked" / "agent.toml").exists()


def test_init_without_a_sandbox_says_how_to_start_one(place: Place) -> None:
    done = place.command("worker", "init", "lonely", "--sandbox", "--sandbox-dir", "nothing", "--yes")
    assert done.returncode == 1
    assert "cocoon sandbox up --dir nothing" in done.stderr
    assert not (place.path / "lonely").exists()


def test_init_with_a_network_that_does_not_answer_says_so(place: Place) -> None:
    config = json.loads((place.path / ".sandbox" / "global.config.json").read_text())
    for server in config["liteservers"]:
        server["port"] = 1
    (place.path / "dead.json").write_text(json.dumps(config))
    registry = "0:" + "11" * 32
    command = ["worker", "init", "dead", "--network", "sandbox", "--global-config", "dead.json", "--yes", "--json"]
    done = place.command(*command, "--registry", registry, "--owner", registry)
    assert done.returncode == 1
    assert "lite server 127.0.0.1:1 does not answer" in json.loads(done.stdout)["error"]
