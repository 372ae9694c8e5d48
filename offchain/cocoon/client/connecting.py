"""Connecting to a worker: prove whose channel it is, and settle with the worker how far both have come."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import ClientError as HttpError
from aiohttp import ClientSession, ClientWebSocketResponse, ClientWSTimeout, WSMsgType
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..crypto.ed25519 import public_key, verify
from ..crypto.errors import CryptoError
from ..crypto.hpke import HpkePublicKey
from ..crypto.statements import Channel as SignedChannel
from ..crypto.statements import verify_voucher
from ..stream.errors import FrameMalformed, StreamProtocolError
from ..stream.frames import (
    MAX_FRAME_BYTES,
    PATH,
    VERSION,
    AskReceipts,
    Challenge,
    Fail,
    Frame,
    FrameType,
    Receipts,
    Refusal,
    Welcome,
    unpack_reason,
)
from ..stream.payer import PayerLedger
from ..stream.pricing import default_quantum
from ..stream.receipts import RECEIPT_BYTES, extend_chain, receipt_hash, unpack_receipt
from ..stream.session import Session, say_hello, split
from ..wire.escrow import Binding, SignedReceipt
from .channel import Channel
from .evidence import Equivocated, keep_evidence
from .posting import usable_binding
from .store import Evidence, StoredStreams
from .streamed import StreamLied, StreamRefused, StreamStalled
from .workers import find_hpke_key

__all__ = ["Opened", "open_connection"]

_OPENING_SEC = 30.0
_HEARTBEAT_SEC = 20.0
_RECEIPT_ENTRY = RECEIPT_BYTES + 4 + 64


@dataclass(slots=True)
class Opened:
    """An open connection, and what both sides have agreed on. `resend`: the worker lacks the last voucher."""

    http: ClientSession
    socket: ClientWebSocketResponse
    session: Session
    signed: SignedChannel
    binding: Binding
    hpke: HpkePublicKey
    key: Ed25519PrivateKey
    ledger: PayerLedger
    streams: StoredStreams
    resend: bool

    async def send(self, frame: Frame) -> None:
        """StreamStalled if the worker is gone."""
        try:
            await self.socket.send_bytes(self.session.seal(frame))
        except ConnectionError as error:
            raise StreamStalled("the worker hung up; try the next one, or force the job (post_job)") from error

    async def frames(self) -> AsyncIterator[tuple[FrameType, bytes]]:
        """Until the connection ends. FrameMalformed."""
        async for message in self.socket:
            if message.type != WSMsgType.BINARY:
                return
            yield self.session.open(message.data)

    async def close(self) -> None:
        await self.socket.close()
        await self.http.close()


async def open_connection(channel: Channel, endpoint: str, quantum_nano: int | None) -> Opened:
    """StreamRefused, StreamStalled, StreamLied, or a ClientError if network or channel can't be used."""
    await channel.check_network()  # anyone may have rebound the channel to keys attested since it was opened
    state = await channel.state()
    binding = usable_binding(state)
    signed = SignedChannel(channel.chain.global_id, channel.address, state.epoch, binding.key_epoch)
    hpke = await find_hpke_key(channel.chain, channel.stored.worker, binding.keys.hpke_key_hash, channel.store)
    quantum = default_quantum(binding.terms) if quantum_nano is None else quantum_nano
    key = Ed25519PrivateKey.from_private_bytes(channel.stored.client_key)
    stored = channel.store.streams(channel.address, state.epoch)
    promised = max(channel.store.voucher_nano(channel.address, state.epoch), state.claimed_nano)
    http = ClientSession()
    try:
        socket = await http.ws_connect(
            endpoint.rstrip("/") + PATH,
            max_msg_size=MAX_FRAME_BYTES,
            heartbeat=_HEARTBEAT_SEC,
            timeout=ClientWSTimeout(ws_close=2.0),
        )
        session, welcome = await _greet(socket, signed, channel, key, hpke)
        _check_voucher(welcome, signed, public_key(key), promised)
        resend = welcome.cumulative < promised
        promised = max(promised, welcome.cumulative)
        ledger = PayerLedger(
            deposit=state.deposit_nano, quantum=quantum, promised=promised, verified=stored.verified_nano
        )
        opened = Opened(http, socket, session, signed, binding, hpke, key, ledger, stored, resend)
        await _catch_up(opened, channel, welcome)
        return opened
    except (HttpError, OSError, TimeoutError, ValueError) as error:
        await http.close()
        raise StreamStalled(f"the worker at {endpoint} can't be reached ({error}); try the next one") from error
    except StreamProtocolError as error:
        await http.close()
        raise StreamLied(f"the worker broke the protocol: {error}") from error
    except BaseException:
        await http.close()
        raise


