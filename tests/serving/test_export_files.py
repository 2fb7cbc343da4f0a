"""Export files: what is in them, and what a scorer says of those that are not sound."""

from __future__ import annotations

import copy
import json
import pickle
import threading

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse

import export_files
from checks import assert_same_bits, need_packages
from ctr_data import batch, labels

need_packages("sklearn", "scipy", "pyarrow")

import adagrad._core as _core
from adagrad import TableFileError
from adagrad.ctr import (
    Examples,
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
)
from adagrad.serving import Scorer, write_export


def about(path):
    with safetensors.safe_open(path, "np") as file:
        return json.loads(file.metadata()["model"])


@pytest.mark.parametrize("n_slots", [1, 7, 1 << 10, 100_003, 1 << 20])
@pytest.mark.parametrize("examples", [1, 20, 500])
def test_lists_of_slots(tmp_path, rng, n_slots, examples):
    x = batch(rng, 700, n_slots, values=True)
    some = x[:examples]
    path = tmp_path / "export"
    model = LogisticRegression(lr=0.3).partial_fit(some, labels(rng, some), classes=[0, 1])
    written = write_export(model, path)
    used = np.count_nonzero(model.coef_)
    assert written["slots"] == (used if about(path)["bucket"] else n_slots)
    assert (about(path)["bucket"] is None) == (4 * used > n_slots)
    scorer = Scorer(path)
    assert_same_bits(scorer.decision_function(x), model.decision_function(x))
    every = np.arange(n_slots, dtype=np.uint32)
    assert_same_bits(scorer.weights(every), model.coef_[0])
    with pytest.raises(IndexError, match="out of range"):
        scorer.weights(np.array([n_slots], np.uint32))


@pytest.mark.parametrize("kind", [LogisticRegression, FactorizationMachine])
def test_models_of_matrices(tmp_path, rng, kind):
    x = scipy.sparse.random(200, 50, 0.2, "csr", np.float32, random_state=1)
    model = kind(lr=0.2).fit(x, rng.random(200) < 0.4)
    write_export(model, tmp_path / "export")
    scorer = Scorer(tmp_path / "export")
    assert_same_bits(scorer.decision_function(x), model.decision_function(x))
    assert scorer.columns == {"ids": "list<int64>", "values": "list<float>"}
    for i in range(9):
        row = {"ids": x[i].indices, "values": x[i].data.tolist()}
        assert scorer.predict_one(row) == model.predict_one(row) == model.predict_proba(x[i])[0, 1]
    ones = scipy.sparse.csr_matrix(([1.0, 1.0], [3, 9], [0, 2]), (1, 50))
    assert model.predict_one({"ids": [3, 9]}) == model.predict_proba(ones)[0, 1]
    for bad in (
        {"ids": [50]},
        {"ids": [-1]},
        {"ids": [1], "values": []},
        {"ids": [0.5]},
        {"a": 1},
        {},
    ):
        for each in (scorer, model):
            with pytest.raises(ValueError, match="ids"):
                each.predict_one(bad)


def test_fields_of_matrices(tmp_path, rng):
    x = scipy.sparse.random(200, 12, 0.4, "csr", np.float32, random_state=1)
    model = FieldAwareFactorizationMachine(lr=0.2).fit(x, rng.random(200) < 0.4)
    write_export(model, tmp_path / "export")
    scorer = Scorer(tmp_path / "export")
    assert_same_bits(scorer.decision_function(x), model.decision_function(x))
    row = {"ids": x[0].indices.tolist(), "values": x[0].data.tolist()}
    assert scorer.predict_one(row) == model.predict_one(row) == model.predict_proba(x[0])[0, 1]
    without = Examples.from_csr(x)
    with pytest.raises(ValueError, match="no fields"):
        scorer.decision_function(without)


@pytest.mark.parametrize(
    ("dtype", "numbers", "expected"),
    [
        # Ties go to the even neighbor: 1 + 2^-8 and 1 + 3 2^-8; 1 + 2^-11 and 1 + 3 2^-11.
        ("bfloat16", [1.00390625, 1.01171875], [1.0, 1.015625]),
        ("float16", [1.00048828125, 1.00146484375, 65519.0], [1.0, 1.001953125, 65504.0]),
    ],
)
def test_rounding(tmp_path, dtype, numbers, expected):
    x = scipy.sparse.eye(len(numbers), format="csr", dtype=np.float32)
    model = LogisticRegression(lr=0.1).partial_fit(x, np.arange(len(numbers)) % 2, classes=[0, 1])
    model.coef_[0][:] = numbers
    written = write_export(model, tmp_path / "export", dtype)
    weights = Scorer(tmp_path / "export").weights(np.arange(len(numbers), dtype=np.uint32))
    assert weights.tolist() == expected
    assert written["largest_change"] == np.abs(np.subtract(expected, numbers)).max()
    model.coef_[0][0] = 65520.0 if dtype == "float16" else 3.4e38
    with pytest.raises(ValueError, match=f"too large for {dtype}"):
        write_export(model, tmp_path / "export", dtype)
    model.coef_[0][0] = np.nan
    with pytest.raises(ValueError, match="diverged"):
        write_export(model, tmp_path / "export", dtype)


