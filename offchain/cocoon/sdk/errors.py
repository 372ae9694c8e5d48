"""What may go wrong with a request made from Python."""

from __future__ import annotations

from ..errors import CocoonError

__all__ = ["AnswerFailed", "BatchInvalid", "RequestInvalid", "TooDear"]


class RequestInvalid(CocoonError):
    """The request itself is at fault; it was not sent, and cost nothing."""


class TooDear(CocoonError):
    """The request may cost more than the caller allows; it was not sent."""


class AnswerFailed(CocoonError):
    """A worker's answer is none. `spent_nano` is what it cost."""

    def __init__(self, message: str, *, spent_nano: int = 0) -> None:
        super().__init__(message)
        self.spent_nano = spent_nano


class BatchInvalid(CocoonError):
    """A batch's file is not what it should be; nothing was sent."""
