"""Errors of the protocol itself; what they mean to a caller is decided by client and worker."""

from ..errors import CocoonError

__all__ = ["FrameMalformed", "HelloRefused", "StreamProtocolError"]


class StreamProtocolError(CocoonError):
    """The other side broke the protocol: the connection is of no use any more."""


class FrameMalformed(StreamProtocolError):
    """A frame that is cut short, too long, unknown, or was altered on the way."""


class HelloRefused(StreamProtocolError):
    """An opening that does not prove what it must."""
