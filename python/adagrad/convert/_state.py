"""What the state of every system becomes, and the checks that all of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.optimizer import STATE_VERSION
from adagrad.presets import preset
from adagrad.rule import Rule

Array = npt.NDArray[Any]
State = dict[str, Any]


def check_known(config: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Raise if a config has an option that no AdaGrad of the system has."""
    for name in config:
        if name not in names:
            raise TypeError(f"config has {name!r}; known options are {', '.join(names)}")


def rule_of(
    system: str, names: Mapping[str, str], options: Mapping[str, Any], **others: Any
) -> Rule:
    """Return the rule of the options of a system and of other fields of Rule."""
    fields = {names[k]: v if isinstance(v, (bool, str)) else float(v) for k, v in options.items()}
    return preset(system, **{**others, **fields})


def options_of(system: str, names: Mapping[str, str], rule: Rule) -> dict[str, Any]:
    """Return the hyperparameters of a system, or raise if they do not express the whole rule."""
    closest = preset(system, **{field: getattr(rule, field) for field in names.values()})
    if closest != rule:
        fields = (f.name for f in dataclasses.fields(rule))
        other = [f for f in fields if getattr(rule, f) != getattr(closest, f)]
        shown = ", ".join(f"{f}={getattr(rule, f)!r}" for f in other)
        raise ValueError(f"{system} cannot express a rule with {shown}")
    return {name: getattr(rule, field) for name, field in names.items()}


def new_state(rule: Rule, steps: Sequence[int], accumulators: list[Array]) -> State:
    return {
        "version": STATE_VERSION,
        "rule": dataclasses.asdict(rule),
        "steps": np.array(steps, dtype=np.int64),
        "skipped": 0,
        "accumulators": accumulators,
    }


def read(state: Mapping[str, Any]) -> tuple[Rule, list[int], list[Array]]:
    if state["version"] != STATE_VERSION:
        raise ValueError(
            f"state has version {state['version']}, but this adagrad reads {STATE_VERSION}"
        )
    steps = [step(f"steps[{i}]", t) for i, t in enumerate(state["steps"])]
    accumulators = [
        accumulator(f"accumulators[{i}]", s) for i, s in enumerate(state["accumulators"])
    ]
    if len(steps) != len(accumulators):
        raise ValueError(f"state has {len(steps)} steps but {len(accumulators)} accumulators")
    return Rule(**state["rule"]), steps, accumulators


def accumulator(name: str, value: Any) -> Array:
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


def step(name: str, value: Any) -> int:
    number = np.asarray(value)
    if number.dtype.kind not in "iuf" or number.size != 1 or not number >= 0 or number % 1 != 0:
        raise ValueError(f"{name} must be an integer from 0, got {value!r}")
    return int(number)
