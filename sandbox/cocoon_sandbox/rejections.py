"""A network that remembers the external messages it did not accept: they are in no block, yet people ask why."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from pytoniq_core import Address

from cocoon_sandbox.account import AccountView
from cocoon_sandbox.errors import MessageRejected, SandboxError
from cocoon_sandbox.executor import Verbosity
from cocoon_sandbox.inspection import message_json
from cocoon_sandbox.message import Message
from cocoon_sandbox.network import Network

__all__ = ["Rejection", "WatchedNetwork"]

_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that was not accepted, the account as it was then, and the network's time."""

    message: Message
    account: AccountView
    now: int
    error: MessageRejected

    def to_json(self) -> dict[str, Any]:
        """What is known without running it again."""
        return {
            "accepted": False,
            "error": str(self.error),
            "exit_code": self.error.exit_code,
            "time": self.now,
            "in_message": message_json(self.message),
        }


class WatchedNetwork(Network):
    """A Network that keeps its last rejections in `rejections`, by the hash of the message's cell."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rejections: OrderedDict[bytes, Rejection] = OrderedDict()
        self.started = time.monotonic()

    async def send(self, message: Message) -> None:
        try:
            await super().send(message)
        except MessageRejected as error:
            assert isinstance(message.dst, Address)
            account = self.ledger.account(message.dst)
            self.rejections[message.hash] = Rejection(message, account, self.ledger.now, error)
            while len(self.rejections) > _REMEMBERED:
                self.rejections.popitem(last=False)
            raise

    async def rejection_log(self, rejection: Rejection, verbosity: Verbosity) -> str:
        """The VM log of a rejected message, run again on the account as it was."""
        try:
            await asyncio.to_thread(
                self.executor.run_transaction,
                config=self.config,
                shard_account=rejection.account.boc,
                message=rejection.message.cell,
                now=rejection.now,
                lt=rejection.account.last_lt + 1,
                prev_blocks=self.ledger.prev_blocks,
                libs=self.ledger.libs,
                verbosity=verbosity,
            )
        except MessageRejected as error:
            return error.vm_log
        raise SandboxError("no log: run again, the message is accepted; the account has changed in the meantime")
