"""Progressive validation: metrics of predictions made before each example is learned.

Called by `model` for every batch, and by whatever measures a model on held-out examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.metrics import entropy

if TYPE_CHECKING:
    from adagrad.ctr.encoding.examples import Examples
    from adagrad.ctr.encoding.matrix_rows import MatrixRows
    from adagrad.ctr.learners.labeled import LabeledExamples

__all__ = ["METRICS", "Progressive", "measured", "metrics_of"]

METRICS = ("logloss", "normalized_entropy", "auc", "calibration")

_BINS, _LARGEST_MARGIN = 32768, 16.0

Floats = npt.NDArray[np.float32]


class Progressive:
    """Metrics of any number of predictions, in 512 KiB of memory.

    Logloss, normalized entropy and calibration come from sums in float64. AUC comes from a
    histogram of the margins from -16 to 16 with bins of 1/1024. Predictions in the same bin, or
    beyond the same end, count as equal.

    Attributes
    ----------
    sums : ndarray of float64, shape [4]
        Weight of all examples, weight of the positive ones, summed loss in nats, summed
        predictions.
    bins : ndarray of float64, shape [2, 32768]
        Weight of negatives and of positives by margin.
    examples : int
        Number of examples added; files do not keep it.
    """

    examples = 0

    def __init__(self) -> None:
        self.sums = np.zeros(4)
        self.bins = np.zeros((2, _BINS))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copy the arrays: joblib may have mapped them, and then they cannot be added to."""
        self.sums, self.bins = (np.array(state[name], subok=False) for name in ("sums", "bins"))

    def add(self, margins: Floats, y: Floats, weights: Floats | None = None) -> None:
        """Count predictions.

        Parameters
        ----------
        margins : ndarray of float32, shape [n]
            Predicted log-odds.
        y : ndarray of float32, shape [n]
            Labels, 0 or 1.
        weights : ndarray of float32, shape [n], optional
            Weights of the examples; 1 by default.
        """
        self.examples += len(y)
        _core.tally(margins, y, weights, self.sums, self.bins)

    @property
    def rate(self) -> float:
        """Share of positives; NaN before the first example."""
        weight, positive = self.sums[:2]
        return float(positive / weight) if weight else math.nan

    def metrics(self) -> dict[str, float]:
        """Return logloss, normalized_entropy, auc and calibration.

        Returns
        -------
        dict of str to float
            ``logloss`` is the mean in nats. ``normalized_entropy`` is the logloss divided by that
            of always predicting the share of positives (He et al. 2014). ``auc`` is the
            probability that a positive ranks above a negative. ``calibration`` is the sum of the
            predictions divided by the sum of the labels. A metric is NaN if it is undefined: no
            examples, a single class, or predictions that are not finite.
        """
        has_auc = 0.0 < self.rate < 1.0 and math.isfinite(self.sums[2])
        return metrics_of(self.sums.tolist(), self._auc() if has_auc else math.nan)

    def metrics_of_all(self, negative_rate: float) -> dict[str, float]:
        """Return the metrics of predictions that hold where all negatives are.

        The margins are shifted by the logarithm of the rate, and each negative counts 1 / rate
        times. Every margin counts as the middle of its bin.

        Parameters
        ----------
        negative_rate : float
            The rate at which the negatives were kept.
        """
        negatives, positives = self.bins[0] / negative_rate, self.bins[1]
        width = 2 * _LARGEST_MARGIN / _BINS
        shifted = -_LARGEST_MARGIN + width * (np.arange(_BINS) + 0.5) + math.log(negative_rate)
        losses = np.logaddexp(0.0, shifted)  # of a negative; of a positive, less the margin
        both = negatives + positives
        weight, positive = float(both.sum()), float(positives.sum())
        loss = float((both * losses).sum() - (positives * shifted).sum())
        predicted = float((both * np.exp(shifted - losses)).sum())
        return metrics_of([weight, positive, loss, predicted], self.metrics()["auc"])

    def _auc(self) -> float:
        negatives, positives = self.bins
        below = np.cumsum(negatives) - negatives
        # BLAS would start threads for the product of two short vectors.
        wins = float((positives * (below + 0.5 * negatives)).sum())
        return wins / (float(negatives.sum()) * float(positives.sum()))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that `restore` takes: what a file stores."""
        return {"progressive.sums": self.sums, "progressive.bins": self.bins}

    def check(self) -> None:
        """Raise a ValueError if a weight is not one; losses and predictions may be anything."""
        for name, weights in (("sums", self.sums[:2]), ("bins", self.bins)):
            if not (np.isfinite(weights) & (weights >= 0)).all():
                raise ValueError(f"progressive.{name} has a weight that is negative or not finite")

    @classmethod
    def restore(cls, arrays: dict[str, npt.NDArray[Any]]) -> Progressive:
        """Return the metrics with this state."""
        board = cls()
        board.sums = np.array(arrays["progressive.sums"], np.float64)
        board.bins = np.array(arrays["progressive.bins"], np.float64)
        return board


def metrics_of(sums: Sequence[float], auc: float) -> dict[str, float]:
    """Return what `Progressive.metrics` describes, from its sums and the AUC."""
    weight, positive, loss, predicted = sums
    logloss = loss / weight if weight else math.nan
    has_both = 0.0 < positive < weight
    return {
        "logloss": logloss,
        "normalized_entropy": logloss / entropy(positive / weight) if has_both else math.nan,
        "auc": auc,
        "calibration": predicted / positive if positive else math.nan,
    }


def measured(
    margins: Callable[[Examples | MatrixRows], Floats],
    batches: Iterable[LabeledExamples],
) -> Progressive:
    """Return the metrics of predictions for batches of examples, weighted if they have weights.

    Parameters
    ----------
    margins : callable
        Returns the margins of examples.
    batches : iterable of LabeledExamples
    """
    board = Progressive()
    for batch in batches:
        board.add(margins(batch.x), batch.y, batch.weights)
    return board
