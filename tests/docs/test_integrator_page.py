"""docs/integrator.md shows the example's code as it ran, and leads nowhere wrong."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrator.md").read_text()
FILES = {path.name: path.read_text() for path in (ROOT / "examples" / "typescript").glob("*.ts")}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_integrator_page_shows_the_code_of_the_example() -> None:
    shown = blocks("ts")
    assert len(shown) >= 8
    for block in shown:
        assert any(block in text for text in FILES.values()), f"not in examples/typescript:\n{block}"


def test_integrator_page_sets_every_setting_the_example_reads() -> None:
    (commands,) = blocks("sh")
    read = set(re.findall(r"setting\('(\w+)'\)", FILES["main.ts"]))
    assert read
    assert set(re.findall(r"\b([A-Z_]+)=", commands)) == read
    for command in re.findall(r"node main\.ts (\w+)", commands):
        assert f"command === '{command}'" in FILES["main.ts"]


def test_example_stays_small() -> None:
    """It is read before it is run."""
    assert sum(len(text.splitlines()) for text in FILES.values()) < 300
