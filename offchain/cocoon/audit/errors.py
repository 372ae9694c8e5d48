"""Why an audit map can't be made."""

from __future__ import annotations

from ..errors import CocoonError

__all__ = ["AuditError"]


class AuditError(CocoonError):
    """A source, a document or a test that the audit map is made from is not what it must be."""
