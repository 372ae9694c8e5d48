"""Fixtures every test may use, see `cocoon_sandbox.pytest_plugin`, and the option `--contract-coverage`."""

pytest_plugins = ["cocoon_sandbox.pytest_plugin", "cocoon.coverage.plugin"]
