"""What a worker is ready to give to somebody else's bundle."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, counts and seconds. memory_bytes: parameters, state and temporary arrays of a build together."""

    manifest_bytes: int = 16 << 20
    program_bytes: int = 64 << 20
    text_bytes: int = 64 << 20  # tokenizer, chat template, golden vectors: each
    builds: int = 64
    programs: int = 64  # different ones of a build, steps included
    programs_bytes: int = 1 << 30  # different ones of all builds together
    compiled_bytes: int = 128 << 20  # a compiled program, to be kept
    shards: int = 4096
    tensors: int = 100_000
    operations: int = 500_000
    constant_bytes: int = 1 << 20
    memory_bytes: int = 16 << 30
    compile_sec: float = 300.0
    step_sec: float = 60.0
