"""The state of keras.optimizers.Adagrad of Keras 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from adagrad.convert._state import (
    Array,
    State,
    accumulator,
    new_state,
    options_of,
    read,
    rule_of,
    step,
)
from adagrad.presets import preset

# Fields of Rule by the names that Keras gives to them.
_KERAS = {
    "learning_rate": "lr",
    "weight_decay": "weight_decay",
    "initial_accumulator_value": "initial_accumulator",
    "epsilon": "eps",
    "clipvalue": "clip_value",
    "duplicates": "duplicates",
}
# Further options of every Keras optimizer: those that no Rule has, and those that only modify them.
_KERAS_ONLY = (
    "clipnorm",
    "global_clipnorm",
    "use_ema",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)
_KERAS_IDLE = ("name", "ema_momentum", "ema_overwrite_frequency")


def from_keras(config: Mapping[str, Any], variables: Iterable[Any]) -> State:
    """Convert the state of a `keras.optimizers.Adagrad` or `adagrad.keras.Adagrad` of Keras 3.

    Parameters
    ----------
    config : dict
        The result of its `get_config`.
    variables : iterable of array
        Its `variables` as arrays, in order: iterations, learning rate, accumulators.

    Returns
    -------
    dict
        A state like that of `adagrad.Adagrad.state_dict`. The learning rate is that of `variables`.

    Raises
    ------
    TypeError
        If an accumulator is not float32 or float64.
    ValueError
        If the config has an option that `Rule` does not have (a learning-rate schedule, clipping by
        norm, a loss scale, moving averages, gradient accumulation) or that belongs to another
        optimizer, a variable is missing, an accumulator is negative or not finite, or iterations is
        not an integer from 0.
    """
    for name in config:
        if name not in (*_KERAS, *_KERAS_ONLY, *_KERAS_IDLE):
            raise ValueError(
                f"config has {name!r}, which Adagrad does not have: it is of another optimizer"
            )
    for name in _KERAS_ONLY:
        if config.get(name):
            raise ValueError(f"config has {name}={config[name]!r}, which a Rule cannot express")
    if not isinstance(config.get("learning_rate", 0.001), float):
        raise ValueError("config has a schedule as learning_rate, which a Rule cannot express")
    iterations, learning_rate, *arrays = _at_least(2, list(variables))
    given = {name: config[name] for name in _KERAS if config.get(name) is not None}
    rule = rule_of("keras", _KERAS, {**given, "learning_rate": float(learning_rate)})
    accumulators = [accumulator(f"variables[{i}]", s) for i, s in enumerate(arrays, 2)]
    return new_state(rule, [step("variables[0]", iterations)] * len(arrays), accumulators)


def to_keras(state: Mapping[str, Any]) -> tuple[dict[str, Any], list[Array]]:
    """Convert a state to that of Keras.

    Parameters
    ----------
    state : dict
        A result of `adagrad.Adagrad.state_dict`, with a rule of ``preset("keras")``.

    Returns
    -------
    config : dict
        For `from_config` of `keras.optimizers.Adagrad`; of `adagrad.keras.Adagrad` if the rule's
        policy for duplicates is not that of Keras.
    variables : list of ndarray
        For its `set_weights`, to be called after `build`.

    Raises
    ------
    ValueError
        If Keras cannot express the rule, params differ in step counts, or the state is not valid.
    """
    rule, steps, accumulators = read(state)
    config = options_of("keras", _KERAS, rule)
    if config["duplicates"] == preset("keras").duplicates:
        del config["duplicates"]
    if len(set(steps)) > 1:
        raise ValueError(f"Keras has one count of iterations for all params, but steps are {steps}")
    iterations = np.array(steps[0] if steps else 0, np.int64)
    return config, [iterations, np.array(rule.lr, np.float32), *accumulators]


def _at_least(n: int, variables: list[Any]) -> list[Any]:
    if len(variables) < n:
        raise ValueError(f"there must be at least {n} variables, got {len(variables)}")
    return variables
