"""From a decrypted request to an answer: what it may cost, how long it may take, whose fault it is if there is none."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from ..crypto.errors import PayloadTooLarge
from ..crypto.payload import MAX_PADDED_BYTES
from ..crypto.request import Request
from ..crypto.response import Answer, ResponseKey, seal_response
from ..crypto.usage import Usage, price
from ..errors import CocoonError
from ..kernels.errors import PromptTooLong, RequestError
from ..wire.blob import cell_to_bytes
from ..wire.common import ModelTerms
from ..wire.escrow import Binding, RejectReason
from .errors import KernelFailure
from .kernel import Kernel, Result

__all__ = ["Answered", "Limits", "Refused", "affordable_tokens", "compute"]

_PER = 1_000_000
_LEAST_TEXT = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """max_tokens: per answer, whatever is asked. default_tokens: where nothing is asked. reserve_sec: kept for
    delivering.
    """

    max_tokens: int = 1024
    default_tokens: int = 256
    reserve_sec: float = 10.0
    least_sec: float = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A sealed response, its usage and its price."""

    response: bytes
    usage: Usage
    fee_nano: int


class Refused(Exception):
    """The request is its client's fault."""

    def __init__(self, reason: RejectReason, note: str) -> None:
        super().__init__(f"{reason.name}: {note}")
        self.reason, self.note = reason, note


def affordable_tokens(terms: ModelTerms, prompt_tokens: int, max_fee_nano: int) -> int | None:
    """Completion tokens that `max_fee_nano` pays for after the prompt; None: any number."""
    if terms.completion_nano == 0:
        return None if price(Usage(prompt_tokens, 0, 0), terms) <= max_fee_nano else 0
    return max(0, (max_fee_nano * _PER - prompt_tokens * terms.prompt_nano) // terms.completion_nano)


async def compute(
    kernel: Kernel,
    request: Request,
    binding: Binding,
    key: ResponseKey,
    *,
    max_fee_nano: int,
    seconds: float,
    limits: Limits,
    owner: str | None = None,
) -> Answered:
    """Runs the request within `seconds` and seals its answer. Raises Refused, or KernelFailure if trying again may
    help.
    """
    terms = binding.terms
    if int.from_bytes(kernel.model_id, "big") != binding.model_id:
        raise Refused(RejectReason.UNKNOWN_MODEL, "the channel is for a model this agent does not run")
    try:
        prompt_tokens, asked = await asyncio.to_thread(_examined, kernel, request)
        asked = limits.default_tokens if asked is None else asked
        if price(Usage(prompt_tokens, 0, min(1, asked)), terms) > max_fee_nano:
            raise Refused(RejectReason.FEE_TOO_LOW, f"{max_fee_nano} nanoTON do not pay for the prompt and one token")
        payable = affordable_tokens(terms, prompt_tokens, max_fee_nano)
        allowed = min(asked, limits.max_tokens, asked if payable is None else payable)
        result = await _run(kernel, request, allowed, max(limits.least_sec, seconds - limits.reserve_sec), owner)
    except PromptTooLong as error:
        raise Refused(RejectReason.TOO_LONG, f"{error.tokens} tokens, {error.limit} fit") from error
    except RequestError as error:
        # the message may quote the request
        raise Refused(RejectReason.MALFORMED, type(error).__name__) from error
    except (Refused, KernelFailure):
        raise
    except CocoonError as error:
        raise KernelFailure(f"the kernel failed: {type(error).__name__}") from error
    except Exception as error:
        raise KernelFailure(f"the kernel broke down: {type(error).__name__}") from error
    usage = Usage(result.prompt_tokens - result.cached_tokens, result.cached_tokens, result.completion_tokens)
    return Answered(_seal(result, usage, key), usage, min(price(usage, terms), max_fee_nano))


def _examined(kernel: Kernel, request: Request) -> tuple[int, int | None]:
    """Tokens of the prompt, and those asked for. A request that a kernel stumbles over is refused: it would stumble
    again, and a job tried until its deadline has passed is paid for out of the bond.
    """
    try:
        return kernel.count_tokens(request.body), kernel.asked_tokens(request.body)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise Refused(RejectReason.MALFORMED, type(error).__name__) from error


async def _run(kernel: Kernel, request: Request, max_tokens: int, seconds: float, owner: str | None) -> Result:
    """The kernel in a thread, told to stop when time is up or the agent is stopped."""
    cancel = threading.Event()
    timer = asyncio.get_running_loop().call_later(seconds, cancel.set)
    try:
        return await asyncio.to_thread(kernel.complete, request.body, max_tokens=max_tokens, cancel=cancel, owner=owner)
    finally:
        timer.cancel()
        cancel.set()


def _seal(result: Result, usage: Usage, key: ResponseKey) -> bytes:
    """An answer that is too long for one response is cut; its client sees `truncated`."""
    body = result.body
    while True:
        try:
            return cell_to_bytes(seal_response(Answer(body, usage), key))
        except PayloadTooLarge as error:
            text = body.get("text")
            if not isinstance(text, str) or len(text) < _LEAST_TEXT:
                raise KernelFailure(f"the kernel's answer is longer than {MAX_PADDED_BYTES} bytes") from error
            body = {**body, "text": text[: len(text) * 3 // 4], "truncated": True}
