"""What a stream can end with but an answer."""

from __future__ import annotations

from ..errors import ClientError
from ..wire.escrow import SignedReceipt

__all__ = ["StreamError", "StreamLied", "StreamRefused", "StreamStalled"]


class StreamError(ClientError):
    """Base of what a stream can end with but an answer.

    `paid_nano`: all vouchers of this channel so far; `verified_nano`: what was received and verified for them.
    """

    def __init__(self, message: str, *, paid_nano: int = 0, verified_nano: int = 0) -> None:
        super().__init__(message)
        self.paid_nano = paid_nano
        self.verified_nano = verified_nano


class StreamRefused(StreamError):
    """The worker (or this client, before anything was sent) does not take the request. `reason` is a short name such
    as `busy`, `malformed`, `too_long`, `deposit`, `draining`; try another worker, or correct the request.
    """

    def __init__(self, reason: str, message: str, *, paid_nano: int = 0, verified_nano: int = 0) -> None:
        super().__init__(message, paid_nano=paid_nano, verified_nano=verified_nano)
        self.reason = reason


class StreamStalled(StreamError):
    """The worker went away or fell silent. Try the next worker, or force the job with `channel.post_job`."""


class StreamLied(StreamError):
    """The worker sent what does not verify. `receipts`: what it signed that shows it, if anything; two different ones
    for one number are evidence for `channel.report_equivocation`.
    """

    def __init__(
        self,
        message: str,
        *,
        receipts: tuple[SignedReceipt, ...] = (),
        paid_nano: int = 0,
        verified_nano: int = 0,
    ) -> None:
        super().__init__(message, paid_nano=paid_nano, verified_nano=verified_nano)
        self.receipts = receipts
