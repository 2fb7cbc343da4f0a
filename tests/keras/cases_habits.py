"""What users of Keras do with an optimizer besides `fit`: ours does as Keras' own."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from adagrad.keras import Adagrad
from checks import assert_same_bits, wide_range
from keras_models import (
    ARGUMENTS,
    BACKEND,
    SHAPES,
    array,
    close,
    dense_model,
    on_tensorflow,
    on_torch,
    refused,
    variables_of,
)

if BACKEND == "torch":
    pass
elif BACKEND == "tensorflow":
    import tensorflow as tf

KINDS = (Adagrad, keras.optimizers.Adagrad)


def tensors_of(arrays):
    return [keras.ops.convert_to_tensor(np.asarray(a, "f4")) for a in arrays]


def both(run):
    """Assert that a function of the class returns the same arrays with ours and with Keras'."""
    results = []
    for kind in KINDS:
        keras.utils.set_random_seed(5)
        results.append([np.asarray(x) for x in run(kind)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def data(rng, rows=16):
    return rng.standard_normal((rows, 3)).astype("f4"), rng.standard_normal((rows, 2)).astype("f4")


def test_by_name_and_as_a_config():
    assert type(keras.optimizers.get("adagrad>Adagrad")) is Adagrad
    config = {"class_name": "adagrad>Adagrad", "config": {"learning_rate": 0.25, "clipnorm": 2.0}}
    model = dense_model()
    model.compile(config, "mse")
    assert type(model.optimizer) is Adagrad
    assert float(array(model.optimizer.learning_rate)) == 0.25
    assert model.optimizer.clipnorm == 2.0
    again = keras.optimizers.deserialize(keras.optimizers.serialize(model.optimizer))
    assert again.get_config() == model.optimizer.get_config()


def test_callbacks(rng):
    x, y = data(rng)

    def run(kind):
        model = dense_model()
        model.compile(kind(0.5, use_ema=True, ema_momentum=0.5), "mse", run_eagerly=True)
        callbacks = [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.9 * rate),
            keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100.0),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.TerminateOnNaN(),
        ]
        given = {"validation_data": (x, y), "shuffle": False, "verbose": 0}
        history = model.fit(x, y, 8, 3, callbacks=callbacks, **given).history
        return [*model.get_weights(), *history.values()]

    both(run)


def test_train_on_batch_with_another_rate(rng):
    batches = [data(rng, 4) for _ in range(5)]

    def run(kind):
        model = dense_model()
        model.compile(kind(0.1, gradient_accumulation_steps=2), "mse", weighted_metrics=["mae"])
        losses = []
        for x, y in batches:
            losses.append(model.train_on_batch(x, y, sample_weight=np.arange(4))[0])
            model.optimizer.learning_rate = 2.0 * float(array(model.optimizer.learning_rate))
        return [*model.get_weights(), losses, array(model.optimizer.learning_rate)]

    both(run)


def test_a_schedule_takes_the_place_of_a_rate():
    optimizer = Adagrad(0.1)
    (variable,) = variables_of([np.ones(3)])
    optimizer.apply([keras.ops.ones(3)], [variable])
    optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    optimizer.apply([keras.ops.ones(3)], [variable])
    with pytest.raises(TypeError, match="its learning rate is not settable"):
        optimizer.learning_rate = 0.5


@on_torch
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_stateless_steps_are_those_of_apply_and_leave_what_they_are_given(arguments, rng):
    start = [rng.standard_normal(shape).astype("f4") for shape in SHAPES]
    one, two = variables_of(start), variables_of(start)
    a, b = Adagrad(**arguments), Adagrad(**arguments)
    a.build(one)
    b.build(two)
    state = [array(v).copy() for v in b.variables]
    values = [np.array(w) for w in start]
    for _ in range(4):
        grads = tensors_of(wide_range(rng, shape, "f4") for shape in SHAPES)
        a.apply(grads)
        before = [x.copy() for x in (*state, *values)]
        new_values, new_state = b.stateless_apply(state, grads, values)
        for x, y in zip((*state, *values), before, strict=True):
            assert x.tobytes() == y.tobytes()
        state, values = ([array(x) for x in part] for part in (new_state, new_values))
        for x, y in zip((*values, *state), (*one, *a.variables), strict=True):
            assert x.tobytes() == array(y).tobytes()
    for variable, w in zip(two, start, strict=True):
        assert_same_bits(array(variable), w)


@on_torch
def test_stateless_steps_of_others_around_ours():
    parts = keras.optimizers.OptimizerMap(Adagrad(0.1), {})
    for around in (
        keras.optimizers.MultiOptimizer(parts),
        keras.optimizers.LossScaleOptimizer(Adagrad(0.1), initial_scale=1.0),
    ):
        given, other = variables_of([np.ones(3), np.ones(3)])
        around.build([given])
        plain = Adagrad(0.1)
        g = [keras.ops.ones(3)]
        values, _ = around.stateless_apply([v.value for v in around.variables], g, [given.value])
        plain.apply(g, [other])
        assert_same_bits(array(values[0]), array(other))
        assert array(given).tolist() == [1.0, 1.0, 1.0]


@on_tensorflow
def test_stateless_steps_are_refused_by_keras():
    (variable,) = variables_of([np.ones(3)])
    optimizer = Adagrad()
    optimizer.build([variable])
    with pytest.raises(ValueError, match=r"^stateless_apply is not supported with the TensorFlow"):
        optimizer.stateless_apply(optimizer.variables, [tf.ones(3)], [variable])


