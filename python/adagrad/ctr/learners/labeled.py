"""Examples with their labels and weights: what a learner is trained on.

Made by the estimators and by the training loop of logs, taken by `Model.learn`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr.encoding.examples import Examples, concatenate
from adagrad.ctr.encoding.matrix_rows import MatrixRows, examples_of

__all__ = ["LabeledExamples", "joined"]

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledExamples:
    """Examples, their labels and their weights.

    Attributes
    ----------
    x : Examples or MatrixRows
        n examples.
    y : ndarray of float32, shape [n]
        0 or 1.
    weights : ndarray of float32, shape [n], or None
        Factors of the gradients; None if all are 1.
    """

    x: Examples | MatrixRows
    y: Floats
    weights: Floats | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, part: slice) -> LabeledExamples:
        """Return consecutive examples, as views."""
        weights = None if self.weights is None else self.weights[part]
        return LabeledExamples(self.x[part], self.y[part], weights)

    def take(self, order: npt.NDArray[np.integer[Any]]) -> LabeledExamples:
        """Return copies of the examples at these positions, in this order."""
        weights = None if self.weights is None else self.weights[order]
        return LabeledExamples(self.x.take(order), self.y[order], weights)

    def arranged(self) -> LabeledExamples:
        """Return the examples as copies that a pass need not sort, if a matrix has them."""
        return LabeledExamples(examples_of(self.x), self.y, self.weights)

    def weighted(self, of_classes: Sequence[float] | Floats) -> LabeledExamples:
        """Return the examples with weights multiplied by those of negatives and of positives."""
        factors = np.asarray(of_classes, np.float32)[self.y.astype(np.intp)]
        weights = factors if self.weights is None else factors * self.weights
        return LabeledExamples(self.x, self.y, weights)

    def with_weight(self) -> LabeledExamples:
        """Return the examples whose weight is not 0. The others would teach nothing.

        They must not be learned with a gradient of 0 either: penalties would still move params, and
        later rounds and rates would depend on them.
        """
        if self.weights is None or self.weights.all():
            return self
        return self.take(np.flatnonzero(self.weights))


def joined(parts: Sequence[LabeledExamples]) -> LabeledExamples:
    """Return consecutive examples, of which all parts have weights or none has."""
    weights = [part.weights for part in parts if part.weights is not None]
    return LabeledExamples(
        concatenate([examples_of(part.x) for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate(weights) if weights else None,
    )
