"""Keeping memory out of files and debuggers, as far as an ordinary process can."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import sys

__all__ = ["harden"]

_log = logging.getLogger(__name__)
_PR_SET_DUMPABLE = 4


def harden() -> None:
    """No core dumps, private files, and on Linux no attaching by processes of the same user.

    The host can still read this memory unless it is encrypted: that is what the enclave is for.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("this process may be attached to by others of its user: %s", os.strerror(ctypes.get_errno()))
