"""The state of mxnet.optimizer.AdaGrad of MXNet 1.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adagrad.convert._state import (
    Array,
    State,
    accumulator,
    check_known,
    new_state,
    options_of,
    read,
    rule_of,
    step,
)

# Fields of Rule by the names that MXNet gives to them.
_MXNET = {
    "learning_rate": "lr",
    "eps": "eps",
    "wd": "weight_decay",
    "rescale_grad": "scale",
    "clip_gradient": "clip_value",
}


def from_mxnet(
    config: Mapping[str, Any], states: Mapping[Any, Any], index_update_count: Mapping[Any, int]
) -> State:
    """Convert the state of an `mxnet.optimizer.AdaGrad` of MXNet 1.x.

    Parameters
    ----------
    config : dict
        Its arguments ``learning_rate``, ``eps``, ``wd``, ``rescale_grad`` and ``clip_gradient``,
        with MXNet's defaults for those that are missing.
    states : dict of array
        History by index, as in the `states` of its updater, as arrays (``.asnumpy()``).
    index_update_count : dict of int
        The optimizer's `_index_update_count`.

    Returns
    -------
    dict
        A state like that of `adagrad.Adagrad.state_dict`, with accumulators in the order of
        `states`.

    Raises
    ------
    KeyError
        If an index of `states` has no count.
    TypeError
        If a history is not float32 or float64, or `config` has other entries.
    ValueError
        If a history is negative or not finite, or a count is not an integer from 0.

    Notes
    -----
    A `Rule` has no multipliers of single params (``wd_mult``, ``lr_mult``).
    """
    check_known(config, _MXNET)
    rule = rule_of("mxnet", _MXNET, {k: v for k, v in config.items() if v is not None})
    counts = [step(f"index_update_count[{k!r}]", index_update_count[k]) for k in states]
    return new_state(rule, counts, [accumulator(f"states[{k!r}]", s) for k, s in states.items()])


def to_mxnet(
    state: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[int, Array], dict[int, int]]:
    """Convert a state to that of MXNet 1.x.

    Parameters
    ----------
    state : dict
        A result of `adagrad.Adagrad.state_dict`, with a rule of ``preset("mxnet")``.

    Returns
    -------
    config : dict
        Arguments of `mxnet.optimizer.AdaGrad`.
    states : dict of ndarray
        History by index.
    index_update_count : dict of int

    Raises
    ------
    ValueError
        If MXNet cannot express the rule, or the state is not valid.
    """
    rule, steps, accumulators = read(state)
    config = options_of("mxnet", _MXNET, rule)
    return config, dict(enumerate(accumulators)), dict(enumerate(steps))
