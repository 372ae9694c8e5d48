"""A BERT-type encoder of one layer, as Hugging Face lays such models out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cocoon.kernels.bundle.safetensors import write

__all__ = ["write_bert"]

BERT = {
    "model_type": "bert", "hidden_act": "gelu", "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2,
    "intermediate_size": 24, "vocab_size": 12, "max_position_embeddings": 64, "layer_norm_eps": 1e-12,
}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world", "##s", "a", "b", "c", "!", "?"]


def write_bert(folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Its weights, by the names in the file."""
    random = np.random.default_rng(4)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (12, 16),
        "embeddings.position_embeddings.weight": (64, 16),
        "embeddings.token_type_embeddings.weight": (2, 16),
    }
    here = "encoder.layer.0"
    for name, rows, columns in (
        ("attention.self.query", 16, 16), ("attention.self.key", 16, 16), ("attention.self.value", 16, 16),
        ("attention.output.dense", 16, 16), ("intermediate.dense", 24, 16), ("output.dense", 16, 24),
    ):  # fmt: skip
        shapes |= {f"{here}.{name}.weight": (rows, columns), f"{here}.{name}.bias": (rows,)}
    for name in ("embeddings.LayerNorm", f"{here}.attention.output.LayerNorm", f"{here}.output.LayerNorm"):
        shapes |= {f"{name}.weight": (16,), f"{name}.bias": (16,)}
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "config.json").write_text(json.dumps(BERT))
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "normalizer": {"type": "BertNormalizer", "lowercase": True},
                "pre_tokenizer": {"type": "BertPreTokenizer"},
                "model": {
                    "type": "WordPiece",
                    "unk_token": "[UNK]",
                    "vocab": {word: i for i, word in enumerate(WORDS)},
                },
            }
        )
    )
    weights = {name: random.standard_normal(shape, np.float32) * 0.3 for name, shape in shapes.items()}
    write(folder / "model.safetensors", weights)
    return weights
