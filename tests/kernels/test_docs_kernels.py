"""docs/kernels.md says what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from cocoon.cli import main
from cocoon.kernels.bundle.audit import CUSTOM_CALLS
from cocoon.kernels.bundle.chunks import _TAG
from cocoon.kernels.bundle.loader import GOLDEN, MANIFEST, TEMPLATE, TOKENIZER, program_name, shard_name
from cocoon.kernels.engine import sampling

TEXT = (Path(__file__).parents[2] / "docs" / "kernels.md").read_text()


def test_documented_commands_and_options_exist() -> None:
    lines = re.findall(r"^\.venv/bin/cocoon (.+)$", TEXT, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        command: click.Command = main
        words = shlex.split(line)
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_documented_names_are_those_of_the_code() -> None:
    for name in (GOLDEN, MANIFEST, TEMPLATE, TOKENIZER, shard_name(0), program_name("SHA256"), *CUSTOM_CALLS):
        assert name in TEXT
    assert _TAG.decode().removesuffix("\0") in TEXT
    assert sampling._TAG.decode() in TEXT
