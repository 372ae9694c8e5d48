"""The official TVM executor behind a Python object: messages, get-methods and the Tolk compiler.

The executor is WebAssembly inside a long-lived Node child. A trap (say, a message body nested hundreds of cells deep)
damages the wasm for good, so the child is replaced after any trap, hang or death; the caller of that one message gets
`ExecutorTrapped`, the next call works. Execution has no side effects, so a request whose child died for other reasons
is simply repeated on a new one.
"""

from __future__ import annotations

import atexit
import base64
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from pytoniq_core import Address, Cell
from pytoniq_core.crypto.crc import crc16

from . import toolchain
from .boc import parse_boc, to_boc
from .child import ChildGone, ChildHung, NodeChild
from .errors import CompileError, ExecutorError, ExecutorTrapped, MessageRejected, SandboxError
from .stack import StackValue, decode_stack, encode_stack

__all__ = ["CompiledCode", "Executed", "Executor", "GetterResult", "Verbosity", "method_id"]

Verbosity = Literal[
    "short", "full", "full_location", "full_location_gas", "full_location_stack", "full_location_stack_verbose"
]
_VERBOSITY: dict[str, int] = {
    "short": 0,
    "full": 1,
    "full_location": 2,
    "full_location_gas": 3,
    "full_location_stack": 4,
    "full_location_stack_verbose": 5,
}
_ZERO_SEED = bytes(32)


@dataclass(frozen=True, slots=True)
class Executed:
    """One transaction as the executor made it. `actions_boc` is the list of output actions, if the code ran."""

    transaction: Cell
    shard_account_boc: bytes
    vm_log: str
    actions_boc: bytes | None

    @property
    def actions(self) -> Cell | None:
        return None if self.actions_boc is None else parse_boc(self.actions_boc)


@dataclass(frozen=True, slots=True)
class GetterResult:
    """What a get-method left: exit code (0 and 1 are success), the stack (top last), gas."""

    exit_code: int
    stack: list[StackValue]
    gas_used: int
    vm_log: str


@dataclass(frozen=True, slots=True)
class CompiledCode:
    """A compiled contract; `code_hash` is the hex hash of its root cell."""

    code: Cell
    code_hash: str
    fift: str
    tolk_version: str


@lru_cache(maxsize=1024)
def method_id(name: str) -> int:
    """The number under which a contract dispatches the get-method `name`."""
    return int.from_bytes(crc16(name.encode()), "big") | 0x10000


