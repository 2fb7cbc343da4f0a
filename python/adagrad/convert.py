"""Conversion of the state of other systems' AdaGrad optimizers to ours and back.

Each ``from_`` function returns a state for `adagrad.Adagrad.load_state_dict`, with the rule that
belongs to the accumulators. Each ``to_`` function takes the result of `adagrad.Adagrad.state_dict`.
The functions take and return arrays, and import no framework. Copy the params yourself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.optimizer import STATE_VERSION
from adagrad.presets import preset
from adagrad.rule import Rule

__all__ = ["from_keras", "from_mxnet", "from_torch", "to_keras", "to_mxnet", "to_torch"]

Array = npt.NDArray[Any]
State = dict[str, Any]

# The names that each system gives to fields of Rule. torch keeps them in each param group.
TORCH = {
    "lr": "lr",
    "lr_decay": "lr_decay",
    "weight_decay": "weight_decay",
    "initial_accumulator_value": "initial_accumulator",
    "eps": "eps",
    "maximize": "maximize",
}
_KERAS = {
    "learning_rate": "lr",
    "weight_decay": "weight_decay",
    "initial_accumulator_value": "initial_accumulator",
    "epsilon": "eps",
    "clipvalue": "clip_value",
    "duplicates": "duplicates",
}
_MXNET = {
    "learning_rate": "lr",
    "eps": "eps",
    "wd": "weight_decay",
    "rescale_grad": "scale",
    "clip_gradient": "clip_value",
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


def from_torch(state_dict: Mapping[str, Any]) -> State:
    """Convert the state of a `torch.optim.Adagrad` or `adagrad.torch.Adagrad`.

    Parameters
    ----------
    state_dict : dict
        The result of its `state_dict`. Values may be arrays or tensors on the CPU. If its rule is
        not one of torch's, `adagrad.torch.Adagrad` adds an entry ``rule``, which is used.

    Returns
    -------
    dict
        A state like that of `adagrad.Adagrad.state_dict`, with accumulators in the order of the
        param groups.

    Raises
    ------
    KeyError
        If a param of a group has no state.
    TypeError
        If an accumulator is not float32 or float64, or ``rule`` has an entry that is not a field of
        `Rule`.
    ValueError
        If it is the state of another optimizer, param groups differ in hyperparameters, an
        accumulator is negative or not finite, or a step is not an integer from 0.

    Examples
    --------
    >>> group = {"lr": 0.5, "lr_decay": 0.0, "eps": 1e-10, "weight_decay": 0.0, "maximize": False}
    >>> group |= {"initial_accumulator_value": 0.0, "params": [0]}
    >>> theirs = {"state": {0: {"step": np.float32(7), "sum": np.ones(2)}}, "param_groups": [group]}
    >>> opt = adagrad.Adagrad([np.zeros(2)])
    >>> opt.load_state_dict(adagrad.convert.from_torch(theirs))
    >>> opt.steps, opt.rule
    ([7], Rule(lr=0.5, eps=1e-10, eps_position='outside'))
    """
    groups = list(state_dict["param_groups"])
    if not groups:
        raise ValueError("param_groups is empty")
    rules = []
    for i, group in enumerate(groups):
        _entries(f"param_groups[{i}]", group, ("lr", "lr_decay", "weight_decay", "eps"))
        options = {name: group[name] for name in TORCH if name in group}  # older ones have fewer
        rules.append(_rule("torch", TORCH, options, **state_dict.get("rule", {})))
    for i, rule in enumerate(rules):
        if rule != rules[0]:
            raise ValueError(
                f"param_groups[{i}] has {rule}, but param_groups[0] has {rules[0]}: convert groups"
                " that differ in hyperparameters one by one"
            )
    keys = [key for group in groups for key in group["params"]]
    names = [f"state[{key!r}]" for key in keys]
    entries = [
        _entries(name, state_dict["state"][key], ("step", "sum"))
        for name, key in zip(names, keys, strict=True)
    ]
    return _state(
        rules[0],
        [_step(f"{name}['step']", e["step"]) for name, e in zip(names, entries, strict=True)],
        [_accumulator(f"{name}['sum']", e["sum"]) for name, e in zip(names, entries, strict=True)],
    )


def to_torch(state: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a state to that of `torch.optim.Adagrad`, in one param group.

    Parameters
    ----------
    state : dict
        A result of `adagrad.Adagrad.state_dict`, with a rule of ``preset("torch")``.

    Returns
    -------
    dict
        ``state`` and ``param_groups`` of a state_dict. Convert its arrays ``step`` (float32, 0-d)
        and ``sum`` to tensors with `torch.from_numpy`.

    Raises
    ------
    ValueError
        If torch cannot express the rule, or the state is not valid.
    """
    rule, steps, accumulators = _read(state)
    options = _options("torch", TORCH, rule)
    group = {**options, "foreach": None, "differentiable": False, "fused": None}
    return {
        "state": {
            i: {"step": np.array(t, np.float32), "sum": s}
            for i, (t, s) in enumerate(zip(steps, accumulators, strict=True))
        },
        "param_groups": [{**group, "params": list(range(len(steps)))}],
    }


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
    rule = _rule("keras", _KERAS, {**given, "learning_rate": float(learning_rate)})
    accumulators = [_accumulator(f"variables[{i}]", s) for i, s in enumerate(arrays, 2)]
    return _state(rule, [_step("variables[0]", iterations)] * len(arrays), accumulators)


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
    rule, steps, accumulators = _read(state)
    config = _options("keras", _KERAS, rule)
    if config["duplicates"] == preset("keras").duplicates:
        del config["duplicates"]
    if len(set(steps)) > 1:
        raise ValueError(f"Keras has one count of iterations for all params, but steps are {steps}")
    iterations = np.array(steps[0] if steps else 0, np.int64)
    return config, [iterations, np.array(rule.lr, np.float32), *accumulators]


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
    for name in config:
        if name not in _MXNET:
            raise TypeError(f"config has {name!r}; known options are {', '.join(_MXNET)}")
    rule = _rule("mxnet", _MXNET, {k: v for k, v in config.items() if v is not None})
    counts = [_step(f"index_update_count[{k!r}]", index_update_count[k]) for k in states]
    return _state(rule, counts, [_accumulator(f"states[{k!r}]", s) for k, s in states.items()])


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
    rule, steps, accumulators = _read(state)
    config = _options("mxnet", _MXNET, rule)
    return config, dict(enumerate(accumulators)), dict(enumerate(steps))


