"""What a client asks over a stream: a body and the most that its answer may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from ..crypto.payload import encode_object
from ..crypto.request import check_fits

__all__ = ["Asked"]

_GREATEST_FEE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A body checked and encoded once, however often it is sealed. Make it with `of`."""

    encoded: bytes = field(repr=False)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """PayloadMalformed if `body` is not JSON, PayloadTooLarge if it can't be sent whatever it may cost."""
        made = cls(encode_object(body))
        check_fits(made.with_max_fee(_GREATEST_FEE))
        return made

    def with_max_fee(self, nano: int) -> bytes:
        """The JSON object that is sealed, `{"max_fee_nano": nano, "request": body}`, as `encode_object` writes it."""
        return b'{"max_fee_nano":%d,"request":%s}' % (nano, self.encoded)
