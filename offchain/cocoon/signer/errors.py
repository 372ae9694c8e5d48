"""Errors of the signer and of talking to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import CocoonError

if TYPE_CHECKING:
    from .table import Signed

__all__ = ["AlreadySigned", "SeqClosed", "SignerError", "SignerFull", "SignerRefused", "SignerUnavailable"]


class SignerError(CocoonError):
    """Base of everything the signer answers but a result."""


class SignerUnavailable(SignerError):
    """The signer can't be reached. Nothing is lost: the same call may be made again."""


class SignerRefused(SignerError):
    """A call that makes no sense: an unknown operation, a malformed field, a statement of the wrong kind."""


class SignerFull(SignerError):
    """The table of signed statements has no room: restart the signer, which rotates its keys."""


class SeqClosed(SignerError):
    """A stream's number that is too old to be signed any more."""


class AlreadySigned(SignerError):
    """Something else was signed for this sequence number. `stored` is that; deliver it instead."""

    def __init__(self, stored: Signed) -> None:
        super().__init__(
            f"seq {stored.slot.seq} of this channel is signed already, with other content: deliver what was signed"
        )
        self.stored = stored