def test_a_scorer_is_shared_and_reopened(tmp_path, rng):
    x = batch(rng, 300, 1001, values=True)
    path = tmp_path / "export"
    model = LogisticRegression(lr=0.3).fit(x, labels(rng, x))
    write_export(model, path)
    scorer = Scorer(path)
    expected = model.decision_function(x)
    assert copy.deepcopy(scorer) is scorer
    again = pickle.loads(pickle.dumps(scorer))
    assert again.version == scorer.version
    found = [None] * 4

    def score(k):
        found[k] = scorer.decision_function(x)

    threads = [threading.Thread(target=score, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((margins == expected).all() for margins in found)
    model.partial_fit(x, labels(rng, x))
    write_export(model, path)  # takes the place of the file, which the scorer still has
    assert_same_bits(scorer.decision_function(x), expected)
    assert Scorer(path).version != scorer.version
    assert_same_bits(Scorer(path).decision_function(x), model.decision_function(x))
    model.save(path)  # a learner's file is exported in memory
    assert_same_bits(Scorer(path).decision_function(x), model.decision_function(x))


def changed(path, **changes):
    """Rewrite an export with other metadata, model keys or tensors."""
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(path)
    model = json.loads(metadata["model"])
    for name, value in changes.items():
        if name in metadata:
            metadata[name] = value
        elif name in tensors:
            tensors[name] = value
        else:
            model[name] = value
    if "model" not in changes:
        metadata["model"] = json.dumps(model)
    tensors = {name: tensors[name] for name in sorted(tensors)}
    safetensors.numpy.save_file(tensors, path, metadata)
    path.write_bytes(export_files.resealed(path.read_bytes()))


U32 = np.uint32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "pt"}, "not of a click learner"),
        ({"format_version": "2"}, "has a version other than 1"),
        ({"model": "{"}, "is not JSON"),
        ({"model": "[]"}, "is not an object"),
        ({"model": '{"kind":"lr","kind":"lr"}'}, "a key twice"),
        ({"model": "[" * 99}, "nested too deeply"),
        ({"kind": "svm"}, "unknown kind"),
        ({"n_slots": 2**33}, "n_slots that is out of range"),
        ({"n_slots": 10**6}, "tensor starts, or it has another size"),
        ({"n_slots": 9}, "do not ascend"),
        ({"bias": None}, "another bias"),
        ({"bias": 1e300}, "another bias"),
        ({"bucket": 3}, "buckets of another size"),
        ({"bucket": None}, "another number of rows than of slots"),
        ({"starts": np.array([0, 9, 3, 3, 3], U32)}, "starts"),
        ({"low": np.array([9, 5, 3], np.uint8)}, "do not ascend"),
        ({"low": np.array([3, 5], np.uint8)}, "tensor low"),
        ({"low": np.array([3, 5, 9], np.uint16)}, "tensor low"),
        ({"rows": np.array([[1.0], [np.inf], [0.5]], np.float32)}, "not finite"),
        ({"rows": np.ones((3, 2), np.float32)}, "tensor rows"),
        ({"rows": np.ones((3, 1), np.float64)}, "dtype"),
        ({"pairs": {"factors": 2}}, "pairs of no model"),
        ({"ids": {"hashes": 1}}, "another hashes"),
    ],
    ids=str,
)
def test_unsound_files(tmp_path, changes, message):
    path = tmp_path / "export"
    x = scipy.sparse.csr_matrix(np.eye(64, dtype=np.float32)[[3, 5, 9]])
    write_export(LogisticRegression(lr=0.1).fit(x, [0, 1, 0]), path)
    changed(path, **changes)
    with pytest.raises(TableFileError, match=message) as caught:
        Scorer(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_cut_short_or_go_on(tmp_path):
    path = tmp_path / "export"
    write_export(LogisticRegression(lr=0.1).fit([[1.0], [2.0]], [0, 1]), path)
    data = path.read_bytes()
    for content, message in (
        *((data[:size], "not a safetensors file") for size in (0, 7, 8)),
        (data[:100], "is truncated"),
        (data[:-1], "is truncated"),
        (data + b"x", "bytes after its end"),
        ((2**64 - 1).to_bytes(8, "little") + data[8:], "not a safetensors file"),
    ):
        path.write_bytes(content)
        with pytest.raises(TableFileError, match=message):
            Scorer(path)
    with pytest.raises(FileNotFoundError):
        Scorer(tmp_path / "none")


@pytest.mark.parametrize("kind", ["lr", "fm"])
def test_flipped_bits(tmp_path, rng, kind):
    path = tmp_path / "export"
    x = batch(rng, 200, 4096, values=True)
    model = LogisticRegression(lr=0.1) if kind == "lr" else FactorizationMachine(2, lr=0.1)
    write_export(model.fit(x, labels(rng, x)), path)
    data = bytearray(path.read_bytes())
    head = 8 + int.from_bytes(data[:8], "little")
    for at in (*range(0, head, 3), *rng.integers(head, len(data), 300)):
        flipped = 1 << int(rng.integers(8))
        data[at] ^= flipped
        with pytest.raises(ValueError, match="the model "):
            _core.Scorer(bytes(data))
        data[at] ^= flipped
    assert _core.Scorer(bytes(data)).version.encode() in data


def test_an_export_that_was_written_over(tmp_path, rng):
    x = batch(rng, 200, 4096, values=True)
    model, path = LogisticRegression(lr=0.1).fit(x, labels(rng, x)), tmp_path / "export"
    write_export(model, path)
    new, old = bytearray(path.read_bytes()), path.stat()
    new[-4:] = np.float32(0.25).tobytes()  # a sound weight, but not the one that was exported
    with path.open("r+b") as file:
        file.write(new)
    assert path.stat().st_size == old.st_size
    with pytest.raises(
        TableFileError, match="export is corrupted: its bytes do not have the checksum"
    ):
        Scorer(path)


def test_files_of_learners_are_named_as_what_they_are(tmp_path, rng):
    x = batch(rng, 200, 4096, values=True)
    for model in (LogisticRegression(), FactorizationMachine(2, lr="auto")):
        model.fit(x, labels(rng, x)).save(tmp_path / "model")
        with pytest.raises(ValueError, match="is not an export file: adagrad export makes one"):
            _core.Scorer(str(tmp_path / "model"))
