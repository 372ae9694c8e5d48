"""Cocoon off chain: codec, crypto, chain access, agent, client, gateway and kernels.

`cocoon.Client` and `cocoon.AsyncClient` buy from the market; see `cocoon.sdk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sdk import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    """Loaded when first used: most programs here need nothing of it."""
    if name in __all__:
        from . import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