class Executor:
    """Runs one request at a time; may be used from any thread.

    `timeout` (seconds) bounds one request. `progress` is told, in a line of text, when packages must be installed.
    """

    _shared: ClassVar[Executor | None] = None
    _shared_pid: ClassVar[int] = 0
    _shared_guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, *, timeout: float = 30.0, progress: toolchain.Progress | None = None) -> None:
        self._timeout = timeout
        self._progress = progress
        self._lock = threading.RLock()
        self._child: NodeChild | None = None
        self._closed = False

    @classmethod
    def shared(cls) -> Executor:
        """The executor of this process, closed when the process ends. A forked child gets one of its own."""
        with cls._shared_guard:
            if cls._shared is None or cls._shared._closed or cls._shared_pid != os.getpid():
                cls._shared, cls._shared_pid = cls(), os.getpid()
                atexit.register(cls._shared.close)
            return cls._shared

    @classmethod
    def inherit_shared(cls) -> None:
        """In a forked process: go on with the parent's executor and its Node child, which is quicker than a new one.
        The parent must leave both alone until the fork has ended."""
        cls._shared_pid = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child; a closed executor answers nothing any more."""
        with self._lock:
            self._closed = True
            self._drop_child()

    @property
    def child_pid(self) -> int | None:
        """Process id of the Node child, None before the first request and after a trap."""
        child = self._child
        return None if child is None else child.pid

    def run_transaction(
        self,
        *,
        config: Cell,
        shard_account: bytes,
        message: Cell | bytes,
        now: int,
        lt: int,
        prev_blocks: Cell | bytes | None = None,
        libs: Cell | bytes | None = None,
        verbosity: Verbosity = "short",
        rand_seed: bytes | None = None,
    ) -> Executed:
        """Run `message` (a Message cell, or its bag) on `shard_account` (bag of a ShardAccount) at logical time `lt`.

        `prev_blocks` is a VmStackValue tuple for PREVBLOCKSINFO, `libs` the root of the library dictionary,
        `rand_seed` 32 bytes (zeros by default, so that runs repeat). An external message that is not accepted raises
        MessageRejected; ExecutorTrapped if this message crashes or hangs the executor; ExecutorError if the account
        or the message is malformed.
        """
        params = {
            "utime": now,
            "lt": str(lt),
            "rand_seed": (rand_seed or _ZERO_SEED).hex(),
            "ignore_chksig": False,
            "debug_enabled": verbosity != "short",
        }
        if prev_blocks is not None:
            params["prev_blocks_info"] = _b64(prev_blocks)
        request = {
            "op": "transaction",
            "config": config.hash.hex(),
            "verbosity": _VERBOSITY[verbosity],
            "account": base64.b64encode(shard_account).decode(),
            "message": _b64(message),
            "libs": None if libs is None else _b64(libs),
            "params": params,
        }
        output = self._request(request, config)
        vm_log = output.get("vm_log") or ""
        if not output["success"]:
            reason = str(output.get("error") or "the executor refused the message")
            if "vm_exit_code" in output or "external message rejected" in reason:
                raise MessageRejected("external message not accepted", output.get("vm_exit_code"), vm_log)
            raise ExecutorError(reason)
        actions = output.get("actions")
        return Executed(
            transaction=parse_boc(base64.b64decode(output["transaction"]), verify=False),
            shard_account_boc=base64.b64decode(output["shard_account"]),
            vm_log=vm_log,
            actions_boc=base64.b64decode(actions) if actions else None,
        )

    def run_getter(
        self,
        *,
        config: Cell,
        code: Cell,
        data: Cell,
        address: Address,
        balance: int,
        now: int,
        method: str | int,
        stack: Sequence[StackValue] = (),
        gas_limit: int = 10_000_000,
        prev_blocks: Cell | bytes | None = None,
        libs: Cell | bytes | None = None,
        verbosity: Verbosity = "short",
        rand_seed: bytes | None = None,
    ) -> GetterResult:
        """Run get-method `method` (name or number) over `code` and `data`; see `stack` for the values it takes."""
        params = {
            "code": _b64(code),
            "data": _b64(data),
            "verbosity": _VERBOSITY[verbosity],
            "libs": "" if libs is None else _b64(libs),
            "address": address.to_str(is_user_friendly=False),
            "unixtime": now,
            "balance": str(balance),
            "rand_seed": (rand_seed or _ZERO_SEED).hex(),
            "gas_limit": str(gas_limit),
            "method_id": method if isinstance(method, int) else method_id(method),
            "debug_enabled": verbosity != "short",
        }
        if prev_blocks is not None:
            params["prev_blocks_info"] = _b64(prev_blocks)
        request = {
            "op": "getter",
            "config": config.hash.hex(),
            "stack": _b64(encode_stack(stack)),
            "params": params,
        }
        output = self._request(request, config)
        if not output["success"]:
            raise ExecutorError(f"the executor could not run get-method {method}: {output.get('error')}")
        return GetterResult(
            exit_code=output["vm_exit_code"],
            stack=decode_stack(parse_boc(base64.b64decode(output["stack"]), verify=False)),
            gas_used=int(output["gas_used"]),
            vm_log=output.get("vm_log") or "",
        )

    def compile_tolk(self, entrypoint: str, sources: Mapping[str, str]) -> CompiledCode:
        """Compile `entrypoint`, a key of `sources` (path -> text); imports are resolved among these and `@stdlib/`."""
        if entrypoint not in sources:
            raise CompileError(f"{entrypoint} is not among the sources given")
        output = self._request({"op": "compile", "entrypoint": entrypoint, "sources": dict(sources)}, None)
        if output["status"] != "ok":
            raise CompileError(str(output["message"]).strip())
        return CompiledCode(
            code=parse_boc(base64.b64decode(output["codeBoc64"])),
            code_hash=output["codeHashHex"].lower(),
            fift=output["fiftCode"],
            tolk_version=output["tolkVersion"],
        )

    def _request(self, request: dict[str, Any], config: Cell | None) -> dict[str, Any]:
        with self._lock:
            for last_try in (False, True):
                child = self._ready_child()
                fresh = child.answered == 0
                try:
                    if config is not None and config.hash not in child.configs:
                        self._exchange(child, {"op": "config", "hash": config.hash.hex(), "boc": _b64(config)})
                        child.configs.add(config.hash)
                    output: dict[str, Any] = self._exchange(child, request)
                    return output
                except ChildHung as error:
                    self._drop_child()
                    raise ExecutorTrapped(
                        f"the executor did not answer this request in {self._timeout:g} s and was restarted"
                    ) from error
                except ChildGone as error:
                    self._drop_child()
                    if last_try:
                        raise ExecutorTrapped(f"the executor died twice on this request: {error}") from error
                except _Trap as error:
                    self._drop_child()
                    # An earlier message may have damaged the wasm unseen: only a trap in a fresh child is conclusive.
                    if last_try or fresh:
                        raise ExecutorTrapped(
                            f"the executor crashed on this request and was restarted: {error}"
                        ) from error
        raise AssertionError("unreachable: the second try returns or raises")

    def _exchange(self, child: NodeChild, request: dict[str, Any]) -> Any:
        reply = child.exchange(request, self._timeout)
        if "trap" in reply:
            raise _Trap(reply["trap"])
        if "refused" in reply:
            raise ExecutorError(reply["refused"])
        if reply.get("recycle"):
            self._drop_child()
        return reply["result"]

    def _ready_child(self) -> NodeChild:
        if self._closed:
            raise ExecutorError("this executor is closed; make a new one")
        if self._child is not None and not self._child.alive():
            self._drop_child()
        if self._child is None:
            self._child = NodeChild(toolchain.install(self._progress))
        return self._child

    def _drop_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()


class _Trap(SandboxError):
    """The bridge reported that its wasm is damaged."""


def _b64(cell: Cell | bytes) -> str:
    return base64.b64encode(cell if isinstance(cell, bytes) else to_boc(cell)).decode()