def test_gradients_without_variables():
    variables = variables_of([np.ones(3), np.ones(2)])
    optimizer = Adagrad(0.1)
    grads = [keras.ops.ones(3), keras.ops.ones(2)]
    with pytest.raises(ValueError, match="the optimizer must already be built"):
        optimizer.apply(grads)
    optimizer.apply([])
    optimizer.build(variables)
    optimizer.apply(grads)
    assert all((array(v) < 1.0).all() for v in variables)
    with refused(optimizer, variables, "a list of 1 gradients, but the optimizer is tracking 2"):
        optimizer.apply(grads[:1])
    with refused(optimizer, variables, "No gradients provided for any variable"):
        optimizer.apply([None, None])
    (unknown,) = variables_of([np.ones(3)])
    with refused(optimizer, variables, "Unknown variable"):
        optimizer.apply(grads[:1], [unknown])


def test_gradients_that_overflow():
    variables = variables_of([np.ones(2), np.ones(2)])
    inner = Adagrad(0.5)
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    scaled.build(variables[:1])
    before = [array(v).tobytes() for v in (variables[0], *inner.variables)]
    scaled.apply(tensors_of([[np.inf, 1.0]]))
    assert before == [array(v).tobytes() for v in (variables[0], *inner.variables)]
    scaled.apply(tensors_of([[2.0, -2.0]]))  # the scale is 2 now
    Adagrad(0.5).apply(tensors_of([[1.0, -1.0]]), variables[1:])
    assert_same_bits(*map(array, variables))


def test_layers_that_are_frozen_and_thawed(rng):
    x, y = data(rng)

    def run(kind):
        layers = [keras.layers.Dense(4), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        optimizer = kind(0.1)
        given = {"batch_size": 8, "shuffle": False, "verbose": 0}
        weights = []
        for trainable in (True, False, True):
            layers[0].trainable = trainable
            model.compile(optimizer, "mse", run_eagerly=True)
            before = layers[0].get_weights()
            model.fit(x, y, **given)
            assert trainable == (not np.array_equal(before[0], layers[0].get_weights()[0]))
            weights += model.get_weights()
        # An optimizer that was built with fewer variables knows the others no more than Keras' own.
        layers[0].trainable = False
        model.compile(kind(0.1), "mse", run_eagerly=True)
        model.fit(x, y, **given)
        layers[0].trainable = True
        model.compile(model.optimizer, "mse", run_eagerly=True)
        with pytest.raises(ValueError, match="Unknown variable"):
            model.fit(x, y, **given)
        return weights

    both(run)


@pytest.mark.parametrize("how", ["lora", "int8, lora", "float8"])
def test_layers_with_variables_of_their_own_kind(how, rng):
    """Of LoRA only two small variables are trained; of float8, some are set to their gradients."""
    x = rng.standard_normal((16, 8)).astype("f4")
    y = rng.standard_normal((16, 16)).astype("f4")

    def run(kind):
        layer = keras.layers.Dense(16)
        model = keras.Sequential([keras.Input((8,)), layer])
        for step in how.split(", "):
            layer.enable_lora(2) if step == "lora" else layer.quantize(step)
        model.compile(kind(0.1), "mse", run_eagerly=how != "float8", jit_compile=False)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        own = [v for v in model.trainable_variables if getattr(v, "overwrite_with_gradient", 0)]
        assert len(own) == (6 if how == "float8" else 0)
        return [array(v) for v in model.trainable_variables]

    both(run)


def test_constraints():
    def run(kind):
        (variable,) = variables_of([np.linspace(-1.0, 1.0, 5)])
        variable.constraint = keras.constraints.NonNeg()
        kind(0.1).apply([keras.ops.ones(5)], [variable])
        return [array(variable)]

    both(run)


def test_a_subclass_may_override_the_update(rng):
    class Centered(Adagrad):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient - keras.ops.mean(gradient), variable, learning_rate)

    start = [rng.standard_normal(shape).astype("f4") for shape in SHAPES]
    ours, expected = variables_of(start), variables_of(start)
    optimizer, plain = Centered(0.1), Adagrad(0.1)
    for _ in range(3):
        grads = tensors_of(wide_range(rng, shape, "f4") for shape in SHAPES)
        optimizer.apply(grads, ours)
        plain.apply([g - keras.ops.mean(g) for g in grads], expected)
    for x, y in zip(ours, expected, strict=True):
        assert_same_bits(array(x), array(y))


def test_one_optimizer_of_several(rng):
    x, y = data(rng)

    def run(kind):
        model = dense_model()
        parts = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1), {".*kernel": kind(0.1)})
        model.compile(keras.optimizers.MultiOptimizer(parts), "mse", run_eagerly=True)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        return model.get_weights()

    both(run)


def test_weights_of_a_model_with_its_optimizer(tmp_path, rng):
    x, y = data(rng)
    model = dense_model()
    model.compile(Adagrad(0.1), "mse")
    model.fit(x, y, verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    state = [array(v) for v in model.optimizer.variables]
    model.fit(x, y, verbose=0)
    model.load_weights(tmp_path / "a.weights.h5")
    for v, old in zip(model.optimizer.variables, state, strict=True):
        close(array(v), old, 0)
    fresh = Adagrad(0.1)
    with pytest.raises(ValueError, match="optimizer that has not yet been built"):
        fresh.set_weights(state)
