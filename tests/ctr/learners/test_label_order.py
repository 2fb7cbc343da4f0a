"""Labels in an order, such as all negatives first: `fit` sees it and learns in a random order."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("sklearn", "pyarrow")

import scipy.sparse
from sklearn.base import clone

from adagrad import datasets
from adagrad.ctr import LogisticRegression
from adagrad.ctr.learners.files import CLASSES as KINDS
from adagrad.ctr.learners.label_order import SHARE, LabelOrder
from ctr_data import batch, bits, labels

ORDERED = "the labels are ordered: they change 1 time, where 832 are usual in a random order; fit"


@pytest.fixture(scope="module")
def real():
    """The click log of the package, by columns, and its labels."""
    log = datasets.click_log()
    columns, rows = np.unique(log.rows, return_inverse=True)
    shape = len(log), len(columns)
    matrix = scipy.sparse.csr_matrix((log.values, rows.reshape(-1), log.indptr), shape=shape)
    return matrix, log.labels


# -- the test for an order ----------------------------------------------------------------------


@given(st.lists(st.integers(0, 1), max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_the_counts_are_those_of_the_labels_however_they_are_cut(values, cuts):
    y = np.array(values, np.float32)
    order = LabelOrder()
    for part in np.split(y, sorted(cut for cut in cuts if cut <= len(y))):
        order.add(part)
    assert order.examples == len(values)
    assert order.positives == sum(values)
    assert order.changes == sum(one != other for one, other in itertools.pairwise(values))


@given(st.lists(st.integers(0, 1), min_size=1, max_size=7))
def test_the_changes_expected_are_the_mean_over_all_orders(values):
    found = [LabelOrder(np.array(y)).changes for y in itertools.permutations(values)]
    assert np.isclose(LabelOrder(np.array(values)).expected, np.mean(found))


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 5000), st.floats(0.0, 1.0))
def test_a_random_order_is_none(seed, n, rate):
    rng = np.random.default_rng(seed)
    assert not LabelOrder(rng.random(n) < rate).is_ordered


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(1e-3, 0.5), st.floats(0.0, 1.0), st.integers(1, 50))
def test_a_click_rate_that_drifts_is_no_order(seed, rate, swing, periods):
    """Rates between almost 0 and twice the mean, over hours or over years."""
    rng, t = np.random.default_rng(seed), np.linspace(0.0, periods, 20_000)
    assert not LabelOrder(rng.random(20_000) < rate * (1 + swing * np.sin(t))).is_ordered
    assert not LabelOrder(rng.random(20_000) < rate * 2 * t / periods).is_ordered


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(1.0, 10.0), st.floats(0.01, 0.5))
def test_sessions_are_no_order(seed, length, rate):
    """Each session has a label; its length is geometric, with a mean of 1 to 10 rows."""
    rng = np.random.default_rng(seed)
    session = np.cumsum(rng.random(50_000) < 1 / length)
    assert not LabelOrder((rng.random(50_001) < rate)[session]).is_ordered


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 400))
def test_runs_are_an_order_from_twenty_times_the_usual_length(negatives, positives, pairs):
    """`pairs` runs of negatives, each followed by one of positives."""
    y = np.tile(np.repeat([0, 1], [negatives, positives]), pairs)
    if len(y) > 100_000:
        return
    usual = 2 * negatives * positives * pairs / (negatives + positives)
    assert LabelOrder(y).is_ordered == (2 * pairs - 1 < SHARE * usual)


@pytest.mark.parametrize("y", [[], [1], [0] * 5000, [1] * 5000, [0, 1] * 2500])
def test_constant_and_alternating_labels_are_no_order(y):
    assert not LabelOrder(np.array(y, np.float32)).is_ordered


def test_few_labels_are_no_order():
    assert not LabelOrder(np.repeat([0.0, 1.0], 20)).is_ordered
    assert LabelOrder(np.repeat([0.0, 1.0], 21)).is_ordered
    assert not LabelOrder(np.repeat([0.0, 1.0], [1000, 10])).is_ordered
    assert LabelOrder(np.repeat([0.0, 1.0], [1000, 11])).is_ordered


def test_real_logs_have_none(real):
    _, y = real
    order = LabelOrder(y)
    assert not order.is_ordered
    assert 0.9 < order.changes / order.expected < 1.1
    assert LabelOrder(np.sort(y)).is_ordered


# -- fit ----------------------------------------------------------------------------------------


def logloss(learner, x, y):
    margins = learner.decision_function(x).astype(np.float64)
    return np.logaddexp(0.0, np.where(y > 0, -margins, margins)).mean()


@pytest.mark.parametrize("lr", ["auto", 0.1])
@pytest.mark.parametrize("first", ["negatives", "positives"])
def test_it_costs_little_on_a_real_log(real, lr, first):
    x, y = real
    order = np.random.default_rng(0).permutation(len(y))
    known, new = order[:8000], order[8000:]
    fixed = LogisticRegression(0.1).fit(x[known], y[known])
    at = known[np.argsort(y[known] if first == "negatives" else -y[known], kind="stable")]
    for learn in (LogisticRegression(lr).fit, LogisticRegression(lr).partial_fit):
        with pytest.warns(UserWarning, match=f"the labels are ordered.*{learn.__name__} learns"):
            learner = learn(x[at], y[at])
        assert logloss(learner, x[new], y[new]) <= 1.1 * logloss(fixed, x[new], y[new])
    in_order = LogisticRegression(lr)
    for part in np.split(at, 200):  # too few in a call to see their order
        in_order.partial_fit(x[part], y[part], classes=[0, 1])
    assert logloss(in_order, x[new], y[new]) > 1.1 * logloss(fixed, x[new], y[new])


@pytest.mark.parametrize("lr", ["auto", 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_as_with_shuffle(rng, kind, lr):
    x = batch(rng, 1000, 300, fixed=True)
    x = with_fields(x) if kind == "ffm" else x
    y = np.sort(labels(rng, x))
    weights = rng.integers(0, 3, len(y))
    with pytest.warns(UserWarning, match="the labels are ordered"):
        learner = KINDS[kind](lr=lr, seed=3, passes=2).fit(x, y, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shuffled = KINDS[kind](lr=lr, seed=3, passes=2, shuffle=True).fit(x, y, weights)
    assert bits(learner._model) == bits(shuffled._model)
    assert learner.loss_curve_ == shuffled.loss_curve_


def with_fields(x):
    """Give each entry the field of its region."""
    from adagrad.ctr import Examples

    fields = np.repeat(np.arange(8, dtype=np.uint16), np.diff(x.bounds))
    return Examples(x.slots, x.bounds, x.n_slots, len(x), fields=fields, n_fields=8)


def test_another_order_keeps_its_bits(rng, real):
    x, y = real
    learner, parts = LogisticRegression().fit(x, y), LogisticRegression()
    for start in range(0, len(y), 6400):
        parts.partial_fit(x[start : start + 6400], y[start : start + 6400], classes=[0, 1])
    assert bits(learner._model) == bits(parts._model)


def test_the_warning_says_what_was_seen(real):
    x, y = real
    order = np.argsort(y, kind="stable")
    with pytest.warns(UserWarning, match=ORDERED) as caught:
        LogisticRegression(0.1).fit(x[order], y[order])
    assert caught[0].filename == __file__
    assert "\n" not in str(caught[0].message)


def test_parts_in_an_order_are_told_once(rng):
    x, y = rng.random((100, 2)), np.arange(100) < 50
    learner = LogisticRegression()
    with pytest.raises(UserWarning, match="the labels are ordered"):  # no call, so not told
        learner.partial_fit(x, y)
    with pytest.warns(UserWarning, match="the labels are ordered.*partial_fit"):
        learner.partial_fit(x, y)
    for part in (100, 90, 80):
        learner.partial_fit(x[:part], y[:part])
    for call in (learner.fit, clone(learner).partial_fit):
        with pytest.warns(UserWarning, match="the labels are ordered"):
            call(x, y)


def test_a_warning_that_is_an_error_changes_nothing(real):
    x, y = real
    order = np.argsort(y, kind="stable")
    learner = LogisticRegression(0.1)
    before = dict(vars(learner))
    with pytest.raises(UserWarning, match="the labels are ordered"):  # as the suite is configured
        learner.fit(x[order], y[order])
    assert vars(learner) == before
