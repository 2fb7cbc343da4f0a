"""Logistic regression has the bits of its reference, for any number of threads and batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse

import adagrad
import ctr_reference as oracle
from adagrad import Rule, preset
from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from adagrad.ctr.encoding.examples import region_size
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from checks import assert_same_bits
from ctr_data import batch, labels
from isas import using
from rules import RULES

THREADS = (1, 2, 3, 4, 8)
# Learners refuse on_nonfinite="raise", which needs all gradients before the first step.
LEARNED = {name: rule for name, rule in RULES.items() if rule.on_nonfinite != "raise"}


def pair(n_slots, rule=None, *, intercept=True, examples=0):
    """A model and its oracle, which believe to have learned `examples` examples."""
    rule = Rule(lr=0.1) if rule is None else rule
    model = Model(Settings("lr", n_slots, rule, intercept=intercept))
    expected = oracle.Linear(n_slots, rule, intercept=intercept)
    model.examples = expected.examples = examples
    return model, expected


def assert_same(model, expected, context=""):
    assert_same_bits(model.tables["linear"].weights.copy(), expected.w, f"{context}, weights")
    assert_same_bits(model.tables["linear"].state.copy(), expected.s, f"{context}, state")
    assert (model.bias is None) == (expected.bias is None)
    if expected.bias is not None:
        assert_same_bits(model.bias, expected.bias, f"{context}, bias")


def learn_both(model, expected, x, y, weights=None, threads=1, context="", isas=()):
    """Let the oracle learn, and on each of `isas` a copy of the model; the default is this one."""
    margins = expected.learn(x, y, weights)
    for isa in isas or [adagrad.isa()]:
        learning = model.copy() if isas else model
        with using(isa):
            found = learning.learn(x, y, weights, threads=threads)
        assert_same_bits(found, margins, f"{context}, {isa}, margins")
        assert_same(learning, expected, f"{context}, {isa}")


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("fixed", [False, True], ids=["varying", "fixed"])
def test_the_bits_of_the_reference(rng, fixed, values, weighted):
    """Through examples learned one by one, whole rounds, and an incomplete last round."""
    n = 1300
    x = batch(rng, n, 1000, fixed=fixed, values=values)
    y = labels(rng, x)
    weights = rng.integers(0, 4, n).astype(np.float32) / 2 if weighted else None
    _, expected = pair(1000)
    margins = expected.learn(x, y, weights)
    assert expected.w.any()
    afterwards = expected.margins(x)
    for isa, threads in itertools.product(adagrad.isas(), THREADS):
        with using(isa):
            model, _ = pair(1000)
            found = model.learn(x, y, weights, threads=threads)
            assert_same_bits(found, margins, f"margins, {isa}, {threads} threads")
            assert_same(model, expected, f"{isa}, {threads} threads")
            found = model.margins(x, threads=threads)
            assert_same_bits(found, afterwards, f"afterwards, {isa}, {threads} threads")


@pytest.mark.parametrize("intercept", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", LEARNED)
def test_every_rule(rng, name, intercept):
    """From shortly before the first round of 64."""
    x = batch(rng, 300, 300, values=intercept)
    model, expected = pair(300, RULES[name], intercept=intercept, examples=990)
    y = labels(rng, x)
    learn_both(model, expected, x, y, threads=2, context=name, isas=adagrad.isas())


@pytest.mark.parametrize(
    "rule",
    [
        Rule(lr=0.5, lr_decay=0.01),
        Rule(lr=0.5, lr_decay=0.5, weight_decay=0.001, lagged=True, initial_accumulator=1.0),
        preset("libffm").replace(lr_decay=1e-3, weight_decay=0.1),
        Rule(lr=5.0, clip_value=0.25, power=0.3),
    ],
    ids=repr,
)
def test_rates_that_decay(rng, rule):
    x = batch(rng, 300, 300)
    model, expected = pair(300, rule, examples=1000)
    learn_both(model, expected, x, labels(rng, x), threads=3)


@pytest.mark.parametrize("n_slots", [1, 2, 15, 16, 17, 100, 127, 129, 1001])
def test_few_slots(rng, n_slots):
    """Collisions in every example, and regions that are short or empty."""
    x = batch(rng, 400, n_slots, values=n_slots % 2 == 1, most=6)
    model, expected = pair(n_slots, Rule(lr=0.3), examples=1000)
    learn_both(model, expected, x, labels(rng, x), threads=8)


@pytest.mark.parametrize("examples", [0, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 130])
def test_short_calls(rng, n, examples):
    x = batch(rng, n, 200)
    model, expected = pair(200, examples=examples)
    learn_both(model, expected, x, labels(rng, x) if n else np.zeros(0, np.float32), threads=4)


@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("n_slots", [128, 8192], ids=["repeated", "distinct"])
@pytest.mark.parametrize("fixed", [False, True], ids=["varying", "fixed"])
def test_examples_of_any_length(rng, fixed, n_slots, values):
    """Around the lengths of vectors, and beyond those of the buffers between a table and a sum."""
    edges = np.array([0, 1, 4, 7, 8, 9, 127, 129, 1023, 1024, 1025, 2500])
    n, size = 70, region_size(n_slots)
    lengths = np.where(rng.random(n) < 0.2, rng.choice(edges, n), 9)
    if fixed:
        runs = np.tile([0, 1, 2, 7, 20, 0, 140, 0], (n, 1))
    else:  # all in one region, or dealt to them
        runs = np.stack([rng.multinomial(k, rng.dirichlet(np.full(8, 0.3))) for k in lengths])
    counts = np.concatenate([[0], np.cumsum(runs[0] if fixed else runs.reshape(-1))])
    regions = np.repeat(np.tile(np.arange(8), n), runs.reshape(-1))
    slots = regions * size + rng.integers(0, 2 if n_slots == 128 else size - 100, len(regions))
    numbers = rng.standard_normal(len(slots)).astype(np.float32) if values else None
    x = Examples(slots.astype(np.uint32), counts.astype(np.uint32), n_slots, n, values=numbers)
    y = labels(rng, x)
    for threads in (1, 3, 8):
        model, expected = pair(n_slots, examples=64 * 512)
        learn_both(model, expected, x, y, threads=threads, isas=adagrad.isas())


def test_examples_without_entries(rng):
    x = Examples(np.zeros(0, np.uint32), np.zeros(9, np.uint32), 50, 100)
    model, expected = pair(50, examples=1000)
    learn_both(model, expected, x, (rng.random(100) < 0.2).astype(np.float32), threads=2)
    assert model.bias[0] < 0


def test_extreme_values(isa, rng):
    """Margins overflow, and infinities and NaN spread exactly as in IEEE arithmetic."""
    x = batch(rng, 200, 120, values=True)
    values = x.values.copy()
    values[::7] *= np.float32(1e30)
    values[3] = np.float32(3e38)
    # Without the check of values, so that a few examples suffice for an overflow.
    x = Examples._of(x.bounds, x.fields, len(x), x.n_fields, 120, x.slots, values)
    for name in ("textbook", "skip non-finite"):
        model, expected = pair(120, RULES[name].replace(lr=10.0), examples=1000)
        learn_both(model, expected, x, labels(rng, x), threads=2, context=name)
        assert not np.isfinite(expected.margins(x)).all()


@pytest.mark.parametrize("cuts", [[64], [1024], [1280], [128, 192, 1216]], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_stream_cut_at_multiples_of_64(rng, cuts, threads):
    x = batch(rng, 1500, 400, values=True)
    y = labels(rng, x)
    whole = LogisticRegression(lr=0.2, n_jobs=threads).fit(x, y)
    cut = LogisticRegression(lr=0.2, n_jobs=threads)
    for begin, end in zip([0, *cuts], [*cuts, 1500], strict=True):
        cut.partial_fit(x[begin:end], y[begin:end], classes=[0, 1])
    assert_same_bits(cut.coef_.copy(), whole.coef_.copy(), "coef_")
    assert_same_bits(cut.intercept_, whole.intercept_, "intercept_")
    assert cut.progressive_ == whole.progressive_
    assert cut.n_examples_ == whole.n_examples_ == 1500


def test_params_may_change_between_calls(rng):
    x = batch(rng, 640, 300)
    y = labels(rng, x)
    learner = LogisticRegression(lr=0.1).fit(x, y)
    learner.set_params(lr=0.3, n_jobs=2).partial_fit(x, y)
    model = Model(Settings("lr", 300, Rule(lr=0.1, eps=1.0)))
    model.learn(x, y)
    model.retune(Settings("lr", 300, Rule(lr=0.3, eps=1.0)))
    model.learn(x, y)
    assert_same_bits(learner.coef_[0].copy(), model.tables["linear"].weights.copy())
    assert learner.lr_ == 0.3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fit_intercept": False}, "intercept was True when the model began"),
        ({"lr": "auto"}, "lr was a number when the model began and cannot become auto"),
        ({"rule": Rule(eps=1e-8)}, "eps was 1.0 when the model began and cannot become 1e-08"),
        (
            {"l1": 0.5},
            "the model began with no penalty and cannot continue with l1=0.5 and l2=0.0,",
        ),
        (
            {"l2": 2.0},
            "the model began with no penalty and cannot continue with l1=0.0 and l2=2.0,",
        ),
        ({"encoder__bits": 12}, r"began with HashingEncoder\(bits=10\), which cannot become"),
    ],
)
def test_params_that_cannot_change(params, message):
    log = {"a": ["x", "y"] * 20}
    y = [0, 1] * 20
    learner = LogisticRegression(lr=0.1, encoder=HashingEncoder(bits=10)).fit(log, y)
    before = learner.coef_.copy()
    learner.set_params(**params)
    with pytest.raises(ValueError, match=message):
        learner.partial_fit(log, y)
    assert_same_bits(learner.coef_.copy(), before)


@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize(
    "rule", [Rule(lr=0.2, lr_decay=0.01), preset("optax", lr=0.1), preset("libffm")], ids=repr
)
def test_uncertainty(rng, rule, values):
    x = batch(rng, 700, 300, values=values)
    y = labels(rng, x)
    _, oracle_model = pair(300, rule)
    oracle_model.learn(x, y)
    expected = oracle_model.uncertainty(x)
    for isa in adagrad.isas():
        with using(isa):
            learner = LogisticRegression(rule=rule, n_jobs=2).fit(x, y)
            assert_same_bits(learner.uncertainty(x), expected, isa)


def test_uncertainty_falls_as_a_feature_is_seen(rng):
    x = Examples.from_csr(np.eye(3))
    seen = x.take(np.repeat([0, 1, 2], [52, 5, 1]))
    learner = LogisticRegression(lr=0.1).fit(seen, [0, 1] * 29)
    often, seldom, once = learner.uncertainty(x)
    assert 0 < often < seldom < once


def sigmoid(z):
    """The learner's sigmoid: the gradient of a negative example, from a step of rate 1 at 0."""
    model = Model(Settings("lr", 2 * len(z), Rule(lr=1.0, power=0.0, eps=0.0), intercept=False))
    w = model.tables["linear"].weights
    w[::2] = z
    slots = np.arange(2 * len(z))
    indptr = np.arange(0, 2 * len(z) + 1, 2)
    matrix = scipy.sparse.csr_matrix((np.ones(len(slots)), slots, indptr))
    x = Examples.from_csr(matrix)
    np.testing.assert_array_equal(model.learn(x, np.zeros(len(z), np.float32)), z)
    return 0 - w[1::2]


