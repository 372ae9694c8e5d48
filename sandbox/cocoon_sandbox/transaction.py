"""A read-only view of a `Transaction` cell, parsed when looked at.

Amounts are nanoTON. The header and the outgoing messages are read at once (the ledger needs them), the description of
the phases on first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pytoniq_core import Address, Cell, Slice

from .dictionary import read_dict
from .errors import BadCell
from .message import Message, format_address, format_ton

__all__ = ["ActionPhase", "ComputePhase", "Message", "Phases", "StoragePhase", "Transaction"]

AccountStatus = Literal["uninit", "frozen", "active", "nonexist"]
BounceKind = Literal["ok", "no funds", "negative funds"]
_ACCOUNT_STATUS: tuple[AccountStatus, ...] = ("uninit", "frozen", "active", "nonexist")
_SKIP_REASON = {0: "no state", 1: "bad state", 2: "no gas"}


@dataclass(frozen=True, slots=True)
class StoragePhase:
    """`collected` and still `due` storage fees; `change` is what debt did to the account."""

    collected: int
    due: int
    change: Literal["unchanged", "frozen", "deleted"]


@dataclass(frozen=True, slots=True)
class ComputePhase:
    """Execution of the code, or why it was `skipped` (then every number is 0 and `exit_code` None)."""

    skipped: str | None
    success: bool = False
    exit_code: int | None = None
    exit_arg: int | None = None
    gas_used: int = 0
    gas_limit: int = 0
    gas_credit: int = 0
    gas_fees: int = 0
    vm_steps: int = 0
    account_activated: bool = False


@dataclass(frozen=True, slots=True)
class ActionPhase:
    """What became of the output actions; `result_code` 0 is success, `result_arg` often the index that failed."""

    success: bool
    valid: bool
    no_funds: bool
    result_code: int
    result_arg: int | None
    total_actions: int
    skipped_actions: int
    messages_created: int
    forward_fees: int
    action_fees: int


@dataclass(frozen=True, slots=True)
class Phases:
    """An ordinary transaction's description."""

    storage: StoragePhase | None
    credit: int | None
    due_collected: int
    compute: ComputePhase
    action: ActionPhase | None
    aborted: bool
    bounce: BounceKind | None
    destroyed: bool


