"""Receipts: what `cocoon receipt verify` believes, and what it does not."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scripted import make_proof

from cocoon.cli import main
from cocoon.crypto.ed25519 import public_key
from cocoon.crypto.usage import Usage
from cocoon.gateway.receipts import Proof, ReceiptMalformed
from cocoon.gateway.verify import check_offline

USAGE = Usage(10, 2, 5)


def failing(proof: Proof) -> list[str]:
    return [check.name for check in check_offline(proof) if check.holds is not True]


def test_verify_of_a_genuine_receipt_holds_and_survives_json() -> None:
    proof = make_proof(USAGE)
    assert failing(proof) == []
    again = Proof.from_text(json.dumps(proof.to_json("rcpt_1")))
    assert again == proof


def test_verify_of_another_key_or_usage_or_price_fails_by_name() -> None:
    proof = make_proof(USAGE)
    other = public_key(Ed25519PrivateKey.from_private_bytes(b"\x09" * 32))
    assert failing(replace(proof, session_key=other)) == ["signature"]
    assert failing(replace(proof, session_key=0)) == ["signature"]
    assert failing(replace(proof, usage=Usage(11, 2, 5, USAGE.salt))) == ["usage"]
    assert failing(replace(proof, channel=replace(proof.channel, epoch=1))) == ["domain"]
    assert failing(make_proof(USAGE, fee_nano=proof.fee_nano + 1)) == ["fee"]


CHANGES = {
    "fee_nano": 1, "measurement": "00" * 32, "model_id": "11" * 32, "issued_at": 5, "seq": 9, "version": 2,
    "receipt": "AAAA", "signature": "zz", "worker": None, "usage": {}, "session_key": "x", "terms": {"a": 1},
    "channel": {"escrow": "0:00", "epoch": "1", "key_epoch": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_reading_a_receipt_with_a_changed_field_is_refused(name: str) -> None:
    """Whatever a reader sees is what was signed: a readable field can't say something else than the cell."""
    document = copy.deepcopy(make_proof(USAGE).to_json("rcpt_1"))
    document[name] = CHANGES[name]
    with pytest.raises(ReceiptMalformed):
        Proof.from_json(document)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"version": 1}'])
def test_reading_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(ReceiptMalformed):
        Proof.from_text(text)


def run(document: dict[str, Any], *words: str) -> Any:
    return CliRunner().invoke(main, ["receipt", "verify", "-", "--offline", *words], input=json.dumps(document))


def test_receipt_verify_command_reads_standard_input_and_exits_by_the_verdict() -> None:
    good = run(make_proof(USAGE).to_json("rcpt_1"), "--json")
    assert good.exit_code == 0, good.output
    assert json.loads(good.output)["holds"] is True
    bad = run(make_proof(USAGE, fee_nano=10**9).to_json("rcpt_1"))
    assert bad.exit_code == 1
    assert "FAIL fee" in bad.output


def test_receipt_verify_command_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    done = CliRunner().invoke(main, ["receipt", "verify", str(tmp_path / "r.json"), "--offline"])
    assert done.exit_code == 1
    assert "this is no receipt" in done.output
