"""Penalties keep rare params small or 0 and leave the base rate, which is the bias, alone.

Those of the learners, l1 and l2, are FTRL-proximal; a rule may have a weight decay.
"""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adagrad
import ctr_reference as oracle
from adagrad import Rule, _core, preset
from adagrad.ctr import Examples, LogisticRegression, load
from adagrad.ctr.encoding.examples import REGIONS, region_size
from adagrad.ctr.learners.files import CLASSES as KINDS
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from checks import assert_same_bits
from ctr_data import batch, labels
from isas import using

PENALTIES = {
    "l1": {"l1": 0.1},
    "l2": {"l2": 0.1},
    "coupled": {"rule": Rule(lr=0.1, eps=1.0, weight_decay=0.1)},
    "decoupled": {"rule": Rule(lr=0.1, eps=1.0, weight_decay=0.1, weight_decay_mode="decoupled")},
    "within the step": {"rule": preset("mxnet", lr=0.1, weight_decay=0.1)},
}
TEXTBOOK = {
    "eps 1": Rule(lr=0.1, eps=1.0),
    "start 1, lr/d*g": Rule(lr=0.3, eps=0.0, initial_accumulator=1.0, evaluation="lr/d*g"),
    "skip": Rule(lr=0.1, on_nonfinite="skip"),
    **{name: preset(name, lr=0.1) for name in ("torch", "keras", "tf1", "fbgemm_rowwise")},
}


