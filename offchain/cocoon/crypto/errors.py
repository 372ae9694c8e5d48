"""Errors of the cryptographic layer. Nothing below `cocoon.crypto` lets an exception of a library out."""

from ..errors import CocoonError

__all__ = [
    "BadSignature", "CryptoError", "KeyMalformed", "KeyUnsound", "PayloadMalformed", "PayloadTooLarge",
    "RequestUndecryptable", "ResponseMalformed", "ResponseTruncated", "ResponseUndecryptable", "StatementMismatch",
    "UsageMismatch",
]  # fmt: skip


class CryptoError(CocoonError):
    """Base of everything raised below `cocoon.crypto`."""


class KeyMalformed(CryptoError):
    """Bytes or a cell that do not hold a public key of the expected kind."""


class KeyUnsound(CryptoError):
    """An Ed25519 key of small order: some signatures under it can be written down by anyone."""


class BadSignature(CryptoError):
    """A signature that does not hold for this statement and key."""


class StatementMismatch(CryptoError):
    """A correctly signed statement about something else than what was asked about."""


class PayloadTooLarge(CryptoError):
    """More plaintext than the largest padded size."""


class RequestUndecryptable(CryptoError):
    """A request that this key, or this channel, worker and model, do not open. One cause is not told from another."""


class PayloadMalformed(CryptoError):
    """A plaintext that is not padded, framed or encoded as it should be."""


class ResponseUndecryptable(CryptoError):
    """A response that the request's secret does not open: another key, another job, or altered on the way."""


class ResponseTruncated(ResponseUndecryptable):
    """A response whose end is missing."""


class ResponseMalformed(CryptoError):
    """An authentic response whose plaintext is not laid out as it should be."""


class UsageMismatch(CryptoError):
    """Token counts that are not the ones the receipt commits to."""
