"""Other people's formats: the same model out of GGUF and out of a Hugging Face folder, encoders, the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from click.testing import CliRunner
from jax import export as jax_export
from numpy_bert import embed
from tiny import TEMPLATE, tiny_config, tiny_tokenizer, tiny_weights
from tiny_bert import write_bert

from cocoon.cli import main
from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.decoder import Decoder
from cocoon.kernels.builders.function import load_function
from cocoon.kernels.builders.gguf import blueprint_from_gguf
from cocoon.kernels.builders.huggingface import blueprint_from_folder
from cocoon.kernels.builders.pack import write_bundle
from cocoon.kernels.builders.transformer import TransformerConfig
from cocoon.kernels.builders.vocabulary import tokenizer_from_json
from cocoon.kernels.bundle.safetensors import write
from cocoon.kernels.engine.model import Model
from cocoon.kernels.engine.tokenizer import Tokenizer
from cocoon.kernels.errors import InvalidRequest, ModelFormatError, PromptTooLong, UnsupportedModel

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"layers": 1},
    "qwen2": {"layers": 1, "qkv_bias": True, "tied": False},
    "qwen3": {"layers": 1, "head_norm": True},
}
SPEC = json.loads(tiny_tokenizer())


def parts(config: TransformerConfig, weights: dict[str, Any], name: str) -> list[Any]:
    """Query, key and value of a joined tensor."""
    width, rows = config.head_dim, [config.heads, config.kv_heads, config.kv_heads]
    return np.split(weights[name], np.cumsum([count * width for count in rows])[:-1])


def pair_rows(weight: Any, heads: int) -> Any:
    """llama.cpp's order of rows: rotary pairs are neighbours."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(path: Path, family: str, config: TransformerConfig, weights: dict[str, Any]) -> None:
    writer = gguf.GGUFWriter(path, family)
    for key, number in {
        "block_count": config.layers,
        "context_length": config.context_length,
        "embedding_length": config.hidden,
        "feed_forward_length": config.feed_forward,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
    }.items():
        writer.add_uint32(f"{family}.{key}", number)
    writer.add_float32(f"{family}.attention.layer_norm_rms_epsilon", config.rms_epsilon)
    writer.add_string("general.name", "tiny")
    writer.add_string("general.license", "Apache-2.0")
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "qwen2" if family != "llama" else "smollm")
    writer.add_array("tokenizer.ggml.tokens", SPEC["pieces"])
    writer.add_array("tokenizer.ggml.token_type", SPEC["types"])
    writer.add_array("tokenizer.ggml.merges", ["Ġ a"])
    writer.add_uint32("tokenizer.ggml.eos_token_id", 0)
    writer.add_string("tokenizer.chat_template", TEMPLATE)
    named = {"token_embd.weight": weights["embedding"], "output_norm.weight": weights["output_norm"]}
    if not config.tied:
        named["output.weight"] = weights["output"]
    for i in range(config.layers):
        here, there = f"layers.{i}", f"blk.{i}"
        q, k, v = parts(config, weights, f"{here}.qkv")
        if family == "llama":
            q, k = pair_rows(q, config.heads), pair_rows(k, config.kv_heads)
        named |= {f"{there}.attn_{x}.weight": w for x, w in zip("qkv", (q, k, v), strict=True)}
        if config.qkv_bias:
            biases = parts(config, weights, f"{here}.qkv.bias")
            named |= {f"{there}.attn_{x}.bias": w for x, w in zip("qkv", biases, strict=True)}
        if config.head_norm:
            named[f"{there}.attn_q_norm.weight"] = weights[f"{here}.query_norm"]
            named[f"{there}.attn_k_norm.weight"] = weights[f"{here}.key_norm"]
        gate, up = np.split(weights[f"{here}.gate_up"], 2)
        named |= {
            f"{there}.attn_norm.weight": weights[f"{here}.attention_norm"],
            f"{there}.attn_output.weight": weights[f"{here}.attention_out"],
            f"{there}.ffn_norm.weight": weights[f"{here}.feed_forward_norm"],
            f"{there}.ffn_gate.weight": gate,
            f"{there}.ffn_up.weight": up,
            f"{there}.ffn_down.weight": weights[f"{here}.down"],
        }
    for name, array in named.items():
        writer.add_tensor(name, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_folder(folder: Path, family: str, config: TransformerConfig, weights: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": family,
                "num_hidden_layers": config.layers,
                "hidden_size": config.hidden,
                "num_attention_heads": config.heads,
                "num_key_value_heads": config.kv_heads,
                "head_dim": config.head_dim,
                "intermediate_size": config.feed_forward,
                "vocab_size": config.vocabulary,
                "max_position_embeddings": config.context_length,
                "rms_norm_eps": config.rms_epsilon,
                "rope_theta": config.rope_theta,
                "tie_word_embeddings": config.tied,
            }
        )
    )
    named = {"model.embed_tokens.weight": weights["embedding"], "model.norm.weight": weights["output_norm"]}
    if not config.tied:
        named["lm_head.weight"] = weights["output"]
    for i in range(config.layers):
        here, there = f"layers.{i}", f"model.layers.{i}"
        q, k, v = parts(config, weights, f"{here}.qkv")
        named |= {f"{there}.self_attn.{x}_proj.weight": w for x, w in zip("qkv", (q, k, v), strict=True)}
        if config.qkv_bias:
            biases = parts(config, weights, f"{here}.qkv.bias")
            named |= {f"{there}.self_attn.{x}_proj.bias": w for x, w in zip("qkv", biases, strict=True)}
        if config.head_norm:
            named[f"{there}.self_attn.q_norm.weight"] = weights[f"{here}.query_norm"]
            named[f"{there}.self_attn.k_norm.weight"] = weights[f"{here}.key_norm"]
        gate, up = np.split(weights[f"{here}.gate_up"], 2)
        named |= {
            f"{there}.input_layernorm.weight": weights[f"{here}.attention_norm"],
            f"{there}.self_attn.o_proj.weight": weights[f"{here}.attention_out"],
            f"{there}.post_attention_layernorm.weight": weights[f"{here}.feed_forward_norm"],
            f"{there}.mlp.gate_proj.weight": gate,
            f"{there}.mlp.up_proj.weight": up,
            f"{there}.mlp.down_proj.weight": weights[f"{here}.down"],
        }
    write(folder / "model.safetensors", {name: np.asarray(array, np.float32) for name, array in named.items()})
    special = [(i, piece) for i, piece in enumerate(SPEC["pieces"]) if SPEC["types"][i] == 3]
    cut = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+|."}, "behavior": "Isolated", "invert": False}
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "added_tokens": [{"id": i, "content": piece, "special": True} for i, piece in special],
                "normalizer": {"type": "NFC"},
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [cut, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}],
                },
                "model": {
                    "type": "BPE",
                    "vocab": {piece: i for i, piece in enumerate(SPEC["pieces"]) if SPEC["types"][i] == 1},
                    "merges": [],
                },
            }
        )
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|im_end|>", "bos_token": None, "chat_template": TEMPLATE})
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_out_of_gguf_and_out_of_a_folder_are_those_that_went_in(tmp_path: Path, family: str) -> None:
    config = tiny_config(**FAMILIES[family])
    weights = tiny_weights(config)
    write_folder(tmp_path / "folder", family, config, weights)
    found = blueprint_from_folder(tmp_path / "folder", licence="MIT")
    assert set(found.weights) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(found.weights[name], array, err_msg=name)
    write_gguf(tmp_path / "m.gguf", family, config, weights)
    other = blueprint_from_gguf(tmp_path / "m.gguf")
    for name, array in weights.items():
        np.testing.assert_array_equal(other.weights[name], array, err_msg=name)
    assert (other.name, other.licence) == ("tiny", "Apache-2.0")


