"""The learning curve of the first pass: where its points lie, and how it stays short."""

from __future__ import annotations

from adagrad.ctr.learners.progressive import Progressive

__all__ = ["ROUND", "batch_cuts", "extended_curve"]

ROUND = 64
"""Examples that a learner takes at once. A batch may end at any multiple of them."""

FIRST_POINT = 1024
"""Examples at the first point of the curve; the next ones lie at its doubles."""

MAX_POINTS = 512


def extended_curve(curve: list[list[float]], progressive: Progressive) -> list[list[float]]:
    """Return a learning curve with one more point: examples, positives, loss, predictions, AUC.

    A curve of more than `MAX_POINTS` points loses every other one of its older half.
    """
    curve = [*curve, [*map(float, progressive.sums), progressive.metrics()["auc"]]]
    if len(curve) > MAX_POINTS:
        curve = curve[: MAX_POINTS // 2 : 2] + curve[MAX_POINTS // 2 :]
    return curve


def batch_cuts(seen: int, rows: int) -> list[int]:
    """Return where to cut a batch of `rows`, after `seen` examples, to get points at the doubles.

    The last cut is the end of the batch. The others are multiples of `ROUND`, so that cutting
    changes no bit of the model.
    """
    cuts, at = [], FIRST_POINT
    while at < seen + rows:
        if at > seen:
            cuts.append(at - seen)
        at *= 2
    return [*(cut for cut in cuts if cut % ROUND == 0), rows]
