"""adagrad.keras compared with Keras itself: one process per backend runs keras_cases.py."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from checks import TESTS, need


def is_here(name):
    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_cases(backend):
    need(is_here("keras"), "keras")
    need(is_here(backend), backend)
    options = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "keras_cases.py"],
        cwd=TESTS,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
