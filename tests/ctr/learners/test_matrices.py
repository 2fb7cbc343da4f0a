"""Learning from a matrix and predicting it: the bits of its examples, and all or nothing."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import adagrad.ctr.learners.estimator as estimator
import adagrad.ctr.learners.mixture as mixture_module
from adagrad.ctr import (
    Examples,
    FactorizationMachine,
    FieldAwareFactorizationMachine,
    LogisticRegression,
    load,
)
from checks import assert_same_bits
from ctr_data import bits, columns_as_fields
from matrix_reference import margins

N, SLOTS = 700, 300
LEARNERS = {
    "fixed": lambda **how: LogisticRegression(lr=0.1, **how),
    "no bias": lambda **how: LogisticRegression(lr=0.1, fit_intercept=False, **how),
    "penalties": lambda **how: LogisticRegression(lr=0.1, l1=1e-3, l2=1e-3, **how),
    "auto": lambda **how: LogisticRegression(**how),
    "fm": lambda **how: FactorizationMachine(3, lr=0.1, **how),
    "fm auto": lambda **how: FactorizationMachine(3, **how),
    "ffm": lambda **how: FieldAwareFactorizationMachine(2, lr=0.1, **how),
    "ffm auto": lambda **how: FieldAwareFactorizationMachine(2, **how),
}


def matrix_of(rng, dtype="f4", ones=False, n=N):
    """Unsorted rows of up to 20 entries; some are empty, some columns repeat."""
    lengths = rng.integers(0, 20, n)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    total = int(indptr[-1])
    data = np.ones(total, dtype) if ones else rng.choice([0, 1, -0.5, 3], total).astype(dtype)
    columns = (rng.zipf(1.3, total) % SLOTS).astype(np.int32)
    return scipy.sparse.csr_matrix((data, columns, indptr), shape=(n, SLOTS))


def labels_of(rng, n=N):
    return (rng.random(n) < 0.3).astype(int)


@pytest.mark.parametrize("ones", [True, False], ids=["ones", "values"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_matrix_teaches_what_its_examples_teach(rng, name, dtype, ones, monkeypatch):
    """Whether in parts, in passes, shuffled, weighted or stopped early."""
    monkeypatch.setattr(estimator, "CHUNK", 128)
    X, y, held_out = matrix_of(rng, dtype, ones), labels_of(rng), matrix_of(rng, dtype, ones)
    x, other = Examples.from_csr(X), Examples.from_csr(held_out)
    if name.startswith("ffm"):
        x, other = columns_as_fields(x), columns_as_fields(other)
    weights = rng.choice([0.0, 0.5, 2.0], N)
    before = [a.tobytes() for a in (X.indptr, X.indices, X.data)]
    for array in (X.indptr, X.indices, X.data):
        array.flags.writeable = False

    def call(of, valid, which):
        learner = LEARNERS[name](
            n_jobs=2, passes=1 + (which in "shuffled passes stopped"), shuffle=which == "shuffled"
        )
        if which == "parts":
            for part in (slice(100), slice(100, 500), slice(500, N)):
                learner.partial_fit(of[part], y[part], classes=[0, 1])
            return learner
        if which == "ordered":
            with pytest.warns(UserWarning, match="the labels are ordered"):
                return learner.partial_fit(of, np.arange(N) > N / 2)
        weighted = weights if which == "weighted" else None
        validation = (valid, y) if which == "stopped" else None
        return learner.fit(of, y, sample_weight=weighted, validation=validation)

    for which in ("parts", "ordered", "shuffled", "passes", "weighted", "stopped"):
        by_matrix, by_examples = call(X, held_out, which), call(x, other, which)
        assert bits(by_matrix._model) == bits(by_examples._model), which
        for a, b in ((X, x), (held_out, other)):
            found = by_matrix.predict_proba(a)
            assert_same_bits(found, by_examples.predict_proba(b), which)
            assert_same_bits(by_matrix.uncertainty(a), by_examples.uncertainty(b), which)
    assert [a.tobytes() for a in (X.indptr, X.indices, X.data)] == before


@given(st.integers(0, 2**32 - 1), st.sampled_from(["f4", "f8"]), st.booleans())
@settings(max_examples=20)
def test_margins_equal_the_reference(seed, dtype, has_bias):
    """The documented order of additions, for rows in any order and examples sorted by region."""
    rng = np.random.default_rng(seed)
    X, y = matrix_of(rng, dtype, n=60), labels_of(rng, 60)
    y[:2] = 0, 1
    for lr in (0.1, "auto"):
        learner = LogisticRegression(lr, fit_intercept=has_bias).fit(X, y)
        weights, bias = learner._model.linear()
        expected = margins(X, SLOTS, weights, bias)
        for x in (X, Examples.from_csr(X), X[:1], X[1:1]):
            if x.shape[0] or isinstance(x, Examples):
                assert_same_bits(learner.decision_function(x), expected[: x.shape[0]])


@pytest.mark.parametrize("lr", [0.1, "auto"])
@pytest.mark.parametrize("wide", [False, True])
def test_threads_predict_alike(rng, lr, wide):
    """Rows are prefetched hundreds of entries ahead, and threads meet in the middle of it."""
    X, y = matrix_of(rng, n=9000), labels_of(rng, 9000)
    if wide:
        indices = X.indices.astype(np.int64)
        X.indices = indices
    learner = LogisticRegression(lr).fit(X, y)
    learner.n_jobs = 1
    expected, both = learner.decision_function(X), learner.predict_proba(X)
    for threads in (2, 3, 8):
        learner.n_jobs = threads
        assert_same_bits(learner.decision_function(X), expected)
        assert_same_bits(learner.predict_proba(X), both)
    cuts = [0, 1, 2, 40, 4000, 9000]
    parts = [learner.decision_function(X[a:b]) for a, b in itertools.pairwise(cuts)]
    assert_same_bits(np.concatenate(parts), expected)


@pytest.mark.parametrize("name", ["auto", "fm auto", "ffm auto"])
def test_stored_weights_predict_alike_and_are_dropped(rng, name, monkeypatch, tmp_path):
    """A mixture that has stored its weights predicts as one that has not, also after a change."""
    X, y = matrix_of(rng), labels_of(rng)
    learner = LEARNERS[name]().partial_fit(X, y)
    plain = learner.decision_function(X)
    assert learner._model.mixture._stored is None
    again = copy.deepcopy(learner).partial_fit(X, 1 - y)
    changed = again.decision_function(X)
    assert not np.array_equal(plain, changed)
    monkeypatch.setattr(mixture_module, "_MANY", 0)
    monkeypatch.setattr(mixture_module, "_WORTH", 0)
    for _ in range(2):
        assert_same_bits(learner.decision_function(X), plain)
        assert learner._model.mixture._stored is not None
    size = len(pickle.dumps(again))
    for _ in range(2):
        assert len(pickle.dumps(learner)) <= size + 1000
    learner.save(tmp_path / "model")
    for other in (
        load(tmp_path / "model"),
        copy.deepcopy(learner),
        pickle.loads(pickle.dumps(learner)),
    ):
        assert_same_bits(other.decision_function(X), plain)
    learner.partial_fit(X, 1 - y)
    assert learner._model.mixture._stored is None
    assert_same_bits(learner.decision_function(X), changed)


def test_when_weights_are_stored(rng):
    """Not for few entries, however often they are predicted."""
    X, y = matrix_of(rng, ones=True), labels_of(rng)
    learner = LogisticRegression().partial_fit(X, y)
    for _ in range(100):
        learner.predict(X[:5])
    assert learner._model.mixture._stored is None
    for times, stored in ((6, False), (12, True)):
        many = scipy.sparse.vstack([X] * times, format="csr")
        assert (many.nnz >= mixture_module._MANY) == stored
        learner.predict(many)
        assert (learner._model.mixture._stored is not None) == stored


@pytest.mark.parametrize("name", LEARNERS)
def test_a_matrix_with_an_error_teaches_nothing(rng, name):
    """The last entry of many is wrong, and nothing before it is learned."""
    X, y = matrix_of(rng), labels_of(rng)
    learner = LEARNERS[name]().partial_fit(X, y)
    before = bits(learner._model)
    wrong = {
        "column": ("indices", SLOTS, IndexError, f"= {SLOTS}, in row .* is no column"),
        "negative": ("indices", -1, IndexError, "= -1, in row .* is no column"),
        "nan": ("data", np.nan, ValueError, "Input X contains NaN"),
        "inf": ("data", np.inf, ValueError, "Input X contains infinity"),
        "large": ("data", 2.0**49, ValueError, "is more than 2.*48 in size: scale it"),
    }
    for array, value, error, message in wrong.values():
        bad = X.copy()
        getattr(bad, array)[-1] = value
        for call in (lambda x: learner.partial_fit(x, y), learner.predict_proba):
            with pytest.raises(error, match=message):
                call(bad)
    with pytest.raises(ValueError, match=r"X has 299 features, but .* is expecting 300 features"):
        learner.partial_fit(X[:, :299], y)
    with pytest.raises(ValueError, match="X has 700 examples, but y has 699"):
        learner.partial_fit(X, y[1:])
    for n_jobs in (0, "two"):
        learner.n_jobs = n_jobs
        with pytest.raises((TypeError, ValueError), match="n_jobs must be"):
            learner.partial_fit(X, y)
        with pytest.raises(ValueError, match="Input X contains NaN"):  # which is checked before
            bad = X.copy()
            bad.data[-1] = np.nan
            learner.partial_fit(bad, y)
    assert bits(learner._model) == before
