"""adagrad.keras compared with Keras itself, and under Keras' own tests.

A process has one backend of Keras, so each backend runs in a process of its own, which pytest does
not collect here: `KERAS_BACKEND=torch pytest -n 0 -W ignore::DeprecationWarning FILE` runs a file.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from checks import ROOT, TESTS, need_packages

CASES = sorted((TESTS / "keras").glob("cases_*.py"))
PEERS = [TESTS / "peers" / name for name in ("keras_suite.py", "test_deselected.py")]
# The backends use parts of NumPy that are deprecated.
OPTIONS = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning")


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_backend(backend):
    need_packages("keras", backend)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, *CASES, *PEERS],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
