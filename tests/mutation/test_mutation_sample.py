"""A few mutants, others after every change of the contracts, must each make a contract test fail.

`cocoon mutate contracts` tries all of them, which takes hours.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

from cocoon.contracts_build import contracts_dir, sources

SAMPLE = 4


def test_sample_of_mutants_is_killed() -> None:
    """Which is decided by the sources, so that a run can be repeated."""
    seed = int.from_bytes(hashlib.sha256(repr(sorted(sources(contracts_dir()).items())).encode()).digest()[:4], "big")
    command = [sys.executable, "-c", "from cocoon.cli import main; main()", "mutate", "contracts", "--json", "--quick"]
    options = ["--sample", str(SAMPLE), "--seed", str(seed), "--jobs", "1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["mutants"] == SAMPLE
    assert report["survivors"] == []
    assert done.returncode == 0
