"""The rules that the bit tests run through: every preset, and every option on its own and mixed."""

from __future__ import annotations

import adagrad
from adagrad import Rule

RULES: dict[str, Rule] = {name: adagrad.preset(name, lr=0.1) for name in adagrad.presets()}
RULES.update(
    {
        "eps outside": Rule(eps=1e-3, eps_position="outside"),
        "eps 0": Rule(eps=0.0),
        "rate first": Rule(evaluation="lr/d*g"),
        "quotient first": Rule(evaluation="g/d*lr"),
        "coupled": Rule(weight_decay=0.01),
        "coupled, maximize": Rule(weight_decay=0.01, maximize=True),
        "coupled, lagged": Rule(weight_decay=0.01, lagged=True, initial_accumulator=0.1),
        "decoupled": Rule(weight_decay=0.01, weight_decay_mode="decoupled"),
        "decoupled, rate first": Rule(
            weight_decay=0.01, weight_decay_mode="decoupled", evaluation="lr/d*g"
        ),
        "decoupled, quotient first": Rule(
            weight_decay=0.01, weight_decay_mode="decoupled", evaluation="g/d*lr"
        ),
        "power 0": Rule(power=0.0),
        "power 0.25": Rule(power=0.25),
        "power 0.3": Rule(power=0.3, eps_position="outside"),
        "power 1": Rule(power=1.0, lagged=True),
        "forget": Rule(accumulator_decay=0.9),
        "lagged": Rule(lagged=True, initial_accumulator=0.1),
        "maximize": Rule(maximize=True),
        "scale and clip": Rule(scale=0.125, clip_value=0.5),
        "count": Rule(statistic="count", eps=1.0),
        "scaled square": Rule(statistic="scaled_square"),
        "largest of a row": Rule(row_statistic="max"),
        "largest of a row, count": Rule(row_statistic="max", statistic="count", eps=0.5),
        "skip zero": Rule(eps=0.0, skip_zero_accumulator=True),
        "skip non-finite": Rule(on_nonfinite="skip"),
        "raise non-finite": Rule(on_nonfinite="raise"),
        "everything": Rule(
            lr=0.05,
            eps=1e-3,
            eps_position="outside",
            weight_decay=0.02,
            weight_decay_mode="decoupled",
            power=0.375,
            accumulator_decay=0.99,
            lagged=True,
            maximize=True,
            scale=0.5,
            clip_value=2.0,
            evaluation="g/d*lr",
            skip_zero_accumulator=True,
            on_nonfinite="skip",
        ),
    }
)


def is_coupled(rule: Rule) -> bool:
    """Whether the gradient depends on the param, which duplicates="each" refuses."""
    return rule.weight_decay != 0.0 and rule.weight_decay_mode == "coupled"
