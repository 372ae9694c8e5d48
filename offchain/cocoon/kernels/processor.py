"""What compiled programs depend on of the processor: they use the instructions it has, and are tuned for its model."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path

__all__ = ["processor"]

_CPUINFO = Path("/proc/cpuinfo")
# x86: vendor, family and model, by which LLVM knows what to tune for; ARM: implementer, architecture, variant and part
_FIELDS = frozenset(
    {
        *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
        *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
    }
)


@functools.cache
def processor(cpuinfo: Path = _CPUINFO) -> str:
    """Stands for the kind of processor, 12 hex digits: two that it is equal for run the same compiled programs.

    Read once: a confined process asks before it may open no file any more. Where there is no `cpuinfo`, the name that
    Python knows has to do.
    """
    about = [platform.machine(), platform.processor()]
    if cpuinfo.is_file():
        first = cpuinfo.read_text(errors="replace").split("\n\n")[0]  # the others are alike
        fields = (line.partition(":") for line in first.splitlines())
        about += [f"{name.strip()}={value.strip()}" for name, _, value in fields if name.strip() in _FIELDS]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]
