"""A Llama-family model out of a GGUF file: hyper-parameters from its metadata, weights as float32 in our layout."""

import numpy as np
import numpy.typing as npt

from cocoon.kernels.errors import ModelFormatError, UnsupportedModel
from cocoon.kernels.gguf_file import GGUFFile
from cocoon.kernels.llama import LayerWeights, LlamaConfig, LlamaWeights
from cocoon.kernels.progress import Progress, ProgressCallback, silent

__all__ = ["read_config", "read_weights"]

F32 = npt.NDArray[np.float32]


def read_config(file: GGUFFile) -> LlamaConfig:
    """The shape of the model. Raises UnsupportedModel for anything but a plain Llama, ModelFormatError for nonsense."""
    architecture = file.get("general.architecture", str)
    if architecture != "llama":
        raise UnsupportedModel(f"{file.path} is a {architecture!r} model; only 'llama' can be run")
    if file.get_or("llama.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in file.tensors:
        raise UnsupportedModel(f"{file.path} scales its rotary embedding, which is not supported")
    if file.get_or("llama.expert_count", 0):
        raise UnsupportedModel(f"{file.path} is a mixture of experts, which is not supported")
    heads = file.get("llama.attention.head_count", int)
    hidden = file.get("llama.embedding_length", int)
    config = LlamaConfig(
        layers=file.get("llama.block_count", int),
        hidden=hidden,
        heads=heads,
        kv_heads=file.get_or("llama.attention.head_count_kv", heads),
        head_dim=file.get_or("llama.attention.key_length", hidden // max(heads, 1)),
        feed_forward=file.get("llama.feed_forward_length", int),
        vocabulary=len(file.get("tokenizer.ggml.tokens", list)),
        context_length=file.get("llama.context_length", int),
        rms_epsilon=file.get("llama.attention.layer_norm_rms_epsilon", float),
        rope_theta=file.get_or("llama.rope.freq_base", 10_000.0),
    )
    sizes = (config.layers, hidden, heads, config.kv_heads, config.head_dim, config.feed_forward, config.context_length)
    if min(sizes) < 1 or heads % config.kv_heads or config.head_dim % 2:
        raise ModelFormatError(f"{file.path} has impossible hyper-parameters: {config}")
    if file.get_or("llama.rope.dimension_count", config.head_dim) != config.head_dim:
        raise UnsupportedModel(f"{file.path} rotates a part of each head only, which is not supported")
    if file.get_or("llama.attention.value_length", config.head_dim) != config.head_dim:
        raise UnsupportedModel(f"{file.path} has values of another width than keys, which is not supported")
    return config


def read_weights(file: GGUFFile, config: LlamaConfig, progress: ProgressCallback = silent) -> LlamaWeights:
    """All weights, dequantized to float32 (numpy). Progress phase `weights`, in bytes of the file."""
    total = sum(info.size_bytes for info in file.tensors.values())
    done = 0

    def read(name: str, *shape: int) -> F32:
        nonlocal done
        array = file.array(name, shape)
        done += file.tensors[name].size_bytes
        progress(Progress("weights", done, total))
        return array

    hidden, heads, kv_heads, head_dim = config.hidden, config.heads, config.kv_heads, config.head_dim
    extra = [name for name in file.tensors if name.endswith(".bias")]
    if extra:
        raise UnsupportedModel(f"{file.path} has bias tensors ({extra[0]}), which are not supported")
    progress(Progress("weights", 0, total))
    layers = []
    for i in range(config.layers):
        query = _split_halves(read(f"blk.{i}.attn_q.weight", heads * head_dim, hidden), heads)
        key = _split_halves(read(f"blk.{i}.attn_k.weight", kv_heads * head_dim, hidden), kv_heads)
        value = read(f"blk.{i}.attn_v.weight", kv_heads * head_dim, hidden)
        gate = read(f"blk.{i}.ffn_gate.weight", config.feed_forward, hidden)
        up = read(f"blk.{i}.ffn_up.weight", config.feed_forward, hidden)
        layers.append(
            LayerWeights(
                attention_norm=read(f"blk.{i}.attn_norm.weight", hidden),
                qkv=np.concatenate([query, key, value]),
                attention_out=read(f"blk.{i}.attn_output.weight", hidden, heads * head_dim),
                feed_forward_norm=read(f"blk.{i}.ffn_norm.weight", hidden),
                gate_up=np.concatenate([gate, up]),
                down=read(f"blk.{i}.ffn_down.weight", hidden, config.feed_forward),
            )
        )
    embedding = read("token_embd.weight", config.vocabulary, hidden)
    tied = "output.weight" not in file.tensors
    output_norm = read("output_norm.weight", hidden)
    output = None if tied else read("output.weight", config.vocabulary, hidden)
    cos, sin = _rope_tables(config)
    progress(Progress("weights", total, total))
    return LlamaWeights(embedding, tuple(layers), output_norm, output, cos, sin)


def _split_halves(weight: F32, heads: int) -> F32:
    """Undoes llama.cpp's row order of Q and K.

    GGUF holds each head's rows so that rotary pairs are neighbours (2i, 2i+1); `llama.py` rotates the two halves
    (i, i + head_dim/2) as the model was trained, which is contiguous in memory.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _rope_tables(config: LlamaConfig) -> tuple[F32, F32]:
    """cos and sin of every position's angles, [context_length, head_dim/2]; float64 first keeps far positions exact."""
    frequencies = config.rope_theta ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    angles = np.outer(np.arange(config.context_length, dtype=np.float64), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
