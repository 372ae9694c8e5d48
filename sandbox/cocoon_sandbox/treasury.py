"""Test wallets: real v4r2 wallet contracts with keys derived from a name, so gas, bounces and excesses are real."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pytoniq.contract.wallets.wallet import WALLET_V4_R2_CODE
from pytoniq_core import Address, Builder, Cell

from .errors import LedgerError
from .message import build_external, build_internal, state_init
from .transaction import Transaction

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["Treasury"]

_SUBWALLET = 698_983_191
_TTL_S = 60


class Treasury:
    """The wallet called `name`. It holds no state: one object serves any number of ledgers and snapshots."""

    def __init__(self, name: str, workchain: int = 0) -> None:
        self.name = name
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"cocoon treasury " + name.encode()).digest())
        self.public_key = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.address = Address((workchain, self.state_init.hash))

    def __repr__(self) -> str:
        return f"<Treasury {self.name} {self.address.to_str(is_user_friendly=False)}>"

    @cached_property
    def state_init(self) -> Cell:
        data = Builder().store_uint(0, 32).store_uint(_SUBWALLET, 32).store_bytes(self.public_key).store_bits("0")
        return state_init(WALLET_V4_R2_CODE, data.end_cell())

    def balance(self, ledger: Ledger) -> int:
        """nanoTON in this wallet on `ledger`."""
        return ledger.balance(self.address)

    def send(
        self,
        ledger: Ledger,
        to: Address,
        value: int,
        body: Cell | None = None,
        *,
        state_init: Cell | None = None,
        bounce: bool = True,
        mode: int = 1,
    ) -> list[Transaction]:
        """Send `value` nanoTON to `to` and run everything this causes; the first transaction is the wallet's own.

        LedgerError if the wallet could not send, which is a mistake of the test (usually too little money), not of the
        contract under test.
        """
        ledger.lt += -ledger.lt % 1_000_000
        message = self.message(ledger, to, value, body, state_init=state_init, bounce=bounce, mode=mode)
        ledger.enqueue(message)
        done = ledger.run()
        if not done[0].success:
            raise LedgerError(
                f"treasury {self.name} with {self.balance(ledger)} nanoTON can't send {value}: {done[0]!r}; "
                f"give it more with ledger.credit()"
            )
        return done

    def message(
        self,
        ledger: Ledger,
        to: Address,
        value: int,
        body: Cell | None = None,
        *,
        state_init: Cell | None = None,
        bounce: bool = True,
        mode: int = 1,
    ) -> Cell:
        """The signed external message that makes this wallet send; deploys the wallet if it is not there yet."""
        # The network fills in the missing sender and the times of a message that a contract emits.
        outgoing = build_internal(src=None, dst=to, value=value, body=body, state_init=state_init, bounce=bounce)
        account = ledger.account(self.address)
        data = account.data
        seqno = 0 if data is None else data.begin_parse().load_uint(32)
        order = Builder().store_uint(_SUBWALLET, 32).store_uint(ledger.now + _TTL_S, 32).store_uint(seqno, 32)
        order.store_uint(0, 8).store_uint(mode, 8).store_ref(outgoing)
        signature = self.key.sign(order.end_cell().hash)
        signed = Builder().store_bytes(signature).store_cell(order.end_cell()).end_cell()
        return build_external(
            dst=self.address, body=signed, state_init=None if account.status == "active" else self.state_init
        )
