"""Processes on a leash end with its holder, and nothing else is taken for a leash."""

from __future__ import annotations

import os
import subprocess
import sys

from cocoon.leash import Leash, held_fds

FOLLOWER = "import sys, time; from cocoon.leash import follow; follow(); print('up', flush=True); time.sleep(60)"


def test_follower_ends_when_its_holder_lets_go() -> None:
    with Leash() as leash:
        running = subprocess.Popen(
            [sys.executable, "-c", FOLLOWER], stdout=subprocess.PIPE, pass_fds=leash.fds, env=leash.environment
        )
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        assert running.poll() is None
    assert running.wait(10) == 1
    running.stdout.close()


def test_variable_without_the_pipe_is_no_leash() -> None:
    """The number may be that of another pipe of the process, whose bytes must not be taken."""
    with Leash() as leash:
        said = leash.environment["COCOON_LEASH"]
        script = "import os; from cocoon.leash import held_fds; print(held_fds())"
        found = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=leash.environment, check=True
        )
        assert found.stdout == "()\n"
        fd, inode = said.split(":")
        assert os.fstat(int(fd)).st_ino == int(inode)
    assert held_fds() == ()
