"""Estimates of the number of features, and of rare ones, from a hash table with collisions.

The table counts features that share a slot as one. If the hash is uniform, the distribution of the
counts of slots still determines that of features. Called by `counting.FeatureTable`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "Occupancy", "expected_sharing"]

Array = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A number and its standard error: 0 if it was counted, inf if nothing is known."""

    value: float
    error: float


def expected_sharing(features: float, slots: int) -> float:
    """Return the expected share of features that share their slot, for a uniform hash.

    This is :math:`1 - (1 - 1/m)^{n-1}` for n features in m slots.
    """
    return -math.expm1(max(features - 1, 0.0) * math.log1p(-1 / slots)) if slots > 1 else 1.0


class Occupancy:
    r"""Estimated numbers of features with 1, 2, ... occurrences, from the counts of slots.

    Parameters
    ----------
    slots : ndarray of int64, shape [k + 1]
        Number of slots with 0, 1, ..., k occurrences.
    size : int
        Number of all slots, including those with more than k occurrences.

    Notes
    -----
    Let :math:`m p_k` of the m slots have k occurrences, and :math:`m \lambda_k` features have k. A
    uniform hash makes the count of a slot compound Poisson:

    .. math::

        \sum_k p_k z^k = \exp \sum_k \lambda_k (z^k - 1)

    Its logarithm recovers the number n of features, and then the features term by term (Panjer's
    recursion, solved for :math:`\lambda`):

    .. math::

        n &= -m \log p_0 \\
        k p_0 \lambda_k &= k p_k - \sum_{j<k} j \lambda_j p_{k-j}

    The first line is linear counting (Whang et al. 1990). Standard errors follow from the delta
    method, with the features fixed and only the hash random. For the number of features this
    gives the known :math:`\sqrt{m (e^t - t - 1)}` with :math:`t = n / m` features per slot.

    References
    ----------
    Whang, Vander-Zanden and Taylor, "A linear-time probabilistic counting algorithm for database
    applications", ACM TODS 15 (1990). Panjer, "Recursive evaluation of a family of compound
    distributions", ASTIN Bulletin 12 (1981).
    """

    def __init__(self, slots: npt.NDArray[np.int64], size: int) -> None:
        self._size = size
        self._p: Array = slots / size
        if slots[0] == 0:  # every slot is taken, so the number of features has no upper bound
            self._rates = np.full(len(slots), math.nan)
            return
        rates = np.zeros(len(slots))
        for k in range(1, len(slots)):
            j = np.arange(1, k)
            known = float(np.sum(j * rates[j] * self._p[k - j]))
            rates[k] = (k * self._p[k] - known) / (k * self._p[0])
        self._rates = rates

    def features(self) -> Estimate:
        """Return the number of features."""
        if self._p[0] == 0:
            return Estimate(math.inf, math.inf)
        load = -math.log(self._p[0])
        error = math.sqrt(max(math.expm1(load) - load, 0.0) * self._size)
        return Estimate(self._size * load, error)

    def share(self, most: int) -> Estimate:
        """Return the share of features that occur at most `most` times."""
        if self._p[0] == 0:
            return Estimate(math.nan, math.inf)
        load = -math.log(self._p[0])
        share = float(self._rates[1 : most + 1].sum()) / load
        gradient = self._gradient(np.ones(most))
        gradient[0] += share / self._p[0]
        error = self._error(gradient / load, share * (1 - share) / load)
        return Estimate(min(max(share, 0.0), 1.0), error)

    def occurrences(self, most: int) -> Estimate:
        """Return the number of entries of features that occur at most `most` times."""
        if self._p[0] == 0:
            return Estimate(math.nan, math.inf)
        k = np.arange(1.0, most + 1)
        rates = self._rates[1 : most + 1]
        error = self._error(self._gradient(k), float(k**2 @ rates))
        return Estimate(self._size * float(k @ rates), self._size * error)

    def _gradient(self, weights: Array) -> Array:
        """Return the derivatives of the sum of ``weights[k-1] l_k`` with respect to p, [k + 1]."""
        most = len(weights)
        # The derivative of l_k with respect to p_j is coefficient k - j of 1 / sum p_k z^k.
        reciprocal = np.zeros(most + 1)
        reciprocal[0] = 1 / self._p[0]
        for k in range(1, most + 1):
            reciprocal[k] = -(self._p[1 : k + 1] @ reciprocal[:k][::-1]) / self._p[0]
        gradient = [weights @ reciprocal[1:]]
        gradient += [weights[j - 1 :] @ reciprocal[: most + 1 - j] for j in range(1, most + 1)]
        return np.array(gradient)

    def _error(self, gradient: Array, drawn: float) -> float:
        """Return the standard error of a function of p with this gradient.

        `drawn` is the part of the variance due to drawing the features, which are fixed here.
        """
        p = self._p[: len(gradient)]
        variance = float(p @ gradient**2 - (p @ gradient) ** 2) - drawn
        return math.sqrt(max(variance, 0.0) / self._size)
