"""The state of torch.optim.Adagrad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from adagrad.convert._state import State, accumulator, new_state, options_of, read, rule_of, step

# Fields of Rule by the names that torch keeps in each param group.
TORCH = {
    "lr": "lr",
    "lr_decay": "lr_decay",
    "weight_decay": "weight_decay",
    "initial_accumulator_value": "initial_accumulator",
    "eps": "eps",
    "maximize": "maximize",
}


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
        If it is not the state of an optimizer, or that of another, param groups differ in
        hyperparameters, an accumulator is negative or not finite, or a step is not an integer from
        0.

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
    if not {"state", "param_groups"} <= state_dict.keys():
        raise ValueError(
            f"state_dict has {', '.join(map(str, state_dict)) or 'no entries'}, not state and"
            " param_groups: pass the optimizer's state_dict, one of the entries of a checkpoint"
        )
    groups = list(state_dict["param_groups"])
    if not groups:
        raise ValueError("param_groups is empty")
    rules = []
    for i, group in enumerate(groups):
        _entries(f"param_groups[{i}]", group, ("lr", "lr_decay", "weight_decay", "eps"))
        options = {name: group[name] for name in TORCH if name in group}  # older ones have fewer
        rules.append(rule_of("torch", TORCH, options, **state_dict.get("rule", {})))
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
    return new_state(
        rules[0],
        [step(f"{name}['step']", e["step"]) for name, e in zip(names, entries, strict=True)],
        [accumulator(f"{name}['sum']", e["sum"]) for name, e in zip(names, entries, strict=True)],
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
    rule, steps, accumulators = read(state)
    options = options_of("torch", TORCH, rule)
    group = {**options, "foreach": None, "differentiable": False, "fused": None}
    return {
        "state": {
            i: {"step": np.array(t, np.float32), "sum": s}
            for i, (t, s) in enumerate(zip(steps, accumulators, strict=True))
        },
        "param_groups": [{**group, "params": list(range(len(steps)))}],
    }


def _entries(name: str, given: Mapping[str, Any], wanted: Iterable[str]) -> Mapping[str, Any]:
    """Return `given`, or raise if it lacks an entry that every Adagrad of torch has."""
    for key in wanted:
        if key not in given:
            raise ValueError(f"{name} has no {key!r}: it belongs to another optimizer")
    return given
