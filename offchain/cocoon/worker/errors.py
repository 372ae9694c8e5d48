"""Errors of setting up, running and looking at a worker."""

from ..errors import CocoonError

__all__ = ["ChecksFailed", "SetupFailed", "StillWaiting", "WorkerCommandError"]


class WorkerCommandError(CocoonError):
    """Base of everything raised below `cocoon.worker`."""


class SetupFailed(WorkerCommandError):
    """The set-up can't go on; running it again resumes it."""


class ChecksFailed(SetupFailed):
    """Something was found wrong before any money moved."""


class StillWaiting(SetupFailed):
    """The owner, who signs elsewhere, has not sent the registration yet."""
