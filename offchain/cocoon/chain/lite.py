"""A TON network through its lite servers, believed only as far as it is proven.

`LiteChain` starts at the init block of a global configuration and believes newer blocks by their validators'
signatures, account states, their absence and configuration by Merkle proofs below such a block, and transactions by the
chain of hashes that a proven state begins. Results of get-methods, which carry no proof, are never asked for. A server
that is caught lying is not used again; one that goes away is replaced by the next in the configuration, or waited for.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pytoniq_core import Address, Cell

from ..errors import ChainError, ChainUnavailable, LyingServer, MessageRefused
from .ancestry import check_descends, earlier_block
from .base import AccountState, ChainTransaction
from .blockid import MASTERCHAIN, BlockId
from .boc import to_boc
from .head import Head, Trust, init_block
from .history import deleted_account_history, live_account_history
from .link import Link, ServerRefused
from .proofs import account_entry, account_state, config_params, shard_block

__all__ = ["LiteChain"]

_HEAD_FRESH_SEC = 0.05
_SHORT_PAUSE_SEC = 0.2
_FIRST_BACKOFF_SEC = 0.1
_LONGEST_BACKOFF_SEC = 10.0
_BLOCK_WAIT_SEC = 10.0
_GLOBAL_ID_PARAM = 19
_EXIT_CODE = re.compile(r"exit ?code[=: ]+(-?\d+)")


class LiteChain:
    """The Chain protocol over lite servers. Make one with `await LiteChain.open(...)`; close it when done.

    `timeout_sec` bounds one answer. If no newer block appears for `stale_after_sec`, the network's answers are refused
    as stale; None permits a network that stands still. `memory` is where the walk from the init block is remembered.
    """

    def __init__(
        self,
        config: dict[str, Any],
        *,
        timeout_sec: float = 10.0,
        stale_after_sec: float | None = 60.0,
        memory: Path | None = None,
    ) -> None:
        self._config = config
        self._servers = len(config.get("liteservers") or ())
        if not self._servers:
            raise ChainError("the global configuration lists no lite servers; get a new one")
        self._timeout_sec = timeout_sec
        self._stale_after_sec = stale_after_sec
        self._trust = Trust(init_block(config), memory)
        self._distrusted: dict[int, str] = {}
        self._next_server = 0
        self._server = 0
        self._link: Link | None = None
        self._lock = asyncio.Lock()
        self._head_lock = asyncio.Lock()
        self._head: Head | None = None
        self._head_asked_at = self._head_changed_at = float("-inf")
        self._backoff = 0.0
        self._retry_at = float("-inf")
        self._global_id = 0
        self._closed = False

    @classmethod
    async def open(
        cls,
        config: dict[str, Any],
        *,
        timeout_sec: float = 10.0,
        stale_after_sec: float | None = 60.0,
        memory: Path | None = None,
    ) -> Self:
        """Connect, believe the newest block, learn the network's id."""
        chain = cls(config, timeout_sec=timeout_sec, stale_after_sec=stale_after_sec, memory=memory)
        try:
            params = await chain.config((_GLOBAL_ID_PARAM,))
            head = await chain._fresh_head()
        except BaseException:
            await chain.close()
            raise
        cell = params.get(_GLOBAL_ID_PARAM)
        chain._global_id = head.header.global_id if cell is None else cell.begin_parse().load_int(32)
        return chain

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the network; calls under way fail with ChainUnavailable."""
        self._closed = True
        await self._drop_link()

    @property
    def global_id(self) -> int:
        return self._global_id

    async def time(self) -> int:
        return (await self._fresh_head()).header.gen_utime

    async def master_block(self, seqno: int | None = None) -> BlockId:
        head = await self._fresh_head()
        if seqno is None or seqno == head.id.seqno:
            return head.id
        if not 0 < seqno < head.id.seqno:
            raise ChainError(f"there is no masterchain block {seqno} yet; the last one is {head.id.seqno}")
        return await self._asking(lambda link: earlier_block(link, head, seqno))

    async def account(self, address: Address) -> AccountState:
        head = await self._fresh_head()
        state, _ = await self._asking(lambda link: self._account(link, head, address))
        return state

    async def transactions(self, address: Address, *, after_lt: int = 0, limit: int = 64) -> list[ChainTransaction]:
        """See `Chain.transactions`; of a deleted account, what the blocks after `after_lt` (required then) hold."""
        head = await self._fresh_head()

        async def ask(link: Link) -> list[ChainTransaction]:
            state, shard = await self._account(link, head, address)
            if state.last_lt:
                return await live_account_history(link, address, state.last_lt, state.last_hash, after_lt, limit)
            if not after_lt:
                return []
            return await deleted_account_history(link, shard, address, after_lt, limit)

        return await self._asking(ask)

    async def config(self, params: tuple[int, ...]) -> dict[int, Cell]:
        head = await self._fresh_head()

        async def ask(link: Link) -> dict[int, Cell]:
            answer = await link.query("getConfigParams", {"mode": 0, "id": head.id.to_tl(), "param_list": list(params)})
            return config_params(answer["state_proof"], answer["config_proof"], head.id.root_hash, params)

        return await self._asking(ask)

    async def send(self, message: Cell) -> None:
        """Not repeated if the connection breaks (ChainUnavailable): whether the message arrived is then unknown."""
        body = to_boc(message)
        link = await self._connected()
        try:
            await link.query("sendMessage", {"body": body})
        except ServerRefused as error:
            match = _EXIT_CODE.search(error.text)
            code = None if match is None else int(match[1])
            # servers append the executor's log
            detail = (
                f"exit code {code}" if code is not None else (error.text.strip() or "no reason given").splitlines()[0]
            )
            raise MessageRefused(f"the message was not accepted: {detail}", code) from error
        self._head_asked_at = float("-inf")

    async def next_block(self) -> None:
        known = await self._current_head()
        while True:
            started = time.monotonic()
            head = await self._update_head(wait_for=known.id.seqno + 1)
            if head.id.seqno > known.id.seqno:
                return
            self._refuse_if_stale()
            if time.monotonic() - started < _SHORT_PAUSE_SEC:
                await asyncio.sleep(_SHORT_PAUSE_SEC)

    # ---- the head ----

    async def _fresh_head(self) -> Head:
        """A head that was asked for within the last moments."""
        if self._head is not None and time.monotonic() - self._head_asked_at < _HEAD_FRESH_SEC:
            return self._head
        head = await self._update_head()
        self._refuse_if_stale()
        return head

    async def _current_head(self) -> Head:
        return self._head or await self._update_head()

    async def _update_head(self, wait_for: int | None = None) -> Head:
        wait_sec = 0.0 if wait_for is None else _BLOCK_WAIT_SEC

        async def ask(link: Link) -> BlockId:
            try:
                answer = await link.query("getMasterchainInfo", {}, wait_seqno=wait_for, wait_sec=wait_sec)
            except ServerRefused:
                if wait_for is None:
                    raise
                answer = await link.query("getMasterchainInfo", {})  # the block did not come in time
            return BlockId.from_tl(answer["last"])

        newest = await self._asking(ask)
        async with self._head_lock:
            await self._asking(lambda link: self._believe(link, newest))
            assert self._head is not None
            self._head_asked_at = time.monotonic()
            return self._head

    async def _believe(self, link: Link, newest: BlockId) -> None:
        """Make `newest` the head if it is newer and proven; a server that lags behind changes nothing."""
        if newest.workchain != MASTERCHAIN:
            raise LyingServer("the lite server's last block is not of the masterchain")
        if self._head is not None:
            if newest.seqno == self._head.id.seqno and newest != self._head.id:
                raise LyingServer(f"the lite server shows a fork: another block {newest.seqno} than the proven one")
            if newest.seqno <= self._head.id.seqno:
                return
        head = await self._trust.prove(link, newest)
        if self._head is not None:
            await check_descends(link, head, self._head)
        self._head = head
        self._head_changed_at = time.monotonic()

    def _refuse_if_stale(self) -> None:
        if self._stale_after_sec is None:
            return
        age = time.monotonic() - self._head_changed_at
        if age > self._stale_after_sec:
            raise ChainUnavailable(
                f"the lite server has shown no new block for {age:.0f} s: it serves stale state or the network stands "
                f"still; try another server"
            )

    # ---- accounts ----

    async def _account(self, link: Link, head: Head, address: Address) -> tuple[AccountState, BlockId]:
        """The proven state, and the shard block it is proven in."""
        query = {"id": head.id.to_tl(), "account": {"workchain": address.wc, "id": address.hash_part.hex()}}
        answer = await link.query("getAccountState", query)
        if BlockId.from_tl(answer["id"]) != head.id:
            raise LyingServer("the lite server answers as of another block than asked for: a stale state or a fork")
        claimed = BlockId.from_tl(answer["shardblk"])
        root_hash = head.id.root_hash
        if address.wc != MASTERCHAIN:
            root_hash = shard_block(answer["shard_proof"], head.id.root_hash, address)
        if claimed.root_hash != root_hash:
            raise LyingServer("the lite server answers from a shard block that is not the proven one of this account")
        state = account_state(address, account_entry(answer["proof"], root_hash, address), answer["state"])
        return state, claimed

    # ---- servers ----

    async def _asking[T](self, ask: Callable[[Link], Awaitable[T]]) -> T:
        """Run `ask` on a connected server; once more on a new connection if the old one turns out to be dead."""
        for last_try in (False, True):
            fresh = self._link is None
            link = await self._connected()
            try:
                return await ask(link)
            except LyingServer as error:
                self._distrusted[self._server] = str(error)
                await self._drop_link()
                raise
            except ServerRefused as error:
                raise ChainUnavailable(f"{error}; try again, or another server") from error
            except ChainUnavailable:
                if not link.closed or last_try or fresh:
                    raise
        raise AssertionError("unreachable: the second try returns or raises")

    async def _connected(self) -> Link:
        async with self._lock:
            if self._closed:
                raise ChainUnavailable("this LiteChain is closed; open another one")
            if self._link is not None and not self._link.closed:
                return self._link
            await self._drop_link()
            if (pause := self._retry_at - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            reasons: list[str] = []
            for _ in range(self._servers):
                server = self._next_server
                self._next_server = (server + 1) % self._servers
                if server in self._distrusted:
                    continue
                try:
                    self._link = await Link.open(self._config, server, self._timeout_sec)
                except ChainUnavailable as error:
                    reasons.append(str(error))
                    continue
                self._server, self._next_server = server, server
                self._backoff = 0.0
                return self._link
            if not reasons:
                lies = "; ".join(dict.fromkeys(self._distrusted.values()))
                raise LyingServer(f"no lite server of the configuration is left that has not lied: {lies}")
            self._backoff = min(max(2 * self._backoff, _FIRST_BACKOFF_SEC), _LONGEST_BACKOFF_SEC)
            self._retry_at = time.monotonic() + self._backoff
            raise ChainUnavailable("; ".join(reasons))

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
