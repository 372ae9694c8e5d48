"""Comparing engines: the measures of distance, the ratios, and what is said of a peer that is not there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from tiny import tiny_config, tiny_tokenizer

from cocoon.bench.card import measure_card
from cocoon.bench.contender import text_logits
from cocoon.bench.distance import distance, kl_divergence, page_windows, perplexity
from cocoon.bench.inference import ratios
from cocoon.bench.peers import Peer, PeerFailed, PeerKind, open_peers
from cocoon.cli import main
from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.engine.tokenizer import Tokenizer

WINDOWS = page_windows(Tokenizer(tiny_tokenizer()).encode, 4, 24)


def test_kl_divergence_of_known_distributions() -> None:
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    expected = (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)) / 2
    found = kl_divergence(np.log(p).astype(np.float32), (np.log(q) + 3).astype(np.float32))
    assert found == pytest.approx(expected, rel=1e-5)


def test_perplexity_of_known_probabilities() -> None:
    rows = np.log(np.array([[[0.5, 0.25, 0.25], [0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]]], np.float32))
    assert perplexity(rows, np.array([[0, 1, 2]], np.int32)) == pytest.approx((0.25 * 0.5) ** -0.5, rel=1e-6)


def test_page_windows_of_more_than_the_page_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens"):
        page_windows(Tokenizer(tiny_tokenizer()).encode, 1000, 1000)


def test_text_logits_in_slots_are_those_of_each_window_alone(tiny_bundle: Path) -> None:
    """Four windows in three slots: the last one is alone with padding."""
    bundle = open_bundle(tiny_bundle)
    runtime = Runtime(bundle, bundle.manifest.builds[0])
    together = text_logits(runtime, WINDOWS)  # type: ignore[arg-type]
    alone = np.concatenate([text_logits(runtime, window[None]) for window in WINDOWS])
    np.testing.assert_array_equal(together, alone)
    found = distance(together, alone, WINDOWS)
    assert (found["kl"], found["greedy_agreement"], found["perplexity_ratio"]) == (0.0, 1.0, 1.0)
    assert distance(together, together + np.float32(0.5), WINDOWS)["largest_logit_error"] == pytest.approx(
        0.5, abs=1e-5
    )


def test_ratios_are_to_the_best_peer_of_each_column() -> None:
    found = ratios({"f32": {"1": 30.0, "4": 80.0}}, {"a": {"1": 60.0, "4": 20.0}, "b": {"1": 10.0, "4": 40.0}})
    assert found == {"f32": {"1": 0.5, "4": 2.0}, "best_peer": {"1": "a", "4": "b"}}
    assert ratios({"f32": {"1": 30.0}}, {}) == {}


def test_open_peers_of_what_can_not_be_installed_names_each_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    kind = PeerKind("llama.cpp", "llama", "requirements_llama.txt", ("Q8_0", "F32"))
    peers, absent = open_peers(tmp_path / "model.gguf", kinds=[kind])
    assert peers == {}
    assert list(absent) == ["llama.cpp Q8_0", "llama.cpp F32"]
    assert all("can't be installed" in reason and "llama-cpp-python" in reason for reason in absent.values())


def test_peer_that_breaks_off_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "peer"
    programs.mkdir()
    (programs / "__init__.py").write_text("")
    about = json.dumps({"weight_bytes": 7, "version": "1"})
    (programs / "fake.py").write_text(f"import sys\ninput()\nprint({about!r}, flush=True)\ninput()\nsys.exit('no')\n")
    monkeypatch.setattr("cocoon.bench.peers._PROGRAMS", programs)
    peer = Peer(Path(sys.executable), PeerKind("fake", "fake", "", ("f32",)), "f32", tmp_path, 1)
    assert (peer.weight_bytes, peer.version) == (7, "1")
    with pytest.raises(PeerFailed, match="fake f32 ended: no"):
        peer.prefill()


def test_measure_card_gives_a_rate_and_a_fraction_of_the_bound_for_each_number_of_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path a graphics card takes, on whatever device there is."""
    monkeypatch.setenv("COCOON_CACHE", str(tmp_path))
    found = measure_card(tiny_config(layers=1), (1, 2), 1, product=64)
    for name in ("decode_tokens_per_s", "prefill_tokens_per_s", "bandwidth_fraction", "matmul_fraction"):
        assert list(found[name]) == ["1", "2"]
    assert min(found["decode_tokens_per_s"].values()) > 0
    assert list(tmp_path.glob("tmp*")) == []


@pytest.mark.skipif(jax.devices()[0].platform == "gpu", reason="there is a graphics card here")
def test_bench_inference_on_a_card_that_is_not_there_says_so() -> None:
    found = CliRunner().invoke(main, ["bench", "inference", "--device", "cuda"])
    assert found.exit_code == 1
    assert "no graphics card" in found.output
    assert "cuda12" in found.output
