"""docs/python.md as it stands, run against a market played by a script."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scripted import EMBEDDER, MODEL, ScriptedBackend

from cocoon.cli import main
from cocoon.gateway.backend import Model
from cocoon.sdk import AsyncClient

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
NAMES = {MODEL: "smollm2-135m-instruct", EMBEDDER: "all-minilm-l6-v2"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class _Market(ScriptedBackend):
    def models(self) -> list[Model]:
        return [replace(model, names=(NAMES[model.model_id],)) for model in super().models()]


class _Opened:
    async def __aenter__(self) -> AsyncClient:
        return AsyncClient(_Market())

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def market(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def opened(settings: Any, **_: Any) -> _Opened:
        assert str(settings) == "gateway.toml"
        return _Opened()

    monkeypatch.setattr(AsyncClient, "open", opened)


@pytest.mark.parametrize("number", [0, 1])
def test_programs_on_the_page_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[number], "docs/python.md", "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    if number == 0:
        assert said.startswith("A blockchain is  ")
        assert "worker 3\nWhat is a shard? " in said
        assert said.endswith("40.25\n")
    else:
        assert said == "".join(f"{n} is a number that \n" for n in range(20))


def test_batch_on_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(*blocks("json"))
    (command,) = blocks("sh")
    words = shlex.split(command)
    assert words[0] == "cocoon"
    done = CliRunner().invoke(main, words[1:])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2 answered, 0 before, 0 failed, of 2; 0.0000")
    answers = [json.loads(line)["response"]["body"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert sorted(body["object"] for body in answers) == ["list", "text_completion"]
    assert CliRunner().invoke(main, words[1:]).stdout.startswith("0 answered, 2 before")
    (tmp_path / "answers.jsonl").unlink()
    poor = CliRunner().invoke(main, [*words[1:], "--budget", "0.000000001"])
    assert poor.exit_code == 1
    assert "run it again to go on" in poor.output
