"""Bad input: a learner says what is wrong and stays unchanged."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

import toolchain
from adagrad import Rule, Table, _core
from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from ctr_data import batch, bits, labels

X = np.array([[1.0, 0, 0], [0, 2, 0], [0, 0, 3], [1, 1, 0]])
Y = np.array([0, 1, 1, 0])


def changed(array, at, value):
    array = array.astype(np.result_type(array, type(value)))
    array[at] = value
    return array


BAD = {
    "labels": ((X, [0, 1, 2, 0]), "not one of the classes|Only binary classification"),
    "NaN label": ((X, changed(Y, 2, np.nan)), r"y\[2\] = nan is not finite"),
    "no labels": ((X, None), "requires y to be passed, but the target y is None"),
    "strings": (
        (X, ["a", "b", "c", "a"]),
        r"y\[0\] = 'a' is not one|Only binary classification",
    ),
    "NaN": ((changed(X, (1, 2), np.nan), Y), "Input X contains NaN"),
    "infinity": ((changed(X, (1, 2), np.inf), Y), "Input X contains infinity"),
    "float32": ((changed(X, (1, 2), 1e39), Y), r"X\[1, 2\] = 1e\+39 is not finite in float32"),
    "sparse NaN": ((scipy.sparse.csr_matrix(changed(X, (1, 2), np.nan)), Y), "X contains NaN"),
    "text": ((X.astype(str).astype(object) + "a", Y), "not all of it numbers: pass encoder=Hash"),
    "lengths": ((X, Y[:3]), "X has 4 examples, but y has 3"),
    "weights length": ((X, Y, [1, 2, 3]), r"sample_weight.shape == \(3,\), expected \(4,\)"),
    "weights shape": ((X, Y, X), "Sample weights must be 1D array or scalar"),
    "negative weight": ((X, Y, [1, 2, -3, 1]), r"sample_weight\[2\] = -3 must be finite and not"),
    "NaN weight": ((X, Y, [1, np.nan, 3, 1]), r"sample_weight\[1\] = nan must be finite"),
    "large weight": ((X, Y, [1, 1e39, 3, 1]), r"sample_weight\[1\] = 1e\+39 is more than 2\*\*48"),
}
BAD_PARAMS = {
    "lr": ({"lr": "best"}, ValueError, "lr must be a number, None or 'auto', got 'best'"),
    "negative lr": ({"lr": -1.0}, ValueError, "lr must not be negative, got -1.0"),
    "l1": ({"l1": -1.0}, ValueError, "l1 must not be negative, got -1.0"),
    "large l1": ({"l1": 1e39}, ValueError, r"l1=1e\+39 overflows float32"),
    "l2": ({"l2": "1"}, TypeError, "l2 must be a real number, got '1'"),
    "large l2": ({"l2": 1e39}, ValueError, r"l2=1e\+39 overflows float32"),
    "l2 twice": (
        {"l2": 0.1, "rule": Rule(weight_decay=0.1)},
        ValueError,
        "this one has weight_decay=0.1",
    ),
    "rule": ({"rule": "torch"}, TypeError, "rule must be an adagrad.Rule or None, got 'torch'"),
    "raise": (
        {"rule": Rule(on_nonfinite="raise")},
        ValueError,
        "on_nonfinite='raise' needs all",
    ),
    "all rows": (
        {"rule": Rule(weight_decay=0.1, weight_decay_mode="decoupled", weight_decay_rows="all")},
        ValueError,
        "weight_decay_rows='all' decays every row",
    ),
    "passes": ({"passes": 0}, ValueError, "passes must be from 1 to 2147483648, got 0"),
    "seed": ({"seed": 1.5}, TypeError, "seed must be an integer, got 1.5"),
    "negative seed": ({"seed": -1}, ValueError, "seed must be from 0 to"),
    "shuffle": ({"shuffle": "yes"}, TypeError, "shuffle must be a bool, got 'yes'"),
    "warm_start": ({"warm_start": 1}, TypeError, "warm_start must be a bool, got 1"),
    "fit_intercept": ({"fit_intercept": None}, TypeError, "fit_intercept must be a bool"),
    "n_jobs": ({"n_jobs": 0}, ValueError, "n_jobs must be from 1 to 1024, got 0"),
    "half_life": (
        {"lr": "auto", "half_life": 0.5},
        ValueError,
        "half_life must be at least 64 examples, got 0.5",
    ),
    "half_life of a rate": (
        {"half_life": 100},
        ValueError,
        "half_life needs lr='auto' without a rule: at a fixed rate, accumulators forget by the"
        " accumulator_decay of the rule",
    ),
    "l1 without a rate": (
        {"lr": "auto", "l1": 0.1},
        ValueError,
        "l1 needs a fixed rate: give lr, such as lr=0.1",
    ),
    "l2 without a rate": (
        {"lr": "auto", "l2": 0.1},
        ValueError,
        "l2 needs a fixed rate: give lr, such as lr=0.1",
    ),
    "encoder": ({"encoder": "hash"}, TypeError, "encoder must be a HashingEncoder, such as"),
    "class of encoder": ({"encoder": HashingEncoder}, TypeError, "or None, got <class"),
    "n_jobs type": ({"n_jobs": 1.5}, TypeError, "n_jobs must be an integer or None, got 1.5"),
}


def state(learner):
    """All that a learner knows, as bytes and values."""
    has = {name: value for name, value in vars(learner).items() if name != "_trained"}
    has = {name: repr(value) for name, value in has.items()}
    model = getattr(learner, "_model", None)
    if model is None:
        return has
    return has, bits(model), model.examples


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", BAD)
def test_bad_examples(name, method):
    (x, y, *weights), message = BAD[name]
    for learner in (LogisticRegression(lr=0.1), LogisticRegression(lr=0.1).fit(X, Y)):
        before = state(learner)
        kwargs = {"sample_weight": weights[0]} if weights else {}
        if method == "partial_fit" and not hasattr(learner, "classes_"):
            kwargs["classes"] = [0, 1]
        with pytest.raises(ValueError, match=message):
            getattr(learner, method)(x, y, **kwargs)
        assert state(learner) == before
        learner.partial_fit(X, Y, classes=[0, 1])


def test_no_weight_at_all():
    """`fit` has nothing to learn, but a part of a stream may have no weight."""
    with pytest.raises(ValueError, match="sample_weight is zero for every example"):
        LogisticRegression().fit(X, Y, [0, 0, 0, 0])
    for learner in (LogisticRegression(lr=0.1), LogisticRegression(lr=0.1).fit(X, Y)):
        before = getattr(learner, "n_examples_", 0) if hasattr(learner, "classes_") else 0
        weights = learner.coef_.copy() if before else np.zeros((1, 3))
        learner.partial_fit(X, Y, classes=[0, 1], sample_weight=[0, 0, 0, 0])
        assert learner.n_examples_ == before
        assert (learner.coef_ == weights).all()


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_bad_params(name):
    params, error, message = BAD_PARAMS[name]
    for learner in (LogisticRegression(lr=0.1), LogisticRegression(lr=0.1).fit(X, Y)):
        learner.set_params(**params)
        before = state(learner)
        with pytest.raises(error, match=message):
            learner.fit(X, Y)
        assert state(learner) == before


def test_examples_of_another_model():
    learner = LogisticRegression().fit(X, Y)
    before = state(learner)
    wide = Examples.from_csr(X, n_slots=9)
    for call in (learner.decision_function, learner.predict, learner.uncertainty):
        with pytest.raises(ValueError, match="X has 9 slots, but the model has 3"):
            call(wide)
    with pytest.raises(ValueError, match="X has 9 slots, but the model has 3"):
        learner.partial_fit(wide, Y)
    with pytest.raises(ValueError, match="X has 2 features"):
        learner.partial_fit(X[:, :2], Y)
    with pytest.raises(ValueError, match="classes were"):
        learner.partial_fit(X, Y, classes=[0, 2])
    with pytest.raises(ValueError, match=r"y\[1\] = 7 is not one of the classes \[0, 1\]"):
        learner.partial_fit(X, [0, 7, 1, 1])
    assert state(learner) == before


@pytest.mark.parametrize("bad", [(X[:, :2], Y), (X, Y[:2]), (X, Y + 1)])
def test_bad_validation(bad):
    for learner in (LogisticRegression(), LogisticRegression().fit(X, Y)):
        before = state(learner)
        with pytest.raises(ValueError, match=r"features|examples|not one of the classes"):
            learner.fit(X, Y, validation=bad)
        assert state(learner) == before


def test_validation_keeps_the_best_pass(rng):
    x = batch(rng, 600, 400)
    y = (rng.random(600) < 0.3).astype(int)  # random labels: later passes only overfit
    held_out = x[400:], y[400:]
    learner = LogisticRegression(lr=0.5, passes=20).fit(x[:400], y[:400], validation=held_out)
    assert 1 < learner.n_passes_ < 20
    best = LogisticRegression(lr=0.5, passes=learner.n_passes_ - 1).fit(x[:400], y[:400])
    np.testing.assert_array_equal(learner.coef_, best.coef_)
    z, target = best.decision_function(x[400:]).astype(float), y[400:]
    loss = np.logaddexp(0, np.where(target > 0, -z, z)).mean()
    assert learner.validation_logloss_ == pytest.approx(loss, rel=1e-7)


@pytest.mark.parametrize("kind", [int, float, bool, str, object])
def test_labels_of_any_kind(kind):
    y = np.array(["no", "yes"], kind)[Y] if kind in (str, object) else Y.astype(kind)
    learner = LogisticRegression(lr=0.5).fit(X, y)
    np.testing.assert_array_equal(learner.classes_, np.unique(y))
    assert set(learner.predict(X)) <= set(y)


def test_scikit_learn_cuts_and_searches(rng):
    x = batch(rng, 400, 200)
    y = labels(rng, x)
    by_examples = cross_val_score(LogisticRegression(lr=0.2), x, y, cv=4)
    by_matrix = cross_val_score(LogisticRegression(lr=0.2), x.to_csr(), y, cv=4)
    np.testing.assert_array_equal(by_examples, by_matrix)
    search = GridSearchCV(LogisticRegression(), {"lr": [1e-9, 0.3]}, cv=3, scoring="neg_log_loss")
    assert search.fit(x, y).best_params_ == {"lr": 0.3}
    piped = make_pipeline(MaxAbsScaler(), LogisticRegression(lr=0.2)).fit(x.to_csr(), y)
    assert piped.predict_proba(x.to_csr()).shape == (400, 2)


def test_warm_start_goes_on(rng):
    x = batch(rng, 1280, 200)
    y = labels(rng, x)
    learner = LogisticRegression(lr=0.2, warm_start=True).fit(x[:640], y[:640])
    learner.fit(x[640:], y[640:])
    np.testing.assert_array_equal(learner.coef_, LogisticRegression(lr=0.2).fit(x, y).coef_)


def test_python_threads_on_models_of_their_own(rng):
    x = batch(rng, 3000, 400)
    y = labels(rng, x)

    def trained(k):
        learner = LogisticRegression(lr=0.1 * (k + 1), n_jobs=2).fit(x, y)
        return learner.coef_.tobytes() + learner.decision_function(x).tobytes()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(trained, range(6))) == [trained(k) for k in range(6)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_after_threads():
    script = """
