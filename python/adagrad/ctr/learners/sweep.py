"""``lr="auto"``: eight learning rates side by side, of which the best one goes on."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from adagrad import _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.model import Model, Settings
from adagrad.tables.table import Table

__all__ = ["RATES", "SWEEP_EXAMPLES", "sweep"]

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
SWEEP_EXAMPLES = 20_480
"""How many examples, from the first, choose the rate."""

_MOST_BYTES = 1 << 24  # of a table that tries a rate
_CHECK = 512  # examples between two looks at who is best

Floats = npt.NDArray[np.float32]


def sweep(
    settings: Settings, x: Examples, y: Floats, weights: Floats | None
) -> tuple[float, Floats]:
    """Return the best rate for some examples, and the margins of predicting by all rates.

    Parameters
    ----------
    settings : Settings
        Of the model; its rate is replaced by each of `RATES`.
    x, y, weights
        As for `Model.learn`.

    Returns
    -------
    lr : float
        That of `RATES` with the least logloss over all; the smaller of equal ones.
    margins : ndarray of float32, shape [n]
        What each example was predicted before it was learned: the mean of the eight probabilities,
        weighted by the likelihood of what each rate predicted before.

    Notes
    -----
    That mean loses at most ``log(8)`` nats in all, not in each example, against the best rate
    (Vovk, "Aggregating strategies", COLT 1990), so that nothing is lost by not knowing it.

    Slots are folded into small tables, which makes collisions, but the same for all rates; only
    the choice of a rate is kept. The eight params and accumulators that logistic regression has for
    a slot share a cache line.
    """
    at_rates = _side_by_side if settings.kind == "lr" else _in_turn
    margins = at_rates(settings, x, y, weights).astype(np.float64)
    # Of a positive and of a negative at each rate; a rate that has diverged counts no more.
    with np.errstate(invalid="ignore"):
        positive, negative = np.logaddexp(0.0, -margins), np.logaddexp(0.0, margins)
    positive[np.isnan(positive)] = negative[np.isnan(negative)] = np.inf
    loss = np.where(y[:, None] > 0, positive, negative)
    if weights is not None:
        loss = np.where(weights[:, None] > 0, loss * weights[:, None], 0.0)
    total = np.cumsum(loss, axis=0)
    before = np.vstack([np.zeros(len(RATES)), total])[: len(x)]
    with np.errstate(invalid="ignore"):  # NaN where all rates have diverged
        mixed = _log_mean(before, negative) - _log_mean(before, positive)
    best = int(np.argmin(total[-1])) if len(x) else 0
    return RATES[best], mixed.astype(np.float32)


def _log_mean(
    before: npt.NDArray[np.float64], loss: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return -log of the sum over rates of ``exp(-before - loss)``, [n]."""
    total = before + loss
    least = total.min(axis=1, keepdims=True)
    least[np.isinf(least)] = 0.0
    with np.errstate(divide="ignore"):
        mean: npt.NDArray[np.float64] = least[:, 0] - np.log(np.exp(least - total).sum(axis=1))
    return mean


def _side_by_side(
    settings: Settings, x: Examples, y: Floats, weights: Floats | None
) -> npt.NDArray[np.float32]:
    """Return the margins [n, 8] of logistic regressions that share a table."""
    # The one param of a slot has its row's accumulator; here a row has eight.
    rule = settings.rule.replace(accumulator="element")
    folded = min(_MOST_BYTES // 64, 1 << (settings.n_slots - 1).bit_length())
    table = Table(folded, dim=len(RATES), rule=rule)
    bias = None
    if settings.intercept:
        bias = np.zeros(2 * len(RATES), np.float32)
        bias[len(RATES) :] = rule.initial_accumulator
    parts = []
    for start in range(0, len(x), _CHECK):
        part = slice(start, start + _CHECK)
        weight = None if weights is None else weights[part]
        lrs = [rule.replace(lr=rate).lr_at(start + 1) for rate in RATES]
        parts.append(
            _core.sweep(x[part], y[part], weight, table._memory, bias, rule._compiled, lrs)
        )
    return np.concatenate(parts) if parts else np.empty((0, len(RATES)), np.float32)


def _in_turn(
    settings: Settings, x: Examples, y: Floats, weights: Floats | None
) -> npt.NDArray[np.float32]:
    """Return the margins [n, 8] of models that learn one after the other, in small tables."""
    row_bytes = 8 * settings.factors * max(1, settings.n_fields)
    fewer = max(1 << 10, 1 << (_MOST_BYTES // row_bytes).bit_length() - 1)
    n_slots = min(settings.n_slots, fewer)
    small = x.folded(n_slots)
    columns = []
    for rate in RATES:
        rule = settings.rule.replace(lr=rate)
        model = Model(dataclasses.replace(settings, n_slots=n_slots, rule=rule))
        columns.append(model.learn(small, y, weights, count=False))
    return np.stack(columns, axis=1)
