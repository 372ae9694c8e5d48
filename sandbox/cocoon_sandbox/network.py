"""A running network: blocks on a timer and on demand, a lite server, a faucet, a clock that can be moved.

```python
async with Network() as net:
    await net.credit(address, 10_000_000_000)
    async with LiteClient.from_config(net.global_config(), trust_level=1) as client:
        ...
```
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytoniq_core import Address, Cell

from cocoon_sandbox.blocks.boot import create_chain, reopen_chain
from cocoon_sandbox.blocks.collator import Collator
from cocoon_sandbox.blocks.faults import MessageFaults
from cocoon_sandbox.blocks.lock import DirectoryLock
from cocoon_sandbox.blocks.producer import Producer
from cocoon_sandbox.blocks.rollback import Snapshot, roll_back, take_snapshot
from cocoon_sandbox.blocks.store import Store
from cocoon_sandbox.boc import parse_boc
from cocoon_sandbox.errors import BadCell, LedgerError, SandboxError
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.ledger import Ledger
from cocoon_sandbox.liteserver.faults import ServerFaults
from cocoon_sandbox.liteserver.global_config import global_config
from cocoon_sandbox.liteserver.keys import ServerKey
from cocoon_sandbox.liteserver.server import LiteServer
from cocoon_sandbox.message import Message
from cocoon_sandbox.tlb.ids import BASECHAIN, MASTERCHAIN, BlockId
from cocoon_sandbox.tlb.validators import Validator
from cocoon_sandbox.treasury import Treasury

__all__ = ["Network", "Snapshot"]

_FAUCET = "faucet"
_FAUCET_NANO = 5_000_000_000_000_000_000
_FIRST_ROUNDS = 2
_DATABASE = "chain.sqlite"


class Network:
    """A network of one validator. Enter it to start it, leave it to stop it; it belongs to one event loop.

    `ledger` may hold accounts already: they are in the zerostate. Once started, the network owns it, and money comes
    from `credit`. `block_interval` is the longest time, in seconds, between two blocks; messages get one at once.
    `host` (IPv4) and `port` are where the lite server listens, port 0 being any free one. With a `data_dir` the chain,
    its keys and its port outlive the process. `clock` tells the real time; `seed` (32 bytes) fixes a new chain's keys.
    """

    def __init__(
        self,
        ledger: Ledger | None = None,
        *,
        executor: Executor | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        block_interval: float = 1.0,
        data_dir: Path | None = None,
        clock: Callable[[], float] = time.time,
        seed: bytes | None = None,
    ) -> None:
        if ledger is not None and executor is not None and ledger.executor is not executor:
            raise LedgerError("give the network a ledger or an executor; a ledger has its own executor")
        self.ledger = ledger or Ledger(executor)
        self.host = host
        self.port = port
        self.data_dir = data_dir
        self._interval = block_interval
        self._clock = clock
        self._offset = 0
        self._seed = seed
        self._faucet = Treasury(_FAUCET)
        self._faucet_lock = asyncio.Lock()
        self._undo = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Make the zerostate and the first blocks, or go on where the data directory's chain ended, then serve."""
        async with AsyncExitStack() as undo:
            database: Path | None = None
            if self.data_dir is not None:
                undo.callback(DirectoryLock(self.data_dir).release)
                database = self.data_dir / _DATABASE
            self.store = Store(database)
            undo.callback(self.store.close)
            known_seed = self.store.meta("seed")
            seed = known_seed or self._seed or os.urandom(32)
            self.validator = Validator(Ed25519PrivateKey.from_private_bytes(_derive(seed, "validator")))
            self._boot(known_seed is not None)
            self.collator = Collator(self.ledger, self.chain, self.store, self.archive, self.now)
            while self.chain.head.master_ref.id.seqno < _FIRST_ROUNDS:
                await asyncio.to_thread(self.collator.make_round)
            self._producer = Producer(self.collator, self._interval)
            undo.push_async_callback(self._producer.stop)
            self.server = LiteServer(self, ServerKey(_derive(seed, "lite server")))
            await self.start_liteserver()
            undo.push_async_callback(self.server.stop)
            # The seed is written last: a directory that has one holds a whole chain.
            self.store.put_meta({"port": str(self.port).encode(), "seed": seed})
            self._producer.start()
            self._undo = undo.pop_all()

    def _boot(self, known: bool) -> None:
        """Make the chain's beginning, or find its end in the database."""
        if known:
            if self.ledger.accounts:
                raise LedgerError(f"{self.data_dir} holds a chain already: start the network without a ledger")
            self._offset = int(self.store.meta("offset") or 0)
            self.port = self.port or int(self.store.meta("port") or 0)
            booted = reopen_chain(self.ledger, self.store, self.validator)
        else:
            self.store.clear()  # whatever a start that was interrupted left behind
            self.ledger.credit(self._faucet.address, _FAUCET_NANO)
            booted = create_chain(self.ledger, self.store, self.validator, self.now())
        self.chain, self.archive, self.zerostate = booted.chain, booted.archive, booted.zerostate

    async def stop(self) -> None:
        """Stop serving and making blocks."""
        await self._undo.aclose()

    async def start_liteserver(self) -> None:
        """Serve again, on the same port as before."""
        try:
            self.port = await self.server.start(self.host, self.port)
        except OSError as error:
            raise SandboxError(f"can't serve on {self.host}:{self.port}: {error}; choose another port") from error

    async def stop_liteserver(self) -> None:
        """Drop all clients and refuse new ones; blocks go on."""
        await self.server.stop()

    @property
    def public_key(self) -> bytes:
        """The lite server's Ed25519 key."""
        return self.server.key.public_key

    @property
    def executor(self) -> Executor:
        """What runs contracts."""
        return self.ledger.executor

    @property
    def config(self) -> Cell:
        """The configuration parameters, as the ledger has them."""
        return self.ledger.config

    @property
    def message_faults(self) -> MessageFaults:
        """Rules by which messages get lost, late, reordered or repeated; none at first."""
        return self.collator.schedule.faults

    @property
    def server_faults(self) -> ServerFaults:
        """How the lite server misbehaves; not at all at first."""
        return self.server.faults

    def show_fork(self, other: Network) -> None:
        """Have the lite server answer from another network: with the same seed and start, a fork of this one."""
        self.server.node = other

    def now(self) -> int:
        """The network's time: the real one plus what `advance` added."""
        return int(self._clock()) + self._offset

    def global_config(self) -> dict[str, Any]:
        """The configuration file that TON clients start from."""
        first = self.store.block(MASTERCHAIN, 1)
        assert first is not None
        return global_config(self.host, self.port, self.public_key, self.zerostate, first.id)

    async def credit(self, address: Address, nano: int) -> None:
        """Have the faucet's wallet send `nano` nanoTON, and wait until they have arrived."""
        async with self._faucet_lock:
            message = self._faucet.message(self.ledger, address, nano, bounce=False, mode=3)
            await self.send(Message(message))
        await self.settle()

    async def treasury(self, name: str, balance: int = 100_000_000_000) -> Treasury:
        """The wallet called `name`, credited with `balance` if it has nothing yet."""
        treasury = Treasury(name)
        if not self.ledger.balance(treasury.address):
            await self.credit(treasury.address, balance)
        return treasury

    async def advance(self, seconds: int) -> None:
        """Move the network's clock forward and make a block at the new time."""
        if seconds < 0:
            raise LedgerError("time does not run backwards; roll back to a snapshot instead")
        self._offset += seconds
        self.store.put_meta({"offset": str(self._offset).encode()})
        await self.next_block()

    async def next_block(self) -> int:
        """Make a round of blocks from now on, not one under way; returns its masterchain seqno."""
        async with self._producer.pause:
            seqno = self.collator.seqno
        self._producer.wake()
        await self._producer.wait(seqno)
        return seqno

    async def settle(self) -> None:
        """Make blocks until no message is in flight, delayed ones included."""
        while True:
            async with self._producer.pause:  # in the middle of a round a message may be neither here nor there
                if not self.collator.schedule.waiting:
                    return
            await self.next_block()

    async def submit(self, message: bytes) -> None:
        """Take an external message from outside: a bag of cells."""
        try:
            view = Message(parse_boc(message))
        except BadCell as error:
            raise SandboxError(f"failed to parse external message {error}") from error
        await self.send(view)

    async def send(self, message: Message) -> None:
        """Put an external message into a block; returns when that is stored. `MessageRejected` if it isn't accepted."""
        if message.kind != "external-in" or not isinstance(message.dst, Address):
            raise SandboxError("failed to parse external message: not an inbound external message to an account")
        if message.dst.wc not in (BASECHAIN, MASTERCHAIN):
            raise SandboxError(f"failed to parse external message: workchain {message.dst.wc} does not exist here")
        self._producer.check()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def verdict(error: SandboxError | None) -> None:
            loop.call_soon_threadsafe(_resolve, done, error)

        if self.collator.schedule.accept(message, verdict, self.collator.seqno):
            self._producer.wake()
            await self._producer.watch(done)

    async def wait_for(self, seqno: int, seconds: float) -> bool:
        """Wait until masterchain block `seqno` exists; False when it doesn't after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._producer.wait(seqno)
        except TimeoutError:
            return False
        return True

    def previous_blocks(self, block: BlockId) -> bytes:
        """PREVBLOCKSINFO as of a masterchain block, a bag of cells."""
        key = self.store.block(MASTERCHAIN, min(block.seqno, 1))
        assert key is not None
        return self.collator.previous_blocks(block, key.id)

    async def snapshot(self) -> Snapshot:
        """The network as it is now; messages that are in no block yet are not part of it."""
        async with self._producer.pause:
            return take_snapshot(self.collator, self._offset)

    async def rollback(self, snapshot: Snapshot) -> None:
        """Make everything since `snapshot` undone, and drop all clients: the chain they know is gone."""
        await self.stop_liteserver()
        async with self._producer.pause:
            self._offset = snapshot.offset
            roll_back(self.collator, snapshot)
        await self.start_liteserver()


def _derive(seed: bytes, purpose: str) -> bytes:
    return hashlib.sha256(seed + purpose.encode()).digest()


def _resolve(done: asyncio.Future[None], error: SandboxError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
