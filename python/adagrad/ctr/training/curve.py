"""The learning curve of the first pass: where its points lie, and how it stays short."""

from __future__ import annotations

import math

from adagrad.ctr.learners.progressive import Progressive
from adagrad.metrics import entropy

__all__ = ["ROUND", "batch_cuts", "extended_curve", "metrics_at"]

ROUND = 64
"""Examples that a learner takes at once. A batch may end at any multiple of them."""

FIRST_POINT = 4
"""Examples at the first point of the curve, a power of two. There are two points per octave."""

MAX_POINTS = 512


def extended_curve(curve: list[list[float]], progressive: Progressive) -> list[list[float]]:
    """Return a learning curve with one more point: examples, positives, loss, predictions, AUC.

    A curve of more than `MAX_POINTS` points loses every other one of its older half.
    """
    curve = [*curve, [*map(float, progressive.sums), progressive.metrics()["auc"]]]
    if len(curve) > MAX_POINTS:
        curve = curve[: MAX_POINTS // 2 : 2] + curve[MAX_POINTS // 2 :]
    return curve


def metrics_at(point: list[float]) -> dict[str, float]:
    """Return the metrics at a point of the curve, as `Progressive.metrics` names them."""
    examples, positive, loss, predicted, auc = point
    logloss = loss / examples if examples else math.nan
    mixed = 0.0 < positive < examples
    return {
        "logloss": logloss,
        "normalized_entropy": logloss / entropy(positive / examples) if mixed else math.nan,
        "auc": auc,
        "calibration": predicted / positive if positive else math.nan,
    }


def batch_cuts(seen: int, rows: int) -> list[int]:
    """Return where to cut a batch of `rows`, after `seen` examples, so that the points are there.

    The last cut is the end of the batch. The cuts change no bit of the model: a learner takes its
    first 1,024 examples one by one, and the points after them are multiples of 8 `ROUND`.
    """
    cuts, octave = [], FIRST_POINT
    while octave < seen + rows:
        cuts += [at - seen for at in (octave, octave * 3 // 2) if seen < at < seen + rows]
        octave *= 2
    return [*cuts, rows]
