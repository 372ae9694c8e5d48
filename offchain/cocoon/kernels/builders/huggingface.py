"""Models as Hugging Face lays them out: a folder of config.json, safetensors and a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle.manifest import Tensor, Tolerance
from ..bundle.safetensors import TensorFile
from ..engine.wordpiece import WordPieceFile
from ..errors import BundleInvalid, ModelFormatError, UnsupportedModel
from .blueprint import Blueprint
from .decoder import matrix_names, rope_tables
from .encoder import Encoder, EncoderConfig
from .gguf import check_config, decoder_blueprint
from .transformer import TransformerConfig
from .vocabulary import tokenizer_from_json

__all__ = ["blueprint_from_folder"]

Array = npt.NDArray[Any]
_DECODERS = {"llama": (False, False), "qwen2": (True, False), "qwen3": (False, True)}  # qkv_bias, head_norm
_ENCODER_TOLERANCE = Tolerance(80_000)


def blueprint_from_folder(folder: Path, *, name: str | None = None, licence: str) -> Blueprint:
    """Llama, Qwen2, Qwen3 and BERT. Raises UnsupportedModel, ModelFormatError or BundleInvalid."""
    config = _json(folder / "config.json")
    kind, given = str(config.get("model_type")), folder.name if name is None else name
    try:
        with_weights = _Weights(folder)
        if kind == "bert":
            return _encoder(folder, config, with_weights, given, licence)
        if kind in _DECODERS:
            return _decoder(folder, config, with_weights, given, licence)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{folder} lacks something: {type(error).__name__} {error}") from error
    raise UnsupportedModel(f"{folder} is a {kind!r} model; {', '.join(_DECODERS)} and bert can be built")


class _Weights:
    """All tensors of all files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, TensorFile] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = TensorFile(path)
            self._files |= dict.fromkeys(file.tensors, file)
        if not self._files:
            raise ModelFormatError(f"{folder} has no safetensors file")
        # some folders spell the whole model's name before every tensor's
        self._prefix = next((p for p in ("", "model.", "bert.") if any(n.startswith(p + "e") for n in self._files)), "")

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str, *shape: int) -> Array:
        """As stored, but float16 as float32, which every build can be made of. Raises ModelFormatError."""
        key = name if name in self._files else self._prefix + name
        if key not in self._files:
            raise ModelFormatError(f"tensor {name} is missing")
        array = self._files[key].array(key)
        if array.shape != shape:
            raise ModelFormatError(f"tensor {key} has shape {array.shape}, expected {shape}")
        return array.astype(np.float32) if array.dtype == np.float16 else array

    def vector(self, name: str, *shape: int) -> Array:
        return self.read(name, *shape).astype(np.float32)


