"""A Llama, Qwen2 or Qwen3 model out of a GGUF file: hyper-parameters from its metadata, weights in our layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.manifest import Generate, Tensor, Tolerance
from ..errors import ModelFormatError, UnsupportedModel
from ..progress import Progress, ProgressCallback, silent
from .blueprint import Blueprint
from .decoder import Decoder, rope_tables
from .gguf_file import GGUFFile
from .transformer import TransformerConfig
from .vocabulary import tokenizer_from_gguf

__all__ = ["blueprint_from_gguf", "read_config", "read_weights"]

F32 = npt.NDArray[np.float32]
TOLERANCE = Tolerance(50_000)
_FAMILIES = {"llama": (False, False), "qwen2": (True, False), "qwen3": (False, True)}  # qkv_bias, head_norm


def blueprint_from_gguf(
    path: Path, *, name: str | None = None, licence: str | None = None, progress: ProgressCallback = silent
) -> Blueprint:
    """Raises ModelFormatError, UnsupportedModel or OSError. name, licence: None takes what the file says."""
    with GGUFFile(path) as file:
        config = read_config(file)
        tokenizer = tokenizer_from_gguf(file)
        template = file.get("tokenizer.chat_template", str)
        given = file.get_or("general.name", path.stem) if name is None else name
        terms = file.get_or("general.license", "") if licence is None else licence
        weights = read_weights(file, config, progress)
    if not terms:
        raise UnsupportedModel(f"{path} names no licence: say which one it has")
    return decoder_blueprint(config, weights, given, terms, tokenizer, template)


def decoder_blueprint(
    config: TransformerConfig, weights: dict[str, F32], name: str, licence: str, tokenizer: bytes, template: str
) -> Blueprint:
    """What every decoder-only model has in common."""
    return Blueprint(
        kind="generate",
        name="".join(char if char.isascii() and (char.isalnum() or char in "_-.") else "-" for char in name)[:160],
        licence=licence,
        weights=weights,
        inputs=(Tensor("tokens", "i32", ("length",)),),
        outputs=(Tensor("logits", "f32", (config.vocabulary,)),),
        tolerance=TOLERANCE,
        source=Decoder(config, weights),
        tokenizer=tokenizer,
        chat_template=template.encode(),
        generate=Generate(config.vocabulary, config.context_length),
    )


def read_config(file: GGUFFile) -> TransformerConfig:
    """The shape of the model. Raises UnsupportedModel for another family, ModelFormatError for nonsense."""
    family = file.get("general.architecture", str)
    if family not in _FAMILIES:
        raise UnsupportedModel(f"{file.path} is a {family!r} model; {', '.join(_FAMILIES)} can be built")
    if file.get_or(f"{family}.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in file.tensors:
        raise UnsupportedModel(f"{file.path} scales its rotary embedding, which is not supported")
    if file.get_or(f"{family}.expert_count", 0):
        raise UnsupportedModel(f"{file.path} is a mixture of experts, which is not supported")
    heads = file.get(f"{family}.attention.head_count", int)
    hidden = file.get(f"{family}.embedding_length", int)
    qkv_bias, head_norm = _FAMILIES[family]
    config = TransformerConfig(
        layers=file.get(f"{family}.block_count", int),
        hidden=hidden,
        heads=heads,
        kv_heads=file.get_or(f"{family}.attention.head_count_kv", heads),
        head_dim=file.get_or(f"{family}.attention.key_length", hidden // max(heads, 1)),
        feed_forward=file.get(f"{family}.feed_forward_length", int),
        vocabulary=len(file.get("tokenizer.ggml.tokens", list)),
        context_length=file.get(f"{family}.context_length", int),
        rms_epsilon=file.get(f"{family}.attention.layer_norm_rms_epsilon", float),
        rope_theta=file.get_or(f"{family}.rope.freq_base", 10_000.0),
        tied="output.weight" not in file.tensors,
        qkv_bias=qkv_bias,
        head_norm=head_norm,
    )
    check_config(config, str(file.path))
    if file.get_or(f"{family}.rope.dimension_count", config.head_dim) != config.head_dim:
        raise UnsupportedModel(f"{file.path} rotates a part of each head only, which is not supported")
    if file.get_or(f"{family}.attention.value_length", config.head_dim) != config.head_dim:
        raise UnsupportedModel(f"{file.path} has values of another width than keys, which is not supported")
    return config


def check_config(config: TransformerConfig, what: str) -> None:
    """Raises ModelFormatError for sizes that can't be."""
    sizes = (config.layers, config.hidden, config.heads, config.kv_heads, config.head_dim, config.feed_forward)
    if min(*sizes, config.context_length) < 1 or config.heads % config.kv_heads or config.head_dim % 2:
        raise ModelFormatError(f"{what} has impossible hyper-parameters: {config}")


