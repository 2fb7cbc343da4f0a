"""The tests that test_keras.py runs in one process per backend of Keras."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import doctest
import re
import warnings

import ml_dtypes
import numpy as np
import pytest

with warnings.catch_warnings():  # TensorFlow warns about itself
    warnings.simplefilter("ignore")
    import keras

import adagrad
import adagrad.keras
from adagrad.keras import Adagrad
from checks import ROOT, assert_same_bits, wide_range

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    import torch
elif BACKEND == "tensorflow":
    import tensorflow as tf

# The backends use parts of NumPy that are deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
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


def model_with(optimizer, seed=3, recurrent="orthogonal", **compile_arguments):
    """Return a model with dense, embedding and normalization layers.

    On torch it has a recurrent layer too, whose orthogonal kernel is transposed in memory.
    """
    keras.utils.set_random_seed(seed)
    x, ids = keras.Input((6, 4)), keras.Input((5,), dtype="int32")
    parts = [keras.layers.Flatten()(x)]
    if BACKEND == "torch":
        parts.append(keras.layers.SimpleRNN(8, recurrent_initializer=recurrent)(x))
    parts.append(keras.layers.Flatten()(keras.layers.Embedding(12, 3, name="table")(ids)))
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()(parts))
    out = keras.layers.Dense(1)(keras.layers.BatchNormalization()(hidden))
    model = keras.Model([x, ids], out)
    model.compile(optimizer=optimizer, loss="mse", **compile_arguments)
    return model


def weights(model):
    return [*model.get_weights(), *(array(v) for v in model.optimizer.variables)]


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


# Each case compiles a model, so it combines arguments; `test_every_argument` has each one alone.
FITS = [
    {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9), "clipnorm": 0.5},
    {"weight_decay": 0.01, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 2, "weight_decay": 0.01, "clipvalue": 0.25},
    {"initial_accumulator_value": 0.5, "epsilon": 1e-3, "global_clipnorm": 0.5},
]


@pytest.mark.parametrize("arguments", FITS, ids=str)
def test_fit(arguments, rng):
    x, y = problem(rng)
    a, b = (model_with(kind(**arguments)) for kind in (Adagrad, keras.optimizers.Adagrad))
    for model in (a, b):
        model.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    for p, q in zip(weights(a), weights(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=2e-5, atol=2e-6)


def test_fit_learns(rng):
    x, y = problem(rng, 128)
    model = model_with(Adagrad(0.2))
    losses = model.fit(x, y, epochs=8, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]


@on_torch
def test_the_documentation(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "keras.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {})
    assert (tmp_path / "model.keras").exists()


def test_docstring_examples():
    results = doctest.testmod(adagrad.keras)
    assert results.attempted == 4
    assert results.failed == 0


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_fit_in_mixed_precision(precision, rng):
    x, y = problem(rng)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = model_with(Adagrad(0.1), recurrent="glorot_uniform")
    finally:
        keras.config.set_dtype_policy(before)
    losses = model.fit(x, y, epochs=6, batch_size=16, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.6 * losses[0]
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert (inner is not model.optimizer) == (precision == "mixed_float16")
    assert int(array(inner.iterations)) > 0


@pytest.mark.parametrize("eagerly", [False, True])
def test_saves_and_continues_with_the_model(eagerly, tmp_path, rng):
    x, y = problem(rng)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.9)
    model = model_with(Adagrad(schedule, duplicates="sum"), run_eagerly=eagerly)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0, callbacks=[checkpoint])
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is Adagrad
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    same_weights = model_with(Adagrad(schedule, duplicates="sum"), seed=9, run_eagerly=eagerly)
    same_weights.optimizer.build(same_weights.trainable_variables)
    same_weights.load_weights(tmp_path / "model.weights.h5")
    of_keras = model_with(keras.optimizers.Adagrad(schedule))
    of_keras.optimizer.build(of_keras.trainable_variables)
    of_keras.load_weights(tmp_path / "model.weights.h5")
    for p, q in zip(weights(model), weights(of_keras), strict=True):
        np.testing.assert_array_equal(p, q)
    for m in (model, loaded, same_weights):
        m.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for other in (loaded, same_weights):
        for p, q in zip(weights(model), weights(other), strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)


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
        ({"lr": 0.1}, TypeError, "lr"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        Adagrad(**arguments)


@pytest.mark.parametrize("backend", ["jax", "numpy", "openvino"])
def test_other_backends_are_refused(backend, monkeypatch):
    monkeypatch.setattr(adagrad.keras, "_BACKEND", backend)
    text = f"does not run on Keras' {backend} backend: use keras.optimizers.Adagrad, or the torch"
    with pytest.raises(RuntimeError, match=text):
        Adagrad()


def test_unsupported_dtypes():
    optimizer = Adagrad()
    with pytest.raises(TypeError, match=r"must have dtype float32, .* or float16, got int32"):
        optimizer.build([keras.Variable(np.ones(2, "i4"), dtype="int32", trainable=False)])
    assert not optimizer.built


@contextlib.contextmanager
def refused(optimizer, variables, text):
    """Assert that a call raises and changes no byte."""
    everything = [*variables, *optimizer.variables[2:]]  # without the counter: Keras increments it
    before = [array(v).copy() for v in everything]
    with pytest.raises(Exception, match=text):  # TensorFlow wraps the errors of a callback
        yield
    for v, bytes_before in zip(everything, before, strict=True):
        assert array(v).tobytes() == bytes_before.tobytes()


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -0.5])
def test_bad_rates_change_nothing(rate):
    variables = variables_of([np.ones(3), np.ones(2)])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    optimizer.learning_rate = rate
    with refused(optimizer, variables, "learning_rate must be finite and not negative, got"):
        optimizer.apply([keras.ops.ones(3), keras.ops.ones(2)], variables)


def test_a_gradient_of_another_shape_changes_nothing():
    variables = variables_of([np.ones(3), np.ones(2)])
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    text = rf"{variables[1].path} has shape \(3,\), but the variable has \(2,\)"
    with refused(optimizer, variables, text):
        optimizer.apply([keras.ops.ones(3), keras.ops.ones(3)], variables)


def sparse_gradient(rows, g, shape):
    if BACKEND == "torch":
        return torch.sparse_coo_tensor(
            torch.from_numpy(rows)[None], torch.from_numpy(g), shape, check_invariants=False
        )
    return tf.IndexedSlices(tf.constant(g), tf.constant(rows), tf.constant(shape))


@pytest.mark.parametrize("in_graph", [False, True])
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


@pytest.mark.parametrize("in_graph", [False, True])
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


@on_tensorflow
def test_a_training_step_in_a_graph(rng):
    x, y = problem(rng)
    a, b = (model_with(kind(0.1)) for kind in (Adagrad, keras.optimizers.Adagrad))
    for model in (a, b):

        @tf.function
        def train(x, ids, y, model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model([x, ids], training=True)[:, 0] - y) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            model.optimizer.apply(gradients, model.trainable_variables)
            return any(isinstance(g, tf.IndexedSlices) for g in gradients)

        for _ in range(5):
            assert train(*x, y)
    for p, q in zip(weights(a), weights(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=2e-5, atol=2e-6)


@on_tensorflow
def test_what_tensorflow_cannot_do_is_refused(rng):
    with (
        tf.distribute.OneDeviceStrategy("/cpu:0").scope(),
        pytest.raises(RuntimeError, match=r"does not support strategies of tf\.distribute"),
    ):
        Adagrad()
    x, y = problem(rng)
    model = model_with(Adagrad(), jit_compile=True)
    with pytest.raises(Exception, match="PyFunc"):
        model.fit(x, y, verbose=0)


@on_torch
def test_torch_memory_is_updated_in_place(rng):
    layer = keras.layers.Dense(30, kernel_initializer="orthogonal")
    layer.build((None, 40))
    tensors = [v.value.detach() for v in layer.trainable_variables]
    assert not tensors[0].is_contiguous()
    optimizer = Adagrad(0.1)
    optimizer.build(layer.trainable_variables)
    state = [v.value for v in optimizer.variables[2:]]
    before = [t.clone() for t in tensors]
    pointers = [t.data_ptr() for t in (*tensors, *state)]
    grads = [torch.ones_like(t) for t in tensors]
    optimizer.apply(grads, layer.trainable_variables)
    after = [v.value for v in (*layer.trainable_variables, *optimizer.variables[2:])]
    assert [t.data_ptr() for t in after] == pointers
    for t, old in zip(tensors, before, strict=True):
        assert (t < old).all()


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


@on_torch
def test_an_error_names_the_variable():
    variables = [keras.Variable(np.ones((4, 2)), name=name) for name in ("first", "second")]
    optimizer = Adagrad(0.1)
    optimizer.build(variables)
    with refused(optimizer, variables, "w of second and g of second overlap in memory"):
        optimizer.apply([torch.ones(4, 2), variables[1].value.detach()], variables)
    gradient = torch.ones(4, 2).to_sparse()
    with refused(optimizer, variables, "second has a gradient with 2 sparse dimensions"):
        optimizer.apply([torch.ones(4, 2), gradient], variables)


@on_torch
@pytest.mark.parametrize("is_sparse", [False, True])
def test_autograd_sees_that_a_variable_has_changed(is_sparse):
    (variable,) = variables_of([np.ones((4, 2))])
    optimizer = Adagrad(0.1)
    optimizer.build([variable])
    loss = variable.value.square().sum()
    gradient = torch.ones(4, 2)
    optimizer.apply([gradient.to_sparse(1) if is_sparse else gradient], [variable])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@on_torch
def test_a_gradient_of_any_strides(rng):
    w = rng.standard_normal((4, 6)).astype("f4")
    ours, theirs = variables_of([w]), variables_of([w])
    a, b = Adagrad(0.1), Adagrad(0.1)
    g = rng.standard_normal((6, 4)).astype("f4")
    a.apply([torch.from_numpy(g).T], ours)
    b.apply([torch.from_numpy(np.ascontiguousarray(g.T))], theirs)
    assert_same_bits(array(ours[0]), array(theirs[0]))
    a.apply([torch.ones(1).expand(4, 6)], ours)
    b.apply([torch.ones(4, 6)], theirs)
    assert_same_bits(array(ours[0]), array(theirs[0]))


@on_torch
def test_torch_compile_leaves_the_update_alone(rng):
    w = rng.standard_normal((4, 6)).astype("f4")
    ours, theirs = variables_of([w]), variables_of([w])
    a, b = Adagrad(0.1), Adagrad(0.1)
    a.build(ours)
    b.build(theirs)

    @torch.compile(backend="eager")
    def train(x):
        g = 2 * x
        a.apply([g])
        return g + ours[0].value

    for _ in range(3):
        x = torch.from_numpy(rng.standard_normal((4, 6)).astype("f4"))
        with torch.no_grad():
            moved = train(x) - 2 * x
        b.apply([2 * x])
        np.testing.assert_allclose(moved.numpy(), array(theirs[0]), rtol=1e-5, atol=1e-5)
    assert_same_bits(array(ours[0]), array(theirs[0]))


@on_torch
def test_variables_off_the_cpu_are_refused():
    with keras.device("meta"):
        variable = keras.Variable(np.ones(2, "f4"))
    with pytest.raises(ValueError, match="is on meta; adagrad trains variables on the CPU only"):
        Adagrad().build([variable])
