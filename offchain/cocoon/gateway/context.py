"""What every handler needs, and where it is found in the application; who may ask for what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from .archive import ReceiptArchive
from .backend import Backend
from .errors import ApiError, bad_request, model_not_found, rate_limit, unauthorized
from .keys import ApiKey, KeyStore
from .live import LiveBoard
from .metrics import GatewayMetrics

__all__ = ["CONTEXT", "Context", "HttpLimits", "api_key", "check_room", "json_body", "model_id"]

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """body_bytes: of a request. at_once: requests under way, at_once_per_key: those of one key, so that none keeps the
    others out; more are told to come again. request_sec: for a whole answer. body_sec: for the client to send what it
    asks.
    """

    body_bytes: int = 1 << 20
    at_once: int = 64
    at_once_per_key: int = 32
    request_sec: float = 600.0
    body_sec: float = 20.0
    default_max_tokens: int = 512


@dataclass(slots=True)
class Context:
    """banner: what to show wherever anything is shown, while no hardware stands behind the network.

    page_key: the key that the page may use without being told one; None where the page has to ask for it.
    """

    backend: Backend
    keys: KeyStore
    archive: ReceiptArchive
    metrics: GatewayMetrics
    banner: Callable[[], str | None]
    limits: HttpLimits = field(default_factory=HttpLimits)
    board: LiveBoard = field(default_factory=LiveBoard)
    page_key: str | None = None


CONTEXT = web.AppKey("context", Context)


def api_key(request: web.Request) -> ApiKey:
    """The key a request names. ApiError 401."""
    said = request.headers.get("Authorization", "")
    if said[: len(_BEARER)].lower() != _BEARER:
        raise unauthorized("You did not provide an API key: send it as `Authorization: Bearer sk-cocoon-...`.")
    found = request.app[CONTEXT].keys.find(said[len(_BEARER) :].strip())
    if found is None:
        raise unauthorized("Incorrect API key provided: unknown here, or revoked. Ask the gateway's owner for one.")
    return found


def check_room(context: Context, key: ApiKey) -> None:
    """ApiError 429 while as many requests of this key as may be are under way, 503 while so many of all keys are."""
    if context.board.of_key(key.name) >= context.limits.at_once_per_key:
        raise rate_limit(
            f"This key has {context.limits.at_once_per_key} requests under way, and no more are taken at once; try "
            "again when one has ended."
        )
    if len(context.board.live) >= context.limits.at_once:
        raise ApiError(503, "server_error", "The gateway is busy; try again.", code="overloaded", retry=True)


async def json_body(request: web.Request) -> Mapping[str, Any]:
    """ApiError unless the body is a JSON object of the allowed size."""
    limits = request.app[CONTEXT].limits
    try:
        raw = await asyncio.wait_for(request.read(), limits.body_sec)
        found = json.loads(raw)
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError(
            413, "invalid_request_error", f"The request is larger than {limits.body_bytes} bytes; send less at once."
        ) from error
    except TimeoutError as error:
        raise ApiError(408, "invalid_request_error", "The request did not arrive in time.", retry=True) from error
    except web.RequestPayloadError as error:
        raise bad_request("The body can't be read: it is not encoded as its headers say.") from error
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The body is not valid JSON ({type(error).__name__}).") from error
    if not isinstance(found, dict):
        raise bad_request("The body must be a JSON object.")
    return found


def model_id(context: Context, name: str) -> str:
    """ApiError 404 if nobody ever offered it."""
    found = context.backend.model_id(name)
    if found is None:
        raise model_not_found(name)
    return found
