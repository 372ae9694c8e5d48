"""Cocoon's market from Python: `AsyncClient`, `Client` for code without an event loop, and batches.

A client holds a wallet's channels, chooses workers, pays by vouchers and verifies every answer, as the gateway does;
nobody else is in between.
"""

from .answers import Answer, Vectors
from .asking import AsyncClient, TextStream
from .batch import BatchDone, BatchItem, read_batch, run_batch
from .blocking import BlockingStream, Client
from .errors import AnswerFailed, BatchInvalid, RequestInvalid, TooDear

__all__ = [
    "Answer",
    "AnswerFailed",
    "AsyncClient",
    "BatchDone",
    "BatchInvalid",
    "BatchItem",
    "BlockingStream",
    "Client",
    "RequestInvalid",
    "TextStream",
    "TooDear",
    "Vectors",
    "read_batch",
    "run_batch",
]
