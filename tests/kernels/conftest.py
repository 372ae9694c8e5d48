"""One tiny bundle for the whole run; tests that change it copy it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_blueprint

from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.pack import write_bundle

OPTIONS = BuildOptions("f32", slots=3, chunk=16)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `generate` bundle with one build, f32, of three slots."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_bundle(tiny_blueprint(), [OPTIONS], folder)
    return folder
