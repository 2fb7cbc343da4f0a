"""A sample of the examples that a training learns, for a log whose labels are ordered.

A stream cannot be shuffled, but a sample of it can. What one pass over such a log has learned is
worth less than what a new model learns from the sample in a random order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr.learners.label_order import LabelOrder, changes_text
from adagrad.ctr.learners.labeled import LabeledExamples, joined
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.progressive import Progressive, measured

if TYPE_CHECKING:
    from adagrad.ctr.learners.estimator import ClickLearner

__all__ = ["Sample", "order_text", "relearned"]

SIZE = 8_192
"""Examples of a sample, an eighth of a usual batch. On four logs, the held-out logloss after them
is within 1 % of that after the whole log, shuffled, at a fixed rate."""

Part = tuple[LabeledExamples, npt.NDArray[np.float64]]


class Sample:
    """A uniform sample of a stream of examples, and how often their label changes.

    Each row has a random key that depends on its number alone, and the rows with the smallest keys
    are kept: the sample is the same however the stream is cut into batches.

    Attributes
    ----------
    order : LabelOrder
        The changes of all labels.
    """

    def __init__(self) -> None:
        self.order = LabelOrder()
        self._random = np.random.default_rng(0)
        self._keys = np.empty(0)  # of the sample, in no order
        self._limit = 1.0  # which is above them and at most that of any other row
        self._parts: list[Part] = []  # rows that are or were in the sample, in order
        self._held = 0

    def add(self, batch: LabeledExamples) -> None:
        """Add the next examples."""
        self.order.add(batch.y)
        keys = self._random.random(len(batch))
        chosen = np.flatnonzero(keys < self._limit)
        if not len(chosen):
            return
        self._keys = np.concatenate([self._keys, keys[chosen]])
        if len(self._keys) > SIZE:
            self._limit = np.partition(self._keys, SIZE)[SIZE]
            self._keys = self._keys[self._keys < self._limit]
            chosen = chosen[keys[chosen] < self._limit]
        self._parts.append((batch.take(chosen), keys[chosen]))
        self._held += len(chosen)
        if self._held > 2 * SIZE:
            self._parts = [self._joined()]
            self._held = len(self._keys)

    def _joined(self) -> Part:
        """Return the sample, without the rows that have left it."""
        keys = np.concatenate([keys for _, keys in self._parts])
        inside = np.flatnonzero(keys < self._limit)
        return joined([part for part, _ in self._parts]).take(inside), keys[inside]

    def examples(self) -> LabeledExamples:
        """Return the examples of the sample, in the order of the stream."""
        return self._joined()[0]


def relearned(
    estimator: ClickLearner,
    sample: Sample,
    seed: int,
    fresh: Callable[[], Model] | None = None,
) -> dict[str, int] | None:
    """Replace a model that has learned labels in an order by one of a sample, if that is better.

    Parameters
    ----------
    estimator : ClickLearner
        Its model has learned all examples in one pass. It keeps the metrics of this pass.
    sample : Sample
        Of these examples.
    seed : int
        Seed of the order in which a new model with the same settings learns the sample.
    fresh : callable, optional
        Returns the model that learns the sample instead of a new one.

    Returns
    -------
    dict or None
        None if the labels are not ordered. Else how often they change, how often they would in a
        random order, and how many examples the new model has learned: 0 if the model that is there
        predicts the sample at least as well as a new one predicts it before learning.
    """
    order = sample.order
    if not order.is_ordered:
        return None
    batch = estimator._weighted(sample.examples())
    before = estimator._model
    after = Model(before.settings) if fresh is None else fresh()
    after.progressive = Progressive()
    some = batch.take(np.random.default_rng([seed, 0]).permutation(len(batch)))
    after.learn(some.x, some.y, some.weights)
    loss = measured(before.margins_as_trained, [batch]).metrics()["logloss"]
    found = {"changes": order.changes, "expected": round(order.expected), "sample": 0}
    if not math.isfinite(loss) or after.progressive.metrics()["logloss"] < loss:
        found["sample"] = len(batch)
        after.progressive = before.progressive
        estimator._trained = after
    return found


def order_text(found: dict[str, Any]) -> str:
    """Return a warning about what `relearned` has found, in one line."""
    text = changes_text(found["changes"], found["expected"])
    if not found["sample"]:
        return f"{text}; shuffle the rows for a better model"
    rows = f"{found['sample']:,} rows, drawn and learned once in a random order"
    return f"{text}; so the model is that of {rows}: shuffle the rows to learn from all of them"
