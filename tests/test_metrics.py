"""Logloss, normalized entropy, AUC and calibration of predicted probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adagrad import metrics
from checks import need_packages

need_packages("sklearn")


def test_measure() -> None:
    labels = np.array([1, 0, 0, 0], np.float32)
    base = metrics.measure(labels, np.full(4, 0.25))
    assert base.normalized_entropy == pytest.approx(1)
    assert (base.auc, base.calibration) == (0.5, 1)
    better = metrics.measure(labels, np.array([0.5, 0.2, 0.2, 0.1]))
    assert better.logloss == pytest.approx(-(math.log(0.5) + 2 * math.log(0.8) + math.log(0.9)) / 4)
    assert better.auc == 1
    assert better.calibration == pytest.approx(1)
    alone = metrics.measure(np.zeros(2, np.float32), np.full(2, 0.5))
    assert alone.logloss == pytest.approx(math.log(2))
    assert math.isnan(alone.auc)


def test_the_learning_curve_is_the_metric_of_every_prefix() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.2).astype(np.float32)
    predictions = rng.random(600)
    seen, entropy = metrics.learning_curve(labels, predictions, points=50)
    assert len(seen) == 50
    assert (seen[0], seen[-1]) == (1, 600)
    assert math.isnan(entropy[0])
    for count, value in zip(seen[1:].tolist(), entropy[1:], strict=True):
        whole = metrics.measure(labels[:count], predictions[:count])
        assert value == pytest.approx(whole.normalized_entropy, nan_ok=True)


def test_a_prediction_that_is_not_finite_makes_every_metric_nan() -> None:
    quality = metrics.measure(np.array([0, 1], np.float32), np.array([0.5, np.nan]))
    assert all(math.isnan(number) for number in vars(quality).values())