def clicks(rng, n, n_slots=800, entries=3, rate=0.02):
    """Examples of slots that say nothing, and clicks at a rate of 2 %."""
    slots = np.sort(rng.integers(0, n_slots, (n, entries)), axis=1)
    size = region_size(n_slots)
    runs = np.stack([(slots // size == r).sum(1) for r in range(REGIONS)], axis=1)
    bounds = np.concatenate([[0], np.cumsum(runs)]).astype(np.uint32)
    fields = np.tile(np.arange(entries), n).astype(np.uint16)
    x = Examples(
        slots.ravel().astype(np.uint32), bounds, n_slots, n, fields=fields, n_fields=entries
    )
    return x, (rng.random(n) < rate).astype(np.float32)


def penalized(n_slots, rule=TEXTBOOK["eps 1"], l1=0.0, l2=0.0, *, examples=0, intercept=True):
    """A model and its reference, which believe to have learned `examples` examples."""
    model = Model(Settings("lr", n_slots, rule, l1=l1, l2=l2, intercept=intercept))
    expected = oracle.Linear(n_slots, rule, (l1, l2), intercept)
    model.examples = expected.examples = examples
    return model, expected


def pairs(model):
    return model.tables["linear"]._memory.view(np.float32).reshape(-1, 2)


# -- the order of operations --------------------------------------------------------------------


def assert_same(model, expected, context=""):
    assert_same_bits(pairs(model)[:, 0].copy(), expected.w, f"{context}, z")
    assert_same_bits(pairs(model)[:, 1].copy(), expected.s, f"{context}, accumulators")
    assert_same_bits(model.linear()[0], expected.weights(), f"{context}, weights")
    if model.bias is not None:
        assert_same_bits(model.bias, expected.bias, f"{context}, bias")


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
@pytest.mark.parametrize("fixed", [False, True], ids=["varying", "fixed"])
def test_the_bits_of_the_reference(rng, fixed, values, weighted):
    """Through examples learned one by one, whole rounds, and an incomplete last round."""
    n, penalties = 1300, (0.2, 3.0)
    x = batch(rng, n, 400, fixed=fixed, values=values)
    y = labels(rng, x)
    weights = rng.integers(1, 4, n).astype(np.float32) / 2 if weighted else None
    _, expected = penalized(400, TEXTBOOK["eps 1"], *penalties)
    margins = expected.learn(x, y, weights)
    assert 0.02 < (expected.weights() == 0).mean() < 0.9
    afterwards, rates = expected.margins(x), expected.uncertainty(x)
    for isa, threads in itertools.product(adagrad.isas(), (1, 2, 3, 4, 8)):
        with using(isa):
            model, _ = penalized(400, TEXTBOOK["eps 1"], *penalties)
            context = f"{isa}, {threads} threads"
            found = model.learn(x, y, weights, threads=threads)
            assert_same_bits(found, margins, f"margins, {context}")
            assert_same(model, expected, context)
            assert_same_bits(model.margins(x, threads=threads), afterwards, f"after, {context}")
            assert_same_bits(model.uncertainty(x, threads=threads), rates, f"rates, {context}")


@pytest.mark.parametrize("intercept", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("penalties", [(0.1, 0.0), (0.0, 2.0), (0.05, 0.5)], ids=str)
@pytest.mark.parametrize("name", TEXTBOOK)
def test_every_textbook_rule(rng, name, penalties, intercept):
    """From shortly before the first round of more than one example."""
    x = batch(rng, 300, 300, values=intercept)
    y = labels(rng, x)
    for isa in adagrad.isas():
        model, expected = penalized(
            300, TEXTBOOK[name], *penalties, examples=990, intercept=intercept
        )
        with using(isa):
            found = model.learn(x, y, threads=2)
        assert_same_bits(found, expected.learn(x, y), f"{name}, {isa}, margins")
        assert_same(model, expected, f"{name}, {isa}")


@pytest.mark.parametrize("n_slots", [1, 2, 15, 17, 100, 129])
def test_few_slots(rng, n_slots):
    """Collisions in every example, and regions that are short or empty."""
    x = batch(rng, 200, n_slots, values=n_slots % 2 == 1, most=40)
    y = labels(rng, x)
    penalties = {"l1": 0.1, "l2": 1.0, "examples": 990}
    _, expected = penalized(n_slots, **penalties)
    margins = expected.learn(x, y)
    for isa, threads in itertools.product(adagrad.isas(), (1, 8)):
        model, _ = penalized(n_slots, **penalties)
        with using(isa):
            found = model.learn(x, y, threads=threads)
        assert_same_bits(found, margins, f"{isa}, margins")
        assert_same(model, expected, isa)


def test_extreme_values(isa, rng):
    """Margins overflow, and infinities and NaN spread exactly as in IEEE arithmetic."""
    x = batch(rng, 200, 120, values=True)
    values = x.values.copy()
    values[::7] *= np.float32(1e30)
    values[3] = np.float32(3e38)
    # Without the check of values, so that a few examples suffice for an overflow.
    x = Examples._of(x.bounds, x.fields, len(x), x.n_fields, 120, x.slots, values)
    y = labels(rng, x)
    for name in ("eps 1", "skip"):
        model, expected = penalized(120, TEXTBOOK[name].replace(lr=10.0), 0.1, 0.1, examples=1000)
        assert_same_bits(model.learn(x, y, threads=2), expected.learn(x, y), name)
        assert_same(model, expected, name)
        assert not np.isfinite(expected.margins(x)).all()


# -- what the formula promises ------------------------------------------------------------------


def dense_ftrl(X, y, lr, eps, l1, l2):
    """FTRL-proximal on all coordinates of all examples in float64, as McMahan et al. write it."""
    n, m = X.shape
    z, s, w = np.zeros(m), np.zeros(m), np.zeros(m)
    b, s_b = 0.0, 0.0
    for i in range(n):
        g = 1 / (1 + np.exp(-(X[i] @ w + b))) - y[i]
        s_b += g * g
        b -= lr * g / np.sqrt(s_b + eps)
        sigma = (np.sqrt(s + (g * X[i]) ** 2 + eps) - np.sqrt(s + eps)) / lr
        z += g * X[i] - sigma * w
        s += (g * X[i]) ** 2
        shrunk = -(z - np.sign(z) * l1) / (np.sqrt(s + eps) / lr + l2)
        w = np.where(np.abs(z) <= l1, 0.0, shrunk)
    return w, b


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lr=st.sampled_from([0.05, 0.3, 2.0]),
    l1=st.sampled_from([0.0, 0.02, 0.4, 5.0]),
    l2=st.sampled_from([0.0, 0.1, 10.0]),
)
def test_a_dense_ftrl_gives_the_same_weights(seed, lr, l1, l2):
    """An example touches its own slots alone, and yet all weights are those of the dense one."""
    rng = np.random.default_rng(seed)
    n, m = 300, 24  # learned one by one
    X = np.where(rng.random((n, m)) < 0.15, rng.standard_normal((n, m)), 0).astype(np.float32)
    X[:, 0] = 0  # a feature that never occurs
    y = (X @ rng.standard_normal(m) + rng.standard_normal(n) > 0).astype(np.float32)
    y[0] = 1 - y[1]
    model = Model(Settings("lr", m, Rule(lr=lr, eps=1.0), l1=l1, l2=l2))
    if l1 == l2 == 0:
        expected, bias = oracle_of_ftrl(model, X, y)
    else:
        model.learn(Examples.from_csr(X), y)
        expected, bias = model.linear()[0], model.bias[0]
    w, b = dense_ftrl(X.astype(np.float64), y, lr, 1.0, l1, l2)
    near = np.abs(w).max() * 1e-4
    np.testing.assert_allclose(expected, w, rtol=1e-4, atol=near)
    assert bias == pytest.approx(b, rel=1e-3, abs=1e-4)
    # Beyond rounding, the same weights are 0.
    assert (np.abs(w[expected == 0]) < near).all()
    assert expected[0] == 0
    assert (pairs(model)[0] == 0).all()


def oracle_of_ftrl(model, X, y):
    """The weights and the bias that the FTRL loop gives with l1 = l2 = 0."""
    rule, memory = model.settings.rule, model.tables["linear"]._memory
    learner = _core.LinearLearner(
        memory, X.shape[1], model.bias, rule._compiled, rule.lr, 0.0, (0.0, 0.0)
    )
    learner.learn(Examples.from_csr(X), y, None, 0, 1)
    return learner.weights(), model.bias[0]


@pytest.mark.parametrize("name", TEXTBOOK)
@pytest.mark.parametrize("values", [False, True], ids=["ones", "values"])
def test_without_penalties_it_is_adagrad(rng, name, values):
    """Up to rounding: relative to the largest weight, 1e-4 after 2,000 examples."""
    rule = TEXTBOOK[name]
    x = batch(rng, 2000, 500, values=values)
    y = labels(rng, x)
    plain = Model(Settings("lr", 500, rule))
    margins = plain.learn(x, y)
    other = Model(Settings("lr", 500, rule))
    proximal = _core.LinearLearner(
        other.tables["linear"]._memory, 500, other.bias, rule._compiled, rule.lr, 0.0, (0.0, 0.0)
    )
    found = proximal.learn(x, y, None, 0, 2)
    assert not np.array_equal(found, margins)  # another loop
    np.testing.assert_allclose(found, margins, rtol=1e-4, atol=1e-3)
    w = plain.linear()[0]
    np.testing.assert_allclose(proximal.weights(), w, rtol=0, atol=1e-4 * np.abs(w).max())
    np.testing.assert_allclose(other.bias, plain.bias, rtol=1e-3)


def test_an_absent_feature_costs_nothing(rng):
    x, y = clicks(rng, 3000, rate=0.3)
    model, _ = penalized(800, l1=0.5, l2=1.0)
    model.learn(x[:1500], y[:1500])
    before = pairs(model).copy()
    model.learn(x[1500:1600], y[1500:1600])
    absent = np.setdiff1d(np.arange(800), x[1500:1600].slots)
    assert len(absent) > 400
    assert_same_bits(pairs(model)[absent], before[absent])
    touched = np.unique(x[1500:1600].slots)
    assert (pairs(model)[touched, 1] > before[touched, 1]).all()


def test_weights_that_do_not_pay_are_exactly_0(rng):
    """Of 800 slots 20 matter. Nine in ten of the others are 0, and the loss falls."""
    n = 20_000
    x, _ = clicks(rng, n)
    matters = np.zeros(800)
    matters[rng.choice(800, 20, replace=False)] = 3.0
    z = matters[x.slots].reshape(n, 3).sum(1) - 2.5
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float32)
    free = LogisticRegression(0.5).fit(x, y)
    few = LogisticRegression(0.5, l1=4.0).fit(x, y)
    assert np.count_nonzero(free.coef_) == 800
    assert np.count_nonzero(few.coef_[0, matters > 0]) == 20
    assert np.count_nonzero(few.coef_) < 0.2 * 800
    assert few.progressive_["logloss"] < free.progressive_["logloss"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("l1", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("l2", [1e-3, 1e-2, 30.0])
def test_the_mean_prediction_is_the_click_rate(rng, kind, l1, l2):
    x, y = clicks(rng, 60_000, rate=0.05)
    options = {"lr": 0.5, "n_jobs": 1} | ({} if kind == "lr" else {"factors": 4})
    model, free = (
        KINDS[kind](**options, **penalties).fit(x[:20_000], y[:20_000])._model
        for penalties in ({"l1": l1, "l2": l2}, {})
    )
    p = _core.probabilities(model.learn(x[20_000:], y[20_000:]))[:, 1]
    assert p.mean() == pytest.approx(y[20_000:].mean(), rel=0.01)
    free.learn(x[20_000:], y[20_000:])
    assert np.abs(model.linear()[0]).sum() < np.abs(free.linear()[0]).sum()
    if l1 == 1e6:
        assert not model.linear()[0].any()


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
    found = KINDS[kind](lr=0.1, n_jobs=1, **params).fit(x, y)
    assert free.intercept_[0] < -0.5
    assert_same_bits(found.intercept_, free.intercept_)
    assert found.progressive_ == free.progressive_


# -- a model with penalties goes on -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_files_pickles_streams_and_passes_go_on_with_the_same_bits(rng, kind, tmp_path):
    x, y = clicks(rng, 1920, n_slots=100, rate=0.3)
    penalties = {"l1": 0.3, "l2": 1.0, "lr": 0.2}
    learner = KINDS[kind](**penalties, n_jobs=1).partial_fit(x[:640], y[:640])
    learner.save(tmp_path / "m.safetensors")
    again = [load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(learner))]
    for one in [learner, *again]:
        one.partial_fit(x[640:], y[640:])
    whole = KINDS[kind](**penalties, n_jobs=3).fit(x, y)
    assert 0 < np.count_nonzero(whole.coef_) < 100
    for one in [learner, *again]:
        assert one.get_params()["l1"] == 0.3
        assert_same_bits(one.coef_, whole.coef_)
        assert_same_bits(one.intercept_, whole.intercept_)
        assert one.progressive_ == whole.progressive_
    two = KINDS[kind](**penalties, passes=2, n_jobs=2).fit(x, y)
    assert_same_bits(whole.partial_fit(x, y).coef_, two.coef_)


def test_predictions_and_uncertainty_read_the_weights(rng):
    x, y = clicks(rng, 2000, rate=0.3)
    learner = LogisticRegression(0.1, l1=0.5, l2=3.0).fit(x, y)
    w = learner.coef_[0].astype(np.float64)
    margins = w[x.slots].reshape(-1, 3).sum(1) + learner.intercept_[0]
    np.testing.assert_allclose(learner.decision_function(x), margins, rtol=1e-5, atol=1e-6)
    s = learner._model.tables["linear"].state.astype(np.float64)
    rates = 0.1 / (np.sqrt(s + 1.0) + 0.1 * 3.0)
    expected = rates[x.slots].reshape(-1, 3).sum(1)
    np.testing.assert_allclose(learner.uncertainty(x), expected, rtol=1e-6)


def test_penalties_and_rate_may_change_between_calls(rng):
    x, y = clicks(rng, 1280, n_slots=100, rate=0.3)
    learner = LogisticRegression(0.1, l1=0.1).partial_fit(x[:640], y[:640])
    count = np.count_nonzero(learner.coef_)
    # The weights are those of the new penalty at once.
    stronger = copy.deepcopy(learner).set_params(l1=3.0).partial_fit(x[:0], y[:0])
    assert np.count_nonzero(stronger.coef_) < count
    expected = copy.deepcopy(learner)._model
    expected.retune(Settings("lr", 100, Rule(lr=0.3, eps=1.0), l1=0.2, l2=4.0))
    expected.learn(x[640:], y[640:])
    learner.set_params(lr=0.3, l1=0.2, l2=4.0).partial_fit(x[640:], y[640:])
    assert_same_bits(learner.coef_[0], expected.linear()[0])
    # Without l1 and l2 in the sums, another rate alone leaves the weights where they are.
    model = LogisticRegression(0.1, l2=1e-30).fit(x, y)._model
    before = model.linear()[0]
    model.retune(Settings("lr", 100, Rule(lr=0.7, eps=1.0), l2=1e-30))
    assert_same_bits(model.linear()[0], before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("before", "after"), [((0, 0), (0, 1)), ((2, 0), (0, 0))])
def test_a_change_from_or_to_no_penalty_is_refused(rng, kind, before, after):
    x, y = clicks(rng, 200, n_slots=100, rate=0.3)
    learner = KINDS[kind](lr=0.1, l1=before[0], l2=before[1]).fit(x, y)
    bits = learner._model.tables["linear"]._memory.tobytes()
    learner.set_params(l1=after[0], l2=after[1])
    with pytest.raises(ValueError, match=r"the model began with .* because penalties need another"):
        learner.partial_fit(x, y)
    assert learner._model.tables["linear"]._memory.tobytes() == bits


@pytest.mark.parametrize(
    "option",
    [
        {"lr_decay": 0.1},
        {"weight_decay": 0.1},
        {"power": 1.0},
        {"accumulator_decay": 0.5},
        {"lagged": True},
        {"maximize": True},
        {"scale": 2.0},
        {"clip_value": 1.0},
        {"statistic": "count"},
        {"skip_zero_accumulator": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("penalty", [{"l1": 0.1}, {"l2": 0.1}], ids=str)
def test_other_rules_have_no_penalties(option, penalty):
    (name, value), *_ = option.items()
    learner = LogisticRegression(0.1, rule=Rule(eps=1.0, **option), **penalty)
    message = f"l1 and l2 need a rule whose effective rate is .* this one has {name}={value!r}"
    with pytest.raises(ValueError, match=message):
        learner.fit(np.eye(2), [0, 1])


@pytest.mark.parametrize("penalty", [{"l1": 0.1}, {"l2": 0.1}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_penalties_need_a_fixed_rate(kind, penalty):
    with pytest.raises(ValueError, match=r"needs a fixed rate: give lr, such as lr=0\.1"):
        KINDS[kind](lr="auto", **penalty).fit(np.eye(2), [0, 1])


@pytest.mark.parametrize("kind", ["fm", "ffm"])
def test_l2_is_the_weight_decay_of_factors(rng, kind):
    """The factors of a model without linear gradients: all values are in the pairs."""
    x, y = clicks(rng, 640, n_slots=100, rate=0.3)
    learner = KINDS[kind](lr=0.1, l2=0.5, factors=4, n_jobs=1).fit(x, y)
    rule = Rule(lr=0.1, eps=1.0, weight_decay=0.5)
    tables = [t for name, t in learner._model.tables.items() if name != "linear"]
    assert all(table.rule == rule for table in tables)
    assert learner._model.tables["linear"].rule == rule.replace(weight_decay=0.0)
    free = KINDS[kind](lr=0.1, factors=4, n_jobs=1).fit(x, y)
    decayed = KINDS[kind](lr=0.1, rule=rule, factors=4, n_jobs=1).fit(x, y)
    sizes = [
        sum(np.abs(t.weights).sum() for name, t in m._model.tables.items() if name != "linear")
        for m in (learner, decayed, free)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    assert sizes[0] < 0.98 * sizes[2]
