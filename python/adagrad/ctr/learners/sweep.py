"""The choice of ``lr="auto"``: eight learning rates are compared, and the best is kept.

Called by `trainer` and by training on a cluster.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.model import Model, Settings
from adagrad.tables.table import Table

__all__ = ["RATES", "SWEEP_EXAMPLES", "sweep"]

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
SWEEP_EXAMPLES = 20_480
"""Number of first examples that the choice of the rate is based on."""

_MAX_BYTES = 1 << 24  # of the tables that try the rates
_CHUNK = 512  # examples during which a decaying rate stays constant

Floats = npt.NDArray[np.float32]


def sweep(
    settings: Settings, x: Examples, y: Floats, weights: Floats | None
) -> tuple[float, Floats]:
    """Return the best rate for some examples, and the margins of a mixture of all rates.

    Parameters
    ----------
    settings : Settings
        Settings of the model; each of `RATES` takes the place of its rate.
    x, y, weights
        As for `Model.learn`.

    Returns
    -------
    lr : float
        The one of `RATES` with the lowest total logloss; of equal ones, the smallest.
    margins : ndarray of float32, shape [n]
        The prediction for each example before it was learned: the mean of the eight probabilities,
        weighted by the likelihood that each rate gave to the labels before.

    Notes
    -----
    The total loss of this mean exceeds that of the best rate by at most ``log(8)`` nats (Vovk,
    "Aggregating strategies", COLT 1990).

    Slots are folded into small tables. This adds collisions, but the same ones for all rates, and
    the tables are discarded after the choice. For logistic regression the eight params and
    accumulators of a slot share a cache line.
    """
    at_rates = _side_by_side if settings.kind == "lr" else _in_turn
    margins = at_rates(settings, x, y, weights).astype(np.float64)
    # Losses of either label at each rate; infinite once a rate has diverged.
    with np.errstate(invalid="ignore"):
        positive, negative = np.logaddexp(0.0, -margins), np.logaddexp(0.0, margins)
    positive[np.isnan(positive)] = negative[np.isnan(negative)] = np.inf
    loss = np.where(y[:, None] > 0, positive, negative)
    if weights is not None:
        loss = np.where(weights[:, None] > 0, loss * weights[:, None], 0.0)
    total = np.cumsum(loss, axis=0)
    before = np.vstack([np.zeros(len(RATES)), total])[: len(x)]
    with np.errstate(invalid="ignore"):  # NaN if all rates have diverged
        mixed = _log_mean(before, negative) - _log_mean(before, positive)
    best = int(np.argmin(total[-1])) if len(x) else 0
    return RATES[best], mixed.astype(np.float32)


def _log_mean(
    before: npt.NDArray[np.float64], loss: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return ``-log(sum(exp(-before - loss)))`` over the rates, [n]."""
    total = before + loss
    least = total.min(axis=1, keepdims=True)
    least[np.isinf(least)] = 0.0
    with np.errstate(divide="ignore"):
        mean: npt.NDArray[np.float64] = least[:, 0] - np.log(np.exp(least - total).sum(axis=1))
    return mean


def _side_by_side(
    settings: Settings, x: Examples, y: Floats, weights: Floats | None
) -> npt.NDArray[np.float32]:
    """Return the margins [n, 8] of eight logistic regressions that share a table."""
    # A row of this table has the params of eight rates, each with an accumulator.
    rule = settings.fixed_rule.replace(accumulator="element")
    folded = min(_MAX_BYTES // 64, 1 << (settings.n_slots - 1).bit_length())
    table = Table(folded, dim=len(RATES), rule=rule)
    bias = None
    if settings.intercept:
        bias = np.zeros(2 * len(RATES), np.float32)
        bias[len(RATES) :] = rule.initial_accumulator
    parts = []
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        weight = None if weights is None else weights[part]
        lrs = [rule.replace(lr=rate).lr_at(start + 1) for rate in RATES]
        parts.append(
            _core.sweep(x[part], y[part], weight, table._memory, bias, rule._compiled, lrs)
        )
    return np.concatenate(parts) if parts else np.empty((0, len(RATES)), np.float32)


def _in_turn(
    settings: Settings, x: Examples, y: Floats, weights: Floats | None
) -> npt.NDArray[np.float32]:
    """Return the margins [n, 8] of eight models that learn one after another, in small tables."""
    row_bytes = 8 * settings.factors * max(1, settings.n_fields)
    fewer = max(1 << 10, 1 << (_MAX_BYTES // row_bytes).bit_length() - 1)
    n_slots = min(settings.n_slots, fewer)
    small = x.folded(n_slots)
    columns = []
    for rate in RATES:
        rule = settings.fixed_rule.replace(lr=rate)
        model = Model(dataclasses.replace(settings, n_slots=n_slots, rule=rule))
        columns.append(model.learn(small, y, weights, count=False))
    return np.stack(columns, axis=1)
