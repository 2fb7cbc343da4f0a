"""The learners of the compiled module on the memory of a model: whole, or the rows of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.layouts import parts_of_fields
from adagrad.ctr.learners.settings import Settings

__all__ = ["gradients", "learn_first", "learner", "linear_learner", "penalized_weights"]

Floats = npt.NDArray[np.float32]
Memory = Mapping[str, npt.NDArray[Any] | None]

_LARGEST_ROUNDS = 1 << 20
"""Examples after which rounds grow no further."""


def gradients(
    settings: Settings, memory: Mapping[str, Floats], bias: Floats | None, x: Examples, y: Floats
) -> Floats:
    """Add up the gradients of a batch, all at the same params, and return the margins.

    Parameters
    ----------
    settings : Settings
        Settings of the model, with `n_slots` equal to the rows of `memory`. The rule and the
        penalties are not applied: they belong to the step.
    memory : dict of str to ndarray of float32, shape [n_slots, 2 * dim]
        Arrays by the names of `layouts`. A row holds its params, then the sum of its gradients.
    bias : ndarray of float32, shape [2], or None
        The bias and the sum of its gradients.
    x, y
        As for `Model.learn`. The gradients of a row are added in the order of the examples.
    """
    # No param changes, so the largest rounds give the same sums.
    return learner(settings, memory, bias, sums=True).learn(x, y, None, _LARGEST_ROUNDS, 1)


def learn_first(
    settings: Settings, memory: Mapping[str, Floats], bias: Floats | None, x: Examples, y: Floats
) -> Floats:
    """Learn the first examples of a model of which some rows are here, and return the margins.

    Parameters
    ----------
    settings, x, y
        As for `gradients`.
    memory, bias
        Params, then accumulators.
    """
    return learner(settings, memory, bias).learn(x, y, None, 0, 1)


def penalized_weights(settings: Settings, pairs: Floats) -> Floats:
    """Return the weights of some rows of a model with penalties, from their z and accumulators."""
    some = dataclasses.replace(settings, n_slots=len(pairs))
    return linear_learner(some, {"linear": pairs}).weights()


def linear_learner(
    settings: Settings, memory: Memory, bias: Floats | None = None, sums: bool = False
) -> _core.LinearLearner:
    """Return the linear part of a model whose table "linear" is in `memory`."""
    linear = memory["linear"]
    return _core.LinearLearner(linear, settings.n_slots, bias, *_steps(settings, sums))


def _steps(
    settings: Settings, sums: bool
) -> tuple[_core.Hyperparameters, float, float, tuple[float, float] | None]:
    """Return the last arguments of a learner: rule, rate, decay of the rate, penalties."""
    rule = settings.rule_of("linear" if settings.kind == "lr" else "factors")
    if sums:
        return rule._compiled.sums(), rule.lr, 0.0, None
    penalties = (settings.l1, settings.l2) if settings.is_penalized else None
    return rule._compiled, rule.lr, rule.lr_decay, penalties


def learner(
    settings: Settings, memory: Memory, bias: Floats | None, sums: bool = False
) -> _core.Learner:
    """Return the learner of a model; beside a mixture, which has no table "linear", of its pairs.

    With `sums`, it adds up gradients and changes no param: see `gradients`.
    """
    if settings.kind == "lr":
        return linear_learner(settings, memory, bias, sums)
    linear, k, steps = memory.get("linear"), settings.factors, _steps(settings, sums)
    if settings.kind == "fm":
        memory_of_fm = linear, settings.n_slots, bias, memory["factors"], k
        return _core.FMLearner(*memory_of_fm, settings.normalize, *steps)
    part_of_field, places = parts_of_fields(settings)
    return _core.FFMLearner(
        [memory[f"factors{part}"] for part in range(settings.parts)],
        settings.n_slots,
        k,
        part_of_field,
        places,
        linear,
        bias,
        settings.normalize,
        *steps,
    )
