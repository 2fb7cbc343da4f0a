"""Sparse gradients of `adagrad.keras.Adagrad`."""

from __future__ import annotations

import keras
import ml_dtypes
import numpy as np
import pytest

import adagrad
from adagrad.keras import Adagrad
from checks import assert_same_bits, wide_range
from keras_models import (
    ARGUMENTS,
    BACKEND,
    array,
    on_tensorflow,
    on_torch,
    refused,
    sparse_gradient,
    variables_of,
)

if BACKEND == "torch":
    import torch
elif BACKEND == "tensorflow":
    import tensorflow as tf


@pytest.mark.parametrize("in_graph", [False, pytest.param(True, marks=on_tensorflow)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("duplicates", ["each", "sum", "sequential", "unique"])
def test_sparse_gradients(duplicates, dtype, in_graph, rng):
    shape = (50, 6)
    w, b = rng.standard_normal(shape).astype(dtype), rng.standard_normal(4).astype(dtype)
    variables = variables_of([w, b], dtype)
    optimizer = Adagrad(0.1, duplicates=duplicates)
    optimizer.build(variables)
    s, t = (np.array(array(v)) for v in optimizer.variables[2:])
    rule = adagrad.preset("keras", lr=float(np.float32(0.1)), duplicates=duplicates)

    def apply(rows, g, dense):
        optimizer.apply([sparse_gradient(rows, g, shape), dense])

    if BACKEND == "tensorflow":

        def apply(rows, g, dense):
            slices = tf.IndexedSlices(g, rows, tf.constant(shape))
            optimizer.apply([slices, dense])

        if in_graph:
            apply = tf.function(apply)
    for _ in range(8):
        rows = rng.permutation(50)[:24] if duplicates == "unique" else rng.integers(0, 50, 24)
        g, h = wide_range(rng, (24, 6), dtype), wide_range(rng, 4, dtype)
        apply(rows, g, keras.ops.convert_to_tensor(h))
        adagrad.step_rows(w, g, s, rows, rule)
        adagrad.step(b, h, t, rule)
    for actual, expected in zip((*variables, *optimizer.variables[2:]), (w, b, s, t), strict=True):
        assert_same_bits(array(actual), expected)


@on_tensorflow
# Keras cannot divide a tf.IndexedSlices by a loss_scale_factor.
@pytest.mark.parametrize(
    "arguments", [a for a in ARGUMENTS if "loss_scale_factor" not in a], ids=str
)
def test_indexed_slices_beside_keras(arguments, rng):
    w = rng.standard_normal((50, 6)).astype("f4")
    ours, theirs = variables_of([w]), variables_of([w])
    a, b = Adagrad(**arguments), keras.optimizers.Adagrad(**arguments)
    for _ in range(8):
        rows, g = rng.integers(0, 50, 24), wide_range(rng, (24, 6), "float32")
        a.apply([sparse_gradient(rows, g, w.shape)], ours)
        b.apply([sparse_gradient(rows, g, w.shape)], theirs)
        np.testing.assert_allclose(array(ours[0]), array(theirs[0]), rtol=1e-6, atol=1e-7)


@on_tensorflow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_indexed_slices_of_16_bits(dtype, rng):
    real = np.dtype(dtype) if dtype == "float16" else np.dtype(ml_dtypes.bfloat16)
    w = rng.standard_normal((20, 3)).astype("f4").astype(real)
    s = np.full((20, 3), 0.1, "f4")
    (variable,) = variables_of([w.astype("f4")], dtype)
    optimizer = Adagrad(0.1)
    optimizer.build([variable])
    rule = adagrad.preset("keras", lr=float(np.float32(0.1)))
    for _ in range(5):
        rows, g = rng.integers(0, 20, 12), wide_range(rng, (12, 3), "float32").astype(real)
        slices = tf.IndexedSlices(tf.cast(tf.constant(g.astype("f4")), dtype), tf.constant(rows))
        optimizer.apply([slices])
        whole = w.astype("f4")
        adagrad.step_rows(whole, g.astype("f4"), s, rows, rule)
        w = whole.astype(real)
    np.testing.assert_array_equal(array(keras.ops.cast(variable, "float32")), w.astype("f4"))
    assert_same_bits(array(optimizer.variables[-1]), s)


@pytest.mark.parametrize("bad", [-1, 4])
def test_a_row_out_of_range_changes_nothing(bad):
    variables = variables_of([np.ones(3), np.ones((4, 2))])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    rows, g = np.array([0, 2, bad]), np.ones((3, 2), "f4")
    path = variables[1].path
    text = rf"rows\[2\] = {bad} of {path} is out of range|indices\[2\] = {bad} is not in"
    with refused(optimizer, variables, text):
        gradient = sparse_gradient(rows, g, (4, 2))
        optimizer.apply([keras.ops.ones(3), gradient], variables)


@pytest.mark.parametrize("in_graph", [False, pytest.param(True, marks=on_tensorflow)])
@pytest.mark.parametrize("shape", [(20,), (20, 3, 2), (20, 2, 0), (20, 2, 2, 2)], ids=str)
def test_sparse_gradients_of_any_number_of_dimensions(shape, in_graph, rng):
    w = rng.standard_normal(shape).astype("f4")
    variables = variables_of([w, np.ones(3)])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    s = np.array(array(optimizer.variables[2]))
    flat_w, flat_s = (x.reshape(20, -1) if x.size and x.ndim > 2 else x for x in (w, s))

    def apply(rows, g):
        optimizer.apply([sparse_gradient(rows, g, shape), keras.ops.ones(3)])

    if BACKEND == "tensorflow":

        def apply(rows, g):
            optimizer.apply([tf.IndexedSlices(g, rows, tf.constant(shape)), tf.ones(3)])

        if in_graph:
            apply = tf.function(apply)
    rule = adagrad.preset("keras", lr=float(np.float32(0.1)))
    for _ in range(3):
        rows, g = rng.integers(0, 20, 12), wide_range(rng, (12, *shape[1:]), "float32")
        apply(rows, g)
        if w.size:
            adagrad.step_rows(flat_w, g.reshape(12, *flat_w.shape[1:]), flat_s, rows, rule)
    assert_same_bits(array(variables[0]), w)
    assert_same_bits(array(optimizer.variables[2]), s)
    assert (array(variables[1]) < 1.0).all()


def test_a_sparse_gradient_of_other_rows_changes_nothing():
    variables = variables_of([np.ones(3), np.ones((4, 2))])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    rows, g = np.array([0, 2]), np.ones((2, 3), "f4")
    text = rf"gradient of {variables[1].path} has shape \(\d, 3\), but the variable has \(4, 2\)"
    with refused(optimizer, variables, text):
        optimizer.apply([keras.ops.ones(3), sparse_gradient(rows, g, (4, 3))], variables)


@on_tensorflow
def test_nothing_is_written_in_a_graph_before_all_is_known():
    variables = variables_of([np.ones(3), np.ones((4, 2))])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)

    @tf.function
    def apply(rows):
        optimizer.apply([tf.ones(3), tf.IndexedSlices(tf.ones((3, 2)), rows)])

    apply(tf.constant([0, 2, 3]))
    with refused(optimizer, variables, "is not in"):
        apply(tf.constant([0, 2, 4]))


@on_torch
@pytest.mark.parametrize("shares", ["w of another", "its own w", "s"])
def test_a_sparse_gradient_that_shares_memory_changes_nothing(shares):
    variables = variables_of([np.ones((4, 2)), np.ones((4, 2))])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    owner = {"w of another": variables[0], "its own w": variables[1], "s": optimizer.variables[3]}
    values = owner[shares].value.detach()[:2]
    gradient = sparse_gradient(np.array([0, 2]), values.numpy(), (4, 2))
    assert gradient._values().data_ptr() == values.data_ptr()
    with refused(optimizer, variables, rf"memory of {variables[0].path}|{variables[1].path}, its"):
        optimizer.apply([torch.ones(4, 2), gradient], variables)
