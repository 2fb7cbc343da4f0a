"""Files of learners keep every bit, are read whole or refused, and replaced whole or not at all."""

from __future__ import annotations

import errno
import json
import operator
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse

from adagrad import Rule, TableFileError, preset
from adagrad.ctr import (
    Examples,
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
    load,
)
from adagrad.ctr.learners import file_format, files
from checks import assert_same_bits
from ctr_data import batch, bits, labels

pytestmark = pytest.mark.unsanitized


def assert_same(a, b):
    assert a.get_params() == b.get_params()
    assert_same_bits(a.coef_.copy(), b.coef_.copy(), "coef_")
    assert_same_bits(a.intercept_, b.intercept_, "intercept_")
    assert bits(a._model) == bits(b._model)
    assert a.n_examples_ == b.n_examples_
    assert a._model.settings == b._model.settings
    np.testing.assert_array_equal(a.classes_, b.classes_)
    assert a.classes_.dtype == b.classes_.dtype


@pytest.fixture
def learner(rng):
    x = batch(rng, 1280, 300)
    return LogisticRegression(lr=0.2).fit(x, labels(rng, x))


@pytest.fixture
def path(tmp_path, learner):
    path = tmp_path / "model.safetensors"
    learner.save(path)
    return path


@pytest.mark.parametrize(
    "params",
    [
        {"lr": 0.2},
        {"lr": np.float32(0.1), "l1": 0.001, "l2": 1e-4, "fit_intercept": False},
        {"rule": preset("libffm"), "n_jobs": 2},
        {"rule": Rule(lr=0.3, lr_decay=1e-3, clip_value=0.5, lagged=True, power=0.3)},
        {"lr": 0.2, "passes": 2, "shuffle": True, "seed": 9},
    ],
    ids=str,
)
def test_a_loaded_learner_continues_with_the_same_bits(tmp_path, rng, params):
    x = batch(rng, 2000, 300, values=True)
    y = labels(rng, x)
    whole = LogisticRegression(**params).partial_fit(x, y)
    LogisticRegression(**params).partial_fit(x[:1088], y[:1088]).save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert_same(loaded.partial_fit(x[1088:], y[1088:]), whole)
    assert_same_bits(loaded.decision_function(x), whole.decision_function(x))


@pytest.mark.parametrize(
    "classes",
    [[0, 1], [-1.0, 2.0], ["no", "\N{SNOWMAN}"], [False, True], np.array(["a", "b"], "O")],
)
def test_classes(tmp_path, rng, classes):
    classes = np.asarray(classes)
    x = batch(rng, 100, 300)
    learner = LogisticRegression(lr=0.1).fit(x, classes[labels(rng, x).astype(int)])
    learner.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert_same(loaded, learner)
    np.testing.assert_array_equal(loaded.predict(x), learner.predict(x))


def test_extra_data_and_tensors(path, learner):
    extra = {"file": "log.tsv", "line": 7, "nested": [1.5, None]}
    files.write(path, learner, extra)
    found, read = files.read(path)
    assert_same(found, learner)
    assert read == extra
    tensors = safetensors.numpy.load_file(path)
    assert set(tensors) == {"linear", "bias", "progressive.sums", "progressive.bins"}
    np.testing.assert_array_equal(tensors["linear"][:, 0], learner.coef_[0])
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("l2", [0.0, 1e-3])
@pytest.mark.parametrize("given", [None, preset("torch", lr=0.1)], ids=["", "preset"])
def test_a_rate_that_was_chosen_is_that_of_the_learner(tmp_path, rng, given, l2):
    """Version 0.1 wrote such files under lr="auto"; a cluster writes them, with a whole rule."""
    x = batch(rng, 1000, 300)
    y = labels(rng, x)
    whole = LogisticRegression(lr=0.25, rule=given, l2=l2).fit(x, y)
    whole.partial_fit(x, y)
    LogisticRegression(lr=0.25, rule=given, l2=l2).fit(x, y).save(tmp_path / "model")
    with_json(tmp_path / "model", ["params", "lr"], lambda of, key: of.update({key: "auto"}))
    loaded = load(tmp_path / "model")
    assert loaded.lr == loaded.lr_ == 0.25
    loaded.partial_fit(x, y)
    assert_same_bits(loaded.coef_.copy(), whole.coef_.copy())


def test_a_mixture_continues_with_the_same_bits(tmp_path, rng):
    x = batch(rng, 2000, 300, values=True)
    y = labels(rng, x)
    whole = LogisticRegression().partial_fit(x, y)
    LogisticRegression().partial_fit(x[:1088], y[:1088]).save(tmp_path / "model")
    loaded = load(tmp_path / "model").partial_fit(x[1088:], y[1088:])
    assert loaded.experts_ == whole.experts_
    assert loaded.progressive_ == whole.progressive_
    assert_same_bits(loaded.coef_.copy(), whole.coef_.copy())
    assert_same_bits(loaded.decision_function(x), whole.decision_function(x))


