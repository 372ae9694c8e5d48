"""What is known of a model that runs: what the parent has read itself, and the little that only its process knows."""

from __future__ import annotations

from typing import Any

from ..bundle.manifest import Build, Manifest, Tensor
from ..engine.tokenizer import MAX_TOKEN_BYTES
from .answers import Nonsense, text, whole

__all__ = ["about", "running_build"]

_MOST = 1 << 60


def running_build(manifest: Manifest, wanted: str | None, said: Any) -> Build:
    """wanted: the beginning of the id of the build it was told to run; None: the first. Raises Nonsense for another."""
    found = [build for build in manifest.builds if wanted is None or build.id.startswith(wanted)]
    if not found or found[0].id != said["build"]:
        raise Nonsense("another build than it was told to run")
    return found[0]


def about(manifest: Manifest, build: Build | None, said: Any) -> dict[str, Any]:
    """See `KernelHost.about`; build None: of an audit, which tells only what is `enforced`.

    Raises Nonsense, or another exception out of reading what was said.
    """
    enforced = [text(line, 200) for line in said["enforced"][:20]]
    if build is None:
        return {"enforced": enforced}
    if said["text_width"] not in (None, _width(manifest)):
        raise Nonsense("vectors of another width than the model's")
    return {
        "model_id": manifest.model_id.hex(),
        "build": build.id,
        "kind": manifest.core.kind,
        "slots": build.slots,
        "capacity": build.capacity,
        "longest_token": whole(said["longest_token"], 1, MAX_TOKEN_BYTES),
        "text_width": said["text_width"],
        "precision": build.precision,
        "memory_bytes": whole(said["memory_bytes"], 0, _MOST),
        "device": text(said["device"], 200),
        "devices": whole(said["devices"], 1, _MOST),
        "enforced": enforced,
    }


def _width(manifest: Manifest) -> int | None:
    match manifest.core.outputs:
        case [Tensor(dtype="f32", dims=("batch", int(width)))]:
            return width
    return None
