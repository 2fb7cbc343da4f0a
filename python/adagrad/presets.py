"""The AdaGrad of other systems, by name. A preset is a set of Rule fields and nothing else."""

from __future__ import annotations

from typing import Any

from adagrad.rule import Rule

# The fields that differ from Rule's defaults. An lr of None: the system has no default.
# tests/helpers/reference.py writes each preset's formula in NumPy; docs/presets.md has the table.
_PRESETS: dict[str, dict[str, Any]] = {
    "textbook": {},
    "torch": {"lr": 0.01, "eps": 1e-10, "eps_position": "outside"},
    "keras": {
        "lr": 0.001,
        "eps": 1e-7,
        "initial_accumulator": 0.1,
        "weight_decay_mode": "decoupled",
        "weight_decay_rows": "all",
        "duplicates": "each",
    },
    "optax": {
        "lr": None,
        "eps": 1e-7,
        "initial_accumulator": 0.1,
        "evaluation": "g/d*lr",
        "skip_zero_accumulator": True,
    },
    "mxnet": {
        "lr": 0.01,
        "eps": 1e-7,
        "weight_decay_mode": "decoupled",
        "evaluation": "g/d*lr",
    },
    "tf1": {"lr": None, "eps": 0.0, "initial_accumulator": 0.1},
    "fbgemm": {"lr": 0.01, "eps": 1e-8, "eps_position": "outside"},
    "fbgemm_rowwise": {
        "lr": 0.01,
        "eps": 1e-8,
        "eps_position": "outside",
        "evaluation": "lr/d*g",
        "accumulator": "row",
    },
    "torchrec_rowwise": {
        "lr": 0.01,
        "eps": 1e-10,
        "eps_position": "outside",
        "accumulator": "row",
    },
    "caffe2": {
        "lr": 0.01,
        "eps": 1e-4,
        "eps_position": "outside",
        "duplicates": "sequential",
    },
    "libffm": {
        "lr": 0.2,
        "eps": 0.0,
        "initial_accumulator": 1.0,
        "weight_decay": 2e-5,
        "evaluation": "lr/d*g",
        "duplicates": "sequential",
    },
    "lightfm": {
        "lr": 0.05,
        "eps": 0.0,
        "initial_accumulator": 1.0,
        "lagged": True,
        "evaluation": "lr/d*g",
        "duplicates": "sequential",
    },
    "glove": {
        "lr": 0.05,
        "eps": 0.0,
        "initial_accumulator": 1.0,
        "lagged": True,
        "statistic": "scaled_square",
        "duplicates": "sequential",
    },
    "river": {"lr": 0.1, "eps": 1e-8, "evaluation": "lr/d*g"},
}


def presets() -> tuple[str, ...]:
    """Return the names that `preset` takes.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> adagrad.presets()[:3]
    ('textbook', 'torch', 'keras')
    """
    return tuple(_PRESETS)


def preset(name: str, **overrides: Any) -> Rule:
    """Return the rule of another system.

    Parameters
    ----------
    name : str
        One of `presets()`.
    **overrides
        Fields of `Rule`, by their names in `Rule`.

    Returns
    -------
    Rule

    Raises
    ------
    ValueError
        If there is no such preset, or the system has no default `lr` and none is given.
    TypeError
        If an override is not a field of `Rule`.

    Examples
    --------
    >>> adagrad.preset("torch", lr=0.05).eps_position
    'outside'
    """
    if not isinstance(name, str) or name not in _PRESETS:
        raise ValueError(f"there is no preset {name!r}: choose from {', '.join(_PRESETS)}")
    fields = {**_PRESETS[name], **overrides}
    if fields.get("lr", 0.0) is None:
        raise ValueError(f"{name} has no default lr: call preset({name!r}, lr=...)")
    return Rule().replace(**fields)