async def _greet(
    socket: ClientWebSocketResponse,
    signed: SignedChannel,
    channel: Channel,
    key: Ed25519PrivateKey,
    hpke: HpkePublicKey,
) -> tuple[Session, Welcome]:
    kind, body = split(await _receive(socket))
    if kind == FrameType.REFUSAL:
        raise StreamRefused(*unpack_reason(Refusal.decode(body).rest))
    challenge = Challenge.decode(body)
    if kind != FrameType.CHALLENGE or challenge.version != VERSION:
        raise FrameMalformed("the worker speaks another version of the protocol")
    hello, session = say_hello(signed, channel.stored.worker, key, hpke, challenge.nonce, secrets.token_bytes(32))
    await socket.send_bytes(bytes([hello.TYPE]) + hello.encode())
    message = await _receive(socket)
    if split(message)[0] == FrameType.REFUSAL:
        raise StreamRefused(*unpack_reason(Refusal.decode(message[1:]).rest))
    kind, body = session.open(message)
    if kind != FrameType.WELCOME:
        raise FrameMalformed("the worker did not say welcome")
    return session, Welcome.decode(body)


async def _receive(socket: ClientWebSocketResponse) -> bytes:
    message = await socket.receive(_OPENING_SEC)
    if message.type != WSMsgType.BINARY:
        raise StreamStalled("the worker hung up; try the next one")
    data: bytes = message.data
    return data


def _check_voucher(welcome: Welcome, signed: SignedChannel, client_key: int, promised: int) -> None:
    """More than this client remembers counts only with its own signature: its store may have been set back."""
    if welcome.cumulative <= promised:
        return
    channel = SignedChannel(signed.global_id, signed.escrow, signed.epoch, welcome.voucher_key_epoch)
    try:
        verify_voucher(
            welcome.voucher_signature,
            client_key=client_key,
            channel=channel,
            cumulative_nano=welcome.cumulative,
            receipt_chain=int.from_bytes(welcome.voucher_chain, "big"),
        )
    except CryptoError as error:
        raise StreamLied("the worker claims a voucher that this client never signed; try another worker") from error


async def _catch_up(opened: Opened, channel: Channel, welcome: Welcome) -> None:
    """Fetches receipts that this client does not have (it died before they were stored), and compares the chains."""
    stored, chain = opened.streams, int.from_bytes(welcome.chain, "big")
    if welcome.receipts < stored.receipts:
        raise StreamRefused("history", "the worker has forgotten receipts it gave; close this channel, open another")
    while stored.receipts < welcome.receipts:
        await opened.send(AskReceipts(stored.receipts))
        kind, body = opened.session.open(await _receive(opened.socket))
        if kind == FrameType.FAIL:
            raise StreamRefused(*unpack_reason(Fail.decode(body).rest))
        if kind != FrameType.RECEIPTS:
            raise FrameMalformed("the worker did not send its receipts")
        stored = _add(opened, channel, stored, Receipts.decode(body))
    if stored.chain != chain:
        raise StreamRefused("history", "the worker's receipts are not this client's; close this channel, open another")
    opened.streams = stored
    if welcome.earned > opened.ledger.verified + opened.ledger.quantum:
        raise StreamRefused(
            "history",
            f"the worker counts {welcome.earned} nanoTON, and {opened.ledger.verified} were received: more was lost on "
            f"the way than a quantum; close this channel, open another one",
        )


def _add(opened: Opened, channel: Channel, stored: StoredStreams, frame: Receipts) -> StoredStreams:
    """Receipts whose answers did not arrive: their place in the chain is taken, but they count as nothing."""
    if frame.first != stored.receipts or not frame.rest or len(frame.rest) % _RECEIPT_ENTRY:
        raise FrameMalformed("receipts out of order, or cut short")
    found: list[tuple[int, SignedReceipt]] = []
    shown: dict[int, SignedReceipt] = {}  # of this frame, by seq
    number, head = stored.receipts, stored.chain
    for at in range(0, len(frame.rest), _RECEIPT_ENTRY):
        entry = frame.rest[at : at + _RECEIPT_ENTRY]
        key_epoch = int.from_bytes(entry[RECEIPT_BYTES : RECEIPT_BYTES + 4], "big")
        signed = SignedChannel(opened.signed.global_id, opened.signed.escrow, opened.signed.epoch, key_epoch)
        receipt = unpack_receipt(entry[:RECEIPT_BYTES], signed)
        given = SignedReceipt(receipt, entry[RECEIPT_BYTES + 4 :])
        found.append((number, given))
        if key_epoch == opened.signed.key_epoch:
            key = opened.binding.keys.session_key
            try:
                verify(key, receipt, given.signature)
            except CryptoError as error:
                raise StreamLied("the worker shows a receipt that it did not sign; try another worker") from error
            earlier = shown.setdefault(receipt.seq, given)
            if earlier is given:
                earlier = channel.store.receipt(signed, receipt.seq) or given
            if earlier.receipt != receipt:
                evidence = Evidence(channel.stored, key, earlier, given)
                keep_evidence(channel.store, evidence)
                raise Equivocated(channel, evidence)
        number, head = number + 1, extend_chain(head, receipt_hash(receipt))
    now = StoredStreams(stored.verified_nano, number, head)
    channel.store.save_streams(channel.address, opened.signed.epoch, now, found)
    return now
