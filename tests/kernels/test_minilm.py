"""The shelf's encoder with its real weights, against BERT written down in numpy and the publisher's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy_bert import embed
from tokenizers import Tokenizer

from cocoon.kernels.bundle.safetensors import TensorFile
from cocoon.kernels.errors import PromptTooLong
from cocoon.kernels.fetch import ALL_MINILM_L6_V2, compiled_dir, fetch
from cocoon.kernels.sandboxed.host import KernelHost
from cocoon.kernels.sandboxed.process import Order
from cocoon.kernels.shelf import find_bundle

TEXTS = [
    "A cat sleeps on the sofa.",
    "TON, the open network: 1,000 Toncoin for Zürich & 東京 (naïve café)!",
    "Nobody but the client can read prompt or answer. " * 20,
    "?",
    "",
]


@pytest.fixture(scope="module")
def host() -> Iterator[KernelHost]:
    found = find_bundle("all-minilm-l6-v2")
    made = KernelHost(Order(found.folder, found.build_id, compiled=compiled_dir()))
    made.load()
    yield made
    made.close()


def test_vectors_are_those_of_an_independent_implementation(host: KernelHost) -> None:
    folder = fetch(ALL_MINILM_L6_V2)
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words.no_padding()
    words.no_truncation()
    encoded = [words.encode(text).ids for text in TEXTS]
    file = TensorFile(folder / "model.safetensors")
    weights = {name: file.array(name) for name in file.tensors}
    arrays, tokens = host.map_texts(TEXTS)
    assert tokens == host.count_texts(TEXTS) == sum(map(len, encoded))
    for row, ids in zip(arrays["embedding"], encoded, strict=True):
        assert row @ embed(weights, 12, 6, ids, 1e-12) > 0.99999
        assert abs(np.linalg.norm(row) - 1) < 1e-5


def test_text_longer_than_the_model_takes_is_refused_not_cut(host: KernelHost) -> None:
    assert host.map_texts(["word " * 254])[1] == 256
    with pytest.raises(PromptTooLong, match="257 tokens but at most 256"):
        host.map_texts(["short", "word " * 255])
