"""Fixtures every test may use: see `cocoon_sandbox.pytest_plugin`."""

pytest_plugins = ["cocoon_sandbox.pytest_plugin"]
