"""Progressive validation against scikit-learn's metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from adagrad.ctr import LogisticRegression
from adagrad.ctr.learners.progressive import METRICS, Progressive
from ctr_data import batch, labels
from ctr_reference import rounds


def predictions(rng, n=20_000, weighted=False):
    margins = (2 * rng.standard_normal(n) - 1).astype(np.float32)
    y = (rng.random(n) < 1 / (1 + np.exp(-margins + 0.3))).astype(np.float32)
    weights = rng.integers(0, 5, n).astype(np.float32) / 2 if weighted else None
    return margins, y, weights


def metrics(*arrays):
    board = Progressive()
    board.add(*arrays)
    return board.metrics()


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 8.0])
def test_metrics_of_scikit_learn(isa, rng, weighted, scale):
    """Losses agree up to the error of a float32 exponential, AUC agrees exactly on the bins."""
    margins, y, weights = predictions(rng, weighted=weighted)
    margins *= np.float32(scale)
    found = metrics(margins, y, weights)
    z = margins.astype(np.float64)
    p = 1 / (1 + np.exp(-z))
    loss = np.average(np.logaddexp(0, np.where(y > 0, -z, z)), weights=weights)
    rate = np.average(y, weights=weights)
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    assert found["logloss"] == pytest.approx(loss, rel=1e-7)
    if scale <= 1:  # scikit-learn clips probabilities that float64 rounds to 1
        assert loss == pytest.approx(log_loss(y, p, sample_weight=weights), rel=1e-9)
    assert found["normalized_entropy"] == pytest.approx(loss / entropy, rel=1e-7)
    assert found["calibration"] == pytest.approx(np.average(p, weights=weights) / rate, rel=1e-7)
    bins = np.clip(np.floor((margins + np.float32(16)) * np.float32(1024)), 0, 32767)
    auc = roc_auc_score(y, bins, sample_weight=weights)
    assert found["auc"] == pytest.approx(auc, rel=1e-12)
    if scale == 1:
        exact = roc_auc_score(y, margins, sample_weight=weights)
        assert found["auc"] == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("chunk", [1, 63, 64, 65, 1000])
def test_chunks_add_up_to_the_whole_exactly(rng, chunk, weighted):
    margins, y, weights = predictions(rng, 2001, weighted)
    board = Progressive()
    for start in range(0, 2001, chunk):
        part = slice(start, start + chunk)
        board.add(margins[part], y[part], None if weights is None else weights[part])
    assert board.metrics() == metrics(margins, y, weights)


def test_every_isa_counts_the_same(isa, rng):
    """Sums in float64 are added in the order of the examples."""
    margins, y, _ = predictions(rng, 3000)
    board, one_by_one = Progressive(), Progressive()
    board.add(margins, y)
    for i in range(3000):
        one_by_one.add(margins[i : i + 1], y[i : i + 1])
    np.testing.assert_array_equal(board.sums, one_by_one.sums)
    np.testing.assert_array_equal(board.bins, one_by_one.bins)
    assert board.sums[0] == board.bins.sum() == 3000
    assert board.sums[1] == board.bins[1].sum() == y.sum()


def test_bins():
    edges = np.array([-np.inf, -20, -16, -16 + 1 / 1024, 0, 15.9999, 16, np.inf], np.float32)
    board = Progressive()
    board.add(edges[1:-1], np.ones(6, np.float32))
    np.testing.assert_array_equal(np.flatnonzero(board.bins[1]), [0, 1, 16384, 32767])
    np.testing.assert_array_equal(board.bins[1][[0, 1, 16384, 32767]], [2, 1, 1, 2])


def test_undefined_metrics_are_nan():
    nothing = Progressive().metrics()
    assert set(nothing) == set(METRICS)
    assert all(math.isnan(value) for value in nothing.values())
    one_class = metrics(np.zeros(3, np.float32), np.zeros(3, np.float32))
    assert one_class["logloss"] == pytest.approx(math.log(2))
    assert all(math.isnan(one_class[name]) for name in METRICS if name != "logloss")
    for bad in (np.nan, np.inf, -np.inf):
        margins, y = np.array([0.5, bad, -0.5], np.float32), np.array([1, 0, 0], np.float32)
        diverged = metrics(margins, y)
        assert math.isnan(diverged["logloss"])
        assert math.isnan(diverged["auc"])


def test_a_learner_reports_predictions_made_before_learning(rng):
    x = batch(rng, 3000, 300)
    y = labels(rng, x)
    learner = LogisticRegression(lr=0.1).fit(x, y)
    board, again = Progressive(), LogisticRegression(lr=0.1)
    for part in rounds(0, 3000):
        margins = np.zeros(part.stop - part.start, np.float32)
        if part.start:
            margins = again.decision_function(x[part])
        board.add(margins, y[part])
        again.partial_fit(x[part], y[part], classes=[0, 1])
    assert learner.progressive_ == board.metrics()
    assert learner.progressive_["logloss"] > log_loss(y, learner.predict_proba(x))


def test_passes_count_once(rng):
    x = batch(rng, 500, 300)
    y = labels(rng, x)
    once, thrice = (LogisticRegression(lr=0.1, passes=k).fit(x, y) for k in (1, 3))
    assert once.progressive_ == thrice.progressive_
    assert thrice.n_examples_ == 1500
