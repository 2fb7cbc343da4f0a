"""Pairs beside a mixture: equal to their reference, and never worse than the mixture alone."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import adagrad
from adagrad import _core
from adagrad.ctr import Examples, HashingEncoder
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.pairs import PairMixing
from adagrad.ctr.learners.settings import Kind, Settings
from adagrad.ctr.training import insight
from checks import Array, assert_same_bits
from isas import using
from pair_mixing_reference import PairMixing as Reference

KINDS: list[Kind] = ["fm", "ffm"]
F = np.float32


def model_of(kind: Kind, x: Examples, **options: Any) -> Model:
    options = {"init_scale": 0.1, "normalize": True, "factors": 4} | options
    if kind == "ffm":
        options |= {"n_fields": x.n_fields, "parts": 1}
    if kind == "lr":
        options = {}
    return Model(Settings(kind, x.n_slots, None, **options))


def log(rng: Any, n: int, fields: int = 6, values: int = 4) -> tuple[Examples, Array]:
    """Fields of a few values; a click is likely if the first two agree."""
    found = rng.integers(0, values, (n, fields))
    columns = {f"f{j}": found[:, j].astype(str) for j in range(fields)}
    agree = found[:, 0] == found[:, 1]
    y = (rng.random(n) < np.where(agree, 0.7, 0.1)).astype(F)
    return HashingEncoder(12).fit_transform(columns), y


def nats(margins: Array, y: Array) -> float:
    signed = np.where(y > 0, -margins, margins).astype(float)
    return float(np.logaddexp(0.0, signed).sum())


def states(model: Model) -> dict[str, Array]:
    assert model.mixture is not None
    assert model.pair_mixing is not None
    tables = {name: table._memory.copy() for name, table in model.tables.items()}
    return tables | {
        "rows": model.mixture.rows.copy(),
        "mixture": model.mixture.state.copy(),
        "pairs": model.pair_mixing.state.copy(),
    }


def assert_same_states(a: Model, b: Model) -> None:
    for (name, one), other in zip(states(a).items(), states(b).values(), strict=True):
        assert_same_bits(one.ravel().view(np.uint8), other.ravel().view(np.uint8), name)


@pytest.mark.parametrize("half_life", [None, 100.0])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("size", [1.0, 20.0, 200.0])
def test_mixing_equals_its_reference(size, has_bias, half_life, rng):
    n = 400
    linear, guarded, pairs = (rng.standard_normal((3, n)) * size).astype(F)
    pairs[::50], linear[::70] = np.nan, np.inf
    y = (rng.random(n) < 0.4).astype(F)
    weights = None if size == 1 else rng.uniform(0, 4, n).astype(F)
    ours = PairMixing(has_bias, half_life)
    growth = 1.0
    if half_life is not None:
        x, growth = 0.69314718055994530942 / half_life, 1.0
        for k in range(12, 0, -1):
            growth = 1.0 + growth * x / k
    theirs = Reference(has_bias, growth)
    assert_same_bits(ours.state, theirs.state())
    found = ours.mix(linear, guarded, pairs, y, weights, learns=True)
    expected = [
        theirs.step(
            linear[i], guarded[i], pairs[i], y[i], 1.0 if weights is None else float(weights[i])
        )
        for i in range(n)
    ]
    assert_same_bits(found, np.array(expected, F))
    assert_same_bits(ours.state, theirs.state())
    assert np.isfinite(found).all()
    before = ours.state.copy()
    again = ours.mix(linear, guarded, pairs, y, weights, learns=False)
    assert_same_bits(ours.state, before)
    assert not np.array_equal(again, found)


@given(
    data=st.lists(
        st.tuples(st.floats(-60, 60), st.floats(-60, 60), st.floats(-500, 500), st.booleans()),
        max_size=60,
    ),
    weight=st.sampled_from([None, 0.25, 1.0, 40.0]),
)
@settings(max_examples=200)
def test_a_mixture_costs_at_most_log_2_over_its_linear_part(data, weight):
    linear, guarded, pairs, y = (np.array([row[k] for row in data], F) for k in range(4))
    weights = None if weight is None else np.full(len(y), weight, F)
    mixing = PairMixing(intercept=True)
    margins = mixing.mix(linear, guarded, pairs, y, weights, learns=True)
    o = weight or 1.0
    allowed = np.log(2) * max(o, 1.0) + 1e-4 * o
    assert o * nats(margins, y) <= o * nats(guarded, y) * (1 + 1e-6) + allowed
    assert o * nats(margins, y) <= mixing.state[15] * (1 + 1e-6) + allowed


@pytest.mark.parametrize("weight", [1e6, 2.0**48])
def test_a_step_of_the_mixing_moves_its_margin_by_at_most_4(weight):
    mixing = PairMixing(intercept=True)
    z, y = np.array([20.0], F), np.zeros(1, F)
    mixing.mix(z, z, -z / 2, y, np.array([weight], F), learns=True)
    moved = np.array([20.0, -10.0, 1.0]) @ (mixing.state[:3] - [1.0, 1.0, 0.0])
    assert moved == pytest.approx(-4.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_a_mixture_pairs_beside_it_and_their_mixing(kind, rng):
    """The pairs see the margins of the mixture, and change nothing in it."""
    x, y = log(rng, 2000)
    weights = rng.uniform(0.5, 2, len(x)).astype(F)
    model, linear = model_of(kind, x), model_of("lr", x)
    margins = model.learn(x, y, weights)
    guarded = linear.learn(x, y, weights)
    assert linear.mixture is not None
    assert model.mixture is not None
    assert_same_bits(model.mixture.rows.copy(), linear.mixture.rows.copy())
    assert_same_bits(model.mixture.state, linear.mixture.state)
    mixed = np.empty(len(x), F)
    other = model_of("lr", x).mixture
    assert other is not None
    other.learn(x, y, weights, 0, mixes=True, threads=1, mixed=mixed)
    twin = model_of(kind, x)
    pairs = twin._learner.learn(x, y, weights, 0, 1, mixed)
    expected = PairMixing(intercept=True).mix(mixed, guarded, pairs, y, weights, learns=True)
    assert_same_bits(margins, expected)
    assert nats(margins, y) < nats(guarded, y) - 20


@pytest.mark.parametrize("kind", KINDS)
def test_isas_threads_cuts_and_copies_change_no_bit(kind, rng):
    x, y = log(rng, 3000, fields=9)
    expected = model_of(kind, x)
    margins = expected.learn(x, y, threads=1)
    predicted = expected.margins(x, threads=1)
    for threads in (2, 3, 8):
        model = model_of(kind, x)
        assert_same_bits(model.learn(x, y, threads=threads), margins)
        assert_same_states(model, expected)
        assert_same_bits(model.margins(x, threads=threads), predicted)
    for isa in adagrad.isas():
        with using(isa):
            model = model_of(kind, x)
            assert_same_bits(model.learn(x[:640], y[:640]), margins[:640], isa)
            model = model.copy()
            assert_same_bits(model.learn(x[640:], y[640:]), margins[640:], isa)
            assert_same_states(model, expected)
            assert_same_bits(model.margins(x), predicted, isa)


@pytest.mark.parametrize("kind", KINDS)
def test_what_predicts_is_a_linear_model_and_the_pairs_at_one_scale(kind, rng):
    x, y = log(rng, 3000)
    model = model_of(kind, x)
    model.learn(x, y)
    assert model.pair_mixing is not None
    scale = model.pair_mixing.exported().scale
    assert scale > 0.5
    weights, bias = model.linear()
    linear = weights[x.slots].reshape(len(x), -1).sum(axis=1) + bias
    np.testing.assert_allclose(
        model.margins(x), linear + scale * model._learner.margins(x, 1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_that_did_harm_are_not_exported(kind, rng):
    """Pairs that are noise: only the linear part predicts, with the bits of the mixture."""
    x, y = log(rng, 800)
    model = model_of(kind, x, init_scale=4.0)
    margins = model.learn(x, y)
    assert model.pair_mixing is not None
    assert model.mixture is not None
    assert model.pair_mixing.exported() == (1.0, 0.0, 0.0)
    assert_same_bits(model.margins(x), model.mixture.margins(x))
    assert nats(margins, y) <= nats(model_of("lr", x).learn(x, y), y) + np.log(2) + 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("log_of", ["random", "ordered", "flipping", "one label", "wild"])
def test_no_log_makes_pairs_worse_than_the_linear_part(kind, log_of, rng):
    x, y = log(rng, 3000)
    if log_of == "random":
        y = (rng.random(len(x)) < 0.05).astype(F)
    elif log_of == "ordered":
        y = np.sort(y)
    elif log_of == "flipping":
        y = np.where(np.arange(len(x)) // 250 % 2 == 0, y, 1 - y).astype(F)
    elif log_of == "one label":
        y = np.zeros_like(y)
    else:
        sizes = np.exp(np.minimum(rng.standard_normal(len(x.slots)) * 12, 33)).astype(F)
        x = Examples(
            x.slots, x.bounds, x.n_slots, len(x), values=sizes, fields=x.fields, n_fields=6
        )
    model = model_of(kind, x)
    margins = model.learn(x, y)
    guarded = model_of("lr", x).learn(x, y)
    assert np.isfinite(margins).all()
    assert np.isfinite(model.margins(x)).all()
    assert nats(margins, y) <= nats(guarded, y) * (1 + 1e-6) + np.log(2) + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_later_passes_change_no_weight_of_the_mixing(kind, rng):
    x, y = log(rng, 1500)
    model = model_of(kind, x)
    model.learn(x, y)
    assert model.pair_mixing is not None
    state, before = model.pair_mixing.state.copy(), states(model)
    model.learn(x, y, count=False)
    assert_same_bits(model.pair_mixing.state, state)
    assert any(not np.array_equal(states(model)[name], before[name]) for name in model.tables)


def test_the_pairs_are_listed_as_an_expert(rng):
    x, y = log(rng, 2000)
    model = model_of("fm", x)
    assert model.pair_mixing is not None
    assert np.isnan(model.pair_mixing.expert()["logloss"])
    assert model.pair_mixing.expert()["share"] == 0.5
    model.learn(x, y)
    expert = model.pair_mixing.expert()
    assert expert["name"] == "pairs"
    assert expert["share"] > 0.99
    assert expert["weight"] == np.float32(model.pair_mixing.state[1]) != 0
    assert expert["logloss"] == pytest.approx(model.progressive.metrics()["logloss"], abs=2e-3)


def test_bad_margins_of_mixing(rng):
    x, y = log(rng, 100)
    state, margins = PairMixing(intercept=True).state, np.zeros(100, F)

    def mix(**changed: Any) -> Any:
        given = {"state": state, "linear": margins, "guarded": margins, "pairs": margins, "y": y}
        given |= {"has_bias": True, "weights": None, "half_life": 0.0, "learns": True}
        return _core.mix_pairs(**(given | changed))

    before = state.copy()
    with pytest.raises(TypeError, match="state has dtype float64 and shape"):
        mix(state=state[:5])
    with pytest.raises(ValueError, match=r"linear has shape \(99,\); \(100,\) is needed"):
        mix(linear=margins[1:])
    with pytest.raises(TypeError, match="guarded has dtype float64"):
        mix(guarded=margins.astype(float))
    with pytest.raises(ValueError, match="is not a label"):
        mix(y=margins + F(2))
    model = model_of("fm", x)
    with pytest.raises(ValueError, match=r"beside has shape \(99,\); \(100,\) is needed"):
        model._learner.learn(x, y, None, 0, 1, margins[1:])
    assert_same_bits(state, before)


def test_nothing_learns_from_examples_that_do_not_fit_the_pairs(rng):
    x, y = log(rng, 100)
    model = model_of("ffm", x)
    model.learn(x, y)
    before = states(model)
    without_fields = Examples(x.slots, x.bounds, x.n_slots, len(x))
    with pytest.raises(ValueError, match="X has no fields"):
        model.learn(without_fields, y)
    for name, array in states(model).items():
        assert_same_bits(array.ravel().view(np.uint8), before[name].ravel().view(np.uint8), name)


def test_pairs_that_are_left_out_of_the_model_have_the_weight_0(rng):
    x, _ = log(rng, 2000)
    model = model_of("fm", x)
    model.learn(x, (rng.random(2000) < 0.2).astype(F))  # there is nothing to learn
    assert model.pair_mixing is not None
    assert model.pair_mixing.state[1] != 0
    assert model.pair_mixing.exported().scale == 0
    assert model.pair_mixing.expert()["weight"] == 0


def test_the_pairs_have_a_line_of_their_own_in_the_report(rng):
    x, y = log(rng, 2000)
    model, linear = model_of("fm", x), model_of("lr", x)
    model.learn(x, y)
    linear.learn(x, y)
    rows = insight.expert_rows(model)
    assert [row[0] for row in rows[5:]] == ["mixture", "pairs", "guarded"]
    assert rows[:6] == insight.expert_rows(linear)[:6]
    assert all(len(row) == len(insight.EXPERT_HEADS) for row in rows)
