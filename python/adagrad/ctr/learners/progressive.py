"""Progressive validation: every example is predicted, then learned from, and counted here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adagrad import _core

if TYPE_CHECKING:
    from adagrad.ctr.encoding.examples import Examples

__all__ = ["METRICS", "Progressive", "measured"]

METRICS = ("logloss", "normalized_entropy", "auc", "calibration")

_BINS = 32768
_SUMS = ("weight", "positive", "loss", "predicted")

Floats = npt.NDArray[np.float32]


class Progressive:
    """Metrics of all predictions so far, in 512 KiB of memory however many there were.

    Logloss, normalized entropy and calibration are sums in float64. AUC comes from a histogram of
    the margins, 1/1024 wide and from -16 to 16: predictions in one bin count as equal, as do those
    beyond an end.

    Attributes
    ----------
    sums : ndarray of float64, shape [4]
        Weight of the examples, of the positive ones, summed loss in nats, summed predictions.
    bins : ndarray of float64, shape [2, 32768]
        Weight of negatives and positives by margin.
    """

    def __init__(self) -> None:
        self.sums = np.zeros(4)
        self.bins = np.zeros((2, _BINS))

    def add(self, margins: Floats, y: Floats, weights: Floats | None = None) -> None:
        """Count predictions.

        Parameters
        ----------
        margins : ndarray of float32, shape [n]
            Log-odds that were predicted.
        y : ndarray of float32, shape [n]
            0 or 1.
        weights : ndarray of float32, shape [n], optional
            Of the examples; 1 where left out.
        """
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
            ``logloss`` is the mean in nats. ``normalized_entropy`` is logloss over that of always
            predicting the share of positives (He et al. 2014). ``auc`` is the chance that a
            positive ranks above a negative. ``calibration`` is the sum of the predictions over
            that of the labels. NaN where it is not defined: no examples, one class only, or
            predictions that are not finite.
        """
        weight, positive, loss, predicted = (float(x) for x in self.sums)
        rate = self.rate
        mixed = 0.0 < rate < 1.0
        entropy = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate) if mixed else math.nan
        logloss = loss / weight if weight else math.nan
        return {
            "logloss": logloss,
            "normalized_entropy": logloss / entropy,
            "auc": self._auc() if mixed and math.isfinite(loss) else math.nan,
            "calibration": predicted / positive if positive else math.nan,
        }

    def _auc(self) -> float:
        negatives, positives = self.bins
        below = np.cumsum(negatives) - negatives
        wins = float(positives @ (below + 0.5 * negatives))
        return wins / (float(negatives.sum()) * float(positives.sum()))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that `restore` takes, for a file."""
        return {"progressive.sums": self.sums, "progressive.bins": self.bins}

    @classmethod
    def restore(cls, arrays: dict[str, npt.NDArray[Any]]) -> Progressive:
        """Return what `state` gave."""
        board = cls()
        board.sums = np.array(arrays["progressive.sums"], np.float64)
        board.bins = np.array(arrays["progressive.bins"], np.float64)
        return board


def measured(
    margins: Callable[[Examples], Floats], batches: Iterable[tuple[Examples, Floats]]
) -> Progressive:
    """Return how good predictions are, over batches of examples and their labels."""
    board = Progressive()
    for x, y in batches:
        board.add(margins(x), y)
    return board
