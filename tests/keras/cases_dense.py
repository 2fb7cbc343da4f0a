"""The update of `adagrad.keras.Adagrad` with dense gradients, beside Keras and the preset."""

from __future__ import annotations

import keras
import ml_dtypes
import numpy as np
import pytest

import adagrad
import adagrad.convert
from adagrad.keras import Adagrad
from checks import assert_same_bits, wide_range
from keras_models import ARGUMENTS, BACKEND, SHAPES, array, close, refused, variables_of

if BACKEND == "tensorflow":
    import tensorflow as tf


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_every_argument(arguments, dtype, rng):
    start = [rng.standard_normal(shape) for shape in SHAPES]
    ours, theirs = variables_of(start, dtype), variables_of(start, dtype)
    a, b = Adagrad(**arguments), keras.optimizers.Adagrad(**arguments)
    for _ in range(12):
        grads = [wide_range(rng, shape, dtype) for shape in SHAPES]
        for optimizer, variables in ((a, ours), (b, theirs)):
            given = [keras.ops.convert_to_tensor(np.asarray(g, dtype)) for g in grads]
            optimizer.apply(given, variables)
        for x, y in zip(ours, theirs, strict=True):
            close(array(x), array(y))
    assert len(a.variables) == len(b.variables)
    for x, y in zip(a.variables, b.variables, strict=True):
        assert x.name.rpartition("_")[2] == y.name.rpartition("_")[2]
        close(array(x), array(y))
    assert a.get_config() == {**b.get_config(), "name": a.name, "duplicates": "each"}


def test_bits_are_those_of_the_preset(rng):
    start = [rng.standard_normal(shape).astype("f4") for shape in SHAPES]
    variables = variables_of(start)
    optimizer = Adagrad(0.1, epsilon=1e-3)
    w = [np.array(x) for x in start]
    expected = adagrad.Adagrad(w, preset="keras", lr=float(np.float32(0.1)), eps=1e-3)
    for _ in range(10):
        grads = [np.asarray(wide_range(rng, shape, "float32")) for shape in SHAPES]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
        expected.step(grads)
    for x, y in zip(variables, w, strict=True):
        assert_same_bits(array(x), y)
    state = [array(v) for v in optimizer.variables if v.name.endswith("accumulator")]
    for x, y in zip(state, expected.accumulators, strict=True):
        assert_same_bits(x, y)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_have_accumulators_of_32(dtype, rng):
    real = np.dtype(dtype) if dtype == "float16" else np.dtype(ml_dtypes.bfloat16)
    w = rng.standard_normal(40).astype("f4").astype(real)
    s = np.full(40, 0.1, "f4")
    variable = keras.Variable(w.astype("f4"), dtype=dtype)
    optimizer = Adagrad(0.1)
    optimizer.build([variable])
    rule = adagrad.preset("keras", lr=float(np.float32(0.1)))

    def apply(g):
        optimizer.apply([keras.ops.cast(g, dtype)])

    if BACKEND == "tensorflow":
        apply = tf.function(apply)
    for _ in range(10):
        g = wide_range(rng, 40, "float32").astype(real)
        apply(keras.ops.convert_to_tensor(g.astype("f4")))
        adagrad.step(w, g, s, rule)
    np.testing.assert_array_equal(array(keras.ops.cast(variable, "float32")), w.astype("f4"))
    assert_same_bits(array(optimizer.variables[-1]), s)


def test_takes_over_the_state_of_keras_and_gives_it_back(rng):
    start = [rng.standard_normal(shape).astype("f4") for shape in SHAPES]
    one, two = variables_of(start), variables_of(start)
    a, b = keras.optimizers.Adagrad(0.1), keras.optimizers.Adagrad(0.1)

    def apply(*pairs):
        for _ in range(3):
            grads = [np.asarray(wide_range(rng, shape, "float32")) for shape in SHAPES]
            for optimizer, variables in pairs:
                optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)

    apply((a, one), (b, two))
    for kind in (Adagrad, keras.optimizers.Adagrad):
        moved = kind.from_config(kind(0.1).get_config())
        moved.build(two)
        moved.set_weights([array(v) for v in b.variables])
        b = moved
        apply((a, one), (b, two))
    assert int(array(b.iterations)) == 9
    for x, y in zip(one, two, strict=True):
        close(array(x), array(y))


