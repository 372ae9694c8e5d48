"""Quotes from Linux's configfs-tsm, against a model of the kernel's rules and against real files that behave like it.

The model follows drivers/virt/coco/tsm.c: one counter of writes, one of the write last read; a read is refused before a
write, a write is refused once the counters would meet again, and errors of writing a binary attribute are lost.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence_samples import machine

from cocoon.attestation.configfs import REPORTS, ConfigfsSource, OsReportFiles
from cocoon.attestation.errors import EvidenceMalformed, EvidenceUnavailable
from cocoon.attestation.evidence import EvidenceSource
from cocoon.attestation.platform import guest_report
from cocoon.attestation.quote import Quote

REPORT_DATA = bytes(range(64))


def _genuine(report_data: bytes) -> bytes:
    return machine().quote(guest_report(report_data)).to_bytes()


class Kernel:
    """The rules. `before_read` runs before each read of outblob: what another process may do meanwhile."""

    def __init__(self, provider: str = "tdx_guest", before_read: Callable[[Kernel, Path], None] | None = None) -> None:
        self.provider, self.before_read = provider, before_read
        self.requests: dict[Path, bytes] = {}
        self.generations: dict[Path, int] = {}
        self.failures: dict[str, list[int]] = {}
        self.made = 0
        self.answer = _genuine

    def _fail(self, what: str) -> None:
        if self.failures.get(what):
            code = self.failures[what].pop(0)
            raise OSError(code, os.strerror(code), what)

    def make(self, directory: Path) -> None:
        self._fail("make")
        if directory in self.generations:
            raise FileExistsError(errno.EEXIST, "File exists", str(directory))
        self.generations[directory] = 0
        self.made += 1

    def remove(self, directory: Path) -> None:
        del self.generations[directory]
        self.requests.pop(directory, None)

    def read(self, attribute: Path) -> bytes:
        directory = attribute.parent
        match attribute.name:
            case "provider":
                self._fail("provider")
                return self.provider.encode() + b"\n"
            case "generation":
                return f"{self.generations[directory]}\n".encode()
            case "outblob":
                if self.before_read is not None:
                    self.before_read(self, directory)
                self._fail("outblob")
                if directory not in self.requests:
                    raise OSError(errno.EINVAL, "Invalid argument", str(attribute))
                return self.answer(self.requests[directory])
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(attribute))

    def write(self, attribute: Path, data: bytes) -> None:
        assert attribute.name == "inblob"
        if self.failures.get("lost write"):  # the driver refused, but close() does not say so
            self.failures["lost write"].pop()
            return
        self._fail("inblob")
        self.requests[attribute.parent] = data
        self.generations[attribute.parent] += 1


def _source(kernel: Kernel) -> tuple[ConfigfsSource, list[float]]:
    pauses: list[float] = []
    return ConfigfsSource(files=kernel, pause=pauses.append), pauses


async def test_quote_is_read_and_the_request_removed() -> None:
    kernel = Kernel()
    opened, pauses = _source(kernel)
    source: EvidenceSource = opened
    assert not source.simulated
    assert await source.quote(REPORT_DATA) == _genuine(REPORT_DATA)
    assert (kernel.made, kernel.generations, pauses) == (1, {}, [])


@pytest.mark.parametrize("size", [0, 63, 65])
async def test_quote_for_statement_of_another_size_asks_nobody(size: int) -> None:
    kernel = Kernel()
    with pytest.raises(EvidenceMalformed):
        await _source(kernel)[0].quote(bytes(size))
    assert kernel.made == 0


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT])
@pytest.mark.parametrize("where", ["make", "inblob", "outblob"])
async def test_quote_from_busy_kernel_is_tried_again(where: str, code: int) -> None:
    kernel = Kernel()
    kernel.failures[where] = [code, code]
    source, pauses = _source(kernel)
    assert await source.quote(REPORT_DATA) == _genuine(REPORT_DATA)
    assert len(pauses) == 2
    assert kernel.generations == {}


async def test_quote_from_kernel_that_stays_busy_is_given_up() -> None:
    kernel = Kernel()
    kernel.failures["outblob"] = [errno.EBUSY] * 99
    source, pauses = _source(kernel)
    with pytest.raises(EvidenceUnavailable, match="no quote in 8 attempts"):
        await source.quote(REPORT_DATA)
    assert (len(pauses), kernel.generations) == (7, {})


@pytest.mark.parametrize(
    ("where", "code", "advice"),
    [
        ("make", errno.ENOENT, "load tdx_guest and mount configfs"),
        ("make", errno.ENXIO, "no TSM driver is active"),
        ("make", errno.EACCES, "run as root"),
        ("inblob", errno.EPERM, "run as root"),
        ("outblob", errno.EIO, "see the kernel's log"),
        ("provider", errno.ENOENT, "load tdx_guest"),
    ],
)
async def test_quote_that_can_not_be_had_says_what_to_do(where: str, code: int, advice: str) -> None:
    kernel = Kernel()
    kernel.failures[where] = [code]
    source, pauses = _source(kernel)
    with pytest.raises(EvidenceUnavailable, match=advice):
        await source.quote(REPORT_DATA)
    assert (pauses, kernel.generations) == ([], {})


@pytest.mark.parametrize("provider", ["sev_guest", "", "tdx_guest2"])
async def test_quote_from_another_provider_is_refused(provider: str) -> None:
    kernel = Kernel(provider)
    with pytest.raises(EvidenceUnavailable, match="run in an Intel TDX guest"):
        await _source(kernel)[0].quote(REPORT_DATA)
    assert kernel.generations == {}


def _intruder(times: int, statement: bytes) -> Callable[[Kernel, Path], None]:
    """Another process that overwrites the request between our write and our read, `times` times."""
    left = [times]

    def write(kernel: Kernel, directory: Path) -> None:
        if left[0]:
            left[0] -= 1
            kernel.write(directory / "inblob", statement)

    return write


async def test_quote_after_another_writer_interfered_is_made_anew() -> None:
    """A statement somebody slipped in is never handed out, whatever it says."""
    for statement in (bytes(64), REPORT_DATA):
        kernel = Kernel(before_read=_intruder(2, statement))
        source, pauses = _source(kernel)
        assert await source.quote(REPORT_DATA) == _genuine(REPORT_DATA)
        assert (kernel.made, len(pauses)) == (3, 2)


async def test_quote_while_another_writer_never_stops_is_given_up() -> None:
    kernel = Kernel(before_read=_intruder(99, bytes(64)))
    with pytest.raises(EvidenceUnavailable, match="written 2 times instead of once"):
        await _source(kernel)[0].quote(REPORT_DATA)


async def test_quote_after_a_write_the_kernel_dropped_is_made_anew() -> None:
    kernel = Kernel()
    kernel.failures["lost write"] = [1]
    kernel.requests = _Sticky(bytes(64))  # the driver answers for what it had before
    source, pauses = _source(kernel)
    assert await source.quote(REPORT_DATA) == _genuine(REPORT_DATA)
    assert len(pauses) == 1


class _Sticky(dict[Path, bytes]):
    """Requests that were never made read as an old one."""

    def __init__(self, old: bytes) -> None:
        super().__init__()
        self._old = old

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: Path) -> bytes:
        return self._old


async def test_quote_that_says_something_else_is_not_handed_out() -> None:
    kernel = Kernel()
    kernel.answer = lambda _: _genuine(bytes(64))
    with pytest.raises(EvidenceUnavailable, match="says something else"):
        await _source(kernel)[0].quote(REPORT_DATA)


@pytest.mark.parametrize("answer", [b"", b"noise", _genuine(REPORT_DATA)[:-900]])
async def test_quote_that_is_none_is_not_handed_out(answer: bytes) -> None:
    kernel = Kernel()
    kernel.answer = lambda _: answer
    with pytest.raises(EvidenceUnavailable, match="something that is no quote"):
        await _source(kernel)[0].quote(REPORT_DATA)


async def test_quote_where_generation_is_no_number_is_refused() -> None:
    class Odd(Kernel):
        def read(self, attribute: Path) -> bytes:
            return b"-1\n" if attribute.name == "generation" else super().read(attribute)

    with pytest.raises(EvidenceUnavailable, match="not configfs-tsm"):
        await _source(Odd())[0].quote(REPORT_DATA)


class PipeFiles(OsReportFiles):
    """Real files: attributes appear with the directory, go with it, and a thread behind named pipes is the kernel.

    Reading and writing are the operating system's; only the appearing and going is done here.
    """

    def make(self, directory: Path) -> None:
        super().make(directory)
        (directory / "provider").write_text("tdx_guest\n")
        (directory / "generation").write_text("0\n")
        os.mkfifo(directory / "inblob")
        os.mkfifo(directory / "outblob")
        threading.Thread(target=self._serve, args=(directory,), daemon=True).start()

    def remove(self, directory: Path) -> None:
        shutil.rmtree(directory)

    @staticmethod
    def _serve(directory: Path) -> None:
        statement = (directory / "inblob").read_bytes()
        (directory / "generation").write_text("1\n")
        (directory / "outblob").write_bytes(_genuine(statement))


async def test_quote_through_real_files_is_read_and_the_request_removed(tmp_path: Path) -> None:
    source = ConfigfsSource(tmp_path, files=PipeFiles())
    found = await asyncio.gather(*(source.quote(bytes([index]) * 64) for index in range(3)))
    for index, raw in enumerate(found):
        assert Quote.parse(raw).report.report_data == bytes([index]) * 64
    assert os.listdir(tmp_path) == []


async def test_quote_on_a_machine_without_tdx_says_what_to_do(tmp_path: Path) -> None:
    if REPORTS.exists():
        pytest.skip("this machine has a TSM driver")
    with pytest.raises(EvidenceUnavailable, match="load tdx_guest"):
        await ConfigfsSource().quote(REPORT_DATA)
    with pytest.raises(EvidenceUnavailable, match="load tdx_guest"):
        await ConfigfsSource(tmp_path / "missing").quote(REPORT_DATA)


def test_write_of_an_attribute_is_one_write(tmp_path: Path) -> None:
    attribute = tmp_path / "inblob"
    attribute.touch()
    files = OsReportFiles()
    files.write(attribute, REPORT_DATA)
    assert files.read(attribute) == REPORT_DATA


def test_remove_of_a_request_removes_its_directory(tmp_path: Path) -> None:
    files = OsReportFiles()
    files.make(tmp_path / "request")
    assert (tmp_path / "request").stat().st_mode & 0o777 == 0o700
    files.remove(tmp_path / "request")
    assert list(tmp_path.iterdir()) == []
