"""Quotes from Linux: the configfs interface of the TSM drivers, `/sys/kernel/config/tsm/report` (Linux 6.7 or newer).

Making a directory there makes a report request: write `inblob`, read `outblob`. The kernel checks little: whoever may
write to the directory can change the request between the two, and an error of writing `inblob` is lost when the kernel
takes the bytes at close. So every request has a directory of its own, `generation` must have moved by exactly one, and
the quote must say what was asked for.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .errors import EvidenceUnavailable, QuoteMalformed
from .evidence import check_report_data
from .quote import Quote

__all__ = ["REPORTS", "ConfigfsSource", "OsReportFiles", "ReportFiles"]

REPORTS = Path("/sys/kernel/config/tsm/report")
PROVIDER = "tdx_guest"

_ATTEMPTS, _PAUSE_SEC = 8, 0.25
_TRANSIENT = frozenset({errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})
_LARGEST = 1 << 20


class ReportFiles(Protocol):
    """The file operations needed. OSError as the kernel raises it."""

    def make(self, directory: Path) -> None: ...

    def remove(self, directory: Path) -> None: ...

    def read(self, attribute: Path) -> bytes: ...

    def write(self, attribute: Path, data: bytes) -> None: ...


class OsReportFiles:
    """The operating system's."""

    def make(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)

    def remove(self, directory: Path) -> None:
        directory.rmdir()  # configfs removes the attributes with it

    def read(self, attribute: Path) -> bytes:
        parts = []
        descriptor = os.open(attribute, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while part := os.read(descriptor, _LARGEST):
                parts.append(part)
        finally:
            os.close(descriptor)
        return b"".join(parts)

    def write(self, attribute: Path, data: bytes) -> None:
        descriptor = os.open(attribute, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.write(descriptor, data) != len(data):  # an attribute takes one write
                raise OSError(errno.EIO, "short write", str(attribute))
        finally:
            os.close(descriptor)


class ConfigfsSource:
    """Quotes of the TDX guest this runs in. Reading one takes the quoting enclave some tens of milliseconds."""

    def __init__(
        self,
        reports: Path = REPORTS,
        *,
        files: ReportFiles | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reports, self._files, self._pause = reports, files or OsReportFiles(), pause

    @property
    def simulated(self) -> bool:
        return False

    async def quote(self, report_data: bytes) -> bytes:
        """As EvidenceSource.quote. Cancelling stops waiting; the request itself is finished and cleaned up."""
        check_report_data(report_data)
        return await asyncio.to_thread(self._quote, report_data)

    def _quote(self, report_data: bytes) -> bytes:
        reason = "nothing was tried"
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(_PAUSE_SEC)
            try:
                return self._request(report_data)
            except _Interfered as error:
                reason = str(error)
            except OSError as error:
                if error.errno not in _TRANSIENT:
                    raise EvidenceUnavailable(_explain(error, self._reports)) from error
                reason = str(error)
        raise EvidenceUnavailable(
            f"no quote in {_ATTEMPTS} attempts ({reason}): see that nothing else uses {self._reports} and that the "
            "host's quote generation service runs"
        )

    def _request(self, report_data: bytes) -> bytes:
        directory = self._reports / f"cocoon-{os.getpid()}-{secrets.token_hex(8)}"
        self._files.make(directory)
        try:
            return self._exchange(directory, report_data)
        finally:
            self._files.remove(directory)

    def _exchange(self, directory: Path, report_data: bytes) -> bytes:
        provider = self._files.read(directory / "provider").decode("ascii", "replace").strip()
        if provider != PROVIDER:
            raise EvidenceUnavailable(
                f"the TSM provider here is {provider!r}, not {PROVIDER!r}: run in an Intel TDX guest"
            )
        before = self._generation(directory)
        self._files.write(directory / "inblob", report_data)
        raw = self._files.read(directory / "outblob")
        written = self._generation(directory) - before
        if written != 1:
            raise _Interfered(f"the request was written {written} times instead of once")
        try:
            found = Quote.parse(raw)
        except QuoteMalformed as error:
            raise EvidenceUnavailable(f"the kernel returned something that is no quote: {error}") from error
        if found.report.report_data != report_data:
            raise _Interfered("the quote says something else than was asked for")
        return raw

    def _generation(self, directory: Path) -> int:
        text = self._files.read(directory / "generation").strip()
        if not text.isdigit():
            raise EvidenceUnavailable(f"the kernel's generation counter reads {text[:40]!r}: not configfs-tsm")
        return int(text[:20])


class _Interfered(Exception):
    """Somebody else wrote to the request, or the kernel dropped it."""


def _explain(error: OSError, reports: Path) -> str:
    match error.errno:
        case errno.ENOENT:
            advice = "load tdx_guest and mount configfs (Linux 6.7 or newer, in a TDX guest)"
        case errno.ENXIO:
            advice = "no TSM driver is active: load tdx_guest, in a TDX guest"
        case errno.EACCES | errno.EPERM:
            advice = "run as root, or give this user the directory"
        case _:
            advice = "see the kernel's log"
    return f"no quote from {reports}: {error.strerror or error}; {advice}"
