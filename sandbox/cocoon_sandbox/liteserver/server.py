"""The lite server: a TCP listener, and the table of methods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from cocoon_sandbox.blocks.archive import NotAvailable
from cocoon_sandbox.errors import ExecutorTrapped, GetterFailed, MessageRejected, SandboxError
from cocoon_sandbox.liteserver import accounts, blocks, chain, config, transactions
from cocoon_sandbox.liteserver.adnl import AdnlConnection, HandshakeError
from cocoon_sandbox.liteserver.errors import NOT_READY, PROTOCOL_VIOLATION, TIMEOUT, LiteError
from cocoon_sandbox.liteserver.faults import ServerFaults
from cocoon_sandbox.liteserver.keys import ServerKey
from cocoon_sandbox.liteserver.node import Node
from cocoon_sandbox.liteserver.tl import TlError, lite_schema

__all__ = ["LiteServer"]

_SCHEMA = lite_schema()
_log = logging.getLogger(__name__)

type _Method = Callable[[Node, dict[str, Any]], Awaitable[tuple[str, dict[str, Any]]]]


async def _send_message(node: Node, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Take an external message; the answer says whether the account accepts it, as a node that tried it would."""
    try:
        await node.submit(query["body"])
    except MessageRejected as error:
        code = "" if error.exit_code is None else f"\nexitcode={error.exit_code}"
        raise LiteError(
            "cannot apply external message to current state : External message was not accepted\n"
            f"Cannot run message on account: inbound external message rejected by account{code}\n"
            f"VM Log (truncated):\n...{error.vm_log[-2000:]}"
        ) from error
    except SandboxError as error:
        raise LiteError(f"cannot apply external message to current state : {error}") from error
    return "liteServer.sendMsgStatus", {"status": 1}


_METHODS: dict[str, _Method] = {
    "getTime": blocks.get_time,
    "getVersion": blocks.get_version,
    "getMasterchainInfo": blocks.get_masterchain_info,
    "getMasterchainInfoExt": blocks.get_masterchain_info_ext,
    "getBlock": blocks.get_block,
    "getBlockHeader": blocks.get_block_header,
    "getState": blocks.get_state,
    "getAccountState": accounts.get_account_state,
    "getAccountStatePrunned": accounts.get_account_state_pruned,
    "runSmcMethod": accounts.run_smc_method,
    "sendMessage": _send_message,
    "getBlockOutMsgQueueSize": blocks.get_block_out_msg_queue_size,
    "getOutMsgQueueSizes": blocks.get_out_msg_queue_sizes,
    "getShardInfo": blocks.get_shard_info,
    "getAllShardsInfo": blocks.get_all_shards_info,
    "getOneTransaction": transactions.get_one_transaction,
    "getTransactions": transactions.get_transactions,
    "listBlockTransactions": transactions.list_block_transactions,
    "listBlockTransactionsExt": transactions.list_block_transactions_ext,
    "lookupBlock": blocks.lookup_block,
    "lookupBlockWithProof": chain.lookup_block_with_proof,
    "getBlockProof": chain.get_block_proof,
    "getShardBlockProof": chain.get_shard_block_proof,
    "getConfigAll": config.get_config_all,
    "getConfigParams": config.get_config_params,
    "getLibraries": config.get_libraries,
    "getLibrariesWithProof": config.get_libraries_with_proof,
}


class LiteServer:
    """Serves `node` to ADNL-TCP clients that know `key`, honestly unless `faults` say otherwise.

    `node` may be replaced while running: clients then see another chain, which is how a fork is shown to them.
    """

    def __init__(self, node: Node, key: ServerKey) -> None:
        self.key = key
        self.node = node
        self.faults = ServerFaults()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> bool:
        """Whether clients can connect."""
        return self._server is not None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chooses for port 0."""
        self._server = await asyncio.start_server(self._accept, host, port)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def stop(self) -> None:
        """Stop listening and drop every client."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await AdnlConnection(reader, writer, self.answer).serve(self.key)
        except (asyncio.IncompleteReadError, ConnectionError):
            _log.debug("a client left")
        except (HandshakeError, ValueError) as error:
            _log.info("refused a client: %s", error)
        except asyncio.CancelledError:
            writer.transport.abort()  # not waiting for a peer that may have stopped to read
        finally:
            self._connections.discard(task)
            writer.close()

    async def answer(self, payload: bytes) -> bytes:
        """Answer the payload of an ADNL query: a liteServer.query, perhaps with a wait in front of it."""
        try:
            query = _SCHEMA.load(payload)
            if query["@type"] != "liteServer.query":
                raise LiteError("cannot parse query: not a liteServer.query", PROTOCOL_VIOLATION)
            if self.faults.latency:
                await asyncio.sleep(self.faults.latency)
            name, values = await self._dispatch(query["data"])
        except LiteError as error:
            name, values = "liteServer.error", {"code": error.code, "message": str(error)}
        except NotAvailable as error:
            name, values = "liteServer.error", {"code": NOT_READY, "message": str(error)}
        except TlError as error:
            name, values = "liteServer.error", {"code": PROTOCOL_VIOLATION, "message": str(error)}
        except (ExecutorTrapped, GetterFailed, SandboxError) as error:
            name, values = "liteServer.error", {"code": 0, "message": str(error)}
        except Exception as error:  # noqa: BLE001 - one strange query must not cut off the client's others
            _log.exception("a query failed unexpectedly")
            name, values = "liteServer.error", {"code": 0, "message": f"internal error: {error!r}"}
        return _SCHEMA.dump(name, **values)

    async def _dispatch(self, data: bytes) -> tuple[str, dict[str, Any]]:
        query, end = _SCHEMA.load_prefix(data)
        if query["@type"] == "liteServer.waitMasterchainSeqno":
            wanted = query["seqno"] + self.faults.lag
            if not await self.node.wait_for(wanted, query["timeout_ms"] / 1000):
                raise LiteError("timeout", TIMEOUT)
            query = _SCHEMA.load(data[end:])
        elif end != len(data):
            raise TlError("bytes left after the query")
        method = _METHODS.get(query["@type"].removeprefix("liteServer."))
        if method is None:
            raise LiteError(f"unknown query {query['@type']}", PROTOCOL_VIOLATION)
        self.node.archive.lag = self.faults.lag
        name, answer = await method(self.node, query)
        return self.faults.apply(query, name, answer)
