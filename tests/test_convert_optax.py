"""States of optax, recorded by tests/data/record_optax.py, move here, go on, and move back."""

from __future__ import annotations

import json
import types
from collections import OrderedDict, defaultdict
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
from adagrad import convert
from adagrad.convert._trees import leaves, with_leaves
from checks import DATA, assert_same_bits

ml_dtypes = pytest.importorskip("ml_dtypes")

RECORDED = np.load(DATA / "optax.npz")
CASES = [name for name in RECORDED.files if RECORDED[name].dtype.kind == "U" and name != "version"]
RATES = {"scheduled": 0.5}  # the factor by which the recorded schedule changes it each step
# Weight decay before it reads params that differ in the last bit; the condition is compiled.
INEXACT = ("clipped", "finite")


def build(described, values):
    """The containers that a recording describes, with dicts against the order of their keys."""
    if described is None or isinstance(described, int):
        return None if described is None else values[described]
    kind, children = described["kind"], described["children"]
    if isinstance(children, list):
        return {"list": list, "tuple": tuple}[kind](build(child, values) for child in children)
    built = {key: build(child, values) for key, child in children.items()}
    if kind == "namedtuple":
        return NamedTuple(described["name"], [(key, object) for key in built])(**built)
    if kind == "OrderedDict":
        return OrderedDict(built)
    backwards = dict(reversed(built.items()))
    return backwards if kind == "dict" else types.MappingProxyType(backwards)


def split(flat, shapes):
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes)]  # noqa: B905


def recorded(name):
    about = json.loads(str(RECORDED[name]))
    shapes = [shape for shape, _ in about["leaves"]]
    dtypes = [dtype for _, dtype in about["leaves"]]
    parts = split(RECORDED[f"{name}_state"], shapes)
    values = [part.astype(dtype) for part, dtype in zip(parts, dtypes, strict=True)]
    return about, values, build(about["state"], values)


def test_there_are_recordings():
    assert len(CASES) == 12


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_jax(name):
    about, values, state = recorded(name)
    assert [id(leaf) for _, _, leaf in leaves(state)] == [id(value) for value in values]
    again = with_leaves(state, iter(values))
    assert described(again) == described(state)
    assert about["config"].keys() <= set(convert._optax._OPTAX)


def described(tree):
    """Types, keys in their order, and leaves by identity."""
    if hasattr(tree, "_fields"):
        return type(tree), [described(child) for child in tree]
    if hasattr(tree, "items"):
        return type(tree), [(key, described(child)) for key, child in tree.items()]
    if isinstance(tree, (list, tuple)):
        return type(tree), [described(child) for child in tree]
    return id(tree)


@pytest.mark.parametrize("name", CASES)
def test_training_goes_on(name):
    about, _, state = recorded(name)
    shapes = about["params"]
    w = [np.array(part) for part in split(RECORDED[f"{name}_w"][0], shapes)]
    opt = adagrad.Adagrad(w)
    opt.load_state_dict(convert.from_optax(about["config"], state))
    assert set(opt.steps) == {3 if name in ("scheduled", "injected") else 0}
    for k in range(3):
        opt.step(split(RECORDED[f"{name}_grads"][k], shapes))
        opt.rule = opt.rule.replace(lr=opt.rule.lr * RATES.get(name, 1.0))
        s = split(RECORDED[f"{name}_s"][k + 1], shapes)
        for i, expected in enumerate(split(RECORDED[f"{name}_w"][k + 1], shapes)):
            np.testing.assert_allclose(w[i], expected, rtol=0, atol=4e-7)
            if name in INEXACT:
                np.testing.assert_allclose(opt.accumulators[i], s[i], rtol=4e-7)
            else:
                assert_same_bits(opt.accumulators[i], s[i], (k, i))


@pytest.mark.parametrize("name", CASES)
def test_back(name):
    about, values, state = recorded(name)
    empty = with_leaves(state, (np.zeros_like(value) for value in values))
    ours = convert.from_optax(about["config"], state)
    config, back = convert.to_optax(ours, empty)
    assert described(with_leaves(back, iter(values))) == described(state)
    for value, (_, path, leaf) in zip(values, leaves(back), strict=True):
        assert leaf.dtype == value.dtype, path
        assert np.array_equal(leaf, value), path
    defaults = {"initial_accumulator_value": 0.1, "eps": 1e-7}
    if name == "injected":  # as float32
        assert config == {
            k: float(np.float32(v)) for k, v in {"learning_rate": 0.1, **defaults}.items()
        }
    else:
        assert config == {**defaults, **about["config"]}
    assert not any(leaf.any() for _, _, leaf in leaves(empty))


