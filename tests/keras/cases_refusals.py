"""What `adagrad.keras.Adagrad` does not run in or under: each is refused in one sentence, early."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

import adagrad
import adagrad.keras
from adagrad.keras import Adagrad
from keras_models import (
    BACKEND,
    array,
    dense_model,
    on_tensorflow,
    one_sentence,
    refused,
    variables_of,
)

if BACKEND == "tensorflow":
    import tensorflow as tf


def one_of_two():
    parts = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1), {".*kernel": Adagrad(0.1)})
    return keras.optimizers.MultiOptimizer(parts)


# How a user gives the optimizer to `compile`.
OPTIMIZERS = {
    "alone": lambda: Adagrad(0.1),
    "by name": lambda: "adagrad>Adagrad",
    "as a config": lambda: keras.optimizers.serialize(Adagrad(0.1)),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(Adagrad(0.1)),
    "one of two": one_of_two,
    "scaled, one of two": lambda: keras.optimizers.LossScaleOptimizer(one_of_two()),
}


XLA = "adagrad.keras.Adagrad cannot run in a function that XLA compiles: pass jit_compile=False"


STRATEGY = r"adagrad.keras.Adagrad does not support strategies of tf.distribute: use keras"


@on_tensorflow
@pytest.mark.parametrize("how", OPTIMIZERS)
def test_compile_refuses_xla(how):
    model = dense_model()
    optimizer = OPTIMIZERS[how]()
    for arguments in ({"jit_compile": True}, {"run_eagerly": False, "jit_compile": True}):
        with one_sentence(XLA):
            model.compile(optimizer, "mse", **arguments)
    with one_sentence(XLA):
        model.compile(optimizer, "mse", None, None, None, False, 1, True)
    assert not model.compiled
    assert not hasattr(model, "optimizer")


@on_tensorflow
@pytest.mark.parametrize("how", OPTIMIZERS)
def test_auto_means_no_xla(how, monkeypatch):
    """Also where Keras sees a GPU, which here is made up."""
    model = dense_model()
    monkeypatch.setattr(type(model), "_resolve_auto_jit_compile", lambda self: True)
    model.compile("adagrad", "mse")
    assert model.jit_compile
    for arguments in ({}, {"jit_compile": "auto"}, {"run_eagerly": True}):
        model.compile(OPTIMIZERS[how](), "mse", **arguments)
        assert not model.jit_compile
    with pytest.warns(UserWarning, match="If `run_eagerly` is True"):
        model.compile(OPTIMIZERS[how](), "mse", run_eagerly=True, jit_compile=True)
    assert not model.jit_compile


@on_tensorflow
def test_compile_is_that_of_keras_for_other_optimizers():
    keras.backend.clear_session()
    for arguments in (("adagrad", "mse"), ("sgd",), (), (None,)):
        model = dense_model()
        model.compile(*arguments, jit_compile=True)
        assert model.jit_compile
    assert keras.optimizers.get("adagrad").name == "adagrad_1"  # the model made one, not two
    unknown = r"Trainer.compile\(\) got an unexpected keyword argument 'losses'"
    with pytest.raises(TypeError, match=unknown):
        model.compile("adagrad", losses="mse")
    assert inspect.signature(keras.Model.compile).parameters["jit_compile"].default == "auto"


@on_tensorflow
def test_a_model_with_its_own_compile_refuses_xla(tmp_path):
    @keras.saving.register_keras_serializable(package="cases")
    class Mine(keras.Sequential):
        def compile(self, *args, jit_compile=True, **kwargs):
            super().compile(*args, jit_compile=jit_compile, **kwargs)

    with one_sentence(XLA):
        Mine([keras.Input((3,)), keras.layers.Dense(2)]).compile(Adagrad(), "mse")


@on_tensorflow
def test_loading_a_model_that_was_compiled_for_xla(tmp_path):
    model = dense_model()
    model.compile(Adagrad(), "mse")
    model._compile_config.config["jit_compile"] = True  # as another backend would have it
    model.save(tmp_path / "model.keras")
    with one_sentence(XLA):
        keras.models.load_model(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras", compile=False)
    model.compile(Adagrad(), "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)


@on_tensorflow
def test_a_step_in_a_function_that_xla_compiles_is_refused():
    (variable,) = variables_of([np.ones(3)])
    optimizer = Adagrad(0.1, weight_decay=0.5)
    optimizer.build([variable])
    scaled = keras.optimizers.LossScaleOptimizer(Adagrad(0.1))
    scaled.build([variable])
    wide = tf.ones(3)

    def plain(g):
        optimizer.apply([g])

    for apply in (plain, tf.function(plain), lambda g: scaled.apply([g])):
        with refused(optimizer, [variable], XLA):
            tf.function(apply, jit_compile=True)(wide)
    tf.config.run_functions_eagerly(True)
    try:
        tf.function(plain, jit_compile=True)(wide)
    finally:
        tf.config.run_functions_eagerly(False)
    tf.function(plain)(wide)
    assert int(array(optimizer.iterations)) == 2

    model = dense_model()
    model.compile("sgd", "mse", jit_compile=True)
    model.optimizer = Adagrad()  # behind the back of `compile`
    with one_sentence(XLA):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)


@on_tensorflow
def test_steps_do_not_need_what_finds_xla(monkeypatch):
    """It is a private module of TensorFlow's."""
    monkeypatch.setattr(adagrad.keras._tensorflow, "_control_flow", None)
    (variable,) = variables_of([np.ones(3)])
    optimizer = Adagrad(0.1)
    optimizer.apply([tf.ones(3)], [variable])
    tf.function(lambda: optimizer.apply([tf.ones(3)]))()
    assert int(array(optimizer.iterations)) == 2
    with pytest.raises(tf.errors.OpError):
        tf.function(lambda: optimizer.apply([tf.ones(3)]), jit_compile=True)()


