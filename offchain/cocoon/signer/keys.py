"""The keys and what they may be used for: the part of the signer that an enclave's measurement must vouch for."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..crypto.ed25519 import public_key, sign
from ..crypto.errors import StatementMismatch
from ..crypto.hpke import HpkePrivateKey, HpkePublicKey
from ..crypto.request import RequestBinding
from ..crypto.response import response_digest
from ..wire.blob import bytes_to_cell
from ..wire.common import DOMAIN_TAG, Kind
from ..wire.escrow import CloseStatement, Receipt, RejectionStatement
from .table import Signed, SignedTable, Slot

__all__ = ["SignerIdentity", "SignerKeys"]


@dataclass(frozen=True, slots=True)
class SignerIdentity:
    """The public halves."""

    session_key: int
    hpke_key: HpkePublicKey


class SignerKeys:
    """One session key and one HPKE key, born here, with the table of what the session key has signed.

    Not for several threads. Each method either returns or raises with nothing changed.
    """

    def __init__(self, table: SignedTable | None = None) -> None:
        self._session = Ed25519PrivateKey.generate()
        self._hpke = HpkePrivateKey()
        self._table = SignedTable() if table is None else table

    def identity(self) -> SignerIdentity:
        return SignerIdentity(public_key(self._session), self._hpke.public)

    def decrypt(self, binding: RequestBinding, ciphertext: bytes) -> bytes:
        """The padded plaintext of a request. RequestUndecryptable."""
        return self._hpke.decrypt(ciphertext, binding.info)

    def find(self, slot: Slot) -> Signed | None:
        """What was signed for this sequence number."""
        return self._table.find(slot)

    def sign_receipt(self, receipt: Receipt, response: bytes) -> Signed:
        """Signs for `response` (the bytes of its blob), which is kept with the receipt. AlreadySigned,
        StatementMismatch.
        """
        if receipt.outcome.response_digest != response_digest(bytes_to_cell(response)):
            raise StatementMismatch("the receipt names another response than the one given")
        return self._sign_once(receipt, response)

    def sign_stream_receipt(self, receipt: Receipt) -> bytes:
        """Signs for a stream, whose pieces have left already and are not kept. AlreadySigned, SeqClosed,
        StatementMismatch.
        """
        if receipt.domain.kind != Kind.STREAM_RECEIPT:
            raise StatementMismatch("not the receipt of a stream")
        return self._sign_once(receipt, None).signature

    def sign_rejection(self, rejection: RejectionStatement) -> Signed:
        """AlreadySigned, StatementMismatch."""
        return self._sign_once(rejection, None)

    def sign_close(self, statement: CloseStatement) -> bytes:
        """Agrees to a final split. Signing several is harmless: only one can be executed, and none is evidence."""
        if statement.domain.tag != DOMAIN_TAG or statement.domain.kind != Kind.CLOSE:
            raise StatementMismatch("not a close statement of this protocol version")
        return sign(self._session, statement)

    def _sign_once(self, statement: Receipt | RejectionStatement, response: bytes | None) -> Signed:
        slot = Slot.of(statement)
        stored = self._table.recall(slot, statement)
        if stored is not None:
            return stored
        return self._table.store(slot, statement, sign(self._session, statement), response)
