"""The identity of a model: SHA-256 over what decides its answers, independent of how it is compiled.

This is the core of the kernel bundle's manifest, reduced to what a model fetched as one GGUF file has. The bundle will
name its weights by the root over chunk hashes and add golden vectors; compiled builds stay outside the id.
"""

import hashlib
import json

from cocoon.kernels.chat import ROLES

__all__ = ["model_id"]


def model_id(
    *, weights_sha256: str, tokenizer_digest: bytes, template_digest: bytes, context_length: int, licence: str
) -> bytes:
    """32 bytes naming the model in offers, requests and receipts.

    The hash is over JSON with sorted keys, no white space and ASCII only, so any language can recompute it.
    """
    core = {
        "schema": "cocoon.kernel.core/0",
        "kind": "generate",
        "weights": {"format": "gguf", "sha256": weights_sha256},
        "tokenizer": tokenizer_digest.hex(),
        "chat_template": template_digest.hex(),
        "context_length": context_length,
        "io": {"input": {"messages": {"roles": list(ROLES), "content": "utf-8"}}, "output": {"text": "utf-8"}},
        "licence": licence,
    }
    return hashlib.sha256(json.dumps(core, sort_keys=True, separators=(",", ":")).encode("ascii")).digest()
