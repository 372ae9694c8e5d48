"""Reading GGUF: malformed, foreign and quantized files."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

from cocoon.kernels.builders.gguf import read_config, read_weights
from cocoon.kernels.builders.gguf_file import GGUFFile
from cocoon.kernels.builders.vocabulary import tokenizer_from_gguf
from cocoon.kernels.errors import ModelFormatError, UnsupportedModel

Q = gguf.GGMLQuantizationType
HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, VOCABULARY = 64, 4, 2, 96, 3


def write_llama(path: Path, architecture: str = "llama", **changes: Any) -> Path:
    """A one-layer Llama with random weights; `changes` override metadata (dots written as two underscores)."""
    metadata = {
        "llama.block_count": 1,
        "llama.context_length": 16,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
    } | {key.replace("__", "."): value for key, value in changes.items()}
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "ab"])
    random = np.random.default_rng(1)
    shapes = {
        "token_embd": (VOCABULARY, HIDDEN),
        "output_norm": (HIDDEN,),
        "blk.0.attn_norm": (HIDDEN,),
        "blk.0.attn_q": (HIDDEN, HIDDEN),
        "blk.0.attn_k": (HIDDEN // 2, HIDDEN),
        "blk.0.attn_v": (HIDDEN // 2, HIDDEN),
        "blk.0.attn_output": (HIDDEN, HIDDEN),
        "blk.0.ffn_norm": (HIDDEN,),
        "blk.0.ffn_gate": (FEED_FORWARD, HIDDEN),
        "blk.0.ffn_up": (FEED_FORWARD, HIDDEN),
        "blk.0.ffn_down": (HIDDEN, FEED_FORWARD),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_read_config_of_a_llama_gives_its_hyper_parameters(tmp_path: Path) -> None:
    with GGUFFile(write_llama(tmp_path / "m.gguf")) as file:
        config = read_config(file)
        weights = read_weights(file, config)
    assert (config.layers, config.heads, config.kv_heads, config.head_dim) == (1, HEADS, KV_HEADS, HIDDEN // HEADS)
    assert config.rope_theta == 10_000.0
    assert config.tied
    assert weights["layers.0.qkv"].shape == (HIDDEN * 2, HIDDEN)
    assert weights["layers.0.gate_up"].shape == (FEED_FORWARD * 2, HIDDEN)


@pytest.mark.parametrize(
    ("architecture", "changes", "reason"),
    [
        ("mamba", {}, "'mamba' model"),
        ("llama", {"llama__rope__scaling__type": "linear"}, "rotary"),
        ("llama", {"llama__expert_count": 8}, "mixture of experts"),
        ("llama", {"llama__rope__dimension_count": 8}, "part of each head"),
        ("llama", {"llama__attention__value_length": 8}, "another width"),
    ],
)
def test_read_config_of_another_kind_of_model_is_refused_with_the_reason(
    tmp_path: Path, architecture: str, changes: dict[str, Any], reason: str
) -> None:
    with (
        GGUFFile(write_llama(tmp_path / "m.gguf", architecture, **changes)) as file,
        pytest.raises(UnsupportedModel, match=reason),
    ):
        read_config(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"llama__attention__head_count_kv": 3},
        {"llama__attention__head_count": 0},
        {"llama__block_count": "one"},
        {"llama__context_length": 0},
    ],
)
def test_read_config_of_impossible_sizes_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with GGUFFile(write_llama(tmp_path / "m.gguf", **changes)) as file, pytest.raises(ModelFormatError):
        read_config(file)


def test_read_weights_of_another_shape_than_the_metadata_says_is_refused(tmp_path: Path) -> None:
    with GGUFFile(write_llama(tmp_path / "m.gguf", llama__feed_forward_length=32)) as file:
        config = read_config(file)
        with pytest.raises(ModelFormatError, match="ffn_gate"):
            read_weights(file, config)


def test_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    with (
        GGUFFile(write_llama(tmp_path / "m.gguf", tokenizer__ggml__pre="t5")) as file,
        pytest.raises(UnsupportedModel, match="'t5'"),
    ):
        tokenizer_from_gguf(file)


def test_open_of_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_llama(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    header = whole.index(b"blk.0.ffn_down") + 64
    for length in [*range(0, header, 7), len(whole) // 2, len(whole) - 64]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelFormatError):
            GGUFFile(cut)


def test_open_of_a_header_with_flipped_bytes_never_fails_in_another_way(tmp_path: Path) -> None:
    whole = write_llama(tmp_path / "m.gguf").read_bytes()
    header = whole.index(b"blk.0.ffn_down") + 64
    random = np.random.default_rng(2)
    path = tmp_path / "flipped.gguf"
    for _ in range(300):
        data = bytearray(whole)
        for at in random.integers(0, header, 3):
            data[at] = int(random.integers(0, 256))
        path.write_bytes(data)
        try:
            with GGUFFile(path) as file:
                read_weights(file, read_config(file))
        except (ModelFormatError, UnsupportedModel):
            continue


@pytest.mark.parametrize("kind", [Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1])
def test_array_of_a_quantized_tensor_equals_the_reference_dequantization(tmp_path: Path, kind: Q) -> None:
    values = np.random.default_rng(3).standard_normal((6, 64), np.float32)
    packed = quantize(values, kind)
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
    writer.add_tensor("w", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with GGUFFile(tmp_path / "q.gguf") as file:
        found = file.array("w", (6, 64))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, dequantize(packed, kind))