def _decoder(folder: Path, config: dict[str, Any], weights: _Weights, name: str, licence: str) -> Blueprint:
    qkv_bias, head_norm = _DECODERS[config["model_type"]]
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    if config.get("rope_scaling") or config.get("hidden_act", "silu") != "silu" or config.get("mlp_bias"):
        raise UnsupportedModel(f"{folder} has scaled rotary embeddings or another activation, not supported")
    shape = TransformerConfig(
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads", heads)),
        head_dim=int(config.get("head_dim") or hidden // heads),
        feed_forward=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        context_length=int(config["max_position_embeddings"]),
        rms_epsilon=float(config["rms_norm_eps"]),
        rope_theta=float(config.get("rope_theta", 10_000.0)),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=qkv_bias,
        head_norm=head_norm,
    )
    check_config(shape, str(folder))
    about = _json(folder / "tokenizer_config.json")
    tokenizer = tokenizer_from_json(
        folder / "tokenizer.json",
        bos=_text(about.get("bos_token")),
        eos=_text(about["eos_token"]) or "",
        prefixed=bool(about.get("add_bos_token", False)),
        size=shape.vocabulary,
    )
    template = about.get("chat_template")
    if not isinstance(template, str):
        raise UnsupportedModel(f"{folder} has no chat template")
    return decoder_blueprint(shape, _decoder_weights(shape, weights), name, licence, tokenizer, template)


def _decoder_weights(config: TransformerConfig, weights: _Weights) -> dict[str, Array]:
    hidden, width = config.hidden, config.head_dim
    rows = {"q": config.heads * width, "k": config.kv_heads * width, "v": config.kv_heads * width}
    found = {"embedding": weights.read("embed_tokens.weight", config.vocabulary, hidden)}
    for i in range(config.layers):
        here, there = f"layers.{i}", f"layers.{i}.self_attn"
        parts = [weights.read(f"{there}.{part}_proj.weight", count, hidden) for part, count in rows.items()]
        found[f"{here}.qkv"] = np.concatenate(parts)
        if config.qkv_bias:
            biases = [weights.vector(f"{there}.{part}_proj.bias", count) for part, count in rows.items()]
            found[f"{here}.qkv.bias"] = np.concatenate(biases)
        if config.head_norm:
            found[f"{here}.query_norm"] = weights.vector(f"{there}.q_norm.weight", width)
            found[f"{here}.key_norm"] = weights.vector(f"{there}.k_norm.weight", width)
        found[f"{here}.attention_norm"] = weights.vector(f"{here}.input_layernorm.weight", hidden)
        found[f"{here}.feed_forward_norm"] = weights.vector(f"{here}.post_attention_layernorm.weight", hidden)
        found[f"{here}.attention_out"] = weights.read(f"{there}.o_proj.weight", hidden, config.heads * width)
        wide = [weights.read(f"{here}.mlp.{part}_proj.weight", config.feed_forward, hidden) for part in ("gate", "up")]
        found[f"{here}.gate_up"] = np.concatenate(wide)
        found[f"{here}.down"] = weights.read(f"{here}.mlp.down_proj.weight", hidden, config.feed_forward)
    found["output_norm"] = weights.vector("norm.weight", hidden)
    if not config.tied:
        found["output"] = weights.read("lm_head.weight", config.vocabulary, hidden)
    assert found.keys() >= set(matrix_names(config))
    return found | rope_tables(config)


def _encoder(folder: Path, config: dict[str, Any], weights: _Weights, name: str, licence: str) -> Blueprint:
    if config.get("hidden_act") != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise UnsupportedModel(f"{folder} has another activation or other positions than BERT")
    shape = EncoderConfig(
        layers=int(config["num_hidden_layers"]),
        hidden=int(config["hidden_size"]),
        heads=int(config["num_attention_heads"]),
        feed_forward=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        longest=int(config["max_position_embeddings"]),
        epsilon=float(config["layer_norm_eps"]),
    )
    pooling = _json(folder / "1_Pooling" / "config.json")
    if not pooling.get("pooling_mode_mean_tokens"):
        raise UnsupportedModel(f"{folder} pools in another way than by the mean")
    stored = _encoder_weights(shape, weights)
    dims = ("batch", "length")
    return Blueprint(
        kind="map",
        name=name,
        licence=licence,
        weights=stored,
        inputs=(Tensor("tokens", "i32", dims), Tensor("mask", "i32", dims)),
        outputs=(Tensor("embedding", "f32", ("batch", shape.hidden)),),
        tolerance=_ENCODER_TOLERANCE,
        source=Encoder(shape, stored),
        tokenizer=_word_pieces(folder, shape.vocabulary),
    )


def _encoder_weights(config: EncoderConfig, weights: _Weights) -> dict[str, Array]:
    hidden, wide = config.hidden, config.feed_forward
    found = {
        "words": weights.vector("embeddings.word_embeddings.weight", config.vocabulary, hidden),
        "positions": weights.vector("embeddings.position_embeddings.weight", config.longest, hidden),
        "kind": weights.vector("embeddings.token_type_embeddings.weight", 2, hidden),
    }

    def norm(name: str, source: str) -> None:
        found[name] = weights.vector(f"{source}.weight", hidden)
        found[f"{name}.bias"] = weights.vector(f"{source}.bias", hidden)

    norm("embedding_norm", "embeddings.LayerNorm")
    for i in range(config.layers):
        here, there = f"layers.{i}", f"encoder.layer.{i}"
        names = [f"{there}.attention.self.{part}" for part in ("query", "key", "value")]
        found[f"{here}.qkv"] = np.concatenate([weights.read(f"{n}.weight", hidden, hidden) for n in names])
        found[f"{here}.qkv.bias"] = np.concatenate([weights.vector(f"{n}.bias", hidden) for n in names])
        for part, source, rows, columns in (
            ("attention_out", "attention.output.dense", hidden, hidden),
            ("up", "intermediate.dense", wide, hidden),
            ("down", "output.dense", hidden, wide),
        ):
            found[f"{here}.{part}"] = weights.read(f"{there}.{source}.weight", rows, columns)
            found[f"{here}.{part}.bias"] = weights.vector(f"{there}.{source}.bias", rows)
        norm(f"{here}.attention_norm", f"{there}.attention.output.LayerNorm")
        norm(f"{here}.output_norm", f"{there}.output.LayerNorm")
    return found


def _word_pieces(folder: Path, size: int) -> bytes:
    found = _json(folder / "tokenizer.json")
    vocabulary, normalizer = found["model"]["vocab"], found["normalizer"]
    plain = found["model"]["type"] == "WordPiece" and found["pre_tokenizer"] == {"type": "BertPreTokenizer"}
    if not plain or normalizer["type"] != "BertNormalizer" or sorted(vocabulary.values()) != list(range(size)):
        raise UnsupportedModel(f"{folder} has another tokenizer than BERT's")
    try:
        return WordPieceFile(
            kind="wordpiece",
            pieces=tuple(sorted(vocabulary, key=lambda piece: int(vocabulary[piece]))),
            unknown=found["model"]["unk_token"],
            first=vocabulary["[CLS]"],
            last=vocabulary["[SEP]"],
            lowercase=normalizer["lowercase"],
        ).to_bytes()
    except BundleInvalid as error:
        raise ModelFormatError(f"{folder}/tokenizer.json: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{path} can't be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelFormatError(f"{path} is no JSON object")
    return found


def _text(token: Any) -> str | None:
    """A special token, spelled as text or as an object with its text in it."""
    return token.get("content") if isinstance(token, dict) else token
