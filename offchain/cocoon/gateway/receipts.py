"""Proofs of answers: what a worker signed, with all that is needed to check it later without this gateway."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pytoniq_core import Address

from cocoon_sandbox.boc import parse_boc
from cocoon_sandbox.errors import BadCell

from ..crypto.statements import Channel as SignedChannel
from ..crypto.usage import Usage
from ..errors import CocoonError
from ..rules import parse_address
from ..wire.bag import struct_boc
from ..wire.common import ModelTerms
from ..wire.escrow import Receipt, SignedReceipt

__all__ = ["Proof", "ReceiptMalformed", "new_receipt_id"]

_VERSION = 1
_HASH_DIGITS = 64


class ReceiptMalformed(CocoonError):
    """A document that is no receipt of this format."""


def new_receipt_id() -> str:
    return "rcpt_" + secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Proof:
    """The worker's receipt for one answer, where it was made, and what its numbers mean.

    `usage` carries the salt that opens the receipt's commitment: it belongs to whoever asked, and to nobody else.
    """

    channel: SignedChannel
    registry: Address
    worker: Address
    worker_index: int
    session_key: int
    terms: ModelTerms
    usage: Usage = field(repr=False)
    signed: SignedReceipt = field(repr=False)
    simulated_tee: bool

    @property
    def fee_nano(self) -> int:
        return self.signed.receipt.fee_nano

    @property
    def measurement(self) -> int:
        return self.signed.receipt.outcome.disclosure.measurement

    @property
    def model_id(self) -> int:
        return self.signed.receipt.outcome.model_id

    def to_json(self, receipt_id: str) -> dict[str, Any]:
        """The document `GET /v1/receipts/<id>` gives and `cocoon receipt verify` reads."""
        said = self.signed.receipt
        return {
            "object": "cocoon.receipt",
            "version": _VERSION,
            "id": receipt_id,
            "network": {"global_id": self.channel.global_id, "registry": _name(self.registry)},
            "channel": {
                "escrow": _name(self.channel.escrow),
                "epoch": str(self.channel.epoch),
                "key_epoch": self.channel.key_epoch,
            },
            "worker": {"address": _name(self.worker), "index": self.worker_index},
            "session_key": _hash(self.session_key),
            "measurement": _hash(self.measurement),
            "model_id": _hash(self.model_id),
            "seq": said.seq,
            "issued_at": said.issued_at,
            "fee_nano": said.fee_nano,
            "terms": asdict(self.terms),
            "usage": {
                "prompt": self.usage.prompt,
                "cached": self.usage.cached,
                "completion": self.usage.completion,
                "salt": self.usage.salt.hex(),
            },
            "receipt": base64.b64encode(struct_boc(said)).decode(),
            "signature": self.signed.signature.hex(),
            "simulated_tee": self.simulated_tee,
        }

    @classmethod
    def from_json(cls, document: object) -> Self:
        """ReceiptMalformed unless `document` is a receipt whose readable fields are those of the signed cell."""
        try:
            proof = cls._read(_mapping(document))
            if proof.to_json(str(_mapping(document)["id"])) != document:
                raise ReceiptMalformed(
                    "the receipt's readable fields are not those of its signed cell: somebody changed one of them"
                )
        except ReceiptMalformed:
            raise
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, CocoonError, BadCell) as error:
            raise ReceiptMalformed(
                f"this is no receipt ({type(error).__name__}: {error}); fetch it again with GET /v1/receipts/<id>"
            ) from error
        return proof

    @classmethod
    def _read(cls, found: Mapping[str, Any]) -> Self:
        network, channel, worker = (_mapping(found[name]) for name in ("network", "channel", "worker"))
        usage, terms = _mapping(found["usage"]), _mapping(found["terms"])
        if found["version"] != _VERSION:
            raise ReceiptMalformed(f"this receipt has format {found['version']}; this release reads {_VERSION}")
        cell = parse_boc(base64.b64decode(found["receipt"], validate=True))
        signed = SignedReceipt(Receipt.from_cell(cell), bytes.fromhex(found["signature"]))
        prompt, cached, completion = (_count(usage[name]) for name in ("prompt", "cached", "completion"))
        return cls(
            channel=SignedChannel(
                int(network["global_id"]),
                parse_address(channel["escrow"], "the channel"),
                int(channel["epoch"]),
                int(channel["key_epoch"]),
            ),
            registry=parse_address(network["registry"], "the registry"),
            worker=parse_address(worker["address"], "the worker"),
            worker_index=int(worker["index"]),
            session_key=int(found["session_key"], 16),
            terms=ModelTerms(**{str(name): int(value) for name, value in terms.items()}),
            usage=Usage(prompt, cached, completion, bytes.fromhex(usage["salt"])),
            signed=signed,
            simulated_tee=bool(found["simulated_tee"]),
        )

    @classmethod
    def from_text(cls, text: str | bytes) -> Self:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReceiptMalformed(f"this is no JSON ({error}); give the document of GET /v1/receipts/<id>") from error
        return cls.from_json(document)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ReceiptMalformed("a receipt is a JSON object; fetch it again with GET /v1/receipts/<id>")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise ReceiptMalformed(f"{value!r} is no count of tokens")
    return value


def _name(address: Address) -> str:
    name: str = address.to_str(is_user_friendly=False)
    return name


def _hash(value: int) -> str:
    return f"{value:0{_HASH_DIGITS}x}"
