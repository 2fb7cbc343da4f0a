"""Models that are trained, saved and loaded with `adagrad.keras.Adagrad`."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

import adagrad
import adagrad.keras
from adagrad.keras import Adagrad
from checks import ROOT
from keras_models import BACKEND, array, model_with, on_tensorflow, on_torch, problem, weights

if BACKEND == "tensorflow":
    import tensorflow as tf

# Each case compiles a model, so it combines arguments; `test_every_argument` has each one alone.
FITS = [
    {
        "learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9),
        "initial_accumulator_value": 0.5,
        "epsilon": 1e-3,
        "clipnorm": 0.5,
    },
    {
        "weight_decay": 0.01,
        "global_clipnorm": 0.5,
        "use_ema": True,
        "ema_momentum": 0.9,
        "ema_overwrite_frequency": 3,
    },
    {"gradient_accumulation_steps": 2, "weight_decay": 0.01, "clipvalue": 0.25},
]


@pytest.mark.parametrize("arguments", FITS, ids=str)
def test_fit(arguments, rng):
    x, y = problem(rng)
    recurrent = BACKEND == "torch"
    a, b = (
        model_with(kind(**arguments), recurrent=recurrent)
        for kind in (Adagrad, keras.optimizers.Adagrad)
    )
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
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {})
    assert (tmp_path / "model.keras").exists()


@on_torch
def test_the_page_of_other_frameworks(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "elsewhere.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    table = text.split("## Drop-in replacements")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `(.*?)` \| `(.*?)` \|", table, re.MULTILINE)
    assert len(lines) == 3
    names = "import keras, torch, adagrad.keras, adagrad.torch"
    params = "params = list(torch.nn.Linear(2, 1).parameters())"
    monkeypatch.chdir(tmp_path)
    exec(
        "\n".join([names, params, *(f"({before}, {here})" for before, here in lines), *blocks]), {}
    )


@on_tensorflow
def test_programs_of_the_textbook(tmp_path, monkeypatch, capsys):
    """With every framework; test_textbook_page of tests/project runs the page without them."""
    monkeypatch.chdir(tmp_path)
    page = Path(adagrad.__file__).parent / "textbook" / "pages" / "chapter" / "6_programs.py"
    runpy.run_path(str(page))
    printed = capsys.readouterr().out
    assert "left out" not in printed
    assert printed.count(" ==  ") == 5


def test_docstring_examples():
    results = doctest.testmod(adagrad.keras.optimizer)
    assert results.attempted == 4
    assert results.failed == 0


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_fit_in_mixed_precision(precision, rng):
    x, y = problem(rng)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = model_with(Adagrad(0.1))
    finally:
        keras.config.set_dtype_policy(before)
    losses = model.fit(x, y, epochs=6, batch_size=16, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.6 * losses[0]
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert (inner is not model.optimizer) == (precision == "mixed_float16")
    assert int(array(inner.iterations)) > 0


@pytest.mark.parametrize("eagerly", [False, pytest.param(True, marks=on_tensorflow)])
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
