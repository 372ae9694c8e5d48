"""`python -m cocoon.agent CONFIG.toml`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ..leash import follow
from .config import AgentConfig
from .errors import SetupError
from .main import main


def _run() -> int:
    parser = argparse.ArgumentParser(prog="python -m cocoon.agent", description="Runs a worker's agent.")
    parser.add_argument("config", type=Path, help="TOML file, see cocoon.agent.config.AgentConfig")
    follow()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = AgentConfig.from_file(parser.parse_args().config)
    except SetupError as error:
        print(f"agent: {error}", file=sys.stderr)
        return 2
    return main(config)


if __name__ == "__main__":
    sys.exit(_run())
