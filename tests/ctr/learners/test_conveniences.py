"""What users of scikit-learn reach for: names, passes, losses, log-probabilities, progress."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adagrad.ctr import (
    Examples,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
    load,
)
from adagrad.ctr.learners import passes

N = 400
COLUMNS = {"site": [f"s{k % 7}" for k in range(N)], "ad": [f"a{k % 5}" for k in range(N)]}
Y = np.array([(k % 7 < 2) != (k % 5 < 1) for k in range(N)], int)


def matrix():
    return np.random.default_rng(0).normal(size=(N, 6))


def test_log_probabilities_are_accurate_where_probabilities_are_not():
    x = Examples.from_csr(np.array([[1.0], [-1.0], [0.5], [0.0]]))
    learner = LogisticRegression(0.1, fit_intercept=False).fit(x, [1, 0, 1, 0])
    learner.coef_[:] = 800.0
    found = learner.predict_log_proba(x)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found[:2], [[-800, 0], [0, -800]])  # to 1e-347
    np.testing.assert_array_equal(found[3], [math.log(0.5)] * 2)
    with np.errstate(divide="ignore"):
        assert np.isinf(np.log(learner.predict_proba(x)[:2])).any(), "the logarithm would not do"
    learner.coef_[:] = 40.0  # 1 - p = 4e-18 is 0 in float64
    assert learner.predict_log_proba(x)[0, 0] == pytest.approx(-40 - math.exp(-40), rel=1e-15)
    assert learner.predict_log_proba(x)[0, 1] == pytest.approx(-math.exp(-40), rel=1e-12)


def test_they_are_the_logarithms_of_the_probabilities():
    learner = LogisticRegression().fit(matrix(), Y)
    np.testing.assert_allclose(
        learner.predict_log_proba(matrix()), np.log(learner.predict_proba(matrix())), rtol=1e-6
    )


def test_a_learner_from_a_file_takes_the_encoder_it_was_made_with(tmp_path):
    columns = {"site": ["a", "b"] * 10, "ad": [1, 2] * 10}
    made = HashingEncoder(8, crosses=[("site", "ad")])
    for encoder in (HashingEncoder(8), made):
        learner = LogisticRegression(encoder=encoder).fit(columns, [0, 1] * 10)
        learner.save(tmp_path / "m.safetensors")
        stored = load(tmp_path / "m.safetensors").set_params(encoder=encoder)
        stored.partial_fit(columns, [0, 1] * 10)  # tuples became lists
    assert repr(HashingEncoder.from_dict(HashingEncoder(8).to_dict())) == "HashingEncoder(bits=8)"


def test_features_are_the_columns_of_the_encoder(tmp_path):
    learner = LogisticRegression(encoder=HashingEncoder(10)).fit(COLUMNS, Y)
    learner.save(tmp_path / "m")
    examples = learner.encoder_.transform(COLUMNS)
    from_examples = LogisticRegression(encoder=learner.encoder_).partial_fit(examples, Y)
    for one in (learner, load(tmp_path / "m"), from_examples):
        assert one.feature_names_in_.tolist() == ["site", "ad"]
        assert one.n_features_in_ == 2
        assert (one.predict(COLUMNS) == one.predict(examples)).all()
    assert learner.fit(examples, Y).n_features_in_ == 2  # of the same encoder


def test_features_are_slots_without_columns(tmp_path):
    examples = HashingEncoder(10).transform(COLUMNS)
    learner = LogisticRegression(encoder=HashingEncoder(10)).fit(examples, Y)
    learner.save(tmp_path / "m")
    for one in (learner, load(tmp_path / "m")):
        assert one.n_features_in_ == 1024
        assert not hasattr(one, "feature_names_in_")
    with pytest.raises(ValueError, match="X has 2048 slots, but the model has 1024"):
        learner.predict(HashingEncoder(11).transform(COLUMNS))


def test_passes_and_their_losses(tmp_path):
    x, y = matrix()[:250], Y[:250]  # 1,000 examples in all are learned one by one
    learner = LogisticRegression(0.1, passes=4).fit(x, y)
    assert learner.n_iter_ == learner.n_passes_ == len(learner.loss_curve_) == 4
    assert learner.loss_curve_[0] == pytest.approx(learner.progressive_["logloss"], rel=1e-12)
    assert learner.loss_curve_ == sorted(learner.loss_curve_, reverse=True)
    # A pass predicts what the model before it and the examples so far have taught.
    other, expected = LogisticRegression(0.1), []
    for _ in range(4):
        losses = []
        for k in range(250):
            if k or expected:
                p = other.predict_proba(x[k : k + 1])[0, y[k]]
                losses.append(-math.log(p))
            else:
                losses.append(math.log(2))
            other.partial_fit(x[k : k + 1], y[k : k + 1], classes=[0, 1])
        expected.append(np.mean(losses))
    np.testing.assert_allclose(learner.loss_curve_, expected, rtol=1e-5)
    learner.save(tmp_path / "m")
    assert load(tmp_path / "m").loss_curve_ == learner.loss_curve_
    assert load(tmp_path / "m").n_iter_ == 4


def test_losses_are_those_of_weighted_examples():
    x, weights = matrix(), np.random.default_rng(1).integers(0, 3, N)
    kept = np.flatnonzero(weights)
    learner = LogisticRegression(0.1, passes=2).fit(x, Y, weights)
    assert learner.loss_curve_[0] == pytest.approx(learner.progressive_["logloss"], rel=1e-12)
    same = LogisticRegression(0.1, passes=2).fit(x[kept], Y[kept], weights[kept])
    assert learner.loss_curve_ == same.loss_curve_


def test_a_warm_start_counts_its_own_passes():
    learner = LogisticRegression(0.1, passes=2, warm_start=True).fit(matrix(), Y)
    first = learner.loss_curve_
    learner.fit(matrix(), Y)
    assert learner.n_iter_ == len(learner.loss_curve_) == 2
    assert learner.loss_curve_[0] < first[1]


def test_partial_fit_is_one_pass():
    learner = LogisticRegression()
    with pytest.raises(AttributeError):
        _ = learner.n_iter_
    assert learner.partial_fit(matrix(), Y).n_iter_ == 1


def test_early_stopping_counts_the_passes_made():
    learner = LogisticRegression(1.0, passes=50).fit(matrix(), Y, validation=(-matrix(), Y))
    assert learner.n_iter_ == len(learner.loss_curve_) < 50


def test_verbose_prints_a_line_per_pass(capsys):
    LogisticRegression(0.1, passes=2, verbose=1).fit(matrix(), Y, validation=(matrix(), Y))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split(":")[0] for line in lines] == [
        "LogisticRegression, pass 1 of 2",
        "LogisticRegression",
        "LogisticRegression, pass 2 of 2",
        "LogisticRegression",
    ]
    assert "400 examples, logloss 0." in lines[0]
    assert "validation logloss 0." in lines[1]
    LogisticRegression(verbose=True).partial_fit(matrix(), Y)
    assert capsys.readouterr().err.startswith("LogisticRegression, partial_fit: 400 examples, logl")
    LogisticRegression(passes=2).fit(matrix(), Y)
    assert capsys.readouterr() == ("", "")


def test_verbose_prints_a_line_about_every_second(capsys, monkeypatch):
    clock = iter(k / 2 for k in range(1000))
    monkeypatch.setattr(passes.time, "monotonic", lambda: next(clock))
    many = Examples.from_csr(np.ones((3 * 65_536 + 1, 1)))
    LogisticRegression(0.1, verbose=1).fit(many, np.arange(len(many)) % 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" examples")[0].split(": ")[1] for line in lines] == [
        "131,072 of 196,609",
        "196,609",
    ]


@pytest.mark.parametrize(("given", "error"), [(-1, ValueError), (0.5, TypeError), ("1", TypeError)])
def test_what_is_no_verbosity(given, error):
    with pytest.raises(error, match="verbose must be"):
        LogisticRegression(verbose=given).fit(matrix(), Y)


@pytest.mark.parametrize("kind", [LogisticRegression, FieldAwareFactorizationMachine])
def test_html_shows_a_learner_and_its_encoder(kind):
    learner = kind(encoder=HashingEncoder(10, crosses=[("site", "ad")]), class_weight={1: 2})
    assert "Not fitted" in learner._repr_html_()
    page = learner.fit(COLUMNS, Y)._repr_html_()
    assert "Not fitted" not in page
    assert all(text in page for text in (kind.__name__, "HashingEncoder", "class_weight"))
