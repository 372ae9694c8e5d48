"""Errors of the kernel side: getting a model, reading it, and serving a request with it."""

from cocoon.errors import CocoonError

__all__ = [
    "BundleInvalid",
    "BundleUnavailable",
    "EngineBusy",
    "InvalidRequest",
    "KernelCrashed",
    "KernelError",
    "MemoryExceeded",
    "ModelFetchError",
    "ModelFormatError",
    "ModelIntegrityError",
    "NotLoaded",
    "OverBudget",
    "PromptTooLong",
    "RequestError",
    "UnsupportedModel",
]


class KernelError(CocoonError):
    """Base of everything raised below `cocoon.kernels`."""


class ModelFetchError(KernelError):
    """The model could not be downloaded or stored."""


class ModelIntegrityError(KernelError):
    """Bytes do not have the hash (or the model the id) they are pinned to; nothing of them was used."""


class ModelFormatError(KernelError):
    """A model file is malformed: truncated, out of bounds, or inconsistent."""


class UnsupportedModel(KernelError):
    """A well-formed model that this engine can't run (other architecture, rope scaling, tokenizer)."""


class NotLoaded(KernelError):
    """The engine was asked to work before `Engine.load`."""


class RequestError(KernelError):
    """The request itself is at fault: no worker could serve it with this model."""


class InvalidRequest(RequestError):
    """A parameter or message is out of range."""


class PromptTooLong(RequestError):
    """The prompt leaves no room for an answer.

    `tokens` is the prompt's length (a lower bound where the text is so long that it was not tokenized), `limit` the
    longest prompt the engine accepts; both count the tokens the chat template adds.
    """

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(f"the prompt has {tokens} tokens but at most {limit} fit this model: shorten it")


class OverBudget(RequestError):
    """The prompt takes more than may be spent on it (yet). `tokens` is its length, with the chat template's."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__(f"the prompt has {tokens} tokens, more than is paid for: pay for them first")


class BundleInvalid(KernelError):
    """A bundle that is malformed, inconsistent or forbidden; nothing of it is run. The message says what and where."""


class BundleUnavailable(KernelError):
    """A bundle, or a part of one, that no mirror has."""


class MemoryExceeded(KernelError):
    """A model, or as many slots of it as asked for, needs more memory than there is."""


class EngineBusy(KernelError):
    """Too many requests wait already. Nothing is wrong with this one: try again later, or another worker."""


class KernelCrashed(KernelError):
    """The process that computes died, or did not answer in time, while it worked on this request."""
