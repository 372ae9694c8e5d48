"""API keys: hashed, budgeted, revoked; from the command line too."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from scripted import EMBEDDER, NAME, TERMS, ScriptedBackend, body_of, served, until
from workers_in_test import market

from cocoon.cli import main
from cocoon.client.stream import Delta as Piece
from cocoon.client.stream import StreamStalled
from cocoon.crypto.usage import Usage, price
from cocoon.gateway.backend import Delta, Finished, Quote
from cocoon.gateway.context import HttpLimits
from cocoon.gateway.database import open_database
from cocoon.gateway.errors import BackendFailed, BudgetExceeded, GatewayError
from cocoon.gateway.estimate import Estimate
from cocoon.gateway.keys import KeyStore


def test_add_key_is_found_by_its_characters_which_are_not_on_disk(tmp_path: Path) -> None:
    keys = KeyStore(open_database(tmp_path / "g.sqlite"))
    key = keys.add("team", 100)
    found = keys.find(key)
    assert found is not None
    assert (found.name, found.hint, found.left_nano) == ("team", key[-4:], 100)
    assert keys.find(key[:-1]) is None
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.encode() not in on_disk
    assert key[10:].encode() not in on_disk
    assert (tmp_path / "g.sqlite").stat().st_mode & 0o077 == 0


def test_reserve_beyond_the_budget_is_refused_and_settling_frees_the_rest() -> None:
    keys = KeyStore(open_database(None))
    entry = keys.find(keys.add("team", 100))
    assert entry is not None
    keys.reserve(entry.id, 60)
    with pytest.raises(BudgetExceeded):
        keys.reserve(entry.id, 41)
    keys.settle(entry.id, 60, 10)
    keys.reserve(entry.id, 90)
    (now,) = keys.list()
    assert (now.spent_nano, now.reserved_nano, now.left_nano) == (10, 90, 0)


def test_reserve_of_a_revoked_or_unlimited_key() -> None:
    keys = KeyStore(open_database(None))
    free, gone = keys.find(keys.add("free", None)), keys.find(keys.add("gone", 10))
    assert free is not None
    assert gone is not None
    keys.reserve(free.id, 1 << 60)
    keys.revoke("gone")
    with pytest.raises(BudgetExceeded):
        keys.reserve(gone.id, 1)
    with pytest.raises(GatewayError, match="no valid key"):
        keys.revoke("gone")


def test_recover_after_a_crash_counts_what_was_reserved_as_spent(tmp_path: Path) -> None:
    keys = KeyStore(open_database(tmp_path / "g.sqlite"))
    entry = keys.find(keys.add("team", 100))
    assert entry is not None
    keys.reserve(entry.id, 30)
    again = KeyStore(open_database(tmp_path / "g.sqlite"))
    again.recover()
    (now,) = again.list()
    assert (now.spent_nano, now.reserved_nano) == (30, 0)


@pytest.mark.parametrize(("name", "budget"), [("", 1), ("a" * 65, 1), ("a\n", 1), ("a", 0), ("a", -1)])
def test_add_key_with_an_unusable_name_or_budget_is_refused(name: str, budget: int) -> None:
    with pytest.raises(GatewayError):
        KeyStore(open_database(None)).add(name, budget)


def settings(folder: Path) -> Path:
    path = folder / "gateway.toml"
    path.write_text(f'network = "global.json"\nregistry = "0:{"01" * 32}"\ndata_dir = "data"\n')
    return path


def test_key_commands_add_list_and_revoke(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(main, ["gateway", "--config", str(settings(tmp_path)), "key", *words])
        assert done.exit_code == 0, done.output
        return done.output

    key = json.loads(run("add", "team", "--budget", "2.5", "--json"))["key"]
    assert key.startswith("sk-cocoon-")
    listed = run("list")
    assert "team" in listed
    assert "of 2.500000000 TON" in listed
    assert key not in listed
    run("budget", "team", "--budget", "4")
    assert json.loads(run("list", "--json"))[0]["budget_nano"] == 4 * 10**9
    run("budget", "team", "--unlimited")
    assert json.loads(run("list", "--json"))[0]["budget_nano"] is None
    run("revoke", "team")
    assert json.loads(run("list", "--json"))[0]["revoked"] is not None


@pytest.mark.parametrize(
    "words", [["add", "x"], ["add", "x", "--budget", "nan"], ["add", "x", "--budget", "0"], ["budget", "x"]]
)
def test_key_add_without_a_sound_budget_is_refused(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["gateway", "--config", str(settings(tmp_path)), "key", *words])
    assert done.exit_code == 2


def test_budget_of_a_key_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    words = ["gateway", "--config", str(settings(tmp_path)), "key", "budget", "x", "--budget", "1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert "no key named 'x'" in done.output


class Silent(ScriptedBackend):
    """Its worker takes the prompt, and its price, and never says a word."""

    async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
        body = body_of(quote)
        self.bodies.append(body)
        await asyncio.Event().wait()
        yield Delta("", 0, 0, 3)


ASKED = {"model": NAME, "messages": [{"role": "user", "content": "hello " * 100}], "max_tokens": 10}
PROMPT = price(Estimate.of(ASKED).prompt, TERMS)


@pytest.mark.parametrize("n", [1, 3])
async def test_key_whose_client_hangs_up_before_the_first_token_pays_its_prompts_until_the_budget_ends(n: int) -> None:
    async with served(Silent(), budget=12 * PROMPT) as gateway, aiohttp.ClientSession() as session:

        async def leave() -> int | None:
            asked, headers = {**ASKED, "n": n, "stream": True}, {"Authorization": f"Bearer {gateway.key}"}
            patience = aiohttp.ClientTimeout(total=0.1)
            url = gateway.base_url + "/chat/completions"
            with contextlib.suppress(TimeoutError):
                async with session.post(url, json=asked, headers=headers, timeout=patience) as response:
                    return response.status
            return None

        assert await leave() is None
        await until(lambda: gateway.spent() == (n * PROMPT, 0))
        while await leave() is None:
            await until(lambda: gateway.spent()[1] == 0)
        assert gateway.spent()[0] == len(gateway.backend.bodies) * PROMPT


async def test_key_whose_answer_takes_too_long_pays_its_prompt() -> None:
    async with (
        served(Silent(), limits=HttpLimits(request_sec=0.05)) as gateway,
        aiohttp.ClientSession() as session,
        session.post(
            gateway.base_url + "/chat/completions", json=ASKED, headers={"Authorization": f"Bearer {gateway.key}"}
        ) as response,
    ):
        assert (response.status, gateway.spent()) == (504, (PROMPT, 0))


@pytest.mark.parametrize("after", [9, StreamStalled("the worker hung up")])
async def test_key_pays_what_the_worker_counted_when_an_answer_ends_early(after: Any) -> None:
    made, _ = market({0: [Piece("a", 1, 70), Piece("b", 1, 77), after]})
    async with served(made) as gateway, aiohttp.ClientSession() as session:  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {gateway.key}"}
        asked = {**ASKED, "model": "m", "stream": True}
        async with session.post(gateway.base_url + "/chat/completions", json=asked, headers=headers) as response:
            async for said in response.content:
                if b'"content":"b"' in said.replace(b": ", b":"):
                    break
        await until(lambda: gateway.spent() == (77, 0))


@dataclass
class Faulty(ScriptedBackend):
    """The last part of a request fails after its first word, the first `failures` times."""

    failures: int = 1

    async def run(self, quote: Quote) -> AsyncIterator[Delta | Finished]:
        body = body_of(quote)
        last = "bad" in body["input"] if "input" in body else body["seed"] == 9
        if last and self.failures:
            self.failures -= 1
            yield Delta("lost ", 1, 5, 3)
            raise BackendFailed("worker 3 broke off", spent_nano=5)
        async for event in super().run(quote):
            yield event


CHOICES = "/chat/completions", {**ASKED, "messages": [{"role": "user", "content": "a b"}], "n": 2, "seed": 8}
VECTORS = "/embeddings", {"model": EMBEDDER, "input": [*["x"] * 8, "bad"]}
CHOICE_FEE, VECTORS_FEE = price(Usage(4, 1, 2, b""), TERMS), price(Usage(18, 0, 0, b""), TERMS)


@pytest.mark.parametrize(("path", "asked", "fee"), [(*CHOICES, 2 * CHOICE_FEE), (*VECTORS, VECTORS_FEE)])
async def test_part_that_fails_is_asked_once_more_and_the_others_are_not_lost(
    path: str, asked: dict[str, Any], fee: int
) -> None:
    async with served(Faulty()) as gateway, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {gateway.key}"}
        async with session.post(gateway.base_url + path, json=asked, headers=headers) as response:
            document = await response.json()
        assert response.status == 200
        assert "lost" not in str(document)
        assert gateway.spent() == (fee + 5, 0)


@pytest.mark.parametrize(("failures", "spare", "changed"), [(2, 10**6, {}), (1, 0, {}), (1, 10**6, {"stream": True})])
async def test_part_is_not_asked_again_a_second_time_nor_beyond_the_budget_nor_in_a_stream(
    failures: int, spare: int, changed: dict[str, Any]
) -> None:
    path, asked = CHOICES
    most = 2 * price(Estimate.of(asked).most, TERMS)
    backend = Faulty(failures=failures, gate=lambda: asyncio.sleep(0.05))  # the other part is still under way
    async with served(backend, budget=most + spare) as gateway, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {gateway.key}"}
        async with session.post(gateway.base_url + path, json=asked | changed, headers=headers) as response:
            assert "broke off" in await response.text()
        await until(lambda: gateway.spent()[1] == 0)
        assert backend.failures == 0
        assert gateway.spent()[0] <= most
