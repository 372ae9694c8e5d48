"""API keys of a team, each with a budget: reserved before a request may cost anything, settled after it.

A key is shown once, when it is made; what is kept is its SHA-256, which is enough for 256 random bits.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from dataclasses import dataclass

from .errors import BudgetExceeded, GatewayError

__all__ = ["ApiKey", "KeyStore"]

_PREFIX = "sk-cocoon-"
_HINT_CHARS = 4
_MAX_NAME = 64
_COLUMNS = "id, name, hint, budget_nano, spent_nano, reserved_nano, created, revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """budget_nano: None is unlimited. hint: the key's last characters. created, revoked: unix time."""

    id: int
    name: str
    hint: str
    budget_nano: int | None
    spent_nano: int
    reserved_nano: int
    created: int
    revoked: int | None

    @property
    def left_nano(self) -> int | None:
        """What may still be reserved; None: any amount."""
        return None if self.budget_nano is None else max(0, self.budget_nano - self.spent_nano - self.reserved_nano)


class KeyStore:
    """Every method is one transaction; several processes may use the file at once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, name: str, budget_nano: int | None) -> str:
        """The new key, which can't be shown again. GatewayError if the name is taken or unusable."""
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise GatewayError(f"a key's name has 1 to {_MAX_NAME} printable characters, not {name!r}")
        if budget_nano is not None and budget_nano <= 0:
            raise GatewayError("a budget is an amount above 0; leave it out only for a key that may spend everything")
        key = _PREFIX + secrets.token_urlsafe(32)
        try:
            self._db.execute(
                "INSERT INTO keys (name, digest, hint, budget_nano, created) VALUES (?, ?, ?, ?, ?)",
                (name, _digest(key), key[-_HINT_CHARS:], budget_nano, int(time.time())),
            )
        except sqlite3.IntegrityError as error:
            raise GatewayError(f"there is a key named {name!r} already; choose another name") from error
        except OverflowError as error:
            raise GatewayError(f"{budget_nano} nanoTON are more than there are") from error
        return key

    def list(self) -> list[ApiKey]:
        return [ApiKey(*row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY id")]

    def revoke(self, name: str) -> None:
        """From now on the key is refused. GatewayError if there is none of this name."""
        done = self._db.execute(
            "UPDATE keys SET revoked = ? WHERE name = ? AND revoked IS NULL", (int(time.time()), name)
        )
        if done.rowcount == 0:
            raise GatewayError(f"there is no valid key named {name!r}; `cocoon gateway key list` shows them")

    def set_budget(self, name: str, budget_nano: int | None) -> None:
        """What may be spent in all from now on; None: no limit. GatewayError if there is no key of this name."""
        done = self._db.execute("UPDATE keys SET budget_nano = ? WHERE name = ?", (budget_nano, name))
        if done.rowcount == 0:
            raise GatewayError(f"there is no key named {name!r}; `cocoon gateway key list` shows them")

    def find(self, key: str) -> ApiKey | None:
        """The valid key with these characters."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM keys WHERE digest = ? AND revoked IS NULL", (_digest(key),)
        ).fetchone()
        return None if row is None else ApiKey(*row)

    def named(self, name: str) -> ApiKey | None:
        """The valid key of this name."""
        return next((key for key in self.list() if key.name == name and key.revoked is None), None)

    def reserve(self, key_id: int, nano: int) -> None:
        """Set `nano` aside for a request. BudgetExceeded if the key was revoked or its budget does not cover it."""
        done = self._db.execute(
            "UPDATE keys SET reserved_nano = reserved_nano + ? WHERE id = ? AND revoked IS NULL "
            "AND (budget_nano IS NULL OR spent_nano + reserved_nano + ? <= budget_nano)",
            (nano, key_id, nano),
        )
        if done.rowcount == 0:
            raise BudgetExceeded(
                f"this request may cost up to {nano / 1e9:.9f} TON, more than is left of this key's budget; lower "
                "max_tokens, or ask the gateway's owner for more"
            )

    def settle(self, key_id: int, reserved_nano: int, spent_nano: int) -> None:
        """End a reservation: `spent_nano` of it was needed."""
        self._db.execute(
            "UPDATE keys SET reserved_nano = reserved_nano - ?, spent_nano = spent_nano + ? WHERE id = ?",
            (reserved_nano, spent_nano, key_id),
        )

    def recover(self) -> None:
        """Once, before serving: what was reserved when the gateway last died may have been spent, so it counts."""
        self._db.execute("UPDATE keys SET spent_nano = spent_nano + reserved_nano, reserved_nano = 0")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
