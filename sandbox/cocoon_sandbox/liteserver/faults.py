"""Faults and lies of the lite server, on demand: what a client must notice or refuse.

A lie is a function that gets a query and the honest answer (its constructor's name and fields) and returns what to send
instead. `ServerFaults.lies` are applied in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pytoniq_core import Address

from cocoon_sandbox.boc import to_boc as foreign_boc
from cocoon_sandbox.stack import StackValue, encode_stack
from cocoon_sandbox.state.boc import one_from_boc, to_boc
from cocoon_sandbox.state.builder import Builder, Slice
from cocoon_sandbox.state.cell import Cell
from cocoon_sandbox.tlb.currency import Currency
from cocoon_sandbox.tlb.message import read_address, write_address

__all__ = ["Lie", "ServerFaults", "forge_balance", "forge_getter", "forge_signatures", "hide_account"]

type Fields = dict[str, Any]
type Lie = Callable[[Fields, str, Fields], tuple[str, Fields]]


@dataclass(slots=True)
class ServerFaults:
    """The faults in force. `latency` delays every answer, in seconds; `lag` shows the chain that many blocks short."""

    latency: float = 0.0
    lag: int = 0
    lies: list[Lie] = field(default_factory=list)

    def apply(self, query: Fields, name: str, answer: Fields) -> tuple[str, Fields]:
        """The answer after all lies."""
        for lie in self.lies:
            name, answer = lie(query, name, answer)
        return name, answer


def _is_about(query: Fields, address: Address) -> bool:
    account = query.get("account")
    return isinstance(account, dict) and (account["workchain"], account["id"]) == (address.wc, address.hash_part)


def hide_account(address: Address, *, keep_proof: bool = True) -> Lie:
    """Pretend that an account doesn't exist, with the honest proof (which shows that it does) or with none."""

    def lie(query: Fields, name: str, answer: Fields) -> tuple[str, Fields]:
        if name == "liteServer.accountState" and _is_about(query, address):
            answer = answer | {"state": b""} | ({} if keep_proof else {"proof": b"", "shard_proof": b""})
        return name, answer

    return lie


def forge_balance(address: Address, nano: int) -> Lie:
    """Show an account with another balance; the proof stays that of the true one."""

    def lie(query: Fields, name: str, answer: Fields) -> tuple[str, Fields]:
        if name == "liteServer.accountState" and _is_about(query, address) and answer["state"]:
            answer = answer | {"state": to_boc(_with_balance(one_from_boc(answer["state"]), nano))}
        return name, answer

    return lie


def _with_balance(account: Cell, nano: int) -> Cell:
    """The Account cell with `nano` in place of its nanograms."""
    source, copy = Slice(account), Builder()
    copy.bit(source.bit())
    address = read_address(source)
    assert address is not None
    write_address(copy, address)
    for _ in range(2):
        copy.var_uint(source.var_uint(3), 3)
    extra = source.uint(3)
    copy.uint(extra, 3)
    if extra == 1:
        copy.uint(source.uint(256), 256)
    copy.uint(source.uint(32), 32)
    due = source.bit()
    copy.bit(due)
    if due:
        copy.coins(source.coins())
    copy.uint(source.uint(64), 64)
    replace(Currency.read(source), grams=nano).write(copy)
    return copy.builder(source.rest()).cell()


def forge_getter(address: Address, method_id: int, *stack: StackValue) -> Lie:
    """Answer a get-method with another result; no proof covers results, so only running it locally tells."""

    def lie(query: Fields, name: str, answer: Fields) -> tuple[str, Fields]:
        if name == "liteServer.runMethodResult" and _is_about(query, address) and query["method_id"] == method_id:
            answer = answer | {"exit_code": 0, "result": foreign_boc(encode_stack(list(stack)))}
        return name, answer

    return lie


def forge_signatures() -> Lie:
    """Spoil every validator signature in proofs of newer blocks."""

    def lie(query: Fields, name: str, answer: Fields) -> tuple[str, Fields]:
        if name == "liteServer.partialBlockProof":
            answer = answer | {"steps": [_spoiled(step) for step in answer["steps"]]}
        return name, answer

    return lie


def _spoiled(step: Fields) -> Fields:
    if "signatures" not in step:
        return step
    signatures = step["signatures"]
    forged = [pair | {"signature": bytes(64)} for pair in signatures["signatures"]]
    return step | {"signatures": signatures | {"signatures": forged}}
