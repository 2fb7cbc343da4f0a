"""Runs a benchmark in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys

from checks import ROOT

# Packages that are None in sys.modules cannot be imported, as if they were not installed.
RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
sys.argv = ["bench", *sys.argv[2:]]
runpy.run_module("bench", run_name="__main__")
"""


def smoke(question: str, *options: str, without: str, **env: str) -> str:
    """Return what the smoke run of a benchmark prints, run without some packages."""
    tiny = ("--smoke", "--budget", "1e-9")  # as few rounds as there can be
    done = subprocess.run(
        [sys.executable, "-c", RUN, without, question, *tiny, *options],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