def test_what_json_cannot_hold(path, learner):
    before = path.read_bytes()
    with pytest.raises(TypeError, match="a file cannot hold the extra of this learner"):
        files.write(path, learner, {"x": object()})
    assert path.read_bytes() == before


def rewritten(path, **changes):
    """The file with other metadata."""
    with safetensors.safe_open(path, "np") as file:
        metadata = {**file.metadata(), **changes}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "pt"}, "not of a click learner: its format is 'pt'"),
        (
            {"format_version": "4"},
            r"another adagrad \(format '4'\), this one reads 1, 2, 3: upgrade",
        ),
        ({"class": '"Examples"'}, "corrupted: its metadata"),
        ({"class": '"os"'}, "corrupted: its metadata"),
        ({"params": "{"}, "corrupted: its metadata"),
        ({"params": '{"rule": null, "encoder": null}'}, "corrupted: its metadata: params lack fit"),
        ({"classes": "[[0], 'i8']"}, "corrupted: its metadata"),
        ({"classes": '[[0], "<i8"]'}, "corrupted: its metadata.*expected two"),
        ({"n_examples": '"many"'}, "corrupted: its metadata"),
    ],
)
def test_metadata_that_are_wrong(path, changes, message):
    rewritten(path, **changes)
    with pytest.raises(TableFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_tensors_that_are_wrong(path):
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(path)
    for changes, message in (
        (
            {"linear": tensors["linear"][:-1]},
            r"'linear' is F32 of shape \(299, 2\), expected F32 of",
        ),
        ({"bias": tensors["bias"].astype(float)}, "'bias' is F64 of shape"),
        ({"more": tensors["bias"]}, "its tensors are"),
    ):
        safetensors.numpy.save_file({**tensors, **changes}, path, metadata)
        with pytest.raises(TableFileError, match=message):
            load(path)


def test_a_truncated_or_foreign_file(path):
    data = path.read_bytes()
    for size in (0, 5, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(TableFileError, match=r"is truncated|is not a safetensors file"):
            load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(TableFileError, match="has bytes after its end"):
        load(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        load(path.with_name("nothing"))


def test_a_full_disk_leaves_the_old_file(path, learner):
    resource = pytest.importorskip("resource")  # POSIX
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="the old file is unchanged") as caught:
            learner.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


SAVER = """
import sys
from adagrad.ctr.learners import file_format  # what save() writes with, without scikit-learn
path, *sources = sys.argv[1:]
learners = [file_format.read(source) for source in sources]
print("ready", flush=True)
while True:
    for learner in learners:
        file_format.write(path, learner)
"""


def test_killed_while_saving(tmp_path):
    x = scipy.sparse.csr_matrix(np.ones((2, 200_000)))  # all rows are written
    sources = [tmp_path / "a", tmp_path / "b"]
    for source, lr in zip(sources, (0.1, 0.2), strict=True):
        LogisticRegression(lr=lr).fit(x, [0, 1]).save(source)
    path = tmp_path / "killed" / "model"
    path.parent.mkdir()
    random.seed(1)
    for _ in range(4):
        command = [sys.executable, "-c", SAVER, path, *sources]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "ready\n"
            while not path.exists():
                time.sleep(0.001)
            time.sleep(random.uniform(0.0, 0.05))
            child.kill()
        assert load(path).lr_ in (0.1, 0.2)
        assert len(list(path.parent.iterdir())) <= 2


def with_json(path, where, change):
    """Change a value of the metadata, given by its path, in place."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name, *inner = where
    entry = json.loads(header["__metadata__"][name])
    at = {"": entry}
    for key in ["", *inner][:-1]:
        at = at[key]
    whole = {"": entry} if not inner else None
    change(whole or at, ["", *inner][-1])
    header["__metadata__"][name] = json.dumps(whole[""] if whole else entry)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


DAMAGE = [
    (["settings", "n_slots"], 10**13, "n_slots must be from 1 to 4294967296, got 10000000000000"),
    (["settings", "n_slots"], 2**32, "n_slots is '300', but the settings have 4294967296"),
    (["settings", "n_slots"], 300.0, "n_slots must be an integer, got 300.0"),
    (["settings", "n_fields"], 10**13, "n_fields must be from 0 to 0"),
    (["settings", "factors"], 4, "factors must be from 0 to 0, got 4"),
    (["settings", "kind"], "ffm", "factors must be from 1 to 4096, got 0"),
    (["settings", "kind"], ["lr"], r"the kind is \['lr'\], expected lr, fm or ffm"),
    (["settings", "parts"], -1, "parts must be from 1 to 1, got -1"),
    (["settings", "l1"], "0", "l1 must be a real number"),
    (["settings", "l2"], "0", "l2 must be a real number"),
    (["settings", "seed"], 2**64, "seed must be from 0 to 18446744073709551614"),
    (["settings", "normalize"], 0, "normalize must be a bool"),
    (["settings", "rule", "lr"], -1.0, "lr must not be negative"),
    (["settings", "rule", "eps"], None, "eps must be a real number"),
    (["settings", "rule", "lr"], 0.3, "lr is 0.2, but that of the rule is 0.3"),
    (["settings", "rule"], [], r"its rule is \[\]"),
    (["settings"], {}, "settings are {}, expected factors"),
    (["params", "lr"], "x" * 9999, "lr must be a number, None or 'auto', got 'xxx"),
    (["params", "seed"], -1, "seed must be from 0"),
    (["params", "n_jobs"], 0, "n_jobs must be from 1"),
    (["params", "passes"], 2**64, "passes must be from 1"),
    (["params", "encoder"], "encoder", "the encoder is 'encoder', expected an object"),
    (["params", "encoder"], {}, "the encoder has format None"),
    (["params", "rule"], {"lr": 0.1}, "its rule lacks accumulator"),
    (["params"], [], r"params is \[\]"),
    (["n_examples"], -1, "n_examples must be from 0"),
    (["n_examples"], 2**64, "n_examples must be from 0"),
    (["classes", 0], [1, 0], r"classes are \[1, 0\], expected two ascending <f4"),
    (["classes"], [[0, 2**64], "<i8"], "too large"),
    (["classes"], [[0.5, 1], "<i8"], r"classes are \[0.5, 1\]"),
    (["classes", 1], "<U999999999", "the dtype of the classes is '<U999999999'"),
    (["classes", 1], "<M8[s]", "the dtype of the classes is"),
    (["classes"], 5, "cannot unpack"),
    (["fitted", "n_features_in_"], 299, "n_features_in_ must be from 300 to 300, got 299"),
    (["fitted", "n_passes_"], "1", "n_passes_ must be an integer"),
    (["fitted"], {"predict": 1}, r"fitted has \['predict'\]"),
    (["class"], "FactorizationMachine", "no 'FactorizationMachine' is of kind lr"),
    (["class"], ["LogisticRegression"], r"class is \['LogisticRegression'\]"),
    (["lr"], "0.2", "lr must be a real number"),
]


@pytest.mark.parametrize(("where", "value", "message"), DAMAGE, ids=lambda x: str(x)[:40])
def test_a_value_that_no_learner_has(path, where, value, message):
    with_json(path, where, lambda at, key: operator.setitem(at, key, value))
    with pytest.raises(TableFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "corrupted" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_keys_that_are_missing_or_double(path):
    data = path.read_bytes()
    for name in ("class", "params", "settings", "classes", "n_examples", "lr", "fitted", "extra"):
        path.write_bytes(data.replace(f'"{name}":"'.encode(), f'"{name[:-1]}_":"'.encode(), 1))
        with pytest.raises(TableFileError, match=f"its metadata: {name} missing"):
            load(path)
    path.write_bytes(data.replace(b'"n_examples":"', b'"class":"', 1))
    with pytest.raises(TableFileError, match=r"its header is not JSON|truncated"):
        load(path)
    for name, text in (("n_examples", "NaN"), ("lr", "1e999"), ("settings", '{"l1": 0, "l1": 1}')):
        path.write_bytes(data)
        rewritten(path, **{name: text})
        with pytest.raises(TableFileError, match=f"its metadata: {name} is not JSON"):
            load(path)


@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_shapes_are_compared_before_memory_is_allocated(tmp_path, rng, kind):
    """A file of a few kilobytes is refused at once, whatever size its settings claim."""
    learner, fields = {
        "fm": (FactorizationMachine(2, lr=0.1), None),
        "ffm": (FieldAwareFactorizationMachine(2, lr=0.1), np.arange(4, dtype=np.uint16) % 2),
    }[kind]
    x = Examples.from_csr(scipy.sparse.csr_matrix(np.eye(4, 64, dtype=np.float32)))
    if fields is not None:
        x = Examples(x.slots, x.bounds, 64, 4, values=x.values, fields=fields, n_fields=2)
    path = tmp_path / "model"
    learner.fit(x, [0, 1, 0, 1]).save(path)
    data = path.read_bytes()
    for name, value in (("n_slots", 2**32), ("factors", 4096), ("n_fields", 65_536)):
        path.write_bytes(data)
        with_json(
            path, ["settings", name], lambda at, key, value=value: operator.setitem(at, key, value)
        )
        tracemalloc.start()
        with pytest.raises(
            TableFileError, match=r"F32 of shape|n_fields must be from 0|n_slots is"
        ):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 32 << 20


def test_scores_that_are_no_weights(path):
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    for value in (np.nan, -1.0, np.inf):
        tensors["progressive.bins"][1, 5] = value
        safetensors.numpy.save_file(tensors, path, metadata)
        with pytest.raises(TableFileError, match=r"progressive.bins has a weight that is negative"):
            load(path)


def test_a_file_that_is_cut_short_while_it_is_read(path, monkeypatch):
    def cut(*arguments, check=file_format._check_tensors):
        check(*arguments)
        os.truncate(path, path.stat().st_size - 100_000)

    monkeypatch.setattr(file_format, "_check_tensors", cut)
    with pytest.raises(TableFileError, match="was truncated while it was read"):
        load(path)
