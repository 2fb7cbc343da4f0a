"""Weights of classes: factors of the weights of examples, by scikit-learn's rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from adagrad.ctr import LogisticRegression, load

N = 300


def clicks(seed=0, positives=0.1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, 4)), (rng.random(N) < positives).astype(int)


def bits(learner):
    weights, bias = learner._model.linear()
    return weights.tobytes(), bias, repr(learner.progressive_)


@given(
    seed=st.integers(0, 2**32),
    of_classes=st.tuples(st.floats(0, 100, width=32), st.floats(0.125, 100, width=32)),
    weighted=st.booleans(),
)
@settings(max_examples=30)
def test_they_multiply_the_weights_of_examples(seed, of_classes, weighted):
    x, y = clicks(seed, 0.4)
    y[:2] = 0, 1
    weights = np.random.default_rng(seed).random(N).astype(np.float32) if weighted else None
    ones = np.ones(N, np.float32) if weights is None else weights
    product = np.array(of_classes, np.float32)[y] * ones
    expected = LogisticRegression().fit(x, y, product)
    names = np.array(["no", "yes"])
    for learner in (
        LogisticRegression(class_weight=dict(enumerate(of_classes))).fit(x, y, weights),
        LogisticRegression(class_weight=dict(zip(names, of_classes, strict=True))).fit(
            x, names[y], weights
        ),
        LogisticRegression(class_weight=dict(enumerate(of_classes))).partial_fit(
            x, y, sample_weight=weights
        ),
    ):
        assert bits(learner) == bits(expected)


def test_a_class_without_a_weight_counts_once():
    x, y = clicks()
    one = LogisticRegression(class_weight={1: 3.0}).fit(x, y)
    assert bits(one) == bits(LogisticRegression(class_weight={0: 1, 1: 3}).fit(x, y))
    assert bits(LogisticRegression(class_weight={}).fit(x, y)) == bits(
        LogisticRegression().fit(x, y, np.ones(N))
    )


def test_balanced_gives_both_classes_half_of_the_weight():
    x, y = clicks()
    balanced = compute_class_weight("balanced", classes=np.array([0, 1]), y=y)
    learner = LogisticRegression(class_weight="balanced").fit(x, y)
    expected = LogisticRegression(class_weight=dict(enumerate(balanced))).fit(x, y)
    assert bits(learner) == bits(expected)
    assert learner.progressive_["logloss"] > LogisticRegression().fit(x, y).progressive_["logloss"]
    assert learner.predict_proba(x)[:, 1].mean() > 0.35 > y.mean() + 0.2


def test_balanced_counts_weights_and_no_example_of_weight_0():
    x, y = clicks()
    weights = np.random.default_rng(1).integers(0, 3, N)
    kept = np.flatnonzero(weights)
    amounts = np.bincount(y, weights)
    factors = dict(enumerate(amounts.sum() / (2 * amounts)))
    learner = LogisticRegression(class_weight="balanced").fit(x, y, weights)
    assert bits(learner) == bits(LogisticRegression(class_weight=factors).fit(x, y, weights))
    without = LogisticRegression(class_weight="balanced").fit(x[kept], y[kept], weights[kept])
    assert bits(learner) == bits(without)


def test_the_validation_set_is_not_weighted():
    x, y = clicks(positives=0.3)
    learner = LogisticRegression(class_weight={1: 4.0}).fit(x, y, validation=(x, y))
    p = learner.predict_proba(x)[np.arange(N), y]
    assert learner.validation_logloss_ == pytest.approx(-np.log(p).mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("auto", TypeError, "class_weight must be None, 'balanced' or a dict"),
        ([1, 2], TypeError, "class_weight must be None, 'balanced' or a dict"),
        ({2: 1.0}, ValueError, r"class_weight has the class 2, but the classes are \[0, 1\]"),
        ({1: -1.0}, ValueError, r"class_weight\[1\] must not be negative"),
        ({1: np.nan}, ValueError, r"class_weight\[1\] must be finite"),
        ({1: "2"}, TypeError, r"class_weight\[1\] must be a real number"),
        ({1: 2.0**49}, ValueError, r"class_weight\[1\] = .* is more than 2\*\*48"),
        ({1: 1e-60}, ValueError, r"class_weight\[1\]=1e-60 is 0 in float32"),
        ({0: 2.0**40}, ValueError, r"sample_weight\[\d+\] = 1024 times the weight of its class"),
    ],
)
def test_what_is_no_weight_of_a_class(given, error, message):
    x, y = clicks()
    learner = LogisticRegression(class_weight=given)
    for call in (learner.fit, learner.partial_fit):
        with pytest.raises(
            (ValueError, error) if given == "auto" else error, match="class_weight|" + message
        ):
            call(x, y, sample_weight=np.full(N, 1024.0))
    assert not hasattr(learner, "classes_")


def test_partial_fit_refuses_balanced():
    x, y = clicks()
    learner = LogisticRegression(class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight='balanced' needs all labels"):
        learner.partial_fit(x, y)
    assert not hasattr(learner, "classes_")


@pytest.mark.parametrize("given", [None, "balanced", {0: 0.5, 1: 2}, {"no": 0.5, "yes": 2.0}])
def test_files_keep_them(tmp_path, given):
    x, y = clicks()
    labels = np.array(["no", "yes"])[y] if isinstance(given, dict) and "no" in given else y
    learner = LogisticRegression(class_weight=given).fit(x, labels)
    learner.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.class_weight == given
    assert bits(loaded.fit(x, labels)) == bits(learner)
