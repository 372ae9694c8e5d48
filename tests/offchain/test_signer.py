"""The signer never signs one sequence number twice, with whatever content, by whatever path, and outlives its agent."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytoniq_core import Address

from cocoon.agent import main as agent_main
from cocoon.crypto import statements
from cocoon.crypto.ed25519 import verify
from cocoon.crypto.errors import RequestUndecryptable, StatementMismatch
from cocoon.crypto.request import RequestBinding, parse_request, request_ciphertext, seal_request
from cocoon.crypto.response import response_digest
from cocoon.crypto.statements import Channel
from cocoon.crypto.usage import Usage
from cocoon.signer.client import SignerClient
from cocoon.signer.errors import AlreadySigned, SignerFull, SignerRefused, SignerUnavailable
from cocoon.signer.keys import SignerKeys
from cocoon.signer.launch import ensure_signer
from cocoon.signer.server import SignerServer
from cocoon.signer.table import SignedTable, Slot
from cocoon.wire.blob import bytes_to_cell
from cocoon.wire.common import Kind
from cocoon.wire.escrow import CloseStatement, Receipt, RejectionStatement, RejectReason

ESCROW, WORKER = Address((0, b"\x11" * 32)), Address((0, b"\x22" * 32))
CHANNEL = Channel(-239, ESCROW, 7, 1)
USAGE = Usage(1, 0, 1, b"\3" * 32)


def _receipt(response: bytes = b"response", *, seq: int = 1, fee: int = 5, kind: Kind = Kind.FORCED_RECEIPT) -> Receipt:
    return statements.receipt(
        CHANNEL, kind, seq=seq, fee_nano=fee, issued_at=1, request_digest=10,
        response_digest=response_digest(bytes_to_cell(response)), model_id=12, usage=USAGE, measurement=0,
    )  # fmt: skip


def _rejection(seq: int = 1, reason: RejectReason = RejectReason.TOO_LONG) -> RejectionStatement:
    return statements.rejection(CHANNEL, seq=seq, request_digest=10, reason=reason)


def test_sign_receipt_twice_returns_the_same_bytes() -> None:
    keys = SignerKeys()
    first = keys.sign_receipt(_receipt(), b"response")
    assert keys.sign_receipt(_receipt(), b"response") == first
    assert first.response == b"response"
    verify(keys.identity().session_key, _receipt(), first.signature)
    assert keys.find(Slot.of(_receipt())) == first


@pytest.mark.parametrize(
    "other",
    [_receipt(fee=6), _receipt(b"other"), replace(_receipt(), request_digest=11), replace(_receipt(), issued_at=2)],
)
def test_sign_receipt_with_other_content_is_refused_with_what_was_signed(other: Receipt) -> None:
    """A.17."""
    keys = SignerKeys()
    first = keys.sign_receipt(_receipt(), b"response")
    response = b"response" if other.outcome == _receipt().outcome else b"other"
    with pytest.raises(AlreadySigned) as refused:
        keys.sign_receipt(other, response)
    assert refused.value.stored == first


def test_sign_receipt_on_another_network_takes_the_same_slot() -> None:
    """A.17."""
    keys = SignerKeys()
    keys.sign_receipt(_receipt(), b"response")
    with pytest.raises(AlreadySigned):
        keys.sign_receipt(
            replace(_receipt(), domain=replace(CHANNEL, global_id=-3).domain(Kind.FORCED_RECEIPT)), b"response"
        )


def test_receipt_and_rejection_of_one_seq_exclude_each_other() -> None:
    keys = SignerKeys()
    keys.sign_receipt(_receipt(seq=1), b"response")
    with pytest.raises(AlreadySigned):
        keys.sign_rejection(_rejection(1))
    keys.sign_rejection(_rejection(2))
    with pytest.raises(AlreadySigned):
        keys.sign_receipt(_receipt(seq=2), b"response")
    with pytest.raises(AlreadySigned):
        keys.sign_rejection(_rejection(2, RejectReason.MALFORMED))


def test_streamed_and_forced_receipts_of_one_seq_are_apart() -> None:
    keys = SignerKeys()
    keys.sign_receipt(_receipt(), b"response")
    keys.sign_receipt(_receipt(kind=Kind.STREAM_RECEIPT), b"response")
    other = replace(CHANNEL, epoch=8).domain(Kind.FORCED_RECEIPT)
    keys.sign_receipt(replace(_receipt(fee=9), domain=other), b"response")


def test_sign_statement_of_the_wrong_kind_is_refused() -> None:
    keys = SignerKeys()
    for kind in set(Kind) - {Kind.FORCED_RECEIPT, Kind.STREAM_RECEIPT}:
        with pytest.raises(StatementMismatch):
            keys.sign_receipt(replace(_receipt(), domain=CHANNEL.domain(kind)), b"response")
    for kind in set(Kind) - {Kind.REJECTION}:
        with pytest.raises(StatementMismatch):
            keys.sign_rejection(replace(_rejection(), domain=CHANNEL.domain(kind)))
    for kind in set(Kind) - {Kind.CLOSE}:
        with pytest.raises(StatementMismatch):
            keys.sign_close(CloseStatement(CHANNEL.domain(kind), 5))
    with pytest.raises(StatementMismatch):
        keys.sign_receipt(replace(_receipt(), domain=replace(_receipt().domain, tag=1)), b"response")
    with pytest.raises(StatementMismatch):
        keys.sign_receipt(_receipt(), b"not the response")
    assert keys.find(Slot.of(_receipt())) is None


def test_table_forgets_old_responses_but_no_signature() -> None:
    keys = SignerKeys(SignedTable(max_response_bytes=20))
    for seq in (1, 2, 3):
        keys.sign_receipt(_receipt(seq=seq), b"response")
    kept = [keys.find(Slot.of(_receipt(seq=seq))) for seq in (1, 2, 3)]
    assert [entry is not None and entry.response for entry in kept] == [None, b"response", b"response"]
    with pytest.raises(AlreadySigned):
        keys.sign_receipt(_receipt(seq=1, fee=6), b"response")
    again = keys.sign_receipt(_receipt(seq=1), b"response")
    assert kept[0] is not None
    assert again.signature == kept[0].signature


def test_table_that_is_full_refuses_new_numbers_only() -> None:
    keys = SignerKeys(SignedTable(max_entries=1))
    first = keys.sign_receipt(_receipt(), b"response")
    with pytest.raises(SignerFull):
        keys.sign_receipt(_receipt(seq=2), b"response")
    assert keys.sign_receipt(_receipt(), b"response").signature == first.signature


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  a file is waited for, which nothing announces
            await asyncio.sleep(0.002)


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # pytest's own directories are too deep for a socket's path
    with tempfile.TemporaryDirectory(prefix="cocoon-") as directory:
        yield Path(directory) / "signer" / "s.sock"


@pytest.fixture
async def client(socket_path: Path) -> AsyncIterator[SignerClient]:
    server = SignerServer(SignerKeys(), socket_path)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        await _until(socket_path.exists)
        made = SignerClient(socket_path)
        yield made
        await made.close()
        server.stop()


async def test_signer_over_its_socket_does_everything(client: SignerClient) -> None:
    identity = await client.identity()
    binding = RequestBinding(CHANNEL.domain(Kind.FORCED_RECEIPT), WORKER, 12)
    cell, secret = seal_request({"a": 1}, to=identity.hpke_key, binding=binding)
    assert parse_request(await client.decrypt(binding, request_ciphertext(cell))).secret == secret
    with pytest.raises(RequestUndecryptable):
        await client.decrypt(replace(binding, model_id=13), request_ciphertext(cell))

    assert await client.find(Slot.of(_receipt())) is None
    signed = await client.sign_receipt(_receipt(), b"response")
    assert await client.find(Slot.of(_receipt())) == signed
    with pytest.raises(AlreadySigned) as refused:
        await client.sign_rejection(_rejection())
    assert refused.value.stored == signed
    rejected = await client.sign_rejection(_rejection(2))
    statements.verify_rejection(
        rejected.signature, session_key=identity.session_key, channel=CHANNEL, seq=2, request_digest=10,
        reason=RejectReason.TOO_LONG,
    )  # fmt: skip
    closed = await client.sign_close(statements.close(CHANNEL, cumulative_nano=5))
    statements.verify_close(closed, key=identity.session_key, channel=CHANNEL, cumulative_nano=5)
    with pytest.raises(StatementMismatch):
        await client.sign_receipt(_receipt(seq=9), b"not the response")


async def test_signer_sent_garbage_answers_or_hangs_up_and_goes_on(client: SignerClient, socket_path: Path) -> None:
    await client.identity()
    calls = (
        b"{}",
        b'{"op":"nope"}',
        b'{"op":"decrypt"}',
        b'{"op":"find","slot":[1]}',
        b'{"op":"find","slot":null}',
        b'{"op":"sign_receipt","receipt":"AAAA","response":"!"}',
        b'{"op":"possession","global_id":-239,"worker":"x","index":0,"key_epoch":1}',
    )
    for call in calls:
        reader, writer = await asyncio.open_unix_connection(socket_path)
        writer.write(len(call).to_bytes(4, "big") + call)
        length = int.from_bytes(await reader.readexactly(4), "big")
        assert b'"error"' in await reader.readexactly(length)
        writer.close()
    for frame in (b"\xff" * 8, b"\0\0\0\2[]", b"\0\0\0\1{", b"\0\0\0\5ab"):
        reader, writer = await asyncio.open_unix_connection(socket_path)
        writer.write(frame)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    await client.identity()


async def test_second_signer_on_one_socket_is_refused(client: SignerClient, socket_path: Path) -> None:
    with pytest.raises(SignerUnavailable, match="another signer"):
        await SignerServer(SignerKeys(), socket_path).serve()
    await client.identity()


async def test_signer_in_a_directory_open_to_others_is_refused(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o755)
    socket_path.parent.chmod(0o755)
    with pytest.raises(SignerUnavailable, match="chmod 700"):
        await SignerServer(SignerKeys(), socket_path).serve()


async def test_client_without_a_signer_is_told_how_to_start_one(socket_path: Path) -> None:
    with pytest.raises(SignerUnavailable, match=r"python -m cocoon\.signer"):
        await SignerClient(socket_path).identity()


async def test_signer_process_outlives_the_one_that_started_it(socket_path: Path) -> None:
    """A.17: A process that starts a signer is killed; the signer keeps keys and table, and its files hold no secret."""
    script = (
        "import asyncio, os, signal, sys, pathlib\n"
        "from cocoon.signer.launch import ensure_signer\n"
        "asyncio.run(ensure_signer(pathlib.Path(sys.argv[1])))\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    starter = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, str(socket_path)], start_new_session=True, check=False
    )
    assert starter.returncode == -signal.SIGKILL
    client = SignerClient(socket_path)
    first = await client.sign_receipt(_receipt(), b"response")
    await client.close()
    again = await ensure_signer(socket_path)
    assert await again.sign_receipt(_receipt(), b"response") == first
    identity = await again.identity()
    assert sorted(os.listdir(socket_path.parent)) == ["s.log", "s.sock", "s.sock.lock"]
    await again.stop()
    await _until(lambda: not socket_path.exists())
    fresh = await ensure_signer(socket_path)
    assert (await fresh.identity()).session_key != identity.session_key
    await fresh.stop()


async def test_client_reconnects_after_the_signer_hung_up(client: SignerClient) -> None:
    with pytest.raises(SignerRefused):
        await client.decrypt(RequestBinding(CHANNEL.domain(Kind.FORCED_RECEIPT), WORKER, 12), bytes(1 << 20))
    first = await client.sign_receipt(_receipt(), b"response")
    assert client._line is not None
    call = asyncio.create_task(client.identity())
    await asyncio.sleep(0)
    client._line.close()
    with pytest.raises(SignerUnavailable, match="hung up"):
        await call
    assert await client.sign_receipt(_receipt(), b"response") == first


async def test_calls_made_together_are_answered_each_and_one_given_up_harms_no_other(client: SignerClient) -> None:
    first = await client.sign_receipt(_receipt(), b"response")
    closes = [statements.close(CHANNEL, cumulative_nano=nano) for nano in range(1, 41)]
    calls = [asyncio.create_task(client.sign_close(statement)) for statement in closes]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    session_key = (await client.identity()).session_key
    signed = await asyncio.gather(*calls, return_exceptions=True)
    for number, signature in enumerate(signed):
        if number % 3 == 0:
            assert isinstance(signature, asyncio.CancelledError)
        else:
            assert isinstance(signature, bytes)
            statements.verify_close(signature, key=session_key, channel=CHANNEL, cumulative_nano=number + 1)
    assert await client.find(Slot.of(_receipt())) == first


async def test_client_that_sends_without_reading_is_not_read_from(client: SignerClient, socket_path: Path) -> None:
    """Its answers would pile up in the process that holds the keys."""
    call = b'{"op":"identity"}'
    _, writer = await asyncio.open_unix_connection(socket_path)
    frame = len(call).to_bytes(4, "big") + call
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while sent < 256 << 20:
                writer.write(frame * 5000)
                sent += len(frame) * 5000
                await writer.drain()
    assert sent < 256 << 20
    await client.identity()
    writer.close()


def test_signer_at_the_path_of_a_file_leaves_it_alone(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket_path.write_text("somebody's key")
    with pytest.raises(SignerUnavailable, match="file of something else"):
        asyncio.run(SignerServer(SignerKeys(), socket_path).serve())
    with pytest.raises(SignerUnavailable, match="file of something else"):
        asyncio.run(ensure_signer(socket_path))
    assert socket_path.read_text() == "somebody's key"


async def test_signer_that_died_is_replaced_while_its_agent_runs(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_main, "_SIGNER_CHECK_SEC", 0.05)
    client = await ensure_signer(socket_path)
    first = await client.identity()
    keeper = asyncio.create_task(agent_main._keep_signer(socket_path))
    await client.stop()
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(SignerUnavailable):
                    if await client.identity() != first:
                        break
                await asyncio.sleep(0.05)
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await client.stop()


async def test_signer_told_to_stop_ends_though_a_client_stays_connected(
    client: SignerClient, socket_path: Path
) -> None:
    other = SignerClient(socket_path)
    await other.identity()
    await client.stop()
    async with asyncio.timeout(5):
        while True:
            try:
                await other.identity()
            except SignerUnavailable:
                break
            await asyncio.sleep(0.02)
    await other.close()
