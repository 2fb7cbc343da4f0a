"""Penalties keep rare params small and leave the base rate, which is the bias, alone."""

from __future__ import annotations

import numpy as np
import pytest

from adagrad import Rule, preset
from adagrad.ctr import (
    Examples,
)
from adagrad.ctr.encoding.examples import REGIONS, region_size
from adagrad.ctr.learners.files import CLASSES as KINDS
from checks import assert_same_bits

PENALTIES = {
    "l1": {"l1": 0.1},
    "l2": {"l2": 0.1},
    "coupled": {"rule": Rule(lr=0.1, eps=1.0, weight_decay=0.1)},
    "decoupled": {"rule": Rule(lr=0.1, eps=1.0, weight_decay=0.1, weight_decay_mode="decoupled")},
    "within the step": {"rule": preset("mxnet", lr=0.1, weight_decay=0.1)},
}


def clicks(rng, n, n_slots=800, entries=3):
    """Examples of slots that say nothing, and clicks at a rate of 2 %."""
    slots = np.sort(rng.integers(0, n_slots, (n, entries)), axis=1)
    size = region_size(n_slots)
    runs = np.stack([(slots // size == r).sum(1) for r in range(REGIONS)], axis=1)
    bounds = np.concatenate([[0], np.cumsum(runs)]).astype(np.uint32)
    fields = np.tile(np.arange(entries), n).astype(np.uint16)
    x = Examples(
        slots.ravel().astype(np.uint32), bounds, n_slots, n, fields=fields, n_fields=entries
    )
    return x, (rng.random(n) < 0.02).astype(np.float32)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bias_of_a_model_without_entries_has_no_penalty(rng, kind, name):
    """Only the bias learns, so a penalty changes nothing at all. 1,024 examples come one by one."""
    n = 1500
    x = Examples(
        np.empty(0, np.uint32),
        np.zeros(REGIONS + 1, np.uint32),
        128,
        n,
        fields=np.empty(0, np.uint16),
        n_fields=2,
    )
    y = (rng.random(n) < 0.1).astype(np.float32)
    params = PENALTIES[name]
    rule = params.get("rule", Rule(lr=0.1, eps=1.0)).replace(weight_decay=0.0)
    free = KINDS[kind](lr=0.1, rule=rule, n_jobs=1).fit(x, y)
    penalized = KINDS[kind](lr=0.1, n_jobs=1, **params).fit(x, y)
    assert free.intercept_[0] < -0.5
    assert_same_bits(penalized.intercept_, free.intercept_)
    assert penalized.lr_ == free.lr_
    assert penalized.progressive_ == free.progressive_


@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_stay_calibrated_under_l2(rng, kind, l2):
    x, y = clicks(rng, 20_000)
    learner = KINDS[kind](lr=0.1, l2=l2, passes=3, n_jobs=1).fit(x, y)
    p = learner.predict_proba(x)[:, 1]
    assert p.mean() == pytest.approx(y.mean(), rel=0.1)
    small = KINDS[kind](lr=0.1, passes=3, n_jobs=1).fit(x, y)
    assert np.abs(learner.coef_).sum() < np.abs(small.coef_).sum()
