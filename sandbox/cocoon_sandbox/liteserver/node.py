"""What the query handlers need of the network."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from pytoniq_core import Cell

from cocoon_sandbox.blocks.archive import Archive
from cocoon_sandbox.executor import Executor
from cocoon_sandbox.tlb.ids import BlockId
from cocoon_sandbox.tlb.validators import Validator

__all__ = ["Node"]


class Node(Protocol):
    """A running network, seen by its lite server."""

    @property
    def archive(self) -> Archive: ...

    @property
    def executor(self) -> Executor: ...

    @property
    def config(self) -> Cell:
        """The configuration, which never changes here."""
        ...

    @property
    def validator(self) -> Validator: ...

    @property
    def zerostate(self) -> BlockId: ...

    def now(self) -> int:
        """The network's time, in seconds."""
        ...

    def submit(self, message: bytes) -> Awaitable[None]:
        """Take an external message (a bag of cells); raises `MessageRejected` if the account doesn't accept it."""
        ...

    def wait_for(self, seqno: int, seconds: float) -> Awaitable[bool]:
        """Wait until masterchain block `seqno` exists; False when it doesn't after `seconds`."""
        ...

    def previous_blocks(self, block: BlockId) -> bytes:
        """PREVBLOCKSINFO as of a masterchain block, a bag of cells."""
        ...
