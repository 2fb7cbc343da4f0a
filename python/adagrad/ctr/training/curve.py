"""The learning curve of the first pass: where its points lie, and how it stays short."""

from __future__ import annotations

from adagrad.ctr.learners.mixture import EXPERTS, Mixture
from adagrad.ctr.learners.progressive import Progressive, metrics_of

__all__ = [
    "PLAIN",
    "ROUND",
    "batch_cuts",
    "extended_curve",
    "is_point",
    "metrics_at",
    "mixed_at",
]

ROUND = 64
"""The most examples of a round. A batch may end at any multiple of them without another bit."""

FIRST_POINT = 4
"""Examples at the first point of the curve, a power of two. There are two points per octave."""

MAX_POINTS = 512

PLAIN = 5
"""Numbers of a point that say nothing of experts."""


def extended_curve(
    curve: list[list[float]],
    progressive: Progressive,
    examples: int,
    mixture: Mixture | None = None,
) -> list[list[float]]:
    """Return a learning curve with one more point.

    A curve of more than `MAX_POINTS` points loses every other one of its older half.

    Parameters
    ----------
    curve : list of list of float
        Each point is ``[examples, positives, summed loss, summed predictions, AUC]``, of a mixture
        followed by what `mixed_at` returns. Sums of weighted examples are scaled as if the mean
        weight were 1.
    progressive : Progressive
        The scores so far.
    examples : int
        Number of examples that they are of.
    mixture : Mixture, optional
        What learned, if it is a mixture.
    """
    weight = float(progressive.sums[0]) or 1.0
    point = [*(progressive.sums * (examples / weight)).tolist(), progressive.metrics()["auc"]]
    point[0] = float(examples)
    if mixture is not None:
        experts = mixture.experts()
        point += [expert["weight"] for expert in experts]
        point += [*(expert["logloss"] for expert in experts), mixture.logloss()]
    curve = [*curve, point]
    if len(curve) > MAX_POINTS:
        curve = curve[: MAX_POINTS // 2 : 2] + curve[MAX_POINTS // 2 :]
    return curve


def metrics_at(point: list[float]) -> dict[str, float]:
    """Return the metrics at a point of the curve, as `Progressive.metrics` names them."""
    return metrics_of(point[: PLAIN - 1], point[PLAIN - 1])


def mixed_at(point: list[float]) -> tuple[list[float], list[float]]:
    """Return the weights of the experts, and their mean losses followed by that of the mixture."""
    return point[PLAIN : PLAIN + len(EXPERTS)], point[PLAIN + len(EXPERTS) :]


def is_point(values: list[float]) -> bool:
    """Whether this is a point of a curve; those of version 0.1, and of a fixed rate, are short."""
    return len(values) in (PLAIN, PLAIN + 2 * len(EXPERTS) + 1)


def batch_cuts(seen: int, rows: int) -> list[int]:
    """Return where to cut a batch of `rows`, after `seen` examples, so that the points are there.

    The last cut is the end of the batch. The cuts change no bit of the model: each
    point is a multiple of the length of the round that ends there.
    """
    cuts, octave = [], FIRST_POINT
    while octave < seen + rows:
        cuts += [at - seen for at in (octave, octave * 3 // 2) if seen < at < seen + rows]
        octave *= 2
    return [*cuts, rows]
