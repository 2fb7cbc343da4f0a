"""Rule and presets: validation, immutability, names."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import adagrad
from adagrad import Rule
from checks import assert_same_bits, wide_range
from rules import RULES

BAD = [
    ({"lr": float("nan")}, ValueError, "lr must be finite"),
    ({"eps": float("inf")}, ValueError, "eps must be finite"),
    ({"lr": -1.0}, ValueError, "lr must not be negative"),
    ({"lr": "fast"}, TypeError, "lr must be a real number, got 'fast'"),
    ({"lr": 1j}, TypeError, "lr must be a real number"),
    ({"lr": True}, TypeError, "lr must be a real number"),
    ({"initial_accumulator": -0.1}, ValueError, "initial_accumulator must not be negative"),
    ({"lr_decay": -1}, ValueError, "lr_decay must not be negative"),
    ({"weight_decay": -1}, ValueError, "weight_decay must not be negative"),
    ({"power": -0.5}, ValueError, r"power must be 0 or in \[2\*\*-11, 1\]"),
    ({"power": 1.5}, ValueError, "power must be 0 or in"),
    ({"power": 1e-9}, ValueError, "power must be 0 or in"),
    ({"accumulator_decay": 0.0}, ValueError, r"accumulator_decay must be in \(0, 1\]"),
    ({"accumulator_decay": 1.1}, ValueError, r"accumulator_decay must be in \(0, 1\]"),
    ({"clip_value": 0.0}, ValueError, "clip_value must be positive or None"),
    ({"clip_value": float("nan")}, ValueError, "clip_value must be finite"),
    ({"scale": float("inf")}, ValueError, "scale must be finite"),
    ({"lagged": 1}, TypeError, "lagged must be a bool, got 1"),
    ({"maximize": "yes"}, TypeError, "maximize must be a bool"),
    ({"eps_position": "under"}, ValueError, "eps_position must be one of 'inside', 'outside'"),
    ({"weight_decay_mode": None}, ValueError, "weight_decay_mode must be one of"),
    ({"duplicates": "add"}, ValueError, "duplicates must be one of 'sum', 'sequential'"),
    ({"on_nonfinite": "warn"}, ValueError, "on_nonfinite must be one of"),
    ({"statistic": "cube"}, ValueError, "statistic must be one of"),
    ({"evaluation": "g*lr/d"}, ValueError, r"evaluation must be one of 'lr\*g/d'"),
    ({"accumulator": "column"}, ValueError, "accumulator must be one of 'element', 'row'"),
    ({"lr": 10**400}, ValueError, "lr must be finite"),
    ({"duplicates": np.array(["a", "b"])}, ValueError, "duplicates must be one of"),
    ({"duplicates": "each", "weight_decay": 0.1}, ValueError, "accumulates before the first step"),
    (
        {
            "weight_decay_rows": "all",
            "weight_decay_mode": "decoupled",
            "evaluation": "g/d*lr",
        },
        ValueError,
        "decays before the step",
    ),
    ({"weight_decay_rows": "all"}, ValueError, "needs weight_decay_mode='decoupled'"),
]


@pytest.mark.parametrize(("fields", "error", "message"), BAD)
def test_bad_fields(fields, error, message):
    with pytest.raises(error, match=message):
        Rule(**fields)
    with pytest.raises(error, match=message):
        adagrad.preset("textbook", **fields)


def test_frozen():
    rule = Rule()
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.lr = 0.5
    with pytest.raises(TypeError, match="positional"):
        Rule(0.1)


def test_values_are_plain_python():
    rule = Rule(lr=np.float32(0.5), eps=0, lagged=np.True_, clip_value=np.int64(2))
    assert [type(x) for x in (rule.lr, rule.eps, rule.lagged, rule.clip_value)] == [
        float,
        float,
        bool,
        float,
    ]
    assert "np." not in repr(rule)


def test_equality_hash_copy_pickle():
    rule = Rule(lr=0.5, power=0.25)
    w, s = np.ones(3), np.zeros(3)
    adagrad.step(w, np.ones(3), s, rule=rule)  # compiles it
    for other in (copy.copy(rule), copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert other == rule
        assert hash(other) == hash(rule)
        adagrad.step(w, np.ones(3), s, rule=other)
    assert rule != Rule(lr=0.5)
    assert eval(repr(rule), {"Rule": Rule}) == rule


def test_replace():
    rule = Rule(lr=0.5).replace(eps=1e-3)
    assert (rule.lr, rule.eps) == (0.5, 1e-3)
    with pytest.raises(TypeError, match="Rule has no field 'epsilon'; its fields are lr, eps"):
        rule.replace(epsilon=1)


def test_lr_at():
    rule = Rule(lr=1.0, lr_decay=0.5)
    assert [rule.lr_at(t) for t in (1, 2, 3)] == [1.0, 1 / 1.5, 0.5]
    w, s = np.zeros(2), np.zeros(2)
    adagrad.step(w, np.ones(2), s, rule=rule.replace(eps=0.0), t=3)
    assert w.tolist() == [-0.5, -0.5]


def test_defaults_are_the_textbook():
    assert adagrad.preset("textbook") == Rule()
    assert (Rule().lr, Rule().eps, Rule().eps_position) == (0.1, 1e-6, "inside")
    assert Rule().initial_accumulator == 0.0


# name: divisor's eps position, eps, initial accumulator, lr, duplicates
TABLE = {
    "textbook": ("inside", 1e-6, 0.0, 0.1, "sum"),
    "torch": ("outside", 1e-10, 0.0, 0.01, "sum"),
    "keras": ("inside", 1e-7, 0.1, 0.001, "each"),
    "optax": ("inside", 1e-7, 0.1, None, "sum"),
    "mxnet": ("inside", 1e-7, 0.0, 0.01, "sum"),
    "tf1": ("inside", 0.0, 0.1, None, "sum"),
    "fbgemm": ("outside", 1e-8, 0.0, 0.01, "sum"),
    "fbgemm_rowwise": ("outside", 1e-8, 0.0, 0.01, "sum"),
    "torchrec_rowwise": ("outside", 1e-10, 0.0, 0.01, "sum"),
    "caffe2": ("outside", 1e-4, 0.0, 0.01, "sequential"),
    "libffm": ("inside", 0.0, 1.0, 0.2, "sequential"),
    "lightfm": ("inside", 0.0, 1.0, 0.05, "sequential"),
    "glove": ("inside", 0.0, 1.0, 0.05, "sequential"),
    "river": ("inside", 1e-8, 0.0, 0.1, "sum"),
}


@pytest.mark.parametrize("name", adagrad.presets())
def test_preset_defaults(name):
    position, eps, start, lr, duplicates = TABLE[name]
    if lr is None:
        with pytest.raises(ValueError, match=f"{name} has no default lr"):
            adagrad.preset(name)
    rule = adagrad.preset(name, **({} if lr else {"lr": 0.3}))
    assert rule.lr == (lr or 0.3)
    assert (rule.eps_position, rule.eps) == (position, eps)
    assert (rule.initial_accumulator, rule.duplicates) == (start, duplicates)
    assert adagrad.preset(name, lr=0.25, eps=0.5).eps == 0.5


def test_unknown_presets_and_overrides():
    with pytest.raises(ValueError, match="there is no preset 'adam': choose from textbook, torch"):
        adagrad.preset("adam")
    with pytest.raises(ValueError, match="there is no preset"):
        adagrad.preset(["torch"])
    with pytest.raises(TypeError, match="Rule has no field 'learning_rate'"):
        adagrad.preset("keras", learning_rate=0.1)


def test_first_steps_differ_by_orders_of_magnitude():
    # "AdaGrad" is many updates: the first step for g = 1e-4, over lr.
    steps = {}
    for name in ("torch", "textbook", "keras"):
        rule = adagrad.preset(name, lr=1.0)
        w, s = np.zeros(1), np.full(1, rule.initial_accumulator)
        adagrad.step(w, np.full(1, 1e-4), s, rule=rule)
        steps[name] = -w[0]
    assert steps["torch"] == pytest.approx(1.0, rel=1e-5)
    assert steps["textbook"] == pytest.approx(0.0995, rel=1e-3)
    assert steps["keras"] == pytest.approx(0.000316, rel=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("power", [0.0, 0.1, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("position", ["inside", "outside"])
def test_the_rate_is_what_a_step_takes_off(position, power, dtype):
    rng = np.random.default_rng(3)
    s = np.abs(wide_range(rng, 500, dtype))
    rule = Rule(
        lr=0.3, eps=1e-3, eps_position=position, power=power, lagged=True, evaluation="lr/d*g"
    )
    w = np.zeros(500, dtype)
    adagrad.step(w, np.full(500, -1, dtype), s.copy(), rule)
    assert_same_bits(rule.rate(s), w)
    w = np.zeros(500, dtype)
    adagrad.step(w, np.full(500, -1, dtype), s.copy(), rule.replace(lr=0.7))
    assert_same_bits(rule.rate(s, lr=0.7), w)
    skipping = rule.replace(skip_zero_accumulator=True)
    w = np.zeros(500, dtype)
    adagrad.step(w, np.full(500, -1, dtype), s.copy(), skipping)
    assert (s == 0).any()
    assert_same_bits(skipping.rate(s), w)


@pytest.mark.parametrize("name", RULES)
def test_the_rate_of_every_rule(name):
    rule = RULES[name].replace(
        lagged=True, evaluation="lr/d*g", weight_decay=0.0, weight_decay_mode="coupled",
        weight_decay_rows="touched", maximize=False, scale=1.0, clip_value=None
    )  # fmt: skip
    s, w = np.abs(wide_range(np.random.default_rng(4), 500, "f4")), np.zeros(500, "f4")
    adagrad.step(w, np.full(500, -1, "f4"), s.copy(), rule)
    assert_same_bits(rule.rate(s), w)


def test_dtypes_of_rates():
    rule = Rule(lr=0.5, eps=0.0)
    assert rule.rate(4).shape == ()
    assert rule.rate([1, 4]).tolist() == [0.5, 0.25]
    assert rule.rate([1, 4]).dtype == np.float64
    assert rule.rate(np.ones((2, 3), "f2")).dtype == np.float32
    assert np.isinf(rule.rate(0.0))


@pytest.mark.parametrize(
    ("s", "lr", "error", "message"),
    [
        ([1.0, -0.5], None, ValueError, r"s\[1\] = -0.5 is negative"),
        ([1.0], -1.0, ValueError, "lr must not be negative, got -1.0"),
        ([1.0], "fast", TypeError, "lr must be a real number, got 'fast'"),
    ],
)
def test_bad_rates(s, lr, error, message):
    with pytest.raises(error, match=message):
        Rule().rate(s, lr)
