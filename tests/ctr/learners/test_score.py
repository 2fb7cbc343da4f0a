"""The C++ program in examples/ scores a saved model with the same bits as Python."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

import toolchain
from adagrad.ctr import FactorizationMachine, LogisticRegression
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
    LogisticRegression(lr=0.1).fit([[1.0], [2.0]], [0, 1]).save(tmp_path / "model")
    (tmp_path / "other").write_bytes(b"12345678{}")
    for name, line, message in (
        ("model", "1", "slot 1 is not in the model"),
        ("other", "0", "is not a model file of adagrad.ctr"),
        ("none", "0", "is not a model file of adagrad.ctr"),
        (".", "0", "is not a model file of adagrad.ctr"),
    ):
        command = [program, tmp_path / name]
        done = subprocess.run(command, input=line, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr


HUGE = 2**64


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("linear", None, "is damaged: the tensor linear is not [slots, 2] in F32"),
        ("linear", {"shape": [2**61, 2]}, "is damaged: the tensor linear"),
        ("linear", {"shape": [HUGE, 2]}, "a size in its header is too large"),
        ("linear", {"shape": [-1, 2]}, "a size in its header is not a whole number"),
        ("linear", {"shape": [2.0, 2]}, "is not the JSON of safetensors"),
        ("linear", {"shape": []}, "is damaged: the tensor linear"),
        ("linear", {"shape": [1] * 9}, "a tensor has too many dimensions"),
        ("linear", {"dtype": "F64"}, "is damaged: the tensor linear"),
        ("linear", {"data_offsets": [0, 2**62]}, "is truncated"),
        ("linear", {"data_offsets": [0, HUGE]}, "a size in its header is too large"),
        ("linear", {"data_offsets": [16, 0]}, "a tensor has no place in it"),
        ("linear", {"data_offsets": [0]}, "a tensor has no place in it"),
        ("linear", {"more": "x"}, "a tensor has an unknown entry"),
        ("bias", {"shape": [3]}, "is damaged: the tensor bias is not [2] in F32"),
        ("progressive.bins", None, "has bytes after its end"),
        ("__metadata__", {"format": "pt"}, "does not hold an adagrad.ctr.LogisticRegression"),
        ("__metadata__", {"class": '"X"'}, "does not hold an adagrad.ctr.LogisticRegression"),
        ("__metadata__", {"seed": 5}, "is not the JSON of safetensors"),
        ("__metadata__", None, "does not hold an adagrad.ctr.LogisticRegression"),
    ],
    ids=str,
)
def test_damaged_headers(tmp_path, program, name, entry, message):
    path = tmp_path / "model"
    LogisticRegression(lr=0.1).fit([[1.0], [2.0]], [0, 1]).save(path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if entry is None:
        del header[name]
    else:
        header[name].update(entry)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    done = subprocess.run([program, path], input="0", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{path}: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_that_are_cut_short_or_of_another_model(tmp_path, program):
    path = tmp_path / "model"
    LogisticRegression(lr=0.1).fit([[1.0], [2.0]], [0, 1]).save(path)
    data = path.read_bytes()
    for content, message in (
        *((data[:size], "is not a model file") for size in (0, 7, 8, 100)),
        (data[:-1], "is truncated"),
        (data + b"x", "has bytes after its end"),
        ((2**64 - 1).to_bytes(8, "little") + data[8:], "is not a model file"),
        ((10**8).to_bytes(8, "little") + data[8:], "is not a model file"),
    ):
        path.write_bytes(content)
        run = subprocess.run([program, path], input="", capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert message in run.stderr
    FactorizationMachine(lr=0.1).fit([[1.0], [2.0]], [0, 1]).save(path)
    run = subprocess.run([program, path], input="", capture_output=True, text=True, check=False)
    assert "does not hold an adagrad.ctr.LogisticRegression" in run.stderr
