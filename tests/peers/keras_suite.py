"""Keras' own tests of optimizers, run with `adagrad.keras.Adagrad`.

`tests/keras/test_keras.py` runs this file, in its processes for the backends of Keras. The classes
below are those of the installed Keras, whose modules see ours in the place of three optimizers.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import types
import unittest
from unittest import mock

import keras
import pytest

from adagrad.keras import Adagrad

# With the filters of this package, every warning of Keras would be an error.
pytestmark = pytest.mark.filterwarnings("default")

# Keras' modules of tests, and which of their tests: those that an optimizer can fail, and of those
# that train a model, one of a kind.
SUITES = {
    "optimizers.adagrad": "",
    "optimizers.optimizer": "",
    "optimizers.loss_scale_optimizer": "",
    "optimizers.multi_optimizer": "",
    "optimizers.optimizer_sparse": "adagrad$",
    "callbacks.learning_rate_scheduler": "previous_learning_rate|has_schedule",
    "callbacks.reduce_lr_on_plateau": "with_model_fit|has_schedule",
    "layers.core.dense": "enable_lora$",
    "models.model": "state_tree",
    "saving.saving_lib": "compile_arg|overridden|preserved_subclassed$",
}
registered = keras.saving.register_keras_serializable(package="peers")


@registered
class Adam(Adagrad):
    """Where Keras' tests want any optimizer with state."""

    def __init__(self, learning_rate=0.05, **kwargs):
        super().__init__(learning_rate, **kwargs)


@registered
class SGD(Adagrad):
    """Where Keras' tests know the numbers of gradient descent.

    Next to accumulators of 2**60, the squares that these tests add are nothing, and the rate is
    multiplied by the root: to the last bit, the steps are those of gradient descent.
    """

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, **kwargs):
        super().__init__(learning_rate, **{"initial_accumulator_value": 2.0**60, **kwargs})

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate * 2.0**30)


OURS = {"Adagrad": Adagrad, "Adam": Adam, "SGD": SGD}
THEIRS = importlib.import_module("keras.src.optimizers")


def classes():
    """Import Keras' modules of tests, and yield their classes with the tests of `SUITES`."""
    source = importlib.import_module("keras.src")
    importlib.import_module("keras.src.testing")
    optimizers = types.ModuleType("optimizers")
    vars(optimizers).update({**vars(THEIRS), **OURS})
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(source, "optimizers", optimizers))
        for name, ours in OURS.items():
            module = importlib.import_module(f"keras.src.optimizers.{name.lower()}")
            stack.enter_context(mock.patch.object(module, name, ours))
        for name, chosen in SUITES.items():
            module = importlib.import_module(f"keras.src.{name}_test")
            for value in vars(module).values():
                if isinstance(value, type) and issubclass(value, unittest.TestCase):
                    for test in [x for x in dir(value) if x.startswith("test")]:
                        if not re.search(chosen, test):
                            setattr(value, test, None)
                    yield value


globals().update({cls.__name__: cls for cls in classes()})


@pytest.fixture(scope="module")
def made():
    """Every optimizer of ours that these tests made: without them, they would show nothing."""
    optimizers = []
    yield optimizers
    assert len(optimizers) > 60


@pytest.fixture(autouse=True)
def ours(made, monkeypatch):
    """Let the names "adagrad", "adam" and "sgd" mean ours, too."""
    for name, cls in OURS.items():
        monkeypatch.setitem(THEIRS.ALL_OBJECTS_DICT, name.lower(), cls)
    build = Adagrad.build
    monkeypatch.setattr(Adagrad, "build", lambda self, v: made.append(self) or build(self, v))
    keras.utils.set_random_seed(1)