def _rule(system: str, names: Mapping[str, str], options: Mapping[str, Any], **others: Any) -> Rule:
    """Return the rule of the options of a system and of other fields of Rule."""
    fields = {names[k]: v if isinstance(v, (bool, str)) else float(v) for k, v in options.items()}
    return preset(system, **{**others, **fields})


def _entries(name: str, given: Mapping[str, Any], wanted: Iterable[str]) -> Mapping[str, Any]:
    """Return `given`, or raise if it lacks an entry that every Adagrad of torch has."""
    for key in wanted:
        if key not in given:
            raise ValueError(f"{name} has no {key!r}: it belongs to another optimizer")
    return given


def _options(system: str, names: Mapping[str, str], rule: Rule) -> dict[str, Any]:
    """Return the hyperparameters of a system, or raise if they do not express the whole rule."""
    closest = preset(system, **{field: getattr(rule, field) for field in names.values()})
    if closest != rule:
        fields = (f.name for f in dataclasses.fields(rule))
        other = [f for f in fields if getattr(rule, f) != getattr(closest, f)]
        shown = ", ".join(f"{f}={getattr(rule, f)!r}" for f in other)
        raise ValueError(f"{system} cannot express a rule with {shown}")
    return {name: getattr(rule, field) for name, field in names.items()}


def _state(rule: Rule, steps: Sequence[int], accumulators: list[Array]) -> State:
    return {
        "version": STATE_VERSION,
        "rule": dataclasses.asdict(rule),
        "steps": np.array(steps, dtype=np.int64),
        "skipped": 0,
        "accumulators": accumulators,
    }


def _read(state: Mapping[str, Any]) -> tuple[Rule, list[int], list[Array]]:
    if state["version"] != STATE_VERSION:
        raise ValueError(
            f"state has version {state['version']}, but this adagrad reads {STATE_VERSION}"
        )
    steps = [_step(f"steps[{i}]", t) for i, t in enumerate(state["steps"])]
    accumulators = [
        _accumulator(f"accumulators[{i}]", s) for i, s in enumerate(state["accumulators"])
    ]
    if len(steps) != len(accumulators):
        raise ValueError(f"state has {len(steps)} steps but {len(accumulators)} accumulators")
    return Rule(**state["rule"]), steps, accumulators


def _at_least(n: int, variables: list[Any]) -> list[Any]:
    if len(variables) < n:
        raise ValueError(f"there must be at least {n} variables, got {len(variables)}")
    return variables


def _accumulator(name: str, value: Any) -> Array:
    """Return a copy of an accumulator, checked."""
    s = np.array(np.asarray(value), order="C")  # __array__ of a tensor may not accept copy=
    if s.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be float32 or float64, got {s.dtype}")
    bad = np.flatnonzero(~(np.isfinite(s) & (s >= 0)).ravel())
    if len(bad):
        at = np.unravel_index(bad[0], s.shape)
        index = f"[{', '.join(str(int(k)) for k in at)}]" if s.ndim else ""
        raise ValueError(f"{name}{index} must be finite and not negative, got {s[at]!r}")
    return s


def _step(name: str, value: Any) -> int:
    number = np.asarray(value)
    if number.dtype.kind not in "iuf" or number.size != 1 or not number >= 0 or number % 1 != 0:
        raise ValueError(f"{name} must be an integer from 0, got {value!r}")
    return int(number)
