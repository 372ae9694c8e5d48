"""Errors of the gateway: those that stop it, and those a request is answered with, in OpenAI's format."""

from __future__ import annotations

from typing import Any

from ..errors import CocoonError

__all__ = [
    "ApiError",
    "BackendFailed",
    "BudgetExceeded",
    "GatewayError",
    "NoWorker",
    "PoolExhausted",
    "RequestRefused",
    "bad_request",
    "internal_error",
    "model_not_found",
    "no_worker",
    "quota",
    "rate_limit",
    "unauthorized",
    "unsupported",
    "upstream_failed",
]


class GatewayError(CocoonError):
    """The gateway can't start or go on: a setting, its data folder, a network it must not serve."""


class BudgetExceeded(GatewayError):
    """A key's budget does not cover what a request may cost."""


class BackendFailed(CocoonError):
    """A request that the market did not answer. `spent_nano` is the most it may have cost already."""

    def __init__(self, message: str, *, spent_nano: int = 0) -> None:
        super().__init__(message)
        self.spent_nano = spent_nano


class NoWorker(BackendFailed):
    """No worker can be used for a model now; the message says why each was left out."""


class RequestRefused(BackendFailed):
    """The request itself is at fault: no worker would answer it. `reason` is a worker's short name for it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PoolExhausted(BackendFailed):
    """The limits its owner set leave no money for another channel, or its wallet is empty."""


class ApiError(Exception):
    """What a request is answered with instead of a result."""

    def __init__(
        self, status: int, kind: str, message: str, *, code: str | None = None, param: str | None = None,
        retry: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.kind, self.message, self.code, self.param, self.retry = (
            status, kind, message, code, param, retry,
        )  # fmt: skip

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """The official SDKs repeat a request by themselves unless told that it is of no use."""
        if self.status < 500 and not self.retry:
            return {"x-should-retry": "false"}
        return {"x-should-retry": "true", "Retry-After": "1"} if self.retry else {"x-should-retry": "false"}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, "invalid_request_error", message, code=code, param=param)


def unsupported(param: str, message: str) -> ApiError:
    return bad_request(message, param, "unsupported_parameter")


def unauthorized(message: str) -> ApiError:
    return ApiError(401, "invalid_request_error", message, code="invalid_api_key")


def quota(message: str) -> ApiError:
    return ApiError(429, "insufficient_quota", message, code="insufficient_quota")


def rate_limit(message: str) -> ApiError:
    return ApiError(429, "requests", message, code="rate_limit_exceeded", retry=True)


def model_not_found(model: str) -> ApiError:
    return ApiError(
        404, "invalid_request_error",
        f"The model {model!r} does not exist here; GET /v1/models lists those that are offered.",
        code="model_not_found", param="model",
    )  # fmt: skip


def no_worker(message: str) -> ApiError:
    return ApiError(503, "server_error", message, code="no_worker", retry=True)


def internal_error() -> ApiError:
    return ApiError(500, "server_error", "The gateway failed; its log says more.", code="internal_error")


def upstream_failed(message: str) -> ApiError:
    return ApiError(502, "server_error", message, code="worker_failed", retry=True)
