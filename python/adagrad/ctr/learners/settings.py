"""What determines a model before its first example, and what may change later."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from adagrad._arguments import check_real, check_storable
from adagrad.ctr.learners.pairs import PAIR_RULE
from adagrad.rule import Rule

__all__ = ["Kind", "Settings", "check_negative_rate", "check_penalties"]

_RETUNABLE = frozenset({"l1", "l2", "lr", "lr_decay", "weight_decay"})
_FROM_EXAMPLES = frozenset({"n_slots", "n_fields", "parts", "rule"})
# The options that a rule must leave alone for l1 and l2.
_OF_PENALIZED_RULES = (
    *("lr_decay", "weight_decay", "power", "accumulator_decay", "lagged", "maximize"),
    *("scale", "clip_value", "statistic", "skip_zero_accumulator"),
)

Kind = Literal["lr", "fm", "ffm"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that determines a model before its first example.

    Attributes
    ----------
    kind : {"lr", "fm", "ffm"}
        Logistic regression, factorization machine, field-aware factorization machine.
    n_slots : int
        Number of rows of each table.
    rule : Rule or None
        The update rule, including the rate. The bias is stepped without weight decay. None for a
        mixture of experts, which has no rate to choose.
    l1, l2 : float
        Penalties. Unless both are 0, the linear params are learned by FTRL-proximal, and `l2` is
        the coupled weight decay of factors.
    intercept : bool
        Whether there is a bias.
    factors : int
        Length of the vectors of a factorization machine; 0 for "lr".
    n_fields : int
        Number of fields of a field-aware factorization machine; 0 for the others.
    parts : int
        Number of parts into which its fields are divided: 2 if each field keeps to the slots of one
        region, as with `HashingEncoder`, else 1. Threads share the work by pairs of parts.
    init_scale : float
        Standard deviation of the initial factors.
    normalize : bool
        Whether the values of each example are divided by their Euclidean length in the pairs.
    seed : int
        Seed of the initial factors.
    half_life : float, optional
        Number of examples in which a mixture forgets half of what it has seen.
    negative_rate : float
        The rate at which negatives were kept among the examples, above 0 and at most 1.
    """

    kind: Kind
    n_slots: int
    rule: Rule | None
    l1: float = 0.0
    l2: float = 0.0
    intercept: bool = True
    factors: int = 0
    n_fields: int = 0
    parts: int = 1
    init_scale: float = 0.0
    normalize: bool = False
    seed: int = 0
    half_life: float | None = None
    negative_rate: float = 1.0

    @property
    def offset(self) -> float:
        """What a prediction adds last to the margin as trained: float32(log(`negative_rate`))."""
        return float(np.float32(math.log(self.negative_rate)))

    @property
    def fixed_rule(self) -> Rule:
        """The rule of a model that is not a mixture."""
        assert self.rule is not None
        return self.rule

    @property
    def is_penalized(self) -> bool:
        """Whether the linear params are learned by FTRL-proximal."""
        return bool(self.l1 or self.l2)

    def rule_of(self, table: str) -> Rule:
        """Return the rule of a table: that of factors has the L2 penalty as its weight decay."""
        if self.rule is None:
            return PAIR_RULE
        of_factors = self.l2 and table != "linear"
        return self.rule.replace(weight_decay=self.l2) if of_factors else self.rule

    def check_change(self, wanted: Settings) -> None:
        """Raise ValueError if a model with these settings cannot continue with others.

        Sizes that the examples decide are not compared.
        """
        if (self.rule is None) != (wanted.rule is None):
            before, after = (
                "auto" if rule is None else "a number" for rule in (self.rule, wanted.rule)
            )
            raise ValueError(
                f"lr was {before} when the model began and cannot become {after}: fit a new model,"
                " or a clone"
            )
        if self.is_penalized != wanted.is_penalized:
            before, after = (
                f"l1={x.l1!r} and l2={x.l2!r}" if x.is_penalized else "no penalty"
                for x in (self, wanted)
            )
            raise ValueError(
                f"the model began with {before} and cannot continue with {after}, because penalties"
                " need another state of every slot: fit a new model, or a clone"
            )
        pairs: list[tuple[Any, Any]] = [(self, wanted)]
        if self.rule is not None:
            pairs.append((self.rule, wanted.rule))
        for old_fields, new_fields in pairs:
            for name in (field.name for field in dataclasses.fields(old_fields)):
                old, new = getattr(old_fields, name), getattr(new_fields, name)
                if old != new and name not in _RETUNABLE | _FROM_EXAMPLES:
                    way = "; weights of 1 / rate for negatives may differ from log to log"
                    raise ValueError(
                        f"{name} was {old!r} when the model began and cannot become {new!r}: fit a"
                        f" new model, or a clone{way if name == 'negative_rate' else ''}"
                    )


def check_penalties(rule: Rule | None, l1: float, l2: float) -> None:
    """Raise ValueError if a model cannot have these penalties under this rule, or without one."""
    check_storable("l1", l1, "float32")
    check_storable("l2", l2, "float32")
    if l1 == 0.0 == l2:
        return
    if rule is None:
        raise ValueError("l1 and l2 need a fixed rate: give lr, such as lr=0.1")
    for name in _OF_PENALIZED_RULES:
        if getattr(rule, name) != getattr(Rule, name):
            raise ValueError(
                "l1 and l2 need a rule whose effective rate is lr / sqrt(s + eps) or"
                f" lr / (sqrt(s) + eps), with a constant lr and no other option: this one has"
                f" {name}={getattr(rule, name)!r}"
            )
    check_storable("lr * l1", rule.lr * l1, "float32")
    check_storable("lr * l2", rule.lr * l2, "float32")


def check_negative_rate(given: Any) -> float:
    """Return the rate at which negatives were kept.

    Raises
    ------
    TypeError, ValueError
        It is not a number above 0 and at most 1.
    """
    rate = check_real("negative_rate", given)
    if not 0.0 < rate <= 1.0:
        raise ValueError(f"negative_rate must be above 0 and at most 1, got {given!r}")
    return rate