def read_weights(file: GGUFFile, config: TransformerConfig, progress: ProgressCallback = silent) -> dict[str, F32]:
    """All weights, dequantized to float32. Progress phase `weights`, in bytes of the file."""
    total = sum(info.size_bytes for info in file.tensors.values())
    done, unread = 0, set(file.tensors)

    def read(name: str, *shape: int) -> F32:
        nonlocal done
        array = file.array(name, shape)
        unread.discard(name)
        done += file.tensors[name].size_bytes
        progress(Progress("weights", done, total))
        return array

    hidden, heads, kv_heads, head_dim = config.hidden, config.heads, config.kv_heads, config.head_dim
    widths = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * head_dim}
    # llama.cpp reorders the rows of Q and K of this family only.
    paired = file.get("general.architecture", str) == "llama"
    progress(Progress("weights", 0, total))
    weights = {"embedding": read("token_embd.weight", config.vocabulary, hidden)}
    for i in range(config.layers):
        here, there = f"layers.{i}", f"blk.{i}"
        parts = {part: read(f"{there}.attn_{part}.weight", width, hidden) for part, width in widths.items()}
        if paired:
            parts |= {
                part: _split_halves(parts[part], width // head_dim) for part, width in widths.items() if part != "v"
            }
        weights[f"{here}.qkv"] = np.concatenate(list(parts.values()))
        if config.qkv_bias:
            biases = [read(f"{there}.attn_{part}.bias", width) for part, width in widths.items()]
            weights[f"{here}.qkv.bias"] = np.concatenate(biases)
        if config.head_norm:
            weights[f"{here}.query_norm"] = read(f"{there}.attn_q_norm.weight", head_dim)
            weights[f"{here}.key_norm"] = read(f"{there}.attn_k_norm.weight", head_dim)
        weights[f"{here}.attention_norm"] = read(f"{there}.attn_norm.weight", hidden)
        weights[f"{here}.attention_out"] = read(f"{there}.attn_output.weight", hidden, heads * head_dim)
        weights[f"{here}.feed_forward_norm"] = read(f"{there}.ffn_norm.weight", hidden)
        gate_up = [read(f"{there}.ffn_{part}.weight", config.feed_forward, hidden) for part in ("gate", "up")]
        weights[f"{here}.gate_up"] = np.concatenate(gate_up)
        weights[f"{here}.down"] = read(f"{there}.ffn_down.weight", hidden, config.feed_forward)
    weights["output_norm"] = read("output_norm.weight", hidden)
    if not config.tied:
        weights["output"] = read("output.weight", config.vocabulary, hidden)
    if unread:
        raise UnsupportedModel(f"{file.path} has the tensor {min(unread)}, which is not supported")
    progress(Progress("weights", total, total))
    return weights | rope_tables(config)


def _split_halves(weight: F32, heads: int) -> F32:
    """Undoes llama.cpp's row order of Q and K.

    GGUF holds each head's rows so that rotary pairs are neighbours (2i, 2i+1); `transformer.py` rotates the two halves
    (i, i + head_dim/2) as the model was trained, which is contiguous in memory.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
