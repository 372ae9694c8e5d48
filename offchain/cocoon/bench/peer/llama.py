"""llama.cpp through llama-cpp-python's own bindings, without its Python conveniences."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import llama_cpp as lib
import numpy as np

from .serving import serve

__all__ = ["Llama"]

_TYPES = {"F32": lib.LLAMA_FTYPE_ALL_F32, "BF16": lib.LLAMA_FTYPE_MOSTLY_BF16, "Q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0}
_ROOM = 128  # tokens behind the prompt
_F32 = 0  # GGML_TYPE_F32
_NO_FLASH = 0  # LLAMA_FLASH_ATTN_TYPE_DISABLED


class Llama:
    """form: `shipped`, or one of _TYPES, which llama.cpp's quantizer makes of what is shipped and keeps in `folder`."""

    def __init__(self, model: str, form: str, folder: str, prompt: list[int], threads: int) -> None:
        lib.llama_backend_init()
        self._silence = lib.llama_log_callback(lambda level, text, data: None)
        lib.llama_log_set(self._silence, ctypes.c_void_p(0))
        path = model if form == "shipped" else _converted(model, form, Path(folder))
        found = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not found:
            raise RuntimeError(f"llama.cpp can't load {path}")
        self._model, self._prompt, self._threads = found, prompt, threads
        self._exact = form == "F32"
        self._vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(found))
        self._context: Any = None
        self._count = 0
        self.weight_bytes = int(lib.llama_model_size(found))
        self.version = f"llama-cpp-python {lib.__version__}: {lib.llama_print_system_info().decode()}"

    def streams(self, count: int) -> None:
        self._open(count + 1, len(self._prompt) + _ROOM)  # one more, for prefill
        self._count = count
        self._run([(token, i, 0, i + 1 == len(self._prompt)) for i, token in enumerate(self._prompt)])
        for stream in range(1, count):
            lib.llama_memory_seq_cp(lib.llama_get_memory(self._context), 0, stream, -1, -1)

    def decode(self, steps: int) -> float:
        began_at = len(self._prompt)
        tokens = [5 + stream for stream in range(self._count)]
        began = time.perf_counter()
        for step in range(steps):
            rows = self._run([(token, began_at + step, stream, True) for stream, token in enumerate(tokens)])
            tokens = [int(token) for token in rows.argmax(axis=1)]
        took = time.perf_counter() - began
        for stream in range(self._count):
            lib.llama_memory_seq_rm(lib.llama_get_memory(self._context), stream, began_at, -1)
        return took

    def prefill(self) -> float:
        stream, last = self._count, len(self._prompt) - 1
        lib.llama_memory_seq_rm(lib.llama_get_memory(self._context), stream, 0, -1)
        began = time.perf_counter()
        self._run([(token, i, stream, i == last) for i, token in enumerate(self._prompt)]).argmax()
        return time.perf_counter() - began

    def logits(self, windows: list[list[int]], path: str) -> None:
        self._open(len(windows), max(map(len, windows)))
        found = [
            self._run([(token, i, stream, True) for i, token in enumerate(window)]).copy()
            for stream, window in enumerate(windows)
        ]
        np.save(path, np.stack(found))

    def greedy(self, tokens: list[int], count: int) -> dict[str, Any]:
        self._open(1, len(tokens) + count)
        chosen: list[int] = []
        margin = np.inf
        row = self._run([(token, i, 0, i + 1 == len(tokens)) for i, token in enumerate(tokens)])[0].copy()
        top = [(int(i), float(row[i])) for i in np.argsort(-row)[:8]]
        while True:
            best = np.partition(row, -2)[-2:]
            margin = min(margin, float(best[1] - best[0]))
            chosen.append(int(row.argmax()))
            if len(chosen) == count:
                return {"tokens": chosen, "top_logits": top, "least_margin": margin}
            row = self._run([(chosen[-1], len(tokens) + len(chosen) - 1, 0, True)])[0].copy()

    def _open(self, streams: int, tokens: int) -> None:
        if self._context is not None:
            lib.llama_free(self._context)
        wanted = lib.llama_context_default_params()
        wanted.n_seq_max = streams
        wanted.n_ctx = streams * (tokens + 255 & ~255)
        wanted.n_batch = 2048
        wanted.n_threads = wanted.n_threads_batch = self._threads
        if self._exact:  # otherwise keys and values are kept in f16, in the F32 model too
            wanted.type_k = wanted.type_v = _F32
            wanted.flash_attn_type = _NO_FLASH
        self._context = lib.llama_init_from_model(self._model, wanted)
        if not self._context:
            raise RuntimeError(f"llama.cpp can't make a context for {streams} streams of {tokens} tokens")

    def _run(self, rows: list[tuple[int, int, int, bool]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(token, position, stream, wanted) each -> logits of the wanted ones, valid until the next call."""
        batch = lib.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, stream, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, stream
        failed = lib.llama_decode(self._context, batch)
        lib.llama_batch_free(batch)
        if failed:
            raise RuntimeError(f"llama_decode gives {failed}")
        count = sum(row[3] for row in rows)
        return np.ctypeslib.as_array(lib.llama_get_logits(self._context), (count, self._vocabulary))


def _converted(model: str, form: str, folder: Path) -> str:
    """The file in another form, made once. By way of F32, so that nothing is rounded to anything but that form."""
    target = folder / f"{Path(model).stem}-{form}.gguf"
    if target.is_file():
        return str(target)
    source = model if form == "F32" else _converted(model, "F32", folder)
    wanted = lib.llama_model_quantize_default_params()
    wanted.ftype, wanted.allow_requantize = _TYPES[form], True
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / target.name
        failed = lib.llama_model_quantize(source.encode(), str(made).encode(), ctypes.byref(wanted))
        if failed:
            raise RuntimeError(f"llama.cpp can't make {form} of {source}: {failed}")
        os.replace(made, target)
    return str(target)


if __name__ == "__main__":
    serve(Llama)
