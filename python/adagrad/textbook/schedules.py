"""Three learning rate schedules on features whose frequencies follow Zipf's law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad
from adagrad._arguments import check_integer, check_real

__all__ = ["CLOCKS", "RATES", "RareFeatures", "rare_features"]

Array = npt.NDArray[Any]

CLOCKS = ("global 1/√t", "counter clock", "AdaGrad")
"""The names of the schedules of `rare_features`."""
RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""The learning rates that each schedule tries."""


@dataclass(frozen=True, eq=False)
class RareFeatures:
    """The results of three schedules on features of widely different frequency.

    Attributes
    ----------
    counts : ndarray of int64, shape [features]
        Number of occurrences of each feature, most frequent first, without features that never
        occurred.
    lr : dict of str to float
        The best learning rate of each schedule, by its name in `CLOCKS`.
    errors : dict of str to ndarray of float64, shape [features]
        Squared distances of the weights from the true ones after the last step; 1 on average if
        nothing was learned.
    rates : dict of str to ndarray of float64, shape [features]
        The factor of the next gradient of each feature.
    examples : ndarray of int64, shape [steps]
        Number of examples seen after each step.
    losses : dict of str to ndarray of float64, shape [steps]
        Squared error of predictions before learning, as a running mean over 100 steps.
    """

    counts: npt.NDArray[np.int64]
    lr: dict[str, float]
    errors: dict[str, npt.NDArray[np.float64]]
    rates: dict[str, npt.NDArray[np.float64]]
    examples: npt.NDArray[np.int64]
    losses: dict[str, npt.NDArray[np.float64]]

    def by_decile(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the mean of `values` [features] per tenth of the features, frequent first."""
        if len(values) < 10:
            raise ValueError(f"deciles need 10 features that occurred, got {len(values)}")
        return np.array([part.mean() for part in np.array_split(values, 10)])


def rare_features(
    seed: int = 0,
    *,
    features: int = 1000,
    examples: int = 20_000,
    exponent: float = 1.1,
    batch: int = 10,
    background: float = 0.0,
) -> RareFeatures:
    r"""Train a linear model of sparse features whose frequencies follow Zipf's law.

    Each example has five features, drawn with probabilities proportional to :math:`k^{-a}` for the
    k-th most frequent. Its target is the sum of their true weights, which are standard normal, plus
    normal noise with standard deviation 0.5. Three schedules decide how the rate of a feature
    falls: with the number of steps, as :math:`\eta / \sqrt t`; with the number of steps in which
    the feature occurred; or, as in AdaGrad, with the sum of its squared gradients. Each uses the
    best of `RATES`, by the squared error of predictions before learning.

    Parameters
    ----------
    seed : int, default 0
        Seeds the true weights, the features and the noise.
    features : int, default 1000
        Number of features, at least 10.
    examples : int, default 20_000
        Number of examples. Each is used once.
    exponent : float, default 1.1
        Exponent :math:`a` of Zipf's law, not negative. With 0 all features are equally frequent.
    batch : int, default 10
        Number of examples per step.
    background : float, default 0.0
        Value of each feature where it does not occur, not negative; an occurrence adds 1. If it is
        not 0, every feature has a gradient in every step, and the counter counts steps.

    Returns
    -------
    RareFeatures

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If a number is out of range.

    Notes
    -----
    Under the global schedule, the rate has already fallen when a feature occurs late or rarely, so
    that its weight hardly moves. All three schedules are rules of `adagrad.step_rows` or, with a
    background, of `adagrad.step`. Takes about 2 s.
    """
    check_integer("features", features, 10)
    check_integer("examples", examples, 1)
    check_integer("batch", batch, 1)
    exponent = check_real("exponent", exponent)
    background = check_real("background", background)
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    chance = np.arange(1, features + 1) ** -exponent
    rows = rng.choice(features, size=(examples, 5), p=chance / chance.sum())
    truth = rng.standard_normal(features)
    y = truth[rows].sum(axis=1) + background * truth.sum() + rng.normal(0.0, 0.5, examples)
    counts = np.bincount(rows.ravel(), minlength=features)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    best = {}
    for clock in CLOCKS:
        passes = [(_pass(clock, lr, rows, y, features, batch, background), lr) for lr in RATES]
        best[clock] = min(passes, key=lambda run: np.nan_to_num(run[0][2].mean(), nan=np.inf))
    steps = np.minimum(np.arange(batch, examples + batch, batch), examples)
    return RareFeatures(
        counts=counts[order],
        lr={clock: lr for clock, (_, lr) in best.items()},
        errors={clock: (w - truth)[order] ** 2 for clock, ((w, _, _), _) in best.items()},
        rates={clock: rates[order] for clock, ((_, rates, _), _) in best.items()},
        examples=steps,
        losses={clock: _running_mean(loss, 100) for clock, ((*_, loss), _) in best.items()},
    )


def _pass(
    clock: str,
    lr: float,
    rows: Array,
    y: Array,
    features: int,
    batch: int,
    background: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Make one pass: return the weights, the rates at the end and the squared errors."""
    w, s = np.zeros(features), np.zeros(features)
    rule = adagrad.Rule(lr=lr, statistic="count" if clock == "counter clock" else "square")
    losses = []
    with np.errstate(over="ignore", invalid="ignore"):
        for t, start in enumerate(range(0, len(rows), batch), start=1):
            ids = rows[start : start + batch]
            error = w[ids].sum(axis=1) + background * w.sum() - y[start : start + batch]
            losses.append(float(np.mean(error**2)))
            if clock == "global 1/√t":
                rule = adagrad.Rule(lr=lr / t**0.5, power=0.0)
            g = np.repeat(error / len(error), rows.shape[1])
            if background:
                dense = np.bincount(ids.ravel(), g, features) + background * error.mean()
                adagrad.step(w, dense, s, rule)
            else:
                adagrad.step_rows(w, g, s, ids.ravel(), rule)
    return w, rule.rate(s), np.array(losses)


def _running_mean(values: Array, width: int) -> Array:
    total = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(total))
    first = np.maximum(last - width, 0)
    mean: Array = (total[last] - total[first]) / (last - first)
    return mean