def test_the_sigmoid(isa):
    """Within 2.5 ulp, e^-x within 2 ulp; monotone up to 2 ulp; 0 and 1 at the ends."""
    z = np.linspace(-100, 100, 400_001).astype(np.float32)
    p, exact = sigmoid(z), 1 / (1 + np.exp(-z.astype(np.float64)))
    assert_same_bits(p, oracle.sigmoid(z), "sigmoid")
    normal = z > -87
    ulps = np.abs(p - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert ulps[normal].max() < 2.5
    e, exact = oracle.exp_of_minus(z[z >= 0]), np.exp(-z[z >= 0].astype(np.float64))
    ulps = np.abs(e - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert ulps[e > 0].max() < 2
    assert (p[~normal] == 0).all()
    assert (p[z > 17.5] == 1).all()
    fall = np.maximum.accumulate(p) - p
    assert (fall <= 2 * np.spacing(p)).all()
    ends = sigmoid(np.array([-np.inf, np.inf, -0.0, 0.0, np.nan], np.float32))
    np.testing.assert_array_equal(ends, [0, 1, 0.5, 0.5, np.nan])


def test_probabilities(isa):
    """In float64, from an exponential in float32 with an error below 2 ulp."""
    z = np.linspace(-100, 100, 100_001).astype(np.float32)
    x = Examples.from_csr(np.array([[1.0]]).repeat(len(z), 0) * z[:, None])
    learner = LogisticRegression(lr=0.0).fit([[0.0], [0.0]], [0, 1])
    learner.coef_[:] = 1
    p = learner.predict_proba(x)
    wide = z.astype(np.float64)
    exact = np.stack([1 / (1 + np.exp(wide)), 1 / (1 + np.exp(-wide))], axis=1)
    np.testing.assert_allclose(p, exact, rtol=2.5e-7, atol=2e-38)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-15)


def test_predictions_of_a_model_that_diverged_are_nan():
    learner = LogisticRegression(lr=1.0).fit([[1.0], [0.5]], [0, 1])
    learner.coef_[:] = np.nan
    assert np.isnan(learner.predict_proba([[1.0]])).all()
    assert np.isnan(learner.decision_function([[1.0]])).all()
