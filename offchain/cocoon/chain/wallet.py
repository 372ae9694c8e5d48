"""A v4r2 wallet: the key that pays, signing offline, sending with the outcome checked.

Mnemonics are tonsdk's work; the wallet's code is pytoniq's constant; messages are built here because both libraries fix
what must be chosen by the caller (expiry, several messages at once). Amounts are nanoTON, times unix seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq.contract.wallets.wallet import WALLET_V4_R2_CODE
from pytoniq_core import Address, Builder, Cell
from tonsdk.crypto import mnemonic_is_valid, mnemonic_new, mnemonic_to_wallet_key

from ..errors import WalletError
from ..wire.common import state_init as make_state_init
from .base import Chain, ChainTransaction
from .delivery import deliver, patiently, wallet_seqno

__all__ = ["MAX_TRANSFERS", "Transfer", "Wallet", "format_ton", "needed_nano"]

SUBWALLET = 698983191
MAX_TRANSFERS = 4  # messages of a v4 wallet at once
_PAY_FEES_SEPARATELY_IGNORE_ERRORS = 3
_FEE_MARGIN = 20_000_000
_TTL_SEC = 120
_SEED_HEX = 64


@dataclass(frozen=True, slots=True)
class Transfer:
    """One message a wallet is to send. `value` arrives whole: the wallet pays the forward fee on top."""

    to: Address
    value: int
    body: Cell | None = None
    state_init: Cell | None = None
    bounce: bool = True


class Wallet:
    """One key's wallet. `send` may be called from several tasks: sends of one object are made one after another."""

    def __init__(self, key: Ed25519PrivateKey, *, workchain: int = 0) -> None:
        self.key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()
        self._subwallet = SUBWALLET + workchain
        data = Builder().store_uint(0, 32).store_uint(self._subwallet, 32).store_bytes(self.public_key).store_bit(0)
        self.state_init: Cell = make_state_init(WALLET_V4_R2_CODE, data.end_cell())
        self.address = Address((workchain, self.state_init.hash))
        self._lock = asyncio.Lock()

    @classmethod
    def from_mnemonic(cls, words: str | Sequence[str], *, workchain: int = 0) -> Self:
        """The wallet of 24 words. WalletError if they are no TON mnemonic (a typo, another wallet's standard)."""
        listed = [word.lower() for word in (words.split() if isinstance(words, str) else words)]
        if not mnemonic_is_valid(listed):
            raise WalletError(f"these {len(listed)} words are no TON mnemonic; check the spelling and order of the 24")
        _, secret = mnemonic_to_wallet_key(listed)
        return cls(Ed25519PrivateKey.from_private_bytes(secret[:32]), workchain=workchain)

    @classmethod
    def from_key_file(cls, path: Path) -> Self:
        """The wallet of a file with 24 words or the 64 hex digits of an Ed25519 seed. WalletError."""
        try:
            text = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WalletError(f"can't read the wallet's key: {error}") from error
        if len(text) != _SEED_HEX:
            return cls.from_mnemonic(text)
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text)))
        except ValueError as error:
            raise WalletError(f"{path} holds neither 24 words nor {_SEED_HEX} hex digits") from error

    @classmethod
    def from_settings(cls, key_file: Path | None, variable: str) -> Self:
        """The wallet of `key_file`, or where there is none of the words in the environment `variable`. WalletError."""
        if key_file is not None:
            return cls.from_key_file(key_file)
        if not (words := os.environ.get(variable)):
            raise WalletError(f"the wallet's key is missing: set wallet_key, or {variable}")
        return cls.from_mnemonic(words)

    @staticmethod
    def new_mnemonic() -> str:
        """24 fresh words."""
        return " ".join(mnemonic_new())

    def __repr__(self) -> str:
        return f"<Wallet {self.address.to_str(is_user_friendly=False)}>"

    # ---- offline ----

    def sign(
        self,
        to: Address,
        value: int,
        body: Cell | None = None,
        *,
        seqno: int,
        valid_until: int,
        state_init: Cell | None = None,
        bounce: bool = True,
    ) -> Cell:
        """The signed external message that makes this wallet send one message; see `sign_all`."""
        return self.sign_all([Transfer(to, value, body, state_init, bounce)], seqno=seqno, valid_until=valid_until)

    def sign_all(self, transfers: Sequence[Transfer], *, seqno: int, valid_until: int) -> Cell:
        """The signed external message that makes this wallet send up to four messages in one transaction.

        Needs no network. With seqno 0 it carries the wallet's StateInit and so deploys it. It can be executed once,
        until `valid_until`.
        """
        if not 1 <= len(transfers) <= MAX_TRANSFERS:
            raise WalletError(f"a wallet sends 1 to {MAX_TRANSFERS} messages at a time, not {len(transfers)}")
        if not 0 <= seqno < 1 << 32 or not 0 < valid_until < 1 << 32:
            raise WalletError(f"seqno {seqno} or expiry {valid_until} is no 32-bit number; read both off the chain")
        order = Builder().store_uint(self._subwallet, 32).store_uint(valid_until, 32).store_uint(seqno, 32)
        order.store_uint(0, 8)
        for transfer in transfers:
            # Errors are ignored because a v4 wallet whose action fails keeps its seqno: the message could be repeated
            # until the money is gone. `send` notices that a message is missing.
            order.store_uint(_PAY_FEES_SEPARATELY_IGNORE_ERRORS, 8).store_ref(_outgoing(transfer))
        unsigned = order.end_cell()
        signature = self.key.sign(unsigned.hash)
        message = Builder().store_uint(0b1000, 4).store_address(self.address).store_coins(0)
        if seqno == 0:
            message.store_uint(0b11, 2).store_ref(self.state_init)
        else:
            message.store_bit(0)
        body = Builder().store_bytes(signature).store_cell(unsigned).end_cell()
        external: Cell = message.store_bit(1).store_ref(body).end_cell()
        return external

    # ---- on a chain ----

    async def seqno(self, chain: Chain) -> int:
        """The seqno of the next message; 0 if the wallet is not deployed."""
        return wallet_seqno(await chain.account(self.address))

    async def send(
        self,
        chain: Chain,
        to: Address,
        value: int,
        body: Cell | None = None,
        *,
        state_init: Cell | None = None,
        bounce: bool = True,
        ttl_sec: int = _TTL_SEC,
    ) -> ChainTransaction:
        """Send one message and return this wallet's transaction; see `send_all`."""
        return await self.send_all(chain, [Transfer(to, value, body, state_init, bounce)], ttl_sec=ttl_sec)

    async def send_all(
        self, chain: Chain, transfers: Sequence[Transfer], *, ttl_sec: int = _TTL_SEC
    ) -> ChainTransaction:
        """Sign, send and wait until the chain shows this wallet's transaction.

        WalletError if there is too little money, if the message expired (it can then never be executed any more), or if
        another message took its seqno. A network that goes away meanwhile is waited for.
        """
        async with self._lock:
            account = await patiently(lambda: chain.account(self.address))
            needed = needed_nano(transfers)
            if account.balance < needed:
                raise WalletError(
                    f"wallet {self.address.to_str(is_bounceable=False)} holds {format_ton(account.balance)} and needs "
                    f"{format_ton(needed)} (fees included); send it more and try again"
                )
            if account.status == "frozen":
                raise WalletError(f"wallet {self.address.to_str(is_bounceable=False)} is frozen; use another one")
            seqno = wallet_seqno(account)
            valid_until = await patiently(chain.time) + ttl_sec
            message = self.sign_all(transfers, seqno=seqno, valid_until=valid_until)
            return await deliver(chain, message)


def _outgoing(transfer: Transfer) -> Cell:
    message = Builder().store_uint(0b01, 2).store_bit(int(transfer.bounce)).store_bit(0)
    message.store_address(None).store_address(transfer.to).store_coins(transfer.value).store_bit(0)
    message.store_coins(0).store_coins(0).store_uint(0, 64).store_uint(0, 32)
    if transfer.state_init is None:
        message.store_bit(0)
    else:
        message.store_uint(0b11, 2).store_ref(transfer.state_init)
    if transfer.body is None:
        message.store_bit(0)
    else:
        message.store_bit(1).store_ref(transfer.body)
    cell: Cell = message.end_cell()
    return cell


def needed_nano(transfers: Sequence[Transfer]) -> int:
    """What a wallet must hold to send these, a margin for fees included."""
    return sum(transfer.value for transfer in transfers) + _FEE_MARGIN


def format_ton(nano: int) -> str:
    """`1.5 TON`: as few digits as are exact."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    fraction = f"{nano % 10**9:09}".rstrip("0")
    return f"{sign}{nano // 10**9}{'.' + fraction if fraction else ''} TON"
