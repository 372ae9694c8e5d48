"""A worker from nothing to paid and back, through the commands its owner types."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from typing import Any

import pytest
from worker_stage import MODEL, Place

pytestmark = pytest.mark.timeout(240)


def get(address: str) -> tuple[int, str]:
    """(status, body); (0, "") while nobody answers."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def metrics(address: str) -> dict[str, float]:
    lines = [line for line in get(f"http://{address}/metrics")[1].splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_worker_from_init_to_paid_job_to_drained_stop(place: Place) -> None:
    done = place.init("life")
    assert done["done"]
    assert {found["level"] for found in done["checks"]} == {"ok", "warning"}
    assert oct((place.path / "life" / "operator.key").stat().st_mode & 0o777) == "0o600"
    port = json.loads((place.path / "life" / "worker.json").read_text())["choices"]["metrics"]

    before = place.json("worker", "status", "life", "--json")
    assert before["status"] == "pending"
    assert {"the agent does not run", "the worker's keys have never been attested"} <= {
        one["problem"] for one in before["attention"]
    }
    assert before["operator_nano"] == 2 * 10**9

    with place.start("worker", "run", "life", "--log-json") as agent:
        answer = place.json("worker", "try", "one two three", "--dir", "life", "--json")
        assert answer["text"] == "three two one"
        assert (answer["prompt_tokens"], answer["completion_tokens"]) == (3, 3)
        place.until(lambda: get(f"http://{port}/health")[0] == 200)
        place.until(lambda: metrics(port).get('cocoon_worker_forced_jobs{state="settled"}') == 1)
        shown = metrics(port)
        assert shown['cocoon_worker_earned_nano_total{way="forced"}'] == answer["fee_nano"] > 0
        assert shown['cocoon_worker_tokens_total{kind="completion"}'] == 3
        assert shown["cocoon_worker_answers_total"] == shown["cocoon_worker_chain_jobs_total"] == 1
        assert shown["cocoon_worker_lease_seconds"] > 6 * 86400
        assert shown["cocoon_worker_healthy"] == 1

        told: dict[str, Any] = place.json("worker", "status", "life", "--json")
        assert told["running"]
        assert told["keys_current"]
        assert told["status"] == "active"
        assert told["received_nano"] == answer["fee_nano"]
        assert told["journal"]["outcomes"] == {"delivered": 1}
        assert told["attention"] == []
        assert "all is well" in place.command("worker", "status", "life").stdout

        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    lines = [json.loads(line) for line in place.logs().splitlines() if '"logger"' in line]
    assert "drained" in [line["message"] for line in lines]

    later = place.json("worker", "status", "life", "--json")
    assert not later["running"]
    assert later["received_nano"] == answer["fee_nano"]
    assert [one["problem"] for one in later["attention"]] == ["the agent does not run"]

    again = place.init("life")
    assert again["worker_index"] == done["worker_index"]
    assert again["transfers"] == again["checks"] == []  # nothing was left to do
    place.stop_signer("life")


_SLOW = """
import time
from cocoon.bench.null_kernel import NullKernel

class SlowKernel(NullKernel):
    def complete(self, *arguments, **named):
        time.sleep(4)
        return super().complete(*arguments, **named)
"""


def test_sigterm_while_a_forced_job_is_computed_answers_it_first(place: Place) -> None:
    (place.path / "slow.py").write_text(_SLOW)
    place.json("worker", "init", "slow", "--sandbox", "--yes", "--json", "--model", "slow:SlowKernel")
    port = json.loads((place.path / "slow" / "worker.json").read_text())["choices"]["metrics"]
    with (
        place.start("worker", "run", "slow") as agent,
        place.start("worker", "try", "a b", "--dir", "slow", "--json") as client,
    ):
        place.until(lambda: metrics(port).get("cocoon_worker_slots_used") == 1)
        agent.send_signal(signal.SIGTERM)
        place.until(lambda: get(f"http://{port}/health")[0] == 503)
        assert json.loads(get(f"http://{port}/health")[1])["status"] == "draining"
        assert agent.wait(30) == 0
        assert client.wait(30) == 0
    assert place.json("worker", "status", "slow", "--json")["journal"]["outcomes"] == {"delivered": 1}
    place.stop_signer("slow")


def test_second_sigterm_stops_at_once_and_the_next_start_answers(place: Place) -> None:
    (place.path / "slower.py").write_text(_SLOW.replace("4", "15"))
    place.json("worker", "init", "hurry", "--sandbox", "--yes", "--json", "--model", "slower:SlowKernel")
    port = json.loads((place.path / "hurry" / "worker.json").read_text())["choices"]["metrics"]
    with place.start("worker", "try", "a b", "--dir", "hurry", "--json") as client:
        with place.start("worker", "run", "hurry") as agent:
            place.until(lambda: metrics(port).get("cocoon_worker_slots_used") == 1)
            agent.send_signal(signal.SIGTERM)
            place.until(lambda: get(f"http://{port}/health")[1].startswith('{"status": "draining"'))
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(20) == 0
            assert client.poll() is None
        (place.path / "slower.py").write_text(_SLOW.replace("4", "0"))
        with place.start("worker", "run", "hurry"):
            assert client.wait(60) == 0
    place.stop_signer("hurry")


def test_two_workers_in_one_command_serve_and_end_together(place: Place) -> None:
    first, second = place.init("a"), place.init("b")
    assert first["worker_index"] != second["worker_index"]
    ports = [json.loads((place.path / name / "worker.json").read_text())["choices"]["metrics"] for name in "ab"]
    assert len(set(ports)) == 2
    with place.start("worker", "run", "a", "b") as agents:
        for name in "ab":
            answer = place.json("worker", "try", "x y", "--dir", name, "--json")
            assert answer["text"] == "y x"
        place.until(lambda: [get(f"http://{port}/health")[0] for port in ports] == [200, 200])
        agents.send_signal(signal.SIGTERM)
        assert agents.wait(20) == 0
    assert [get(f"http://{port}/health")[0] for port in ports] == [0, 0]
    for name in "ab":
        place.stop_signer(name)


def test_health_of_a_worker_whose_wallet_is_empty_says_so(place: Place) -> None:
    done = place.command(
        "worker", "init", "poor", "--sandbox", "--yes", "--json", "--model", MODEL, "--operator-ton", "0.0001"
    )
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert not said["done"]
    assert "until the worker can be used" in said["error"]
    assert not (place.path / "poor" / "agent.toml").exists()


def test_run_without_a_set_up_says_what_to_do(place: Place) -> None:
    done = place.command("worker", "run", "nowhere")
    assert (done.returncode, os.path.exists(place.path / "nowhere")) == (1, False)
    assert "cocoon worker init nowhere" in done.stderr
