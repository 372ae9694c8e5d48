"""Answers of the kind liteServer.error."""

from __future__ import annotations

from cocoon_sandbox.errors import SandboxError

__all__ = ["NOT_READY", "PROTOCOL_VIOLATION", "TIMEOUT", "LiteError"]

# Codes of the reference node, which clients test for.
PROTOCOL_VIOLATION = 621
NOT_READY = 651
TIMEOUT = 652


class LiteError(SandboxError):
    """A query that is answered with an error; code 0 unless the reference node has a code of its own for it."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