def test_converted_state_goes_on(rng):
    """From Keras' own optimizer to one of arrays, and back into another of Keras'."""
    w = [rng.standard_normal(shape).astype("f4") for shape in SHAPES]
    theirs = keras.optimizers.Adagrad(0.1, weight_decay=0.01, clipvalue=0.25)
    variables = variables_of(w)

    def steps(optimizer, variables, ours=None):
        for _ in range(5):
            grads = [np.asarray(wide_range(rng, shape, "f4")) for shape in SHAPES]
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
            if ours is not None:
                ours.step(grads)
                for x, v in zip(w, variables, strict=True):
                    np.testing.assert_allclose(array(v), x, rtol=3e-6, atol=3e-7)

    steps(theirs, variables)
    w = [np.array(array(v)) for v in variables]
    ours = adagrad.Adagrad(w)
    given = [array(v) for v in theirs.variables]
    ours.load_state_dict(adagrad.convert.from_keras(theirs.get_config(), given))
    steps(theirs, variables, ours)
    config, values = adagrad.convert.to_keras(ours.state_dict())
    again, copies = keras.optimizers.Adagrad.from_config(config), variables_of(w)
    again.build(copies)
    again.set_weights(values)
    steps(again, copies, ours)
    assert ours.steps == [15] * len(w)
    assert int(array(again.iterations)) == 15


NAMES = ("kernel", "bias")


def test_an_excluded_variable_does_not_decay(rng):
    start = [rng.standard_normal(9).astype("f4") for _ in range(2)]
    variables = [keras.Variable(w, name=name) for w, name in zip(start, NAMES, strict=True)]
    optimizer = Adagrad(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([keras.ops.zeros(9), keras.ops.zeros(9)], variables)
    assert_same_bits(array(variables[1]), start[1])
    np.testing.assert_allclose(array(variables[0]), start[0] * 0.95, rtol=1e-6)


def test_a_variable_that_its_gradient_overwrites_has_no_accumulator():
    plain, scale = variables_of([np.ones(2), np.ones(1)])
    scale.overwrite_with_gradient = True
    optimizer = Adagrad(0.5, epsilon=0.0, initial_accumulator_value=0.0)
    optimizer.apply([keras.ops.ones(2), 7 * keras.ops.ones(1)], [plain, scale])
    assert array(plain).tolist() == [0.5, 0.5]
    assert array(scale).tolist() == [7.0]
    assert [v.shape for v in optimizer.variables[2:]] == [(2,)]


def test_a_variable_without_a_gradient_stays():
    kept, changed = variables_of([np.ones(2), np.ones(2)])
    optimizer = Adagrad(0.5)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([None, keras.ops.ones(2)], [kept, changed])
    assert array(kept).tolist() == [1.0, 1.0]
    assert (array(changed) < 1.0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"epsilon": -1.0}, ValueError, "eps must not be negative, got -1.0"),
        (
            {"initial_accumulator_value": float("nan")},
            ValueError,
            "initial_accumulator must be fin",
        ),
        ({"duplicates": "last"}, ValueError, "duplicates must be one of 'sum'"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate"),
        ({"lr": 0.1}, ValueError, r"Argument\(s\) not recognized: {'lr': 0.1}"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        Adagrad(**arguments)


@pytest.mark.parametrize("kind", [keras.optimizers.Adagrad, Adagrad])
def test_the_decay_of_older_configs_is_ignored(kind):
    with pytest.warns(UserWarning, match="`decay` is no longer supported"):
        optimizer = kind.from_config({"learning_rate": 0.5, "decay": 0.1})
    assert float(optimizer.learning_rate) == 0.5
    assert kind.from_config({"decay": None}).name.startswith("adagrad")


def test_unsupported_dtypes():
    optimizer = Adagrad()
    with pytest.raises(TypeError, match=r"must have dtype float32, .* or float16, got int32"):
        optimizer.build([keras.Variable(np.ones(2, "i4"), dtype="int32", trainable=False)])
    assert not optimizer.built


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -0.5])
def test_bad_rates_change_nothing(rate):
    variables = variables_of([np.ones(3), np.ones(2)])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    optimizer.learning_rate = rate
    with refused(optimizer, variables, "learning_rate must (be finite|not be negative), got"):
        optimizer.apply([keras.ops.ones(3), keras.ops.ones(2)], variables)


def test_a_gradient_of_another_shape_changes_nothing():
    variables = variables_of([np.ones(3), np.ones(2)])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    text = rf"{variables[1].path} has shape \(3,\), but the variable has \(2,\)"
    with refused(optimizer, variables, text):
        optimizer.apply([keras.ops.ones(3), keras.ops.ones(3)], variables)