@on_tensorflow
@pytest.mark.parametrize("kind", ["OneDeviceStrategy", "MirroredStrategy", "CentralStorage"])
def test_strategies_are_refused(kind):
    if kind == "OneDeviceStrategy":
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    elif kind == "MirroredStrategy":
        strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    else:
        strategy = tf.distribute.experimental.CentralStorageStrategy(["/cpu:0"], "/cpu:0")
    optimizer, outside = Adagrad(), dense_model()
    with strategy.scope():
        for make in (
            Adagrad,
            lambda: Adagrad.from_config({}),
            lambda: keras.optimizers.get("adagrad>Adagrad"),
            lambda: outside.compile(optimizer, "mse"),
        ):
            with one_sentence(STRATEGY):
                make()
        inside = dense_model()
        with one_sentence(STRATEGY):
            inside.compile(optimizer, "mse")
    for make in OPTIMIZERS.values():
        with one_sentence(STRATEGY):
            inside.compile(make(), "mse")
    assert not inside.compiled
    variables = inside.trainable_variables
    gradients = [tf.ones(v.shape) for v in variables]
    optimizer.build(variables)
    before = [array(v).tobytes() for v in (*variables, *optimizer.variables)]
    with one_sentence(STRATEGY):
        strategy.run(lambda: optimizer.apply(gradients, variables))
    assert before == [array(v).tobytes() for v in (*variables, *optimizer.variables)]


def test_a_distribution_of_keras_is_refused():
    optimizer = Adagrad(0.1)
    variables = variables_of([np.ones(3)])
    optimizer.build(variables)
    text = "adagrad.keras.Adagrad does not support keras.distribution: use keras.optimizers.Adagrad"
    mesh = keras.distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    keras.distribution.set_distribution(keras.distribution.DataParallel(mesh))
    try:
        with one_sentence(text):
            optimizer.apply([keras.ops.ones(3)], variables)
        with one_sentence(text):
            keras.optimizers.get("adagrad>Adagrad")
    finally:
        keras.distribution.set_distribution(None)
    optimizer.apply([keras.ops.ones(3)], variables)


@pytest.mark.parametrize("backend", ["jax", "numpy", "openvino"])
def test_other_backends_are_refused(backend, tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(Adagrad(0.1), "mse")
    model.save(tmp_path / "model.keras")
    config = keras.optimizers.serialize(Adagrad(0.1))
    scaled = keras.optimizers.LossScaleOptimizer(Adagrad(0.1)).get_config()
    monkeypatch.setattr(adagrad.keras.optimizer, "_BACKEND", backend)
    text = f"adagrad.keras.Adagrad does not run on Keras' {backend} backend: use keras.optimizers.A"
    for make in (
        Adagrad,
        lambda: Adagrad.from_config({}),
        lambda: keras.optimizers.get("adagrad>Adagrad"),
        lambda: keras.optimizers.deserialize(config),
        lambda: keras.optimizers.LossScaleOptimizer.from_config(scaled),
        lambda: keras.models.load_model(tmp_path / "model.keras"),
    ):
        with one_sentence(text):
            make()
    keras.models.load_model(tmp_path / "model.keras", compile=False)
