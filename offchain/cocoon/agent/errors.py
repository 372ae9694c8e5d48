"""Errors of the agent. Those of the journal end it; the others are retried or reported."""

from ..errors import CocoonError

__all__ = [
    "AgentError", "JournalConflict", "JournalCorrupt", "JournalError", "JournalFull", "JournalInUse",
    "JournalOfAnother", "KernelFailure", "SetupError", "StreamRejected",
]  # fmt: skip


class AgentError(CocoonError):
    """Base of everything raised below `cocoon.agent`."""


class SetupError(AgentError):
    """The configuration contradicts the chain or itself: the agent does not start."""


class KernelFailure(AgentError):
    """The kernel broke down on a request that is not at fault; it may work when tried again."""


class StreamRejected(AgentError):
    """A stream that is not served (any more); `reason` is the short name the client is told."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class JournalError(AgentError):
    """The journal can't be relied on. Nothing is signed or sent after this."""


class JournalFull(JournalError):
    """The disk is full or can't be written."""


class JournalCorrupt(JournalError):
    """The file is not an intact journal of this version."""


class JournalInUse(JournalError):
    """Another agent has this journal open."""


class JournalOfAnother(JournalError):
    """The journal belongs to another worker or network."""


class JournalConflict(JournalError):
    """A step that does not follow from the state the journal has: a defect, not a condition."""
