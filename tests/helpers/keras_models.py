"""What the tests of `adagrad.keras` share, on the backend of this process."""

from __future__ import annotations

import contextlib

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    import torch
elif BACKEND == "tensorflow":
    import tensorflow as tf

on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="needs the TensorFlow backend")
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="needs the torch backend")


def rate_of_its_own():
    return 0.05


SHAPES = [(300,), (7, 5), (), (2, 3, 4), (1,)]


ARGUMENTS = [
    {},
    {"learning_rate": 0.1},
    {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9)},
    {"learning_rate": rate_of_its_own},
    {"initial_accumulator_value": 0.0, "epsilon": 1e-3},
    {"weight_decay": 0.01},
    {"clipnorm": 0.5},
    {"clipvalue": 0.25},
    {"global_clipnorm": 0.5},
    {"use_ema": True, "ema_momentum": 0.9},
    {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    {"loss_scale_factor": 8.0},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "weight_decay": 0.01, "clipvalue": 0.25},
]


def array(x):
    return keras.ops.convert_to_numpy(x)


def variables_of(values, dtype="float32"):
    return [keras.Variable(w, dtype=dtype) for w in values]


def close(actual, expected, tolerance=3e-7):
    """Assert equality; on torch, whose own update fuses some operations, approximate equality."""
    if BACKEND == "torch":
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(actual, expected, strict=True)


def problem(rng, examples=64):
    x = rng.standard_normal((examples, 6, 4)).astype("f4")
    ids = rng.integers(0, 12, (examples, 5)).astype("i4")
    y = x[:, 0, 0] + np.sin(ids).sum(1).astype("f4")
    return [x, ids], y.astype("f4")


def model_with(optimizer, seed=3, *, recurrent=False, **compile_arguments):
    """Return a model with dense, embedding and normalization layers.

    A recurrent layer, which takes most of the time, has an orthogonal kernel: on torch, that is
    transposed in memory.
    """
    keras.utils.set_random_seed(seed)
    x, ids = keras.Input((6, 4)), keras.Input((5,), dtype="int32")
    parts = [keras.layers.Flatten()(x)]
    if recurrent:
        parts.append(keras.layers.SimpleRNN(8)(x))
    parts.append(keras.layers.Flatten()(keras.layers.Embedding(12, 3, name="table")(ids)))
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()(parts))
    out = keras.layers.Dense(1)(keras.layers.BatchNormalization()(hidden))
    model = keras.Model([x, ids], out)
    model.compile(optimizer=optimizer, loss="mse", **compile_arguments)
    return model


def weights(model):
    return [*model.get_weights(), *(array(v) for v in model.optimizer.variables)]


def dense_model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


@contextlib.contextmanager
def refused(optimizer, variables, text):
    """Assert that a call raises and changes no byte."""
    everything = [*variables, *optimizer.variables[2:]]  # without the counter: Keras increments it
    before = [array(v).copy() for v in everything]
    with pytest.raises(Exception, match=text):  # TensorFlow wraps the errors of a callback
        yield
    for v, bytes_before in zip(everything, before, strict=True):
        assert array(v).tobytes() == bytes_before.tobytes()


@contextlib.contextmanager
def one_sentence(text):
    with pytest.raises(RuntimeError, match=f"^{text}") as caught:
        yield
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


def sparse_gradient(rows, g, shape):
    if BACKEND == "torch":
        return torch.sparse_coo_tensor(
            torch.from_numpy(rows)[None], torch.from_numpy(g), shape, check_invariants=False
        )
    return tf.IndexedSlices(tf.constant(g), tf.constant(rows), tf.constant(shape))
