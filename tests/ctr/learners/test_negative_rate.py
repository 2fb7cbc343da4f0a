"""``negative_rate``: a model of some of the negatives predicts where all of them are."""

from __future__ import annotations

import json
import math
import pickle
import re

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow", "sklearn", "safetensors")

from safetensors import numpy as tensors
from safetensors import safe_open

from adagrad import TableFileError
from adagrad.ctr import HashingEncoder, LogisticRegression, load
from adagrad.ctr.learners.files import CLASSES as KINDS
from adagrad.ctr.learners.progressive import Progressive
from adagrad.datasets import synthetic_clicks
from adagrad.serving import Scorer
from ctr_data import bits

RATES = [1.0, 0.5, 0.1, 1e-3, 1e-300]


def clicks(n=600, seed=0):
    rng = np.random.default_rng(seed)
    columns = {f"c{j}": rng.integers(0, 5, n) for j in range(9)}
    x = HashingEncoder(bits=8, numeric="categorical").transform(columns)
    return x, (rng.random(n) < 0.2 + 0.1 * (columns["c0"] == 1)).astype(int)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("how", [{}, {"lr": 0.1}, {"lr": 0.1, "l1": 0.05}], ids=str)
@pytest.mark.parametrize("rate", RATES)
def test_the_logarithm_is_added_last(kind, how, rate):
    x, y = clicks()
    plain = KINDS[kind](**how).fit(x, y)
    model = KINDS[kind](**how, negative_rate=rate).fit(x, y)
    assert bits(model._model) == bits(plain._model)
    assert model.progressive_ == plain.progressive_
    offset = np.float32(math.log(rate))
    margins = model.decision_function(x)
    assert margins.dtype == np.float32
    assert margins.tobytes() == (plain.decision_function(x) + offset).tobytes()
    assert np.array_equal(model._model.margins_as_trained(x), plain.decision_function(x))
    expected = 1 / (1 + np.exp(-margins.astype(np.float64)))
    np.testing.assert_allclose(model.predict_proba(x)[:, 1], expected, rtol=1e-6, atol=1e-30)
    assert np.array_equal(model.coef_, plain.coef_)
    assert model.intercept_ == plain.intercept_ + offset
    assert np.array_equal(model.uncertainty(x), plain.uncertainty(x))
    # In many rows, a mixture predicts by stored weights.
    many = x.take(np.arange(20_000) % len(x))
    assert model.decision_function(many).tobytes() == np.resize(margins, 20_000).tobytes()


def test_the_intercept_is_that_of_the_margin():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 4)), rng.integers(0, 2, 500)
    for params in ({}, {"lr": 0.1}, {"lr": 0.1, "fit_intercept": False}):
        model = LogisticRegression(**params, negative_rate=0.01).fit(x, y)
        linear = x @ model.coef_[0] + model.intercept_
        np.testing.assert_allclose(model.decision_function(x), linear, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, math.nan, math.inf, "0.1", None, [0.5]])
