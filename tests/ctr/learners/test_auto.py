"""lr="auto": eight rates side by side, and the best continues as if it had been given."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import adagrad
import ctr_reference as oracle
from adagrad import Rule, _core, preset
from adagrad.ctr import Examples, LogisticRegression
from adagrad.ctr.learners import model, sweep
from adagrad.ctr.learners.labeled import LabeledExamples
from adagrad.ctr.learners.trainer import Trainer
from checks import assert_same_bits
from ctr_data import batch, labels
from isas import using

N = sweep.SWEEP_EXAMPLES


def data(rng, n, n_slots=500, values=False):
    x = batch(rng, n, n_slots, values=values, most=2)
    return x, labels(rng, x)


def assert_same_model(a, b):
    assert_same_bits(a.coef_.copy(), b.coef_.copy(), "coef_")
    assert_same_bits(a._model.tables["linear"].state.copy(), b._model.tables["linear"].state)
    assert_same_bits(a.intercept_, b.intercept_, "intercept_")
    assert a.n_examples_ == b.n_examples_


@pytest.mark.parametrize("fixed", [False, True], ids=["varying", "fixed"])
@pytest.mark.parametrize(
    "rule", [Rule(), adagrad.preset("libffm"), Rule(lr_decay=1e-3, power=0.3)], ids=repr
)
def test_the_bits_of_eight_references(rng, rule, fixed):
    n, rows = 400, 64
    x = batch(rng, n, 300, fixed=fixed, values=fixed, most=2)
    y = labels(rng, x)
    weights = rng.integers(0, 3, n).astype(np.float32) if fixed else None
    lrs = [rule.replace(lr=rate).lr_at(1) for rate in sweep.RATES]
    constant = rule.replace(lr_decay=0.0)
    expected = [oracle.sweep(constant, lr, rows, x, y, weights, 1) for lr in lrs]
    for isa in adagrad.isas():
        table = adagrad.Table(rows, 8, rule)
        bias = np.zeros(16, np.float32)
        bias[8:] = rule.initial_accumulator
        with using(isa):
            margins = _core.sweep(x, y, weights, table._memory, bias, rule._compiled, lrs)
        for k, lr in enumerate(lrs):
            found = np.ascontiguousarray(margins[:, k])
            assert_same_bits(found, expected[k], f"{isa}, rate {lr}")


def test_the_choice_is_the_least_loss_and_the_predictions_those_of_all(rng):
    x, y = data(rng, 700)
    lr, margins = sweep.sweep(model.Settings("lr", 500, Rule()), x, y, None)
    every = np.stack([oracle.sweep(Rule(), r, 512, x, y, None, 1) for r in sweep.RATES], axis=1)
    p = 1 / (1 + np.exp(-every.astype(np.float64)))
    right = np.where(y[:, None] > 0, p, 1 - p)
    likelihood = np.ones(len(sweep.RATES))
    mixed = np.empty(len(x))
    for i in range(len(x)):
        mixed[i] = likelihood @ p[i] / likelihood.sum()
        likelihood *= right[i]
        likelihood /= likelihood.max()
    losses = -np.log(right).sum(0)
    assert lr == sweep.RATES[losses.argmin()]
    np.testing.assert_allclose(1 / (1 + np.exp(-margins.astype(np.float64))), mixed, 1e-5)
    # The bound: the mixture loses at most log 8 to the best rate.
    total = -np.log(np.where(y > 0, mixed, 1 - mixed)).sum()
    assert losses.min() < total <= losses.min() + np.log(8)


def test_rates_that_diverge_no_longer_count(rng):
    x, y = data(rng, 300, values=True)
    huge = np.full(len(x.slots), 2.0**48, np.float32)
    x = Examples(x.slots, x.bounds, 500, 300, values=huge)
    weights = np.full(300, 1e30, np.float32)
    rule = Rule(statistic="count", power=0.0)
    lr, margins = sweep.sweep(model.Settings("lr", 500, rule), x, y, weights)
    assert lr in sweep.RATES
    assert np.isfinite(margins[:1]).all()
    assert not np.isfinite(margins).all()


@pytest.mark.parametrize("n", [300, N, N + 3000])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_the_model_is_that_of_the_fixed_rate(rng, n, weighted):
    x, y = data(rng, n)
    weights = rng.integers(1, 5, n).astype(np.float32) if weighted else None
    auto = LogisticRegression("auto", n_jobs=2).fit(x, y, weights)
    fixed = LogisticRegression(auto.lr_).fit(x, y, weights)
    assert auto.lr_ in sweep.RATES
    assert_same_model(auto, fixed)
    start = min(n, N)
    _, margins = sweep.sweep(auto._model.settings, x[:start], y[:start], _first(weights, start))
    board = model.Progressive()
    board.add(margins, y[:start], _first(weights, start))
    if n > N:
        some = LogisticRegression(auto.lr_).fit(x[:N], y[:N], _first(weights, N))
        rest = some._model.learn(x[N:], y[N:], None if weights is None else weights[N:])
        board.add(rest, y[N:], None if weights is None else weights[N:])
    assert auto.progressive_ == board.metrics()


def _first(weights, n):
    return None if weights is None else weights[:n]


def test_noise_gets_a_smaller_rate_than_signal(rng):
    """The choice follows the data: random labels need a small rate, planted ones a large one."""
    x, y = data(rng, 6000)
    noise = (rng.random(6000) < 0.5).astype(np.float32)
    rates = [LogisticRegression("auto").fit(x, labels).lr_ for labels in (noise, y)]
    assert rates[0] < rates[1]


@pytest.mark.parametrize("parts", [[64, 1000], [N - 1, 1], [N, 64], [N - 100, 300], [N + 1, 5]])
def test_partial_fit_before_and_after_the_choice(rng, parts):
    n = sum(parts)
    x, y = data(rng, n)
    weights = rng.integers(1, 4, n).astype(np.float32)
    learner = LogisticRegression("auto")
    begin = 0
    for k, part in enumerate(parts):
        end = begin + part
        # the first part is given without weights
        given = None if k == 0 else weights[begin:end]
        learner.partial_fit(x[begin:end], y[begin:end], classes=[0, 1], sample_weight=given)
        begin = end
        assert learner.n_examples_ == begin
        assert learner.lr_ in sweep.RATES
        assert np.isfinite(learner.progressive_["logloss"])
    if (parts[0] % 64, n > N) == (0, True) or n <= N:
        weights[: parts[0]] = 1
        whole = LogisticRegression("auto").fit(x, y, weights)
        assert_same_model(learner, whole)
        assert learner.progressive_ == whole.progressive_


def test_examples_held_back_are_copied(rng):
    """A caller may reuse its arrays."""
    x, y = data(rng, 500, values=True)
    weights = rng.random(500).astype(np.float32)
    expected = LogisticRegression("auto").fit(x, y, weights).coef_.copy()
    learner = LogisticRegression("auto").partial_fit(x, y, sample_weight=weights)
    x.slots.base[:] = 0  # the arrays that x was made of
    x.values.base[:] = 1
    y[:] = 0
    weights[:] = 7
    assert_same_bits(learner.coef_.copy(), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_made_before_the_choice_continue(rng, copied):
    x, y = data(rng, N + 640)
    first = LogisticRegression("auto").partial_fit(x[:640], y[:640])
    for learner in (copied(first), first):
        learner.partial_fit(x[640:], y[640:])
        assert_same_model(learner, LogisticRegression("auto").fit(x, y))


def test_a_trainer_holds_examples_back_until_it_chooses(rng):
    x, y = data(rng, N + 640)
    trainer = Trainer(model.Model(model.Settings("lr", 500, Rule())), auto_rate=True)
    trainer.learn(LabeledExamples(x[:640], y[:640]))
    assert (trainer.has_rate, trainer.examples) == (False, 640)
    preview = trainer.model()
    assert preview.settings.rule.lr in sweep.RATES
    assert trainer.model() is preview
    trainer.learn(LabeledExamples(x[640:], y[640:]))
    assert (trainer.has_rate, trainer.examples) == (True, N + 640)
    assert (preview.examples, trainer.model().examples) == (640, N + 640)
    chosen = trainer.model()
    trainer.choose_rate()
    assert trainer.model() is chosen


def test_later_passes_use_the_choice(rng):
    x, y = data(rng, 1000)
    auto = LogisticRegression("auto", passes=3, shuffle=True).fit(x, y)
    assert_same_model(auto, LogisticRegression(auto.lr_, passes=3, shuffle=True).fit(x, y))


def test_one_class_so_far(rng):
    x = Examples.from_csr(np.eye(8))
    learner = LogisticRegression("auto").partial_fit(x, np.zeros(8), classes=[0, 1])
    assert learner.lr_ == 1.0
    assert (learner.decision_function(x) < 0).all()


def test_accumulators_of_rows_and_of_elements_choose_the_same_rate(rng):
    x = batch(rng, 300, 64)
    y = labels(rng, x)
    rules = [preset("fbgemm_rowwise").replace(accumulator=shape) for shape in ("row", "element")]
    row, element = (LogisticRegression("auto", rule=rule).fit(x, y) for rule in rules)
    assert row.lr_ == element.lr_
    assert_same_bits(row.coef_.copy(), element.coef_.copy())
