"""One connection's secrets: who opened it, and that every frame is theirs, in order, once.

The worker sends a nonce; the client answers with a secret sealed to the attested HPKE key and signs both with the
channel's key. From then on frames are sealed with keys that follow from the secret and from what was signed: a recorded
opening is of no use to anybody, and a voice on the wire can only break the connection. Chunks carry their own seal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pytoniq_core import Address

from ..crypto.ed25519 import sign, verify
from ..crypto.errors import CryptoError
from ..crypto.hpke import HpkePublicKey
from ..crypto.payload import pack, unpack
from ..crypto.request import RequestBinding
from ..crypto.statements import Channel
from ..wire.codec import U256, Struct
from ..wire.common import DOMAIN_TAG, SignedDomain
from ..wire.hashing import struct_hash
from .errors import FrameMalformed, HelloRefused
from .frames import Frame, FrameType, Hello

__all__ = [
    "HELLO_KIND",
    "HelloStatement",
    "Session",
    "hello_binding",
    "open_hello",
    "say_hello",
    "split",
    "verify_hello",
]

HELLO_KIND = 128  # statements from here on are for no contract's ears
_SECRET_BYTES = 32
_LEAST_BYTES = 64
_LABEL = b"cocoon session 1 "
_CLEAR = frozenset({FrameType.CHALLENGE, FrameType.HELLO, FrameType.REFUSAL, FrameType.CHUNK})


@dataclass(frozen=True, slots=True)
class HelloStatement(Struct):
    """What the client signs: the worker's nonce, and the ciphertext of the secret."""

    domain: SignedDomain
    nonce: U256
    ciphertext_digest: U256


class Session:
    """Seals what one side says and opens what the other says. The client's keys are the worker's, exchanged."""

    def __init__(self, secret: bytes, nonce: bytes, statement: HelloStatement, *, client: bool) -> None:
        info = _LABEL + struct_hash(statement)
        keys = HKDF(algorithm=SHA256(), length=64, salt=nonce, info=info).derive(secret)
        up, down = ChaCha20Poly1305(keys[:32]), ChaCha20Poly1305(keys[32:])
        self._out, self._in = (up, down) if client else (down, up)
        self._sent = self._received = 0

    def seal(self, frame: Frame) -> bytes:
        """A WebSocket message."""
        head = bytes([frame.TYPE])
        if frame.TYPE in _CLEAR:
            return head + frame.encode()
        self._sent += 1
        return head + self._out.encrypt(self._sent.to_bytes(12, "big"), frame.encode(), head)

    def open(self, message: bytes) -> tuple[FrameType, bytes]:
        """(type, encoded frame). FrameMalformed for what the other side did not say, or not now."""
        kind, body = split(message)
        if kind in _CLEAR:
            return kind, body
        self._received += 1
        try:
            return kind, self._in.decrypt(self._received.to_bytes(12, "big"), body, message[:1])
        except InvalidTag as error:
            raise FrameMalformed("a frame was altered, repeated or lost on the way") from error


def split(message: bytes) -> tuple[FrameType, bytes]:
    """(type, rest) of a WebSocket message. FrameMalformed."""
    try:
        return FrameType(message[0]), message[1:]
    except (IndexError, ValueError) as error:
        raise FrameMalformed("a message is no frame") from error


def hello_binding(channel: Channel, worker: Address, nonce: bytes) -> RequestBinding:
    """Where the session's secret may be opened: this channel, this worker, this nonce."""
    return RequestBinding(_domain(channel), worker, int.from_bytes(nonce, "big"))


def say_hello(
    channel: Channel, worker: Address, key: Ed25519PrivateKey, hpke: HpkePublicKey, nonce: bytes, secret: bytes
) -> tuple[Hello, Session]:
    """The client's opening. secret: 32 fresh random bytes."""
    binding = hello_binding(channel, worker, nonce)
    ciphertext = hpke.encrypt(pack(secret, {}, least=_LEAST_BYTES), binding.info)
    statement = _statement(channel, nonce, ciphertext)
    hello = Hello(
        channel.escrow.wc,
        channel.escrow.hash_part,
        channel.epoch,
        channel.key_epoch,
        sign(key, statement),
        ciphertext,
    )
    return hello, Session(secret, nonce, statement, client=True)


def verify_hello(hello: Hello, channel: Channel, client_key: int, nonce: bytes) -> None:
    """HelloRefused unless the channel's client said it, in answer to this nonce."""
    try:
        verify(client_key, _statement(channel, nonce, hello.rest), hello.signature)
    except CryptoError as error:
        raise HelloRefused("the opening is not signed by this channel's client, or for another connection") from error


def open_hello(hello: Hello, channel: Channel, nonce: bytes, plaintext: bytes) -> Session:
    """The session of a verified opening; `plaintext` is what the signer decrypted. HelloRefused."""
    try:
        secret, _ = unpack(plaintext, header_bytes=_SECRET_BYTES, least=_LEAST_BYTES)
    except CryptoError as error:
        raise HelloRefused(f"the opening's secret can't be read: {error}") from error
    return Session(secret, nonce, _statement(channel, nonce, hello.rest), client=False)


def _domain(channel: Channel) -> SignedDomain:
    return SignedDomain(DOMAIN_TAG, HELLO_KIND, channel.global_id, channel.escrow, channel.epoch, channel.key_epoch)


def _statement(channel: Channel, nonce: bytes, ciphertext: bytes) -> HelloStatement:
    digest = int.from_bytes(hashlib.sha256(ciphertext).digest(), "big")
    return HelloStatement(_domain(channel), int.from_bytes(nonce, "big"), digest)