def test_what_is_not_a_rate_is_refused(rate):
    x, y = clicks()
    model = LogisticRegression(negative_rate=rate)
    with pytest.raises((TypeError, ValueError), match="negative_rate must"):
        model.fit(x, y)
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("kind", list(KINDS))
def test_files_and_pickles_keep_it(kind, tmp_path):
    x, y = clicks()
    model = KINDS[kind](negative_rate=0.25).fit(x, y)
    model.save(tmp_path / "m")
    for again in (load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert again.negative_rate == 0.25
        assert again.predict_proba(x).tobytes() == model.predict_proba(x).tobytes()
        again.partial_fit(x, y)
        assert again._model.settings.negative_rate == 0.25


def metadata(path):
    with safe_open(path, "np") as file:
        return file.metadata()


def test_only_files_with_a_rate_need_a_newer_version(tmp_path):
    x, y = clicks()
    LogisticRegression(0.1).fit(x, y).save(tmp_path / "all")
    LogisticRegression(0.1, negative_rate=0.5).fit(x, y).save(tmp_path / "some")
    of_all, of_some = metadata(tmp_path / "all"), metadata(tmp_path / "some")
    assert (of_all["format_version"], of_some["format_version"]) == ("2", "3")
    for name in ("settings", "params"):
        assert "negative_rate" not in json.loads(of_all[name])
        assert json.loads(of_some[name])["negative_rate"] == 0.5
    assert load(tmp_path / "all").negative_rate == 1.0


@pytest.mark.parametrize("rate", ["0", "2", "null", '"0.5"', "-0.5"])
def test_a_damaged_rate_is_reported(rate, tmp_path):
    x, y = clicks()
    path = tmp_path / "m"
    LogisticRegression(0.1, negative_rate=0.5).fit(x, y).save(path)
    known = metadata(path)
    known["settings"] = known["settings"].replace(
        '"negative_rate": 0.5', f'"negative_rate": {rate}'
    )
    tensors.save_file(tensors.load_file(path), path, known)
    with pytest.raises(TableFileError, match="corrupted: its metadata: negative_rate must"):
        load(path)


def test_a_model_cannot_change_it():
    x, y = clicks()
    model = LogisticRegression(negative_rate=0.1, warm_start=True).fit(x, y)
    before = bits(model._model)
    model.negative_rate = 0.2
    message = (
        "negative_rate was 0.1 when the model began and cannot become 0.2: fit a new model, or a"
        " clone; weights of 1 / rate for negatives may differ from log to log"
    )
    for learn in (model.partial_fit, model.fit):
        with pytest.raises(ValueError, match=re.escape(message)):
            learn(x, y)
    assert bits(model._model) == before


def test_validation_has_weights():
    x, y = clicks(2000)
    weights = np.where(y == 1, 1.0, 10.0)
    model = LogisticRegression(negative_rate=0.1, passes=2)
    model.fit(x, y, validation=(x, y, weights))
    p = model.predict_proba(x)[:, 1]
    loss = np.average(-np.log(np.where(y == 1, p, 1 - p)), weights=weights)
    assert model.validation_logloss_ == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("lr", ["auto", 0.1])
def test_one_row_and_a_scorer_add_it_too(kind, lr, tmp_path):
    rng = np.random.default_rng(0)
    columns = {f"c{j}": rng.integers(0, 5, 300).astype(str) for j in range(9)}
    encoder = HashingEncoder(bits=8)
    model = KINDS[kind](lr=lr, negative_rate=0.03, encoder=encoder)
    model.fit(columns, rng.integers(0, 2, 300))
    row = {name: column[0] for name, column in columns.items()}
    expected = model.predict_proba(columns)[0, 1]
    model.save(tmp_path / "m")
    scorer = Scorer(tmp_path / "m")
    assert scorer.offset == np.float32(math.log(0.03))
    assert model.predict_one(row) == scorer.predict_one(row) == expected
    assert scorer.predict_proba(columns)[0, 1] == expected


@pytest.mark.parametrize("rate", [1.0, 0.3, 0.001])
def test_metrics_of_all_negatives(rate):
    rng = np.random.default_rng(0)
    margins, y = rng.normal(size=3000).astype(np.float32), rng.integers(0, 2, 3000)
    board, expected = Progressive(), Progressive()
    board.add(margins, y.astype(np.float32))
    weights = np.where(y == 1, 1, 1 / rate).astype(np.float32)
    expected.add(margins + np.float32(math.log(rate)), y.astype(np.float32), weights)
    assert board.metrics_of_all(rate) == pytest.approx(expected.metrics(), rel=1e-3)


BLOCK = 2_048


@pytest.mark.parametrize(("kind", "rate"), [("lr", 0.1), ("lr", 0.02), ("ffm", 0.1)])
def test_predictions_are_calibrated_where_all_negatives_are(kind, rate):
    """Of each block, all rows are predicted, then those that are kept are learned.

    One model of the last rows is off by several percent, whatever is left out, because the bias
    follows the last labels. The mean over many blocks is not.
    """
    rows = 100_000 if kind == "lr" else 50_000
    log = synthetic_clicks(rows, 1, probability=True, dictionary=True).read_all()
    y, p = (log.column(name).to_numpy() for name in ("click", "probability"))
    x = HashingEncoder(16).transform(log.drop_columns(["click", "probability"]))
    kept = (y > 0) | (np.random.default_rng(0).random(rows) < rate)
    model, predicted = KINDS[kind](negative_rate=rate), 0.0
    for start in range(0, rows, BLOCK):
        part = slice(start, start + BLOCK)
        if start:
            predicted += model.predict_proba(x[part])[:, 1].sum()
        some = start + np.flatnonzero(kept[part])
        model.partial_fit(x.take(some), y[some], [0, 1])
    found = predicted / p[BLOCK:].sum()
    assert abs(found - 1) < 0.03
    assert model.progressive_["calibration"] == pytest.approx(1, abs=0.01)
