"""Models that were trained or continued in Python, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from checks import assert_same_bits, need_packages

need_packages("click", "rich", "sklearn", "pyarrow", "safetensors")

import pyarrow as pa
import scipy.sparse
from sklearn.datasets import dump_svmlight_file

from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
    load,
)
from command import LABEL, clicks, invoke, train, write

LOG = clicks(3_000)
FEATURES = LOG.drop_columns([LABEL])
Y = LOG.column(LABEL).to_numpy()
LEARNERS = {
    "lr": LogisticRegression,
    "fm": FactorizationMachine,
    "ffm": FieldAwareFactorizationMachine,
}


def predicted(model: Path, log: Path, *more: object) -> np.ndarray:
    code, out, err = invoke("predict", model, log, *more)
    assert (code, err) == (0, "")
    return np.array(out.split(), np.float32)


def refused(*arguments: object) -> str:
    """Run a command that fails with one line, and return that."""
    code, out, err = invoke(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1), err
    return err


def probabilities(learner, x) -> np.ndarray:
    return learner.predict_proba(x)[:, 1].astype(np.float32)


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    return write(tmp_path / "log.tsv", LOG)


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner_with_an_encoder(tmp_path: Path, tsv: Path, kind: str) -> None:
    model = tmp_path / "m"
    learner = LEARNERS[kind](lr=0.2, encoder=HashingEncoder(bits=12)).fit(FEATURES, Y)
    learner.save(model)
    assert_same_bits(predicted(model, tsv), probabilities(learner, FEATURES))
    parquet = write(tmp_path / "log.parquet", LOG)
    assert_same_bits(predicted(model, parquet), probabilities(learner, FEATURES))

    assert "name it with --label" in refused("evaluate", model, tsv)
    code, out, _ = invoke("evaluate", model, tsv, "-l", LABEL, "--json")
    assert (code, json.loads(out)["examples"]) == (0, 3_000)
    assert "'depth' is a feature of the model" in refused("evaluate", model, tsv, "-l", "depth")
    code, out, _ = invoke("inspect", model, "--log", tsv)
    assert code == 0
    assert "from Python" in out
    assert "site" in out


def test_a_trained_model_that_learns_on_in_python(tmp_path: Path, tsv: Path) -> None:
    model, twice = tmp_path / "m", tmp_path / "twice"
    train(tsv, model, "-q")
    learner = load(model).partial_fit(FEATURES, Y)
    learner.save(model)
    load(model).partial_fit(FEATURES, Y).save(twice)
    assert_same_bits(predicted(model, tsv), probabilities(learner, FEATURES))
    for path in (model, twice):
        code, out, _ = invoke("evaluate", path, tsv, "--json")
        assert (code, json.loads(out)["examples"]) == (0, 3_000)
    code, out, _ = invoke("inspect", twice, "--json")
    runs = json.loads(out)["history"]
    assert [run["by"] for run in runs] == ["train", "python", "python"]
    assert [run["examples"] for run in runs] == [3_000] * 3
    assert runs[0]["log"]["names"] == ["log.tsv"]
    assert runs[0]["progressive"]["logloss"] > runs[2]["progressive"]["logloss"] > 0
    said = refused("train", tsv, "-l", LABEL, "-m", model, "--bits", 14, "--resume", "-q")
    assert "saved from Python, so training cannot resume from it: give --init" in said


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner_that_learns_on_from_the_command(tmp_path: Path, tsv: Path, kind: str) -> None:
    """A model from Python gets the label, and has the bits of `partial_fit`."""
    model, day = tmp_path / "m", write(tmp_path / "day.tsv", clicks(2_000, seed=2))
    half = LEARNERS[kind](encoder=HashingEncoder(bits=10))
    half.fit(FEATURES.slice(0, 1_024), Y[:1_024]).save(model)
    arguments = ("train", day, "--init", model, "-m", model)
    assert "does not say which column is the label: name it with --label" in refused(*arguments)
    code, _, err = invoke(*arguments, "-l", LABEL)
    assert code == 0, err
    assert "beginning from" in err
    learned = clicks(2_000, seed=2)
    half.partial_fit(learned.drop_columns([LABEL]), learned.column(LABEL).to_numpy())
    assert_same_bits(predicted(model, tsv), probabilities(half, FEATURES))
    code, out, _ = invoke("evaluate", model, tsv, "--json")
    assert (code, json.loads(out)["examples"]) == (0, 3_000)
    code, out, _ = invoke("inspect", model, "--json")
    assert [(run["by"], run["examples"]) for run in json.loads(out)["history"]] == [
        ("python", 1_024),
        ("train", 2_000),
    ]
    code, _, err = invoke(*arguments, "--resume", "-q")
    assert (code, err) == (0, "")
    assert load(model).n_examples_ == 3_024


def test_a_matrix_learns_on_from_libsvm(tmp_path: Path) -> None:
    x = scipy.sparse.random(300, 50, 0.1, "csr", np.float32, random_state=3)
    y = np.random.default_rng(7).integers(0, 2, 300)
    learner = LogisticRegression(lr=0.2).partial_fit(x[:128], y[:128])
    learner.save(tmp_path / "m")
    dump_svmlight_file(x[128:], y[128:], str(tmp_path / "log.libsvm"))
    arguments = ("train", tmp_path / "log.libsvm", "-l", "y", "--init", tmp_path / "m")
    assert invoke(*arguments, "-m", tmp_path / "new", "-q") == (0, "", "")
    learner.partial_fit(x[128:], y[128:])
    assert_same_bits(load(tmp_path / "new").coef_, learner.coef_)


def test_what_cannot_learn_on_from_the_command(tmp_path: Path, tsv: Path) -> None:
    model, new = tmp_path / "m", tmp_path / "new"
    arguments = ("train", tsv, "-l", LABEL, "--init", model, "-m", new)
    learner = LogisticRegression(lr=0.2, encoder=HashingEncoder(bits=12), class_weight="balanced")
    learner.fit(FEATURES, Y).save(model)
    assert "was trained with class_weight='balanced'" in refused(*arguments)
    learner.set_params(class_weight=None).fit(FEATURES, np.array(["no", "yes"])[Y]).save(model)
    assert "the classes of the model are 'no' and 'yes'" in refused(*arguments)
    LogisticRegression(lr=0.2, encoder=HashingEncoder(bits=12)).fit(
        HashingEncoder(bits=12).fit_transform(FEATURES), Y
    ).save(model)
    assert "the encoder of the model has seen no columns" in refused(*arguments)
    assert not new.exists()


def test_the_types_of_the_log_stay(tmp_path: Path) -> None:
    """A column of numbers that are ids is hashed as the texts that the log had."""
    log = tmp_path / "log.csv"
    log.write_text("click,price\n" + "1,1.50\n0,2.0\n" * 50)
    train(log, tmp_path / "m", "--categorical", "price", "-q")
    learner = load(tmp_path / "m")
    x = {"price": ["1.50", "2.0"] * 50}
    learner.partial_fit(x, np.array([1, 0] * 50))
    learner.save(tmp_path / "m")
    assert_same_bits(predicted(tmp_path / "m", log), probabilities(learner, x))


def test_ids_of_an_encoder_from_python_are_text(tmp_path: Path) -> None:
    x = {"zip": ["007", "7", "1e1", "10"] * 20}
    learner = LogisticRegression(lr=0.5, encoder=HashingEncoder(bits=12)).fit(x, [1, 0, 1, 0] * 20)
    learner.save(tmp_path / "m")
    log = tmp_path / "log.csv"
    log.write_text("zip\n007\n7\n1e1\n10\n")
    found = predicted(tmp_path / "m", log)
    assert_same_bits(found, probabilities(learner, {"zip": x["zip"][:4]}))
    assert len(set(found.tolist())) == 4


def test_a_new_model_forgets_the_log_of_the_old_one(tmp_path: Path, tsv: Path) -> None:
    model = tmp_path / "m"
    train(tsv, model, "-q")
    load(model).fit(FEATURES, Y).save(model)
    assert "name it with --label" in refused("evaluate", model, tsv)


def test_a_learner_of_a_matrix_reads_libsvm(tmp_path: Path, tsv: Path) -> None:
    rng = np.random.default_rng(7)
    x = scipy.sparse.random(200, 50, 0.1, "csr", np.float32, random_state=3)
    y = rng.integers(0, 2, 200)
    learner = LogisticRegression(lr=0.2).fit(x, y)
    learner.save(tmp_path / "m")
    dump_svmlight_file(x, y, str(tmp_path / "log.libsvm"))
    assert_same_bits(predicted(tmp_path / "m", tmp_path / "log.libsvm"), probabilities(learner, x))
    code, out, _ = invoke("evaluate", tmp_path / "m", tmp_path / "log.libsvm", "--json")
    assert (code, json.loads(out)["examples"]) == (0, 200)

    (tmp_path / "beyond.libsvm").write_text("1 3:1 50:2\n")
    said = refused("predict", tmp_path / "m", tmp_path / "beyond.libsvm")
    assert "the id 50 is beyond the model, which learned from a matrix of 50 columns" in said
    assert "log.tsv: the model learned from ids" in refused("predict", tmp_path / "m", tsv)


def test_what_cannot_read_a_log(tmp_path: Path, tsv: Path) -> None:
    encoder = HashingEncoder(bits=12)
    x = HashingEncoder(bits=12).fit_transform(FEATURES)
    model = tmp_path / "m"
    LogisticRegression(lr=0.2, encoder=encoder).fit(x, Y).save(model)
    assert "m: the encoder of the model has seen no columns" in refused("predict", model, tsv)
    assert invoke("inspect", model)[0] == 0
    FieldAwareFactorizationMachine(lr=0.2).fit(x, Y).save(model)
    assert "m: the model has no encoder" in refused("predict", model, tsv)


def test_classes_that_are_no_labels_of_a_log(tmp_path: Path, tsv: Path) -> None:
    for classes in ([1, 2], ["no", "yes"]):
        learner = LogisticRegression(lr=0.2, encoder=HashingEncoder(bits=12))
        learner.fit(FEATURES, np.array(classes)[Y]).save(tmp_path / "m")
        assert_same_bits(predicted(tmp_path / "m", tsv), probabilities(learner, FEATURES))
        said = refused("evaluate", tmp_path / "m", tsv, "-l", LABEL)
        assert f"the classes of the model are {classes[0]!r} and {classes[1]!r}" in said


def test_names_that_a_file_cannot_hold(tmp_path: Path) -> None:
    x = HashingEncoder(bits=12).fit_transform(FEATURES)
    learner = LogisticRegression(lr=0.2, encoder=HashingEncoder(bits=12, fields=[1, 2])).fit(x, Y)
    with pytest.raises(TypeError, match=r"fields of the encoder is \[1, 2\], expected names"):
        learner.save(tmp_path / "m")
    with pytest.raises(ValueError, match="lr must be finite"):
        LogisticRegression(lr=0.2).fit(x, Y).set_params(lr=float("nan")).save(tmp_path / "m")
    assert not list(tmp_path.iterdir())
    learner = LogisticRegression(lr=0.2, encoder=HashingEncoder(bits=12))
    learner.fit(pa.table({"a\nb": ["x", "y"]}), [0, 1]).save(tmp_path / "m")
    assert load(tmp_path / "m").encoder.fields_ == {"a\nb": "categorical"}
