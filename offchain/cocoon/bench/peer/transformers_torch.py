"""transformers on torch, as its documentation has people run it: a causal model and its own cache."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

from .serving import serve

__all__ = ["Torch"]


class Torch:
    """form: `f32` or `bf16`."""

    def __init__(self, model: str, form: str, folder: str, prompt: list[int], threads: int) -> None:
        torch.set_num_threads(threads)
        self._mode = torch.inference_mode()  # for good: entered here and never left
        self._mode.__enter__()
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[form]
        self._model = AutoModelForCausalLM.from_pretrained(_converted(Path(model), Path(folder)), dtype=dtype).eval()
        self._prompt = prompt
        self._cache: Any = None
        self._count = 0
        self.weight_bytes = sum(weight.numel() * weight.element_size() for weight in self._model.parameters())
        self.version = f"transformers {transformers.__version__}, torch {torch.__version__}"

    def streams(self, count: int) -> None:
        self._count = count
        self._cache = self._model(torch.tensor([self._prompt]), use_cache=True, logits_to_keep=1).past_key_values
        self._cache.batch_repeat_interleave(count)

    def decode(self, steps: int) -> float:
        tokens = torch.arange(5, 5 + self._count)
        began = time.perf_counter()
        for _ in range(steps):
            found = self._model(tokens[:, None], past_key_values=self._cache, use_cache=True)
            tokens = found.logits[:, -1].argmax(-1)
        tokens.tolist()
        took = time.perf_counter() - began
        self._cache.crop(-steps)
        return took

    def prefill(self) -> float:
        tokens = torch.tensor([self._prompt])
        began = time.perf_counter()
        int(self._model(tokens, use_cache=True, logits_to_keep=1).logits[0, -1].argmax())
        return time.perf_counter() - began

    def logits(self, windows: list[list[int]], path: str) -> None:
        np.save(path, self._model(torch.tensor(windows), use_cache=False).logits.float().numpy())

    def greedy(self, tokens: list[int], count: int) -> dict[str, Any]:
        found = self._model(torch.tensor([tokens]), use_cache=True, logits_to_keep=1)
        row = found.logits[0, -1].float()
        best = row.topk(8)
        top = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        chosen: list[int] = []
        margin = float("inf")
        while True:
            first, second = row.topk(2).values.tolist()
            margin = min(margin, first - second)
            chosen.append(int(row.argmax()))
            if len(chosen) == count:
                return {"tokens": chosen, "top_logits": top, "least_margin": margin}
            found = self._model(torch.tensor([[chosen[-1]]]), past_key_values=found.past_key_values, use_cache=True)
            row = found.logits[0, -1].float()


def _converted(model: Path, folder: Path) -> Path:
    """The file as transformers reads it, in float32: reading GGUF takes it half a minute, so that is done once."""
    target = folder / f"{model.stem}-transformers-{transformers.__version__}"
    if not target.is_dir():
        read = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            if hasattr(read.config, "quantization_config"):
                del read.config.quantization_config  # it was GGUF, which it refuses to write; it is float32 by now
            plain = type(read)(read.config)
            plain.load_state_dict(read.state_dict())
            plain.save_pretrained(Path(scratch) / target.name)
            os.replace(Path(scratch) / target.name, target)
    return target


if __name__ == "__main__":
    serve(Torch)
