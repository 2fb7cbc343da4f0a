"""Whether labels come in an order, such as all negatives first, which a single pass cannot survive.

One pass ends with what it has seen last: after a long run of positives it predicts 1 for
everything. The learners and the training on logs look here, and learn in a random order then.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad._text import counted

__all__ = ["LabelOrder", "changes_text", "is_learned_in_order"]

SHARE = 0.05
"""Labels are ordered if they change less than this times as often as in a random order.

Where they change half as often or a fifth as often, a pass learns as well as in a random order; at
a twentieth, the logloss of the defaults is 2 % higher on a9a, and at a two-hundredth three times as
high. A click rate that drifts never comes near: `SHARE` needs rates so close to 0 and 1 that they
explain 95 % of the variance of the labels. Nor do sessions, unless their runs of one label
are 20 times as long as those of a random order.

Labels of two classes change at least once, so they are ordered only if more than 20 changes are
usual, which takes more than 10 labels of each class. In a random order, so many change only once
with a probability below 1e-10.
"""


class LabelOrder:
    """Counts how often the label changes from one example to the next.

    Attributes
    ----------
    examples, positives, changes : int
        Counts so far.
    """

    def __init__(self, y: npt.NDArray[Any] | None = None) -> None:
        self.examples = self.positives = self.changes = 0
        self._last: Any = None
        if y is not None:
            self.add(y)

    def add(self, y: npt.NDArray[Any]) -> None:
        """Count the labels of the next examples, 0 or 1."""
        if not len(y):
            return
        positive = y > 0
        self.changes += int(np.count_nonzero(positive[1:] != positive[:-1]))
        self.changes += self._last is not None and bool(positive[0] != self._last)
        self.examples += len(y)
        self.positives += int(np.count_nonzero(positive))
        self._last = positive[-1]

    @property
    def expected(self) -> float:
        """The mean number of changes if the same labels come in a random order."""
        negatives = self.examples - self.positives
        return 2.0 * self.positives * negatives / self.examples if self.examples else 0.0

    @property
    def is_ordered(self) -> bool:
        """Whether the labels are ordered so much that a pass is spoiled."""
        return self.changes < SHARE * self.expected


def changes_text(changes: int, expected: float) -> str:
    """Return what was seen of labels that are ordered."""
    return (
        f"the labels are ordered: they change {counted(changes, 'time')}, where {expected:,.0f} are"
        " usual in a random order"
    )


def is_learned_in_order(y: npt.NDArray[Any], caller: str, *, again: bool = False) -> bool:
    """Return whether a call may learn examples in the order of these labels, or warn.

    It does not warn `again`. Python would: any change of its filters, such as scikit-learn makes,
    lets it forget what it has shown.
    """
    order = LabelOrder(y)
    if order.is_ordered and not again:
        warnings.warn(
            f"{changes_text(order.changes, order.expected)}; {caller} learns the examples in a"
            " random order made by seed, because one pass over ordered labels ends with what came"
            " last: shuffle them before",
            UserWarning,
            stacklevel=3,
        )
    return not order.is_ordered
