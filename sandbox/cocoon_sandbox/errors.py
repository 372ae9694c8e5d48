"""The sandbox's errors: one tree under `SandboxError`, and each message says what to do next."""

from __future__ import annotations

__all__ = [
    "BadCell",
    "CompileError",
    "ConfigError",
    "ConservationError",
    "ExecutorError",
    "ExecutorTrapped",
    "GetterFailed",
    "LedgerError",
    "MessageRejected",
    "SandboxError",
    "ToolchainError",
]


class SandboxError(Exception):
    """Anything the sandbox reports on purpose."""


class ToolchainError(SandboxError):
    """Node or the npm packages it runs could not be installed."""


class ConfigError(SandboxError):
    """A network configuration that the executor can't honour."""


class BadCell(SandboxError):
    """Bytes that are no bag of cells, or cells that don't hold what they should."""


class ExecutorError(SandboxError):
    """The executor refused the request itself: malformed account, unknown option."""


class ExecutorTrapped(ExecutorError):
    """The TVM executor crashed or hung on one message; it was restarted, and other messages are not affected."""


class CompileError(SandboxError):
    """Tolk sources that don't compile; the text is the compiler's, with file and line."""


class MessageRejected(SandboxError):
    """An external message that the account did not accept: no transaction, no fee.

    `exit_code` is None if the code never ran (no such account, no gas for the credit).
    """

    def __init__(self, reason: str, exit_code: int | None = None, vm_log: str = "") -> None:
        super().__init__(reason if exit_code is None else f"{reason} (exit code {exit_code})")
        self.reason = reason
        self.exit_code = exit_code
        self.vm_log = vm_log


class GetterFailed(SandboxError):
    """A get-method that threw, or an account that has no code to run."""

    def __init__(self, reason: str, exit_code: int | None = None, vm_log: str = "") -> None:
        super().__init__(reason)
        self.exit_code = exit_code
        self.vm_log = vm_log


class LedgerError(SandboxError):
    """The ledger was asked for something that no chain would do."""


class ConservationError(LedgerError):
    """Money appeared or vanished: the terms of the sum are in the message, in nanoTON."""
