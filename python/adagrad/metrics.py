"""How good predicted probabilities are, in the numbers that click models are judged by.

Logloss and AUC are scikit-learn's; what it lacks is added here. Nothing here trains or draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Metrics", "entropy", "learning_curve", "measure"]


@dataclass(frozen=True)
class Metrics:
    """Quality of predicted probabilities; every number is NaN when a prediction is not finite.

    Attributes
    ----------
    logloss : float
        Mean of ``-log(probability of the label that came)``, in nats an example, from 0.
    normalized_entropy : float
        ``logloss`` over the entropy of the base rate: below 1 is better than having known, and
        always predicted, the share of positives.
    auc : float
        Chance that a positive ranks above a negative, in [0, 1]; NaN with one class only.
    calibration : float
        Sum of the predictions over sum of the labels, from 0; 1 is calibrated on average.
    """

    logloss: float
    normalized_entropy: float
    auc: float
    calibration: float


def measure(labels: NDArray[np.float32], predictions: NDArray[np.float64]) -> Metrics:
    """Compare predictions [examples] in [0, 1] with labels [examples] of 0 and 1."""
    from sklearn.metrics import log_loss, roc_auc_score

    if not np.isfinite(predictions).all():
        return Metrics(math.nan, math.nan, math.nan, math.nan)
    positives = float(labels.sum())
    logloss = float(log_loss(labels, predictions, labels=[0, 1]))
    if positives in (0, len(labels)):
        return Metrics(logloss, math.nan, math.nan, math.nan)
    return Metrics(
        logloss=logloss,
        normalized_entropy=logloss / entropy(positives / len(labels)),
        auc=float(roc_auc_score(labels, predictions)),
        calibration=float(predictions.sum()) / positives,
    )


def learning_curve(
    labels: NDArray[np.float32], predictions: NDArray[np.float64], points: int = 400
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the normalized entropy of everything seen so far, at evenly spaced moments.

    Parameters
    ----------
    labels : numpy.ndarray of float32, shape [examples]
        0 or 1.
    predictions : numpy.ndarray of float64, shape [examples]
        Probabilities of a positive.
    points : int
        How many moments at most; the last one is the last example.

    Returns
    -------
    seen : numpy.ndarray of int64, shape [points]
        Number of examples seen, from 1.
    normalized_entropy : numpy.ndarray of float64, shape [points]
        NaN as long as all labels were the same.
    """
    seen = np.unique(np.linspace(1, len(labels), points).astype(np.int64))
    tiny = np.finfo(np.float64).eps
    right = np.clip(np.where(labels > 0, predictions, 1 - predictions), tiny, 1 - tiny)
    logloss = np.cumsum(-np.log(right))[seen - 1] / seen
    share = np.cumsum(labels, dtype=np.float64)[seen - 1] / seen
    mixed = (share > 0) & (share < 1)
    known = np.full(len(seen), np.nan)
    known[mixed] = [entropy(float(rate)) for rate in share[mixed]]
    return seen, logloss / known


def entropy(rate: float) -> float:
    """Return the logloss, in nats, of predicting ``rate`` when that is the share of positives."""
    return -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
