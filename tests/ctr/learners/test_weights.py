"""Weights of examples: one of 0 teaches nothing, and one that is no factor is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad import Rule, preset
from adagrad.ctr import (
    Examples,
    HashingEncoder,
    LogisticRegression,
)
from adagrad.ctr.learners.files import CLASSES as KINDS
from ctr_data import bits

PENALTIES = [
    {},
    {"half_life": 300},
    {"lr": 0.1},
    {"lr": 0.1, "l2": 5.0},
    {"lr": 0.1, "l1": 0.1, "l2": 1e-3},
    {"rule": Rule(lr=0.2, eps=0.0, lr_decay=1e-3, weight_decay=0.1)},
    {"rule": preset("mxnet", lr=0.1, weight_decay=0.1)},
    {"rule": Rule(lr=0.1, weight_decay=0.1, weight_decay_mode="decoupled", statistic="count")},
]


def examples(rng, n, lists):
    """Rows of 9 fields of few values, with a list among them or without."""
    columns = {f"c{j}": rng.integers(0, 5, n) for j in range(9)}
    if lists:
        columns["c3"] = [rng.integers(0, 5, rng.integers(0, 4)).tolist() for _ in range(n)]
    encoder = HashingEncoder(bits=8, numeric="categorical")
    return encoder.transform(columns), rng.integers(0, 2, n)


def state(learner):
    """Everything that a model has learned, as bytes."""
    model = learner._model
    return bits(model), model.examples


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(list(KINDS)),
    penalties=st.sampled_from(PENALTIES),
    n=st.sampled_from([3, 70, 400, 1300]),
    share=st.floats(0, 0.99),
    lists=st.booleans(),
    threads=st.sampled_from([1, 2]),
    fit=st.fixed_dictionaries(
        {},
        optional={
            "shuffle": st.just(True),
            "passes": st.just(2),
            "fit_intercept": st.just(True),
        },
    ),
)
def test_a_weight_of_0_is_no_example(seed, kind, penalties, n, share, lists, threads, fit):
    rng = np.random.default_rng(seed)
    x, y = examples(rng, n, lists)
    weights = np.where(rng.random(n) < share, 0, rng.integers(1, 4, n) / 2)
    weights[rng.integers(n)] = 1
    kept = np.flatnonzero(weights)
    y[kept[0]], y[kept[-1]] = 0, 1
    if len(kept) == 1:
        return
    params = {**fit, **penalties, "n_jobs": threads}
    with_them = KINDS[kind](**params).fit(x, y, weights)
    without = KINDS[kind](**params).fit(x.take(kept), y[kept], weights[kept])
    assert state(with_them) == state(without)
    for learner, (some, labels, of_some) in (
        (with_them, (x, y, weights)),
        (without, (x.take(kept), y[kept], weights[kept])),
    ):
        learner.partial_fit(some, labels, sample_weight=of_some)
    assert state(with_them) == state(without)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_0_alone_change_nothing(rng, kind):
    x, y = examples(rng, 200, True)
    learner = KINDS[kind](lr=0.1, l2=0.1, l1=0.1).fit(x, y)
    before = state(learner)
    learner.partial_fit(x, y, sample_weight=np.zeros(200))
    assert state(learner) == before
    first = KINDS[kind](lr=0.1, l2=0.1, l1=0.1).partial_fit(x, y, sample_weight=np.zeros(200))
    assert first.n_examples_ == 0
    assert state(first.partial_fit(x, y)) == before
    with pytest.raises(ValueError, match="sample_weight is zero for every example"):
        KINDS[kind]().fit(x, y, np.zeros(200))


@pytest.mark.parametrize("weight", [0.25, 2.0**-149, 2.0**48, 1, True, np.float16(3)])
def test_weights_that_are_factors(weight):
    learner = LogisticRegression(lr=0.1).fit(np.eye(2), [0, 1], [weight, 1])
    expected = LogisticRegression(lr=0.1).fit(np.eye(2), [0, 1], np.array([weight, 1.0]))
    assert np.array_equal(learner.coef_, expected.coef_)
    assert np.isfinite(learner.coef_).all()


def test_a_weight_and_a_value_that_are_too_large_together():
    """Each may be 2**48, but the square of such a gradient would be infinite."""
    x = np.array([[1.0, 2.0**40], [2.0**30, 1.0]])
    learner = LogisticRegression(lr=0.1).fit(x, [0, 1], [2.0**8, 2.0**18])
    assert np.isfinite(learner._model.tables["linear"].state).all()
    message = (
        r"sample_weight\[1\] = 524288 times a value of X\[1\], 1.07374e\+09, is more than 2\*\*48"
    )
    with pytest.raises(ValueError, match=message):
        learner.partial_fit(x, [0, 1], sample_weight=[2.0**8, 2.0**19])


def test_the_sum_of_the_largest_weights():
    x = Examples.from_csr(np.ones((1000, 1)))
    learner = LogisticRegression(lr=0.1).fit(x, [0, 1] * 500, np.full(1000, 2.0**48))
    assert np.isfinite(list(learner.progressive_.values())).all()
