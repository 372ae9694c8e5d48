"""What a running sandbox does when told: the commands of its control channel. Results are JSON."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from cocoon_sandbox.boc import parse_boc
from cocoon_sandbox.control import Handler
from cocoon_sandbox.errors import SandboxError
from cocoon_sandbox.executor import Verbosity
from cocoon_sandbox.faultbook import FaultBook
from cocoon_sandbox.inspection import account_json, parse_address, parse_hash, transaction_json
from cocoon_sandbox.message import format_ton
from cocoon_sandbox.network import Snapshot
from cocoon_sandbox.rejections import WatchedNetwork
from cocoon_sandbox.replay import replay
from cocoon_sandbox.transaction import Transaction
from cocoon_sandbox.treasury import Treasury

__all__ = ["Commands"]

_TRACE: Verbosity = "full_location_stack"
_LAST_TIME = (1 << 32) - 1
_FAUCET_RESERVE_NANO = 10**9


class Commands:
    """Commands on `network`. `endpoints` says where everything is; `stop` ends the sandbox."""

    def __init__(
        self, network: WatchedNetwork, endpoints: Callable[[], dict[str, Any]], stop: Callable[[], None]
    ) -> None:
        self._network = network
        self._endpoints = endpoints
        self._stop = stop
        self._faults = FaultBook(network)
        self._snapshots: dict[str, Snapshot] = {}
        self._faucet = Treasury("faucet")

    def handlers(self) -> dict[str, Handler]:
        """The commands by name."""
        return {
            "status": self.status,
            "stop": self.stop,
            "faucet": self.faucet,
            "time": self.time,
            "block": self.block,
            "tx": self.transaction,
            "account": self.account,
            "snapshot": self.snapshot,
            "rollback": self.rollback,
            "fault.message": self.fault_message,
            "fault.order": self.fault_order,
            "fault.server": self.fault_server,
            "fault.lie": self.fault_lie,
            "fault.clear": self.fault_clear,
            "fault.list": self.fault_list,
        }

    async def status(self) -> dict[str, Any]:
        """Where the sandbox is and how it is doing."""
        network = self._network
        return self._endpoints() | {
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - network.started, 3),
            "block": network.archive.tip.id.seqno,
            "time": network.now(),
            "accounts": len(network.ledger.accounts),
            "messages_waiting": network.collator.schedule.waiting,
            "snapshots": {name: snapshot.seqno for name, snapshot in self._snapshots.items()},
            "faults": self._faults.to_json(),
        }

    async def stop(self) -> dict[str, Any]:
        """End the sandbox, after this answer."""
        asyncio.get_running_loop().call_later(0.05, self._stop)
        return {"stopped": True}

    async def faucet(self, address: str, nano: int) -> dict[str, Any]:
        """Send `nano` nanoTON to `address` and wait until they are there."""
        network, receiver = self._network, parse_address(address)
        if nano <= 0:
            raise SandboxError("the faucet gives more than nothing: name an amount of TON above 0")
        left = network.ledger.balance(self._faucet.address) - _FAUCET_RESERVE_NANO
        if nano > left:
            raise SandboxError(f"the faucet has {format_ton(max(left, 0))} left; ask for less")
        before = network.ledger.account(receiver).last_lt
        await network.credit(receiver, nano)
        account = network.ledger.account(receiver)
        if account.last_lt == before:
            raise SandboxError(
                "the faucet's message has not arrived: a fault is in force (`cocoon sandbox fault clear`)"
            )
        return {
            "address": receiver.to_str(is_user_friendly=False),
            "sent_nano": nano,
            "balance_nano": account.balance,
            "transaction": account.last_hash.hex(),
        }

    async def time(self, seconds: int = 0) -> dict[str, Any]:
        """Move the clock forward and make a block there; with 0, only tell the time."""
        network = self._network
        if seconds < 0:
            raise SandboxError("time does not run backwards: roll back to a snapshot instead")
        if network.now() + seconds > _LAST_TIME:
            raise SandboxError("the network's clock has 32 bits and ends in 2106; go less far")
        if seconds:
            await network.advance(seconds)
        return {
            "time": network.now(),
            "ahead_s": network.now() - int(time.time()),
            "block": network.archive.tip.id.seqno,
        }

    async def block(self) -> dict[str, Any]:
        """Make a block now."""
        return {"block": await self._network.next_block()}

    async def transaction(self, digest: str, log: bool = False) -> dict[str, Any]:
        """A transaction by its hash or by that of the message that caused it, perhaps with its VM log."""
        network, key = self._network, parse_hash(digest)
        rejection = network.rejections.get(key)
        found = network.store.transaction_by_hash(key) or network.store.transaction_by_message(key)
        if found is not None:
            transaction = Transaction(parse_boc(found.boc, verify=False), workchain=found.workchain)
            result = transaction_json(transaction, found.seqno)
            return result | ({"vm_log": await replay(network, found, _TRACE)} if log else {})
        if rejection is not None:
            return rejection.to_json() | ({"vm_log": await network.rejection_log(rejection, _TRACE)} if log else {})
        raise SandboxError(
            f"{key.hex()} is neither a transaction nor a message that caused one; if it was just sent, it may wait for "
            f"a block"
        )

    async def account(self, address: str) -> dict[str, Any]:
        """An account as it is now."""
        return account_json(self._network.ledger.account(parse_address(address)))

    async def snapshot(self, name: str) -> dict[str, Any]:
        """Remember the network as it is under `name`, in place of an earlier snapshot of that name."""
        self._snapshots[name] = snapshot = await self._network.snapshot()
        return {"snapshot": name, "block": snapshot.seqno}

    async def rollback(self, name: str) -> dict[str, Any]:
        """Undo everything since snapshot `name`; later snapshots are void then."""
        snapshot = self._snapshots.get(name)
        if snapshot is None:
            known = ", ".join(self._snapshots) or "none since this sandbox was started"
            raise SandboxError(f"there is no snapshot {name}; there are: {known}")
        await self._network.rollback(snapshot)
        names = list(self._snapshots)
        later = [other for other in names if self._snapshots[other].seqno > snapshot.seqno]
        for other in later:
            del self._snapshots[other]
        return {"snapshot": name, "block": snapshot.seqno, "void": later}

    async def fault_message(
        self,
        what: str,
        amount: int = 1,
        external: bool = False,
        to: str | None = None,
        source: str | None = None,
        opcode: int | None = None,
        count: int | None = None,
    ) -> dict[str, Any]:
        """Drop, delay or repeat messages."""
        self._faults.add_message_rule(what, amount, external=external, to=to, source=source, opcode=opcode, count=count)
        return self._faults.to_json()

    async def fault_order(self, order: str, seed: int = 0) -> dict[str, Any]:
        """Reorder messages."""
        self._faults.set_order(order, seed)
        return self._faults.to_json()

    async def fault_server(
        self, latency: float | None = None, lag: int | None = None, serving: bool | None = None
    ) -> dict[str, Any]:
        """Slow the lite server, have it serve old blocks, stop or start it."""
        if latency is not None:
            self._faults.set_latency(latency)
        if lag is not None:
            self._faults.set_lag(lag)
        if serving is not None:
            await self._faults.set_serving(serving)
        return self._faults.to_json()

    async def fault_lie(
        self, about: str, address: str | None = None, value: int | None = None, method: str | None = None
    ) -> dict[str, Any]:
        """Have the lite server lie."""
        self._faults.lie(about, address, value, method)
        return self._faults.to_json()

    async def fault_clear(self) -> dict[str, Any]:
        """End all faults."""
        await self._faults.clear()
        return self._faults.to_json()

    async def fault_list(self) -> dict[str, Any]:
        """The faults in force."""
        return self._faults.to_json()
