"""The seam between Cocoon and a TON network.

`Chain` is all that agents, clients and deployments know of the network. An implementation answers with facts it has
proven to itself (`chain.lite.LiteChain`) or raises `ChainError`; it never passes on a server's word. Amounts are
nanoTON, times unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from pytoniq_core import Address, Cell

from .blockid import BlockId

__all__ = ["AccountState", "AccountStatus", "Chain", "ChainMessage", "ChainTransaction", "MessageKind"]

AccountStatus = Literal["nonexist", "uninit", "active", "frozen"]
MessageKind = Literal["internal", "external-in", "external-out"]


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account as of the last known block.

    `code_hash` and `data` are None unless the account is active; an account that was never heard of is "nonexist" with
    balance 0, `last_lt` 0 and a zero `last_hash`.
    """

    address: Address
    status: AccountStatus
    balance: int
    code_hash: bytes | None
    data: Cell | None
    last_lt: int
    last_hash: bytes


@dataclass(frozen=True, slots=True)
class ChainMessage:
    """A message of a transaction. `value` is 0 and `bounced` False for externals; `hash` is the message cell's.

    `src` is None for an inbound external, `dst` for an outbound one.
    """

    kind: MessageKind
    src: Address | None
    dst: Address | None
    value: int
    body: Cell
    bounced: bool
    created_lt: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """One transaction of `account`.

    `exit_code` is None if the code did not run, `action_code` None if no actions were due. `total_fees` is what this
    transaction collected; `forward_fees` what its outgoing messages paid on top.
    """

    account: Address
    lt: int
    hash: bytes
    now: int
    in_msg: ChainMessage | None
    out_msgs: tuple[ChainMessage, ...]
    exit_code: int | None
    action_code: int | None
    aborted: bool
    gas_used: int
    total_fees: int
    forward_fees: int
    cell: Cell


class Chain(Protocol):
    """A TON network. Every method may raise ChainUnavailable; a later call may succeed again."""

    @property
    def global_id(self) -> int:
        """Config parameter 19: -239 on mainnet, -3 on testnet; part of everything signed."""
        ...

    async def time(self) -> int:
        """Unix time of the last known block."""
        ...

    async def master_block(self, seqno: int | None = None) -> BlockId:
        """The last known masterchain block by its proven hashes, or an earlier one by number."""
        ...

    async def account(self, address: Address) -> AccountState:
        """The proven state of `address`. ChainError if the proof does not hold."""
        ...

    async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> list[ChainTransaction]:
        """The first `limit` transactions with lt > `after_lt`, oldest first, linked by verified hashes."""
        ...

    async def config(self, params: tuple[int, ...]) -> dict[int, Cell]:
        """The proven configuration parameters among `params` that exist."""
        ...

    async def send(self, message: Cell) -> None:
        """Hand an external message to the network. MessageRefused (with the exit code) if it is not accepted."""
        ...

    async def next_block(self) -> None:
        """Wait until a block newer than the last known one is there."""
        ...
