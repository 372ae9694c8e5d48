"""`docs/stream.md` is for whoever speaks the protocol without this code: its tables and vectors are the code's."""

from __future__ import annotations

import ast
import re
import struct
from dataclasses import fields
from pathlib import Path

import pytest
from pytoniq_core import Address

from cocoon.crypto.response import ResponseKey, ResponseSealer
from cocoon.crypto.statements import Channel
from cocoon.stream import frames
from cocoon.stream.frames import Frame, FrameType
from cocoon.stream.pieces import PieceDigest, pack_piece
from cocoon.stream.receipts import extend_chain
from cocoon.stream.session import Session, _statement, hello_binding
from cocoon.wire.common import Kind
from cocoon.wire.hashing import struct_hash

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "stream.md").read_text()
_ROWS = {
    int(number): (name, cells.split(", "))
    for number, name, cells in re.findall(r"^\| (\d+) \| (\w+) \| \w+ \| ([^|]+) \|", _PAGE, re.MULTILINE)
}
_FRAMES = {made.TYPE: made for made in Frame.__subclasses__()}


def test_page_lists_every_frame() -> None:
    assert {number: name for number, (name, _) in _ROWS.items()} == {kind.value: kind.name for kind in FrameType}


@pytest.mark.parametrize("kind", list(FrameType), ids=lambda kind: kind.name)
def test_page_gives_the_fields_of_a_frame_in_order_and_size(kind: FrameType) -> None:
    made = _FRAMES[kind]
    codes = re.findall(r"\d*[a-zA-Z]", made.FORMAT.format.lstrip(">"))
    sizes = [str(struct.calcsize(f">{code}")) for code in codes] + ["rest"] * made.RESTS
    listed = []
    for cell in _ROWS[kind][1]:
        name, _, size = cell.partition(" (")
        listed.append((name, size.rstrip(")").removesuffix(", signed") or "rest"))
    joined = [(name, size) for name, size in listed if name != "signed)"]
    assert joined == [(item.name, size) for item, size in zip(fields(made), sizes, strict=True)]  # type: ignore[arg-type]


def test_page_gives_vectors_that_hold() -> None:
    listed = re.findall(r"^\| [^|]+ \| `([0-9a-f]+)`(?: and (\d+) zeros)? \|$", _PAGE, re.MULTILINE)
    channel = Channel(-217, Address((0, b"\x11" * 32)), 1000001, 1)
    nonce, secret = b"\x22" * 32, b"\x33" * 32
    statement = _statement(channel, nonce, b"\x44" * 10)
    client, worker = (Session(secret, nonce, statement, client=side) for side in (True, False))
    salt, piece = b"\x99" * 32, pack_piece("hé", 1)
    sealed = ResponseSealer(ResponseKey(b"\x77" * 32, 0x88, Kind.STREAM_RECEIPT, 9), salt).seal(piece, last=False)
    digest = PieceDigest(salt)
    digest.add(sealed)
    made = [
        struct_hash(statement),
        hello_binding(channel, Address((0, b"\x55" * 32)), nonce).info,
        client.seal(frames.Cancel(1)),
        worker.seal(frames.Need(1, 5000)),
        extend_chain(0, b"\x66" * 32).to_bytes(32, "big"),
        piece,
        sealed,
        digest.value.to_bytes(32, "big"),
    ]
    assert [bytes.fromhex(text) + bytes(int(zeros or 0)) for text, zeros in listed] == made


def test_page_names_every_reason() -> None:
    code = "".join(path.read_text() for path in (_ROOT / "offchain" / "cocoon" / "agent").glob("*.py"))
    given = set(re.findall(r'(?:StreamRejected|_refuse)\((?:socket, )?"(\w+)"', code))
    table = _PAGE.split("## Reasons")[1].split("## ")[0]
    assert given <= set(re.findall(r"`(\w+)`", table))


def test_page_cites_tests_that_exist() -> None:
    cited = re.findall(r"`((?:stream|chaos|offchain)/test_\w+\.py)::(\w+)`", _PAGE)
    assert len(cited) > 40
    for path, name in cited:
        tree = ast.parse((_ROOT / "tests" / path).read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        found = {node.name for node in tree.body if isinstance(node, functions)}
        targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}  # Hypothesis' machines
        assert name in found, f"{path}::{name}"
