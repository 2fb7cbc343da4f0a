"""Helpers that come and go while a model learns do not change its bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adagrad import _core
from adagrad.ctr import (
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    HashingEncoder,
    LogisticRegression,
)
from checks import assert_same_bits
from ctr_data import batch, labels, learned
from encoded import many

LEARNERS = {
    "a fixed rate": lambda n: LogisticRegression(lr=0.1, n_jobs=n),
    "penalties": lambda n: LogisticRegression(lr=0.1, l1=0.01, l2=0.1, n_jobs=n),
    "the mixture": lambda n: LogisticRegression(n_jobs=n),
    "the mixture, forgetting": lambda n: LogisticRegression(half_life=700, n_jobs=n),
    "pairs": lambda n: FactorizationMachine(factors=4, n_jobs=n),
    "pairs of fields": lambda n: FieldAwareFactorizationMachine(factors=4, n_jobs=n),
}


@pytest.fixture(params=["always", "restless", "by account"])
def sharing(request: pytest.FixtureRequest) -> Iterator[str]:
    """How teams hire: once, again after every shift, or as long as it pays."""
    _core.set_sharing(request.param)
    yield request.param
    _core.set_sharing("always")


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_bits_of_one_thread(rng, sharing, learner):
    if "pairs" in learner:
        x, n = HashingEncoder(12).transform(many(3000)), 3000
    else:
        x, n = batch(rng, 20_000, 1 << 12, values=True), 20_000
    y = labels(rng, x)
    expected = LEARNERS[learner](1).fit(x, y)
    for threads in (2, 3, 8):
        found = LEARNERS[learner](threads)
        for start in range(0, n, n // 2):  # the second call begins with long rounds
            found.partial_fit(x[start : start + n // 2], y[start : start + n // 2], classes=[0, 1])
        assert found.progressive_ == expected.progressive_
        of_one, of_several = learned(expected._model), learned(found._model)
        assert of_one.keys() == of_several.keys()
        for name, array in of_one.items():
            assert_same_bits(of_several[name], array, f"{name}, {threads} threads, {sharing}")