class Transaction:
    """One executed transaction.

    `vm_log`, `balance_before` and `balance_after` are what the ledger knows beyond the cell; None if unknown.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        workchain: int | None = None,
        vm_log: str = "",
        balance_before: int | None = None,
        balance_after: int | None = None,
    ) -> None:
        self.cell = cell
        self.vm_log = vm_log
        self.balance_before = balance_before
        self.balance_after = balance_after
        try:
            part = cell.begin_parse()
            if part.load_uint(4) != 7:
                raise BadCell("not a transaction: wrong tag")
            account = part.load_bytes(32)
            self.lt: int = part.load_uint(64)
            self.prev_hash: bytes = part.load_bytes(32)
            self.prev_lt: int = part.load_uint(64)
            self.now: int = part.load_uint(32)
            out_count = part.load_uint(15)
            self.status_before = _ACCOUNT_STATUS[part.load_uint(2)]
            self.status_after = _ACCOUNT_STATUS[part.load_uint(2)]
            messages = part.load_ref().begin_parse()
            incoming = messages.load_maybe_ref()
            self.in_msg = None if incoming is None else Message(incoming)
            found = read_dict(messages.load_maybe_ref(), 15)
            self.out_msgs = [Message(found[index].load_ref()) for index in range(out_count)]
            self.total_fees: int = part.load_coins()
            part.load_maybe_ref()  # extra currencies
            update = part.load_ref().begin_parse()
            self.state_hash_before: bytes = update.skip_bits(8).load_bytes(32)
            self.state_hash_after: bytes = update.load_bytes(32)
            self._description: Cell = part.load_ref()
        except BadCell:
            raise
        except Exception as error:
            raise BadCell(f"not a transaction: {error}") from error
        if workchain is None:
            target = None if self.in_msg is None else self.in_msg.dst
            workchain = target.wc if isinstance(target, Address) else 0
        self.account = Address((workchain, account))

    @property
    def hash(self) -> bytes:
        digest: bytes = self.cell.hash
        return digest

    @property
    def end_lt(self) -> int:
        """The first logical time after this transaction and its messages."""
        return self.lt + 1 + len(self.out_msgs)

    @cached_property
    def phases(self) -> Phases:
        """The parsed description. BadCell for tick-tock and split/merge transactions, which basechain does not have."""
        return _load_phases(self._description.begin_parse())

    @property
    def exit_code(self) -> int | None:
        """Exit code of the compute phase, None if it was skipped."""
        return self.phases.compute.exit_code

    @property
    def action_code(self) -> int | None:
        """Result code of the action phase, None if there was none."""
        return None if self.phases.action is None else self.phases.action.result_code

    @property
    def gas_used(self) -> int:
        return self.phases.compute.gas_used

    @property
    def compute_skipped(self) -> str | None:
        """Why the code did not run: "no state", "bad state", "no gas", "suspended"; None if it ran."""
        return self.phases.compute.skipped

    @property
    def aborted(self) -> bool:
        return self.phases.aborted

    @property
    def success(self) -> bool:
        """Whether the code ran, succeeded, and all its actions were done."""
        return self.phases.compute.success and not self.phases.aborted

    @property
    def bounced(self) -> bool:
        """Whether this transaction sent its value back."""
        return self.phases.bounce == "ok"

    @property
    def storage_fees(self) -> int:
        return 0 if self.phases.storage is None else self.phases.storage.collected

    @property
    def external_out(self) -> list[Message]:
        """The log messages (external, outgoing) this transaction emitted."""
        return [message for message in self.out_msgs if message.kind == "external-out"]

    def __repr__(self) -> str:
        parts = [f"{format_address(self.account)} lt {self.lt}"]
        if self.in_msg is not None:
            opcode = self.in_msg.opcode
            origin = "external" if self.in_msg.kind == "external-in" else format_address(self.in_msg.src)
            what = "" if opcode is None else f" op {opcode:#010x}"
            value = f" {format_ton(self.in_msg.value)}" if self.in_msg.kind == "internal" else ""
            parts.append(f"from {origin}{what}{value}{' (bounced)' if self.in_msg.bounced else ''}")
        try:
            parts += self._outcome()
        except BadCell as error:
            parts.append(str(error))
        parts.append(f"fees {format_ton(self.total_fees)}")
        if self.out_msgs:
            parts.append(f"{len(self.out_msgs)} out")
        return f"<Transaction {', '.join(parts)}>"

    def _outcome(self) -> list[str]:
        phases = self.phases
        if phases.compute.skipped:
            parts = [f"not run: {phases.compute.skipped}"]
        else:
            parts = [f"exit {phases.compute.exit_code}", f"gas {phases.compute.gas_used}"]
        if phases.action is not None and not phases.action.success:
            parts.append(f"ACTION FAILED {phases.action.result_code} (action {phases.action.result_arg})")
        if phases.bounce is not None:
            parts.append("bounced" if phases.bounce == "ok" else f"not bounced: {phases.bounce}")
        if phases.destroyed:
            parts.append("account destroyed")
        return parts


def _load_phases(part: Slice) -> Phases:
    if part.load_uint(4) != 0:
        raise BadCell("not an ordinary transaction")
    part.load_bit()  # credit_first
    storage = _load_storage(part) if part.load_bit() else None
    credit: int | None = None
    due_collected = 0
    if part.load_bit():
        due_collected = _load_maybe_coins(part)
        credit = part.load_coins()
        part.load_maybe_ref()  # extra currencies
    compute = _load_compute(part)
    action = _load_action(part.load_ref().begin_parse()) if part.load_bit() else None
    aborted = part.load_bool()
    bounce = _load_bounce(part) if part.load_bit() else None
    return Phases(storage, credit, due_collected, compute, action, aborted, bounce, destroyed=part.load_bool())


def _load_maybe_coins(part: Slice) -> int:
    return part.load_coins() if part.load_bit() else 0


def _load_status_change(part: Slice) -> Literal["unchanged", "frozen", "deleted"]:
    if not part.load_bit():
        return "unchanged"
    return "deleted" if part.load_bit() else "frozen"


def _load_storage(part: Slice) -> StoragePhase:
    return StoragePhase(part.load_coins(), _load_maybe_coins(part), _load_status_change(part))


def _load_compute(part: Slice) -> ComputePhase:
    if not part.load_bit():
        reason = part.load_uint(2)
        if reason == 3:
            part.load_bit()
        return ComputePhase(skipped=_SKIP_REASON.get(reason, "suspended"))
    success = part.load_bool()
    part.load_bit()  # msg_state_used
    activated = part.load_bool()
    gas_fees = part.load_coins()
    vm = part.load_ref().begin_parse()
    gas_used, gas_limit = vm.load_var_uint(3), vm.load_var_uint(3)
    gas_credit = vm.load_var_uint(2) if vm.load_bit() else 0
    vm.load_int(8)  # mode
    exit_code = vm.load_int(32)
    exit_arg = vm.load_int(32) if vm.load_bit() else None
    return ComputePhase(
        skipped=None,
        success=success,
        exit_code=exit_code,
        exit_arg=exit_arg,
        gas_used=gas_used,
        gas_limit=gas_limit,
        gas_credit=gas_credit,
        gas_fees=gas_fees,
        vm_steps=vm.load_uint(32),
        account_activated=activated,
    )


def _load_action(part: Slice) -> ActionPhase:
    success, valid, no_funds = part.load_bool(), part.load_bool(), part.load_bool()
    _load_status_change(part)
    forward_fees, action_fees = _load_maybe_coins(part), _load_maybe_coins(part)
    result_code = part.load_int(32)
    result_arg = part.load_int(32) if part.load_bit() else None
    total, _special, skipped, created = (part.load_uint(16) for _ in range(4))
    return ActionPhase(
        success=success,
        valid=valid,
        no_funds=no_funds,
        result_code=result_code,
        result_arg=result_arg,
        total_actions=total,
        skipped_actions=skipped,
        messages_created=created,
        forward_fees=forward_fees,
        action_fees=action_fees,
    )


def _load_bounce(part: Slice) -> BounceKind:
    """The rest of a bounce phase holds fees that `total_fees` and the message repeat; it has to be skipped exactly."""
    if part.load_bit():
        part.load_var_uint(3)
        part.load_var_uint(3)
        part.load_coins()
        part.load_coins()
        return "ok"
    if not part.load_bit():
        return "negative funds"
    part.load_var_uint(3)
    part.load_var_uint(3)
    part.load_coins()
    return "no funds"