import os, sys, numpy as np
from adagrad import Rule
from adagrad.ctr import Examples
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
def trained(threads):
    rng = np.random.default_rng(5)
    x = Examples.from_csr((rng.random((3000, 200)) < 0.05).astype("f4"))
    model = Model(Settings("lr", 200, Rule(lr=0.1)))
    model.learn(x, rng.integers(0, 2, 3000).astype("f4"), threads=threads)
    return model.tables["linear"]._memory.tobytes() + model.margins(x, threads=threads).tobytes()
expected = trained(2)
child = os.fork()
if child == 0:
    os._exit(0 if trained(2) == expected else 1)
print(os.waitpid(child, 0)[1], trained(3) == expected == trained(1))
"""

    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    assert toolchain.run(sys.executable, "-c", script, env=env) == "0 True\n"


def test_a_rate_that_decays_to_zero_changes_nothing(rng):
    """It is found before the first step, on one thread and on two."""
    x = batch(rng, 9, 64)
    y = labels(rng, x).astype(np.float32)
    table = Table(64)
    before = table._memory.copy()
    learner = _core.LinearLearner(table._memory, 64, None, Rule()._compiled, 1e-30, 3e14, None)
    with pytest.raises(ValueError, match=r"lr=.* is 0 in float32"):
        learner.learn(x, y, None, 0, 2)
    assert np.array_equal(table._memory, before)
    learner.learn(x[:3], y[:3], None, 0, 2)


@pytest.mark.parametrize(
    ("sums", "bins", "message"),
    [
        (np.zeros(3), np.zeros((2, 32768)), r"sums has .* shape \(3,\); 4 float64 are needed"),
        (np.zeros(4), np.zeros((2, 9)), r"bins has .* shape \(2, 9\); 65536 float64 are needed"),
        (np.zeros(4, "f4"), np.zeros((2, 32768)), "sums has dtype float32"),
    ],
)
def test_a_tally_needs_room(sums, bins, message):
    one = np.ones(1, np.float32)
    with pytest.raises(TypeError, match=message):
        _core.tally(one, one, None, sums, bins)
    assert not sums.any()
