"""lr="auto": a mixture of experts without a rate to choose, which no log leads astray."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad import Rule
from adagrad.ctr import Examples, HashingEncoder, LogisticRegression
from adagrad.ctr.learners.files import CLASSES as KINDS
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.metrics import measure
from checks import assert_same_bits
from ctr_data import batch, bits, labels

N = 3000


def log(rng, n=N, n_fields=9):
    """Rows of a few values each, of which two columns matter."""
    columns = {f"c{j}": rng.integers(0, 30, n) for j in range(n_fields)}
    margin = (columns["c0"] % 5 - 2) + (columns["c1"] % 3 - 1)
    x = HashingEncoder(bits=10, numeric="categorical").transform(columns)
    return x, (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(int)


def logloss(y, p):
    p = np.where(np.asarray(y) > 0, p, 1 - p)
    return -np.log(np.maximum(p, 1e-300)).mean()


def held_out(learner, x, y):
    return logloss(y, learner.predict_proba(x)[:, 1])


# -- the default --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_default_of_every_learner(rng, kind):
    x, y = log(rng)
    learner = KINDS[kind]().fit(x, y)
    assert learner.lr == "auto"
    assert learner._model.settings.rule is None
    assert bits(learner._model) == bits(KINDS[kind](lr="auto").fit(x, y)._model)


def test_the_model_is_that_of_the_core(rng):
    x, y = log(rng)
    weights = rng.integers(1, 4, N).astype(np.float32)
    learner = LogisticRegression(half_life=500).fit(x, y, weights)
    model = Model(Settings("lr", x.n_slots, None, half_life=500.0))
    margins = model.learn(x, y.astype(np.float32), weights)
    assert bits(learner._model) == bits(model)
    w, b = model.linear()
    assert_same_bits(learner.coef_[0], w)
    assert learner.intercept_[0] == np.float32(b)
    assert_same_bits(learner.decision_function(x), model.margins(x))
    p = 1 / (1 + np.exp(-margins.astype(float)))
    right = np.where(y > 0, p, 1 - p)
    expected = -(weights * np.log(right)).sum() / weights.sum()
    assert learner.progressive_["logloss"] == pytest.approx(expected, rel=1e-6)


def test_one_linear_model_predicts(rng):
    """What is exported knows nothing of experts."""
    x = batch(rng, 1000, 300, values=True)
    learner = LogisticRegression().fit(x, labels(rng, x))
    by_hand = x.to_csr().astype(float) @ learner.coef_[0].astype(float) + learner.intercept_[0]
    np.testing.assert_allclose(learner.decision_function(x), by_hand, rtol=1e-4, atol=1e-5)


def test_a_rule_has_the_rate_that_it_says(rng):
    x, y = log(rng)
    rule = Rule(lr=0.3, eps=1.0)
    expected = LogisticRegression(lr=0.3).fit(x, y)
    for lr in ("auto", None):
        learner = LogisticRegression(lr=lr, rule=rule).fit(x, y)
        assert bits(learner._model) == bits(expected._model)
        assert learner.lr_ == 0.3


def test_what_was_mixed(rng):
    x, y = log(rng)
    learner = LogisticRegression().fit(x, y)
    experts = learner.experts_
    assert [expert["name"] for expert in experts] == [
        *("adagrad 0.5", "adagrad 0.25", "adagrad 2", "adagrad 1/s", "bayes")
    ]
    assert all(0.3 < expert["logloss"] < 0.7 for expert in experts)
    assert 0.5 < sum(expert["weight"] for expert in experts) < 1.5
    assert 0 <= sum(expert["share"] for expert in experts) <= 1
    # The guard: log 10 nats in all to the best expert.
    best = min(expert["logloss"] for expert in experts)
    assert learner.progressive_["logloss"] <= best + np.log(10) / N
    with pytest.raises(AttributeError, match=r"lr='auto' has five: see experts_"):
        _ = learner.lr_
    with pytest.raises(AttributeError, match=r"experts_ are of lr='auto', but this model has"):
        _ = LogisticRegression(lr=0.1).fit(x, y).experts_
    assert not hasattr(learner, "lr_")
    assert not hasattr(LogisticRegression(), "experts_")


def test_uncertainty_falls_as_a_feature_is_seen():
    x = Examples.from_csr(np.eye(4))
    seen = x.take(np.repeat([0, 1, 2], [52, 5, 1]))
    learner = LogisticRegression().fit(seen, [0, 1] * 29)
    often, seldom, once, never = learner.uncertainty(x)
    assert 0 < often < seldom < once < never
    # What was never seen has the variances of the start: 0.1, and what is left of the bias.
    assert never == pytest.approx(0.1 + learner.uncertainty(Examples.from_csr(np.zeros((1, 4))))[0])


# -- streams, threads, copies, passes -----------------------------------------------------------


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 40), max_size=4, unique=True),
    kind=st.sampled_from(list(KINDS)),
    threads=st.sampled_from([1, 3]),
)
def test_a_stream_cut_at_multiples_of_64_has_the_bits_of_one_call(seed, cuts, kind, threads):
    x, y = log(np.random.default_rng(seed), 2600)
    stream = KINDS[kind](n_jobs=threads)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 41], strict=True):
        part = slice(64 * begin, 64 * end)
        stream.partial_fit(x[part], y[part], classes=[0, 1])
    whole = KINDS[kind](n_jobs=1).fit(x, y)
    assert bits(stream._model) == bits(whole._model)
    assert stream.experts_ == whole.experts_


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_with_the_same_bits(rng, copied, kind):
    x, y = log(rng)
    first = KINDS[kind]().partial_fit(x[:640], y[:640])
    other = copied(first)
    whole = KINDS[kind]().fit(x, y)
    for learner in (other, first):
        learner.partial_fit(x[640:], y[640:])
        assert bits(learner._model) == bits(whole._model)
        assert_same_bits(learner.decision_function(x), whole.decision_function(x))


def test_the_arguments_may_be_changed_afterwards(rng):
    x = batch(rng, 500, 300, values=True)
    y = labels(rng, x)
    learner = LogisticRegression().fit(x, y)
    before = bits(learner._model)
    x.values.base[:] = 7
    y[:] = 0
    assert bits(learner._model) == before


def test_later_passes_train_the_experts_but_not_their_weights(rng):
    x, y = log(rng)
    one, three = (LogisticRegression(passes=n, shuffle=True, seed=3).fit(x, y) for n in (1, 3))
    once, thrice = one.experts_, three.experts_
    assert once == thrice  # their weights, losses and shares
    assert one.progressive_ == three.progressive_
    assert (one.n_examples_, three.n_examples_) == (N, 3 * N)
    assert not np.array_equal(one.coef_, three.coef_)
    assert held_out(three, x, y) < held_out(one, x, y)


def test_a_warm_start_goes_on(rng):
    x, y = log(rng)
    warm = LogisticRegression(warm_start=True).fit(x, y)
    again = LogisticRegression().partial_fit(x, y)
    warm.fit(x, y)
    again.partial_fit(x, y)
    assert bits(warm._model) == bits(again._model)


def test_validation_keeps_the_best_pass(rng):
    x, y = log(rng, 600)
    y = (rng.random(600) < 0.3).astype(int)  # later passes only overfit
    learner = LogisticRegression(passes=20).fit(x[:400], y[:400], validation=(x[400:], y[400:]))
    assert 1 < learner.n_passes_ < 20
    best = LogisticRegression(passes=learner.n_passes_ - 1).fit(x[:400], y[:400])
    assert bits(learner._model) == bits(best._model)
    loss = held_out(best, x[400:], y[400:])
    assert learner.validation_logloss_ == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(("began", "wanted"), [("auto", 0.1), (0.1, "auto")])
def test_a_model_keeps_its_kind_of_rate(rng, began, wanted):
    x, y = log(rng, 300)
    learner = LogisticRegression(lr=began).fit(x, y)
    before = bits(learner._model)
    with pytest.raises(ValueError, match=r"lr was .* when the model began and cannot become"):
        learner.set_params(lr=wanted).partial_fit(x, y)
    assert bits(learner._model) == before
    learner.set_params(lr=began).partial_fit(x, y)


# -- logs that lead learners astray -------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e6, 1e-6, 2.0**40])
def test_columns_may_have_any_scale(rng, factor):
    x = rng.standard_normal((N, 6))
    y = (x @ [1, -1, 0.5, 0, 0, 0] + rng.logistic(size=N) > 0).astype(int)
    plain = LogisticRegression().fit(x, y)
    scaled = LogisticRegression().fit(x * [factor, 1, 1, factor, 1, 1], y)
    assert scaled.progressive_["logloss"] == pytest.approx(plain.progressive_["logloss"], rel=1e-4)
    assert plain.progressive_["logloss"] < 0.6


@pytest.mark.parametrize("last", [0, 1])
def test_an_ordered_log_is_finite(rng, last):
    """All of one class first. The base rate at the end is that of the last rows."""
    x, y = log(rng)
    order = np.argsort(y == last, kind="stable")
    learner = LogisticRegression()
    for part in np.array_split(order, N // 40):  # too few in a call to see their order
        learner.partial_fit(x.take(part), y[part], classes=[0, 1])
    assert np.abs(learner.decision_function(x)).max() < 30
    assert np.isfinite(list(learner.progressive_.values())).all()
    assert measure(y, learner.predict_proba(x)[:, 1]).auc > 0.55


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [0, 1])
def test_labels_that_are_all_alike(rng, kind, label):
    x, _ = log(rng)
    learner = KINDS[kind]().partial_fit(x, np.full(N, label), classes=[0, 1])
    assert np.isfinite(learner.coef_).all()
    assert learner.progressive_["logloss"] < 0.01
    assert abs(learner.predict_proba(x)[:, 1] - label).max() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_one_example(rng, kind):
    x, _ = log(rng, 1)
    learner = KINDS[kind]().partial_fit(x, [1], classes=[0, 1])
    assert 0.5 < learner.predict_proba(x)[0, 1] < 0.95
    # The first vectors of a factorization machine are not zero.
    tolerance = 1e-6 if kind == "lr" else 0.02
    assert learner.progressive_["logloss"] == pytest.approx(np.log(2), rel=tolerance)


def test_few_positives_and_a_feature_that_is_always_on(rng):
    n = 30_000
    y = (rng.random(n) < 1e-3).astype(int)
    x = np.stack([np.ones(n), rng.integers(0, 2, n), rng.integers(0, 2, n)], axis=1)
    found = LogisticRegression().fit(x, y)
    base = logloss(y, np.full(n, y.mean()))
    assert found.progressive_["logloss"] < 1.2 * base
    assert found.predict_proba(x)[:, 1].mean() == pytest.approx(y.mean(), rel=0.3)


# -- forgetting ---------------------------------------------------------------------------------


def drifting(rng, n, every):
    """Clicks whose weights are drawn anew every so many rows."""
    columns = {f"c{j}": rng.integers(0, 20, n) for j in range(9)}
    margin = np.zeros(n)
    for begin in range(0, n, every):
        part = slice(begin, begin + every)
        for values in columns.values():
            margin[part] += rng.standard_normal(20)[values[part]]
    x = HashingEncoder(bits=10, numeric="categorical").transform(columns)
    return x, (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(int)


def test_a_half_life_follows_a_log_that_drifts(rng):
    drift, steady = drifting(rng, 30_000, 3_000), drifting(rng, 30_000, 30_000)
    losses = {
        (name, half_life): LogisticRegression(half_life=half_life)
        .fit(*data)
        .progressive_["logloss"]
        for name, data in (("drift", drift), ("steady", steady))
        for half_life in (None, 2_000)
    }
    assert losses["drift", 2_000] < losses["drift", None] - 0.01
    assert losses["steady", None] < losses["steady", 2_000]
