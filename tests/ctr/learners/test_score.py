"""The C++ program in examples/ scores a saved model with the same bits as Python."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

import toolchain
from adagrad.ctr import LogisticRegression
from checks import assert_same_bits
from ctr_data import batch, labels

pytestmark = pytest.mark.unsanitized


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("score") / "score"
    flags = ("-std=c++17", "-O2", "-ffp-contract=off", *toolchain.WARNINGS)
    source = toolchain.ROOT / "examples" / "score.cpp"
    toolchain.run(toolchain.compiler(), *flags, "-o", path, source)
    return path


@pytest.mark.parametrize("intercept", [True, False])
def test_margins(tmp_path, rng, program, intercept):
    x = batch(rng, 300, 1001, values=True)
    learner = LogisticRegression(lr=0.3, fit_intercept=intercept).fit(x, labels(rng, x))
    learner.save(tmp_path / "model")
    lines = [
        " ".join(f"{slot}:{value}" for slot, value in zip(part.slots, part.values, strict=True))
        for part in (x[i : i + 1] for i in range(len(x)))
    ]
    said = toolchain.run(program, tmp_path / "model", input="\n".join(lines) + "\n")
    found = np.array([float.fromhex(line) for line in said.split()], np.float32)
    assert_same_bits(found, learner.decision_function(x))


def test_bad_input(tmp_path, program):
    LogisticRegression().fit([[1.0], [2.0]], [0, 1]).save(tmp_path / "model")
    (tmp_path / "other").write_bytes(b"12345678{}")
    for name, line, message in (
        ("model", "1", "slot 1 is not in the model"),
        ("other", "0", "is not a model file of adagrad.ctr"),
        ("none", "0", "is not a model file of adagrad.ctr"),
    ):
        command = [program, tmp_path / name]
        done = subprocess.run(command, input=line, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr
