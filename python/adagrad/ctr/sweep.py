"""``lr="auto"``: eight learning rates side by side, of which the best one goes on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adagrad import _core
from adagrad.ctr.examples import Examples
from adagrad.ctr.model import Model
from adagrad.table import Table

__all__ = ["RATES", "SWEEP_EXAMPLES", "sweep"]

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
SWEEP_EXAMPLES = 20_480
"""How many examples, from the first, choose the rate."""

_MOST_ROWS = 1 << 18
_CHECK = 512  # examples between two looks at who is best

Floats = npt.NDArray[np.float32]


def sweep(model: Model, x: Examples, y: Floats, weights: Floats | None) -> tuple[float, Floats]:
    """Return the best rate for the examples, and the margins of learning at the running best.

    Parameters
    ----------
    model : Model
        Of logistic regression, whose settings count, not its state.
    x, y, weights
        As for `Model.learn`.

    Returns
    -------
    lr : float
        That of `RATES` with the least logloss over all; the smaller of equal ones.
    margins : ndarray of float32, shape [n]
        What each example was predicted, before it was learned, by the rate that was best until
        shortly before.

    Notes
    -----
    The eight params and accumulators of a slot share a cache line. Slots are folded into at most
    2**18, which makes collisions, but the same for all eight; only the choice of a rate is kept.
    """
    settings = model.settings
    rule = settings.rule
    folded = min(_MOST_ROWS, 1 << (settings.n_slots - 1).bit_length())
    table = Table(folded, dim=len(RATES), rule=rule)
    bias = None
    if settings.intercept:
        bias = np.zeros(2 * len(RATES), np.float32)
        bias[len(RATES) :] = rule.initial_accumulator
    chosen = np.empty(len(x), np.float32)
    losses = np.zeros(len(RATES))
    for start in range(0, len(x), _CHECK):
        part = slice(start, start + _CHECK)
        weight = None if weights is None else weights[part]
        lrs = [rule.replace(lr=rate).lr_at(start + 1) for rate in RATES]
        margins = _core.sweep(x[part], y[part], weight, table._memory, bias, rule._compiled, lrs)
        chosen[part] = margins[:, _best(losses)]
        loss = np.logaddexp(0.0, np.where(y[part, None] > 0, -margins, margins).astype(np.float64))
        losses += loss.sum(0) if weight is None else weight @ loss
    return RATES[_best(losses)], chosen


def _best(losses: npt.NDArray[np.float64]) -> int:
    return int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))
