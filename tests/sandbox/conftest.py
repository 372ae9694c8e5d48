"""Markers of the sandbox's tests."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clients: installs clients from PyPI or npm on first use")
