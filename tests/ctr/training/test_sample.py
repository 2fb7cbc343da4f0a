"""The sample of a training on a log whose labels may be ordered."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow", "sklearn")

import scipy.sparse

from adagrad.ctr import Examples, LogisticRegression
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.training import sample as module
from adagrad.ctr.training.sample import SIZE, Sample, order_text, relearned
from ctr_data import bits


def numbered(n):
    """Examples whose only slot is their number."""
    ones = np.ones(n, np.float32)
    return Examples.from_csr(scipy.sparse.csr_matrix((ones, np.arange(n), np.arange(n + 1))))


def sampled(n, cuts=()):
    """Return the numbers of the rows in a sample of n rows that arrive in parts."""
    x, y = numbered(n), (np.arange(n) % 3 == 0).astype(np.float32)
    found = Sample()
    for begin, end in zip((0, *cuts), (*cuts, n), strict=True):
        found.add(LabeledExamples(x, y)[begin:end])
    assert found.order.examples == n
    batch = found.examples()
    assert (batch.y == (batch.x.slots % 3 == 0)).all()
    return batch.x.slots.astype(np.int64)


@settings(max_examples=30)
@given(st.integers(1, 1000), st.lists(st.integers(0, 1000), max_size=20), st.integers(1, 100))
def test_the_cuts_change_nothing(n, cuts, size):
    with mock.patch.object(module, "SIZE", size):
        rows = sampled(n)
        assert len(rows) == min(n, size)
        assert (np.diff(rows) > 0).all()
        assert np.array_equal(sampled(n, sorted(cut for cut in cuts if cut <= n)), rows)
        # A sample of more rows has the same rows among the first ones, or fewer of them.
        assert set(sampled(n + 50).tolist()) & set(range(n)) <= set(rows.tolist())


def test_it_is_uniform():
    n = 20 * SIZE
    rows = sampled(n, range(0, n, 65_536)[1:])
    assert len(rows) == SIZE
    # 64 stretches and 16 residues expect SIZE / 64 and SIZE / 16 rows: chi squared.
    for counts in (np.bincount(rows // (n // 64)), np.bincount(rows % 16)):
        mean, degrees = SIZE / len(counts), len(counts) - 1
        chi2 = ((counts - mean) ** 2 / mean).sum()
        assert abs(chi2 - degrees) < 4 * math.sqrt(2 * degrees)


def test_a_log_that_is_smaller_is_its_sample():
    assert np.array_equal(sampled(SIZE, (7, 64)), np.arange(SIZE))


def stream(y, rng, lr="auto"):
    """Return a learner that has seen examples in this order, and a sample of them."""
    slots = np.where(rng.random(len(y)) < 0.2, 1 - y, y).astype(int)
    x = Examples.from_csr(
        scipy.sparse.csr_matrix((np.ones(len(y)), slots, np.arange(len(y) + 1)), (len(y), 2))
    )
    y = y.astype(np.float32)
    found = Sample()
    found.add(LabeledExamples(x, y))
    learner = LogisticRegression(lr)
    for start in range(0, len(y), 32):  # too few in a call to see their order
        part = slice(start, start + 32)
        learner.partial_fit(x[part], y[part], classes=[0, 1])
    return learner, found


@pytest.mark.parametrize("lr", ["auto", 0.1])
def test_an_order_is_learned_again_from_the_sample(rng, lr):
    learner, found = stream(np.sort(rng.random(9_000) < 0.3), rng, lr)
    before = learner._model
    said = relearned(learner, found, seed=3)
    assert said == {"changes": 1, "expected": round(found.order.expected), "sample": SIZE}
    batch = found.examples()
    order = np.random.default_rng([3, 0]).permutation(SIZE)
    again = LogisticRegression(lr).partial_fit(batch.x.take(order), batch.y[order])
    assert learner.n_examples_ == SIZE
    assert learner.progressive_ == pytest.approx(before.progressive.metrics(), nan_ok=True)
    kept = {name: array.tobytes() for name, array in before.progressive.state().items()}
    assert bits(learner._model) == bits(again._model) | kept
    assert "so the model is that of 8,192 rows" in order_text(said)


def test_a_model_that_is_better_stays(rng):
    """Runs of 60 rows are an order, but a fixed rate of 0.01 learns from them."""
    y = np.tile(np.repeat([0, 1], 60), 100)
    learner, found = stream(y, rng, lr=0.01)
    before, was = learner._model, bits(learner._model)
    said = relearned(learner, found, seed=0)
    assert said is not None
    assert said["sample"] == 0
    assert learner._model is before
    assert bits(before) == was
    assert order_text(said).endswith("in a random order; shuffle the rows for a better model")


def test_without_an_order_nothing_happens(rng):
    learner, found = stream((rng.random(9_000) < 0.3).astype(int), rng)
    before, was = learner._model, bits(learner._model)
    assert relearned(learner, found, seed=0) is None
    assert learner._model is before
    assert bits(before) == was