class Pair(NamedTuple):
    x: object
    y: object


keys = st.text("ab10", max_size=2)
trees = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
        | st.dictionaries(keys, inner, max_size=3).map(lambda d: defaultdict(int, d))
        | st.tuples(inner, inner).map(lambda pair: Pair(*pair))
    ),
    max_leaves=12,
)


@given(trees)
def test_leaves_and_back(tree):
    old = [leaf for _, _, leaf in leaves(tree)]
    doubled = with_leaves(tree, (2 * leaf for leaf in old))
    assert [leaf for _, _, leaf in leaves(doubled)] == [2 * leaf for leaf in old]
    assert with_leaves(doubled, iter(old)) == tree
    for path_keys, path, leaf in leaves(tree):
        found = tree
        for key in path_keys:
            found = getattr(found, key) if hasattr(found, "_fields") else found[key]
        assert found is leaf
        assert path.count("[") + path.count(".") >= len(path_keys)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_accumulators_of_16_bits_become_float32(dtype):
    s = np.array([0.1, 3.0], dtype)
    theirs = {"sum_of_squares": {"w": s}}
    state = convert.from_optax({"learning_rate": 0.1}, theirs)
    assert_same_bits(state["accumulators"][0], s.astype("f4"))
    _, back = convert.to_optax(state, theirs)
    assert_same_bits(back["sum_of_squares"]["w"], s.astype("f4"))
    assert s.dtype == dtype


def state_of(steps=(3, 3), **fields):
    opt = adagrad.Adagrad([np.ones((2, 3), "f4"), np.ones(4)], preset="optax", lr=0.1, **fields)
    opt.steps = list(steps)
    return opt.state_dict()


RATE = {"learning_rate": 0.1}
PLAIN = {"sum_of_squares": [np.ones(2)]}


@pytest.mark.parametrize(
    ("config", "state", "error", "text"),
    [
        ({"lr": 0.1}, PLAIN, TypeError, "config has 'lr'; known options are learning_rate, "),
        ({}, PLAIN, ValueError, "config must have learning_rate"),
        ({"learning_rate": abs}, PLAIN, ValueError, "a schedule as learning_rate.*give its value"),
        (RATE, ({}, ()), ValueError, "sum_of_squares in 0 places"),
        (RATE, {"x": PLAIN, "y": (PLAIN,)}, ValueError, "sum_of_squares in 2 places.*part of one"),
        (
            RATE,
            (PLAIN, {"trace": np.ones(2)}),
            ValueError,
            r"opt_state\[1\]\['trace'\] is state th",
        ),
        (RATE, (PLAIN, {"count": 1}, {"count": 3}), ValueError, "counts that differ: 1, 3"),
        (RATE, (PLAIN, {"count": -1}), ValueError, r"opt_state\[1\]\['count'\] must be an integer"),
        (
            RATE,
            (PLAIN, {"hyperparams": {"b1": 0.9}}),
            ValueError,
            r"\['b1'\] is state that no Rule",
        ),
        (
            RATE,
            {"sum_of_squares": {"w": "x"}},
            TypeError,
            r"\['w'\] must be an array, got str: put",
        ),
        (RATE, {"sum_of_squares": np.array([1])}, TypeError, "float32 or float64, got int64"),
        (
            RATE,
            {"sum_of_squares": np.array([1.0, -1.0])},
            ValueError,
            r"squares'\]\[1\] must be fi",
        ),
    ],
)
def test_what_is_refused(config, state, error, text):
    with pytest.raises(error, match=text):
        convert.from_optax(config, state)


@pytest.mark.parametrize(
    ("fields", "like", "text"),
    [
        ({"lr_decay": 0.1}, [np.ones(2)], "optax cannot express a rule with lr_decay=0.1"),
        ({}, [np.ones(2)], "state has 2 accumulators, but opt_state has 1"),
        ({}, [np.ones((2, 3)), np.ones(4)], r"float32 of shape \[2, 3\], got float64"),
        ({}, [np.ones((2, 3), "f4"), np.ones(5)], r"got float64 of shape \[5\]"),
    ],
)
def test_what_optax_cannot_take(fields, like, text):
    with pytest.raises(ValueError, match=text):
        convert.to_optax(state_of(**fields), {"sum_of_squares": like})


def test_one_count_for_all_params():
    places = {"sum_of_squares": [np.ones((2, 3), "f4"), np.ones(4)]}
    state = state_of(steps=(3, 2))
    convert.to_optax(state, places)
    with pytest.raises(ValueError, match=r"one count for all params, but steps are \[3, 2\]"):
        convert.to_optax(state, (places, {"count": np.int32(0)}))
