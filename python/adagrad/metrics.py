"""The quality of predicted probabilities: logloss, normalized entropy, AUC, calibration.

Logloss and AUC come from scikit-learn; the metrics that it lacks are computed here.
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
    r"""Quality of predicted probabilities. All metrics are NaN if a prediction is not finite.

    Attributes
    ----------
    logloss : float
        Mean of :math:`-\log p`, where p is the predicted probability of the label, in nats per
        example, at least 0.
    normalized_entropy : float
        ``logloss`` divided by the entropy :math:`-q \log q - (1 - q) \log (1 - q)` of the share q
        of positives. Below 1 is better than always predicting q. NaN if all labels are the same.
    auc : float
        Probability that a random positive ranks above a random negative, in [0, 1]; NaN if all
        labels are the same.
    calibration : float
        Sum of the predictions divided by the sum of the labels, at least 0; 1 is right on average.
        NaN if all labels are the same.
    """

    logloss: float
    normalized_entropy: float
    auc: float
    calibration: float


def measure(labels: NDArray[np.float32], predictions: NDArray[np.float64]) -> Metrics:
    """Return the quality of predictions.

    Parameters
    ----------
    labels : numpy.ndarray of float32, shape [examples]
        0 or 1.
    predictions : numpy.ndarray of float64, shape [examples]
        Probabilities of a positive, in [0, 1].
    """
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
    """Return the normalized entropy of all examples so far, at evenly spaced points.

    Parameters
    ----------
    labels : numpy.ndarray of float32, shape [examples]
        0 or 1.
    predictions : numpy.ndarray of float64, shape [examples]
        Probabilities of a positive.
    points : int
        Maximum number of points. The last one is the last example.

    Returns
    -------
    seen : numpy.ndarray of int64, shape [points]
        Number of examples seen, ascending.
    normalized_entropy : numpy.ndarray of float64, shape [points]
        NaN while all labels seen are the same.
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
    """Return the logloss, in nats, of always predicting the share of positives, ``rate``."""
    return -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
