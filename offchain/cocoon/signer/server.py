"""The signer's socket. One process, one thread: calls are handled one after the other."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from ..errors import CocoonError
from ..locking import alone
from ..wire.escrow import CloseStatement, Receipt, RejectionStatement
from .errors import AlreadySigned, SignerRefused, SignerUnavailable
from .keys import SignerKeys
from .line import Fields, Line
from .messages import (
    pack_bytes,
    pack_signed,
    unpack_binding,
    unpack_bytes,
    unpack_slot,
    unpack_stream_receipt,
    unpack_struct,
)

__all__ = ["SignerServer", "prepare_socket_directory"]

_log = logging.getLogger(__name__)
_MAX_SOCKET_PATH = 100  # sockaddr_un holds 104 bytes on some systems


class SignerServer:
    """Serves `keys` on a unix socket until `stop` is called or a client asks for it."""

    def __init__(self, keys: SignerKeys, path: Path) -> None:
        self._keys = keys
        self._path = path
        self._stopping = asyncio.Event()
        self.connections: set[_Connection] = set()

    def stop(self) -> None:
        """Ends `serve`. The keys are gone when the process is."""
        self._stopping.set()

    async def serve(self) -> None:
        """Until stopped. SignerUnavailable if the socket can't be had, in particular if another signer has it."""
        prepare_socket_directory(self._path)
        lock = self._path.with_suffix(self._path.suffix + ".lock")
        with alone(lock, SignerUnavailable(f"another signer holds {lock}: use it, or stop it first")):
            if self._path.exists() and not self._path.is_socket():
                raise SignerUnavailable(f"{self._path} is a file of something else: choose another socket")
            self._path.unlink(missing_ok=True)
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(lambda: _Connection(self), self._path)
            async with server:
                _log.info("signer ready at %s", self._path)
                await self._stopping.wait()
                for connection in list(self.connections):  # a client that stays connected must not keep the keys alive
                    connection.abort()
            self._path.unlink(missing_ok=True)

    def answer(self, call: Fields) -> Fields:
        try:
            operation = self._operations().get(str(call.get("op")))
            if operation is None:
                raise SignerRefused(f"there is no operation {call.get('op')!r}")
            return {"ok": operation(call)}
        except AlreadySigned as error:
            return {"error": {"type": "AlreadySigned", "message": str(error), "stored": pack_signed(error.stored)}}
        except CocoonError as error:
            return {"error": {"type": type(error).__name__, "message": str(error)}}

    def _operations(self) -> dict[str, Callable[[Fields], Fields]]:
        return {
            "identity": self._identity,
            "decrypt": self._decrypt,
            "find": lambda call: {"signed": pack_signed(self._keys.find(unpack_slot(call.get("slot"))))},
            "sign_receipt": self._sign_receipt,
            "sign_stream_receipt": self._sign_stream_receipt,
            "sign_rejection": self._sign_rejection,
            "sign_close": self._sign_close,
            "stop": self._stop,
        }

    def _identity(self, _call: Fields) -> Fields:
        identity = self._keys.identity()
        return {
            "session_key": f"{identity.session_key:064x}",
            "hpke_key": pack_bytes(identity.hpke_key.raw),
            "pid": os.getpid(),
        }

    def _decrypt(self, call: Fields) -> Fields:
        binding = unpack_binding(str(call.get("binding")))
        return {"plaintext": pack_bytes(self._keys.decrypt(binding, unpack_bytes(call, "ciphertext")))}

    def _sign_receipt(self, call: Fields) -> Fields:
        receipt = unpack_struct(call, "receipt", Receipt)
        return {"signed": pack_signed(self._keys.sign_receipt(receipt, unpack_bytes(call, "response")))}

    def _sign_stream_receipt(self, call: Fields) -> Fields:
        return {"signature": pack_bytes(self._keys.sign_stream_receipt(unpack_stream_receipt(call)))}

    def _sign_rejection(self, call: Fields) -> Fields:
        return {"signed": pack_signed(self._keys.sign_rejection(unpack_struct(call, "rejection", RejectionStatement)))}

    def _sign_close(self, call: Fields) -> Fields:
        return {"signature": pack_bytes(self._keys.sign_close(unpack_struct(call, "statement", CloseStatement)))}

    def _stop(self, _call: Fields) -> Fields:
        # let the answer leave first
        asyncio.get_running_loop().call_later(0.05, self.stop)
        return {}


class _Connection(Line):
    """The signer's end of the socket."""

    def __init__(self, server: SignerServer) -> None:
        super().__init__()
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if _is_same_user(transport.get_extra_info("socket")):
            self._server.connections.add(self)
        else:
            _log.warning("refused a connection of another user")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if exc is not None:
            _log.info("a client went away")

    def take(self, value: Fields) -> None:
        self.send(self._server.answer(value))

    def refused(self, error: SignerRefused) -> None:
        _log.warning("closed a connection: %s", error)


def prepare_socket_directory(path: Path) -> None:
    """Makes the socket's directory, for this user only. SignerUnavailable if it is open to others."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise SignerUnavailable(f"{path} is too long for a socket: choose a path below {_MAX_SOCKET_PATH} bytes")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.parent.stat()
    except OSError as error:
        raise SignerUnavailable(f"{path.parent} can't be made: {error}; choose another directory") from error
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SignerUnavailable(
            f"{path.parent} is open to other users: chmod 700 it, or choose a directory of your own for the socket"
        )


def _is_same_user(connection: socket.socket) -> bool:
    """The directory's mode keeps others out already; where the kernel tells who connects, ask it too."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return bool(uid == os.getuid())
