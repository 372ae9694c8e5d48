"""API keys: hashed, budgeted, revoked; from the command line too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cocoon.cli import main
from cocoon.gateway.database import open_database
from cocoon.gateway.errors import BudgetExceeded, GatewayError
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
