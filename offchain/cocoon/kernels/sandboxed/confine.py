"""Giving up rights, one after the other, and saying which ones are gone."""

from __future__ import annotations

import contextlib
import os
import resource

from .seccomp import SeccompUnavailable, restrict

__all__ = ["confine"]

_HEADROOM_BYTES = 8 << 30  # address space for compilers and thread stacks, little of which is ever touched


def confine(memory_bytes: int, *, device: bool) -> list[str]:
    """Called once, when every file has been read. Returns what is enforced from now on, in words.

    memory_bytes: what the model may take on top of what the process has. device: whether it drives a graphics card.
    """
    enforced = ["no key, no inherited file, an empty environment"]  # by the parent, which started this process so
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    enforced.append("no file can grow")
    if not device:  # cards map far more address space than they use
        limit = _address_space() + memory_bytes + _HEADROOM_BYTES
        with contextlib.suppress(ValueError):  # the system allows less already
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        enforced.append(f"at most {limit >> 30} GiB of address space")
    with contextlib.suppress(SeccompUnavailable):
        restrict(device_calls=device)
        enforced.append("no file can be opened, no socket made, no program started, no other process reached (seccomp)")
    return enforced


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
