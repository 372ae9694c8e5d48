"""The root of Cocoon's error tree."""

__all__ = [
    "ChainError",
    "ChainUnavailable",
    "ClientError",
    "CocoonError",
    "DeployError",
    "JobFailed",
    "LyingServer",
    "MessageRefused",
    "WalletError",
    "WireError",
]


class CocoonError(Exception):
    """Any failure Cocoon raises on purpose; the message says what to do next."""


class WireError(CocoonError):
    """A cell that is not what it should be: a field out of range, bits missing, trailing data, a wrong opcode."""


class ChainError(CocoonError):
    """The network answered with something that can't be right, or that can't be worked with."""


class ChainUnavailable(ChainError):
    """No lite server answers. Nothing is lost: the same call may be made again."""


class LyingServer(ChainError):
    """A lite server's answer contradicts the proof it must carry: forged, stale, hidden or forked state."""


class MessageRefused(ChainError):
    """An external message was not accepted; `exit_code` is what the receiving contract threw, if the server says so."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class WalletError(CocoonError):
    """A wallet that can't send: a bad mnemonic, too little money, a message that expired."""


class ClientError(CocoonError):
    """A client's request that can't go on: a worker that refuses or can't be trusted, a receipt that does not hold."""


class JobFailed(ClientError):
    """A forced job that was rejected or expired."""


class DeployError(CocoonError):
    """A deployment that must not or can't be made."""
