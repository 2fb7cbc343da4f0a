"""adagrad.keras beside Keras itself, on each backend in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from checks import TESTS, need


def is_here(name):
    return importlib.util.find_spec(name) is not None


# Where JAX is there (in CI it is not) a few cases run: its compiler takes seconds for each model.
CASES = {"tensorflow": "test", "torch": "test"}
if is_here("jax"):
    CASES["jax"] = "preset or 16_bits or learns or takes_over or change_nothing"


@pytest.mark.parametrize("backend", CASES)
def test_cases(backend):
    need(is_here("keras"), "keras")
    need(is_here(backend), backend)
    options = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-k", CASES[backend])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "keras_cases.py"],
        cwd=TESTS,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


# Keras' numpy backend asks for JAX: it is played here. JAX itself is refused as it comes.
OTHERS = {
    "numpy": (
        "torch",
        "import adagrad.keras as k; k._BACKEND = 'numpy'; k.Adagrad()",
        "needs Keras on torch, tensorflow or jax, and its backend is numpy",
    )
}
if is_here("jax"):
    OTHERS["jax"] = (
        "jax",
        "import adagrad.keras; adagrad.keras.Adagrad()",
        "call jax.config.update('jax_cpu_enable_async_dispatch', False) before",
    )


@pytest.mark.parametrize("case", OTHERS)
def test_what_cannot_work_is_refused(case):
    backend, code, message = OTHERS[case]
    need(is_here("keras"), "keras")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert message in done.stderr


def test_the_page_runs(tmp_path):
    for name in ("keras", "torch"):
        need(is_here(name), name)
    text = (TESTS.parent / "docs" / "keras.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.keras").exists()