def test_tokenizer_of_a_folder_reads_and_writes_text(tmp_path: Path) -> None:
    config = tiny_config(layers=1)
    write_folder(tmp_path / "f", "llama", config, tiny_weights(config))
    made = tokenizer_from_json(
        tmp_path / "f" / "tokenizer.json", bos=None, eos="<|im_end|>", prefixed=False, size=config.vocabulary + 5
    )
    tokenizer = Tokenizer(made)
    assert tokenizer.size == config.vocabulary + 5  # padded, as model's vocabularies are
    assert tokenizer.decode(tokenizer.encode("héllo <|im_end|>")) == "héllo <|im_end|>"
    assert 2 not in tokenizer.encode("<|im_end|>")
    assert tokenizer.ends == {0, 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "mamba"}, "'mamba' model"),
        ({"rope_scaling": {"type": "yarn"}}, "rotary"),
        ({"num_key_value_heads": 3}, "impossible"),
        ({"intermediate_size": 7}, "shape"),
        ({"hidden_size": None}, "lacks something"),
    ],
)
def test_folder_of_another_kind_of_model_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    config = tiny_config(layers=1)
    write_folder(tmp_path / "f", "llama", config, tiny_weights(config))
    path = tmp_path / "f" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((UnsupportedModel, ModelFormatError), match=reason):
        blueprint_from_folder(tmp_path / "f", licence="MIT")


def test_matrices_with_massive_inputs_are_not_cut_down_to_int8() -> None:
    config, weights = tiny_config(), tiny_weights()
    ordinary = Decoder(config, weights).make(BuildOptions("int8", capacity=128))
    assert {tensor.dtype for step in ordinary.build.steps for tensor in step.outputs} == {"i8", "f32"}
    massive = weights["layers.1.gate_up"].copy()
    massive[[7, config.feed_forward + 7]] *= 200  # gate and up of one channel
    made = Decoder(config, {**weights, "layers.1.gate_up": massive}).make(BuildOptions("int8", capacity=128))
    wide = {tensor.name for step in made.build.steps for tensor in step.outputs if tensor.dtype == "bf16"}
    assert wide == {"bf16.layers.1.down"}


