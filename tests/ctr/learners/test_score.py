"""The C++ program in examples/ scores a saved model with the same bits as Python."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse

import toolchain
from adagrad.ctr import Examples, FactorizationMachine, LogisticRegression
from adagrad.ctr.learners import file_format
from adagrad.ctr.learners.file_format import SavedLearner
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
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


def margins(program, path, x):
    """What the program says of examples."""
    lines = []
    for part in (x[i : i + 1] for i in range(len(x))):
        values = np.ones(len(part.slots)) if part.values is None else part.values
        pairs = zip(part.slots, values, strict=True)
        lines.append(" ".join(f"{slot}:{value}" for slot, value in pairs))
    said = toolchain.run(program, path, input="\n".join(lines) + "\n")
    return np.array([float.fromhex(line) for line in said.split()], np.float32)


@pytest.mark.parametrize("intercept", [True, False])
def test_margins(tmp_path, rng, program, intercept):
    x = batch(rng, 300, 1001, values=True)
    learner = LogisticRegression(lr=0.3, fit_intercept=intercept).fit(x, labels(rng, x))
    learner.save(tmp_path / "model")
    assert_same_bits(margins(program, tmp_path / "model", x), learner.decision_function(x))


@pytest.mark.parametrize("examples", [1, 2, 20, 500])
@pytest.mark.parametrize("n_slots", [1 << 10, 100_003, 1 << 20])
def test_margins_of_a_file_that_lists_its_slots(tmp_path, rng, program, n_slots, examples):
    x = batch(rng, 700, n_slots, values=True)
    some = x[:examples]
    path = tmp_path / "model"
    learner = LogisticRegression(lr=0.3).partial_fit(some, labels(rng, some), classes=[0, 1])
    learner.save(path)
    listed = "slots" in safetensors.numpy.load_file(path)
    assert listed == (3 * len(np.unique(some.slots)) < 2 * n_slots)
    assert_same_bits(margins(program, path, x), learner.decision_function(x))


@pytest.mark.parametrize("examples", [10, 500])
def test_margins_of_a_mixture(tmp_path, rng, program, examples):
    x = batch(rng, 700, 1001, values=True)
    some = x[:examples]
    model = Model(Settings("lr", 1001, None))
    model.learn(some, labels(rng, some))
    path = tmp_path / "model"
    file_format.write(path, SavedLearner("LogisticRegression", {}, np.array([0, 1]), {}, model))
    assert ("slots" in safetensors.numpy.load_file(path)) == (examples == 10)
    assert_same_bits(margins(program, path, x), model.margins(x))


@pytest.mark.parametrize("examples", [10, 500])
def test_margins_of_a_model_with_penalties(tmp_path, rng, program, examples):
    x = batch(rng, 700, 1001, values=True)
    some = x[:examples]
    learner = LogisticRegression(lr=0.3, l1=0.3, l2=0.1).fit(some, labels(rng, some))
    learner.save(tmp_path / "model")
    tensors = safetensors.numpy.load_file(tmp_path / "model")
    assert ("slots" in tensors) == (examples == 10)
    assert (tensors["linear"] == 0.0).mean() > (tensors["ftrl"][:, 0] == 0.0).mean()
    assert_same_bits(margins(program, tmp_path / "model", x), learner.decision_function(x))


def test_the_ends_of_a_list_of_slots(tmp_path, program):
    for slots in ([0], [63], [0, 63], [31, 32], [*range(0, 40, 2)]):
        x = scipy.sparse.csr_matrix(np.eye(64, dtype=np.float32)[slots])
        learner = LogisticRegression().partial_fit(x, np.arange(len(slots)) % 2, classes=[0, 1])
        learner.save(tmp_path / "model")
        assert "slots" in safetensors.numpy.load_file(tmp_path / "model")
        each = Examples.from_csr(scipy.sparse.csr_matrix(np.eye(64, dtype=np.float32)))
        found = margins(program, tmp_path / "model", each)
        assert_same_bits(found, learner.decision_function(each))


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
        ("linear", None, "is damaged: the tensor linear is not [slots, 1 or 2] in F32"),
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
        ("bias", {"shape": [3]}, "is damaged: the tensor bias is not [1 or 2] in F32"),
        ("bias", None, "has bytes after its end"),
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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("slots", [5, 3, 9], "is damaged: its slots do not ascend to the last one"),
        ("slots", [3, 3, 9], "is damaged: its slots do not ascend to the last one"),
        ("slots", [3, 5, 64], "is damaged: its slots do not ascend to the last one"),
        ("slots", [3, 5], "the tensor slots does not list those of linear in U32"),
        ("slots", range(64), "the tensor slots does not list those of linear in U32"),
        ("n_slots", "64 ", "is damaged: the number of its slots"),
        ("n_slots", "", "is damaged: the number of its slots"),
        ("n_slots", "0", "is damaged: the number of its slots"),
        ("n_slots", "4294967297", "is damaged: the number of its slots"),
        ("n_slots", "9" * 60, "is damaged: the number of its slots"),
        ("n_slots", "3", "the tensor slots does not list those of linear in U32"),
        ("format_version", "1", "the tensor slots does not list those of linear in U32"),
    ],
    ids=str,
)
def test_damaged_lists_of_slots(tmp_path, program, name, value, message):
    path = tmp_path / "model"
    x = scipy.sparse.csr_matrix(np.eye(64, dtype=np.float32)[[3, 5, 9]])
    LogisticRegression(lr=0.1).fit(x, [0, 1, 0]).save(path)
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(path)
    if name == "slots":
        tensors["slots"] = np.array(value, np.uint32)
        if len(value) == 64:
            tensors["linear"] = np.zeros((64, 2), np.float32)
    else:
        metadata[name] = value
    safetensors.numpy.save_file(tensors, path, metadata)
    done = subprocess.run([program, path], input="3", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
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
