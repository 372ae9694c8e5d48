"""A slot's next owner sees nothing of the one before, not even rubbish it left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tiny import TEMPLATE, tiny_config, tiny_tokenizer, tiny_weights

from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.gguf import decoder_blueprint
from cocoon.kernels.builders.pack import write_bundle
from cocoon.kernels.bundle.loader import open_bundle
from cocoon.kernels.bundle.manifest import Tolerance
from cocoon.kernels.engine.batcher import Batcher, Event, Finished
from cocoon.kernels.engine.request import GenerateRequest, Token
from cocoon.kernels.engine.runtime import Runtime
from cocoon.kernels.engine.tokenizer import Tokenizer

POISON = 258


def answer(batcher: Batcher, tokens: list[int], owner: str) -> tuple[list[int], str | None]:
    heard: list[Event] = []
    batcher.submit(GenerateRequest(tuple(tokens), 5, owner=owner), heard.append)
    while batcher.busy:
        batcher.step()
    end = heard[-1]
    assert isinstance(end, Finished)
    return [event.id for event in heard if isinstance(event, Token)], end.error and str(end.error)


def test_what_is_not_finite_in_a_slot_does_not_reach_its_next_owner(tmp_path: Path) -> None:
    """Weight 0 times NaN is NaN: values that no row may see must not be read at all."""
    config = tiny_config(tied=False)
    weights = tiny_weights(config)
    weights["embedding"][POISON] = np.nan
    blueprint = decoder_blueprint(config, weights, "tiny", "Apache-2.0", tiny_tokenizer(), TEMPLATE)
    write_bundle(
        replace(blueprint, tolerance=Tolerance(100_000)),
        [BuildOptions(slots=1, capacity=256, chunk=64)],
        tmp_path / "b",
    )
    bundle = open_bundle(tmp_path / "b")
    batcher = Batcher(Runtime(bundle, bundle.manifest.builds[0]), Tokenizer(tiny_tokenizer()))
    honest = list(range(10, 40))
    before = answer(batcher, honest, "b")
    assert before[1] is None
    assert answer(batcher, [5] * 100 + [POISON] + [5] * 20, "a")[1] is not None
    assert answer(batcher, honest, "b") == before