def dots(program: bytes) -> list[tuple[str, bool]]:
    """Every matrix product in a program: the type of its left side, and whether it is computed as exactly as can be."""
    text = jax_export.deserialize(bytearray(program)).mlir_module()
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    return [(line.rpartition(": (tensor<")[2].split(">")[0].split("x")[-1], "HIGHEST" in line) for line in lines]


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
def test_only_float32_builds_ask_for_exact_products_of_float32(precision: Any) -> None:
    """A graphics card would take ten bits of each number, and be many times faster."""
    made = Decoder(tiny_config(), tiny_weights()).make(BuildOptions(precision, slots=1, capacity=256, chunk=64))
    (prefill,) = (made.programs[program.sha256] for program in made.build.programs if program.role == "prefill")
    found = dots(prefill)
    attention = [exact for kind, exact in found if kind == "f32"]
    assert len(found) >= 6
    assert attention
    assert set(attention) == {precision == "f32"}


def test_chunks_that_end_within_blocks_of_the_cache_are_refused() -> None:
    config = tiny_config(context_length=384)
    with pytest.raises(UnsupportedModel, match="choose a multiple or a divisor of 128"):
        Decoder(config, tiny_weights(config)).make(BuildOptions(capacity=384, chunk=96))


def test_encoder_gives_the_reference_vectors_whatever_padding_and_company(tmp_path: Path) -> None:
    weights = write_bert(tmp_path / "f")
    blueprint = blueprint_from_folder(tmp_path / "f", name="encoder", licence="MIT")
    write_bundle(blueprint, [BuildOptions("f32")], tmp_path / "b")
    model = Model(tmp_path / "b")
    texts = ["Hello worlds!", "a b c", "zzz"]
    arrays, tokens = model.map_texts(texts)
    found = arrays["embedding"]
    assert found.shape == (3, 16)
    assert tokens == (2 + 4) + (2 + 3) + (2 + 1)
    for row, ids in zip(found, [[2, 4, 5, 6, 10, 3], [2, 7, 8, 9, 3], [2, 1, 3]], strict=True):
        np.testing.assert_allclose(row, embed(weights, 2, 1, ids, 1e-12), atol=1e-5)
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(model.map_texts([text])[0]["embedding"][0], row, atol=1e-6)
    assert abs(found[0] @ found[1]) < 0.999
    assert model.map_texts(["hello " * 30])[1] == 32  # the longest program there is for this model
    with pytest.raises(PromptTooLong, match="33 tokens but at most 32"):
        model.count_texts(["hello", "hello " * 31])
    for wrong in ([], ["\ud800"], ["x"] * 300):
        with pytest.raises(InvalidRequest):
            model.map_texts(wrong)


@pytest.mark.parametrize("spec", ["nothing", "nowhere:f", "math:nothing", "math:pi"])
def test_function_that_is_not_there_is_refused(spec: str) -> None:
    with pytest.raises(UnsupportedModel):
        load_function(spec)


def run(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_command_line_builds_inspects_and_runs_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path / "cache"))
    write_bert(tmp_path / "f")
    bundle = tmp_path / "b"
    said = run("kernel", "build", tmp_path / "f", bundle, "--licence", "MIT", "--name", "encoder")
    model_id = said.split()[1]
    assert len(model_id) == 64
    seen = json.loads(run("kernel", "inspect", bundle, "--json"))
    assert (seen["model_id"], seen["kind"], seen["name"]) == (model_id, "map", "encoder")
    assert "encoder" in run("kernel", "inspect", bundle)
    found = json.loads(run("kernel", "run", bundle, "hello world", "--json"))
    assert found["model_id"] == model_id
    assert len(found["results"][0]["embedding"]) == 16
    refused = CliRunner().invoke(main, ["kernel", "build", str(tmp_path / "f"), str(bundle), "--licence", "MIT"])
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr


def test_command_line_adds_to_no_folder_that_is_no_bundle(tmp_path: Path) -> None:
    flags = ["--licence", "MIT", "--example", "x=f32[2,3]", "--add"]
    refused = CliRunner().invoke(main, ["kernel", "build", "loops:scaled", str(tmp_path / "none"), *flags])
    assert refused.exit_code == 2
    assert f"{tmp_path / 'none'} is no bundle to add to" in refused.stderr


def test_command_line_builds_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    run("kernel", "build", "loops:scaled", tmp_path / "b", "--licence", "MIT", "--example", "x=f32[2,3]")
    seen = json.loads(run("kernel", "inspect", tmp_path / "b", "--json"))
    assert seen["inputs"] == ["x f32[2, 3]"]
    assert seen["outputs"] == ["double f32[2, 3]", "total f32[1, 1]"]
    for wrong in (["x=f32"], []):
        flags = [flag for text in wrong for flag in ("--example", text)]
        command = ["kernel", "build", "loops:scaled", str(tmp_path / "c"), "--licence", "MIT", *flags]
        assert CliRunner().invoke(main, command).exit_code != 0
