"""The state of optax.adagrad and optax.scale_by_rss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adagrad.convert._state import (
    Array,
    State,
    accumulator,
    check_known,
    new_state,
    options_of,
    read,
    rule_of,
)
from adagrad.convert._state import step as step_of
from adagrad.convert._trees import leaves, with_leaves

# Fields of Rule by the names that optax gives to them: arguments of adagrad, then of clip and
# add_decayed_weights, and whether the latter stands before or after scale_by_rss.
_OPTAX = {
    "learning_rate": "lr",
    "initial_accumulator_value": "initial_accumulator",
    "eps": "eps",
    "max_delta": "clip_value",
    "weight_decay": "weight_decay",
    "weight_decay_mode": "weight_decay_mode",
}


def from_optax(config: Mapping[str, Any], opt_state: Any) -> State:
    """Convert the state of an `optax.adagrad`, or of a chain that contains one.

    Parameters
    ----------
    config : dict
        Arguments of `optax.adagrad`, which its state does not have: ``learning_rate``, and
        ``initial_accumulator_value`` and ``eps`` unless they have optax's defaults. For a chain,
        also ``max_delta`` of an `optax.clip` before it, and ``weight_decay`` of an
        `optax.add_decayed_weights`, with ``weight_decay_mode``: "coupled" (the default) if that
        stands before `scale_by_rss`, "decoupled" if it stands between it and the learning rate.
        Entries of `optax.inject_hyperparams` are taken from the state; a schedule in it leaves the
        rate of the last step there.
    opt_state : pytree
        What `init` or `update` returns, or the part of it that has ``sum_of_squares``. Containers
        may be dicts in place of named tuples and tuples, as checkpoints of Flax and Orbax restore
        them. Arrays may be of JAX or NumPy.

    Returns
    -------
    dict
        A state like that of `adagrad.Adagrad.state_dict`, with accumulators in the order of
        `jax.tree.leaves`. Steps are the ``count`` of the state, or 0 if it has none, as for a
        constant learning rate. Accumulators of float16 and bfloat16 become float32, which is exact:
        make the params float32, too.

    Raises
    ------
    TypeError
        If an accumulator is not an array of floats, or `config` has other entries.
    ValueError
        If the learning rate is missing or a schedule, or the state has no ``sum_of_squares``, more
        than one, or other arrays, such as a momentum; if an accumulator is negative or not finite,
        or counts are not integers from 0 or differ.

    Notes
    -----
    The state of a chain does not show what has no state, such as `optax.clip_by_global_norm`, which
    no Rule can express: clip the gradients before you pass them.

    Examples
    --------
    >>> theirs = ({"sum_of_squares": {"b": np.ones(2), "a": np.zeros((2, 2))}}, {"count": 7})
    >>> opt = adagrad.Adagrad([np.ones((2, 2)), np.ones(2)])  # a, then b
    >>> opt.load_state_dict(adagrad.convert.from_optax({"learning_rate": 0.5}, theirs))
    >>> opt.steps, opt.accumulators[1]
    ([7, 7], array([1., 1.]))
    """
    check_known(config, _OPTAX)
    sums, counts, hyperparams = _parts(opt_state)
    given = {k: v for k, v in {**config, **hyperparams}.items() if v is not None}
    if "learning_rate" not in given:
        raise ValueError("config must have learning_rate, which the state of optax does not have")
    if callable(given["learning_rate"]):
        raise ValueError(
            "config has a schedule as learning_rate, which a Rule cannot express: give its value at"
            " the count, and replace the optimizer's rule when it changes"
        )
    rule = rule_of("optax", _OPTAX, given)
    steps = {step_of(path, value) for path, value in counts.items()}
    if len(steps) > 1:
        raise ValueError(f"opt_state has counts that differ: {', '.join(map(str, sorted(steps)))}")
    accumulators = [accumulator(path, _wide(path, value)) for path, value in sums.items()]
    return new_state(rule, [*steps, 0][:1] * len(accumulators), accumulators)


def to_optax(state: Mapping[str, Any], opt_state: Any) -> tuple[dict[str, Any], Any]:
    """Convert a state to that of optax.

    Parameters
    ----------
    state : dict
        A result of `adagrad.Adagrad.state_dict`, with a rule of ``preset("optax")``.
    opt_state : pytree
        The structure to fill: what `init` of the optax optimizer returns for the params. It is not
        modified.

    Returns
    -------
    config : dict
        Arguments of `optax.adagrad`; also ``max_delta``, ``weight_decay`` and
        ``weight_decay_mode``, as in `from_optax`, where the rule clips or decays.
    opt_state : pytree
        The same containers with NumPy arrays as accumulators, the steps as ``count``, and the
        hyperparameters of `optax.inject_hyperparams`. If optax's params have 16 bits, the
        accumulators are float32 all the same; optax then keeps them so.

    Raises
    ------
    ValueError
        If optax cannot express the rule, the state is not valid, `opt_state` has other leaves, as
        in `from_optax`, or their number, shapes or dtypes differ, or if there is a ``count`` and
        params differ in step counts.
    """
    rule, steps, accumulators = read(state)
    config = options_of("optax", _OPTAX, rule)
    sums, counts, _ = _parts(opt_state)
    if len(sums) != len(accumulators):
        raise ValueError(
            f"state has {len(accumulators)} accumulators, but opt_state has {len(sums)}"
        )
    if counts and len(set(steps)) > 1:
        raise ValueError(f"optax has one count for all params, but steps are {steps}")
    for s, (path, place) in zip(accumulators, sums.items(), strict=True):
        dtype = _wide(path, place).dtype
        if np.shape(place) != s.shape or dtype != s.dtype:
            raise ValueError(
                f"{path} must be like the accumulator, {s.dtype} of shape {list(s.shape)},"
                f" got {dtype} of shape {list(np.shape(place))}"
            )
    new: dict[str, Any] = dict(zip(sums, accumulators, strict=True))
    for path, value in counts.items():
        new[path] = np.array(steps[0], np.asarray(value).dtype)
    for keys, path, value in leaves(opt_state, path="opt_state"):
        if path not in new:
            new[path] = np.array(config[keys[-1]], np.asarray(value).dtype)
    if rule.clip_value is None:
        del config["max_delta"]
    if rule.weight_decay == 0.0:
        del config["weight_decay"]
    if rule.weight_decay == 0.0 or rule.weight_decay_mode == "coupled":
        del config["weight_decay_mode"]
    filled = with_leaves(
        opt_state, (new[path] for _, path, _ in leaves(opt_state, (), "opt_state"))
    )
    return config, filled


def _parts(opt_state: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return accumulators and counts by their paths, and injected hyperparameters by name."""
    sums: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    hyperparams: dict[str, Any] = {}
    places = set()
    for keys, path, value in leaves(opt_state, path="opt_state"):
        if "sum_of_squares" in keys:
            sums[path] = value
            places.add(keys[: keys.index("sum_of_squares")])
        elif keys[-1:] == ("count",):
            counts[path] = value
        elif keys[-2:-1] == ("hyperparams",) and keys[-1] in _OPTAX:
            hyperparams[keys[-1]] = value
        else:
            raise ValueError(
                f"{path} is state that no Rule can express: pass only the part of opt_state that"
                " has sum_of_squares"
            )
    if len(places) != 1:
        raise ValueError(
            f"opt_state has sum_of_squares in {len(places)} places: pass the part of one"
            " optax.adagrad"
        )
    return sums, counts, hyperparams


def _wide(path: str, value: Any) -> Array:
    """Return an accumulator, as float32 if it has 16 bits."""
    if not hasattr(value, "__array__"):
        raise TypeError(
            f"{path} must be an array, got {type(value).__name__}: put jax.tree.leaves of the"
            " sum_of_squares in its place"
        )
    s = np.asarray(value)
    return s.astype(np.float32) if s.dtype.name in ("float16", "bfloat16") else s
