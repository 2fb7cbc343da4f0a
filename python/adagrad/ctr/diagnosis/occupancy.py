"""How many features there are and how many are rare, from a table in which features meet.

Features that share a slot are counted as one there. Where slots are chosen uniformly, the counts of
the slots still tell the counts of the features. Called by the table of `_counting`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "Occupancy", "expected_sharing"]

Array = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A number and its standard error; 0 where it was counted, inf where nothing is known."""

    value: float
    error: float


def expected_sharing(features: float, slots: int) -> float:
    """Return the share of features that meet another one in their slot, by a uniform hash.

    ``1 - (1 - 1/m)^(n-1)`` for n features in m slots.
    """
    return -math.expm1(max(features - 1, 0.0) * math.log1p(-1 / slots)) if slots > 1 else 1.0


class Occupancy:
    """Numbers of features by how often they occur, from numbers of slots by their counts.

    Parameters
    ----------
    slots : ndarray of int64, shape [k + 1]
        Slots with no occurrence, with one, ..., with k.
    size : int
        Slots in all, those with more occurrences included.

    Notes
    -----
    Let ``m p_k`` slots have k occurrences, and ``m l_k`` features have k. A uniform hash makes the
    count of a slot compound Poisson: ``sum p_k z^k = exp(sum l_k (z^k - 1))``. The logarithm gives
    the features back, term by term (Panjer's recursion, solved for l):

        features = -m log p_0
        k p_0 l_k = k p_k - sum of j l_j p_{k-j} over j < k

    The first line is linear counting (Whang et al. 1990). Errors are by the delta method, with
    the features given and only the hash random: that of the number of features is the known
    ``sqrt(m (e^t - t - 1))`` for ``t`` features a slot.

    References
    ----------
    Whang, Vander-Zanden and Taylor, "A linear-time probabilistic counting algorithm for database
    applications", ACM TODS 15 (1990). Panjer, "Recursive evaluation of a family of compound
    distributions", ASTIN Bulletin 12 (1981).
    """

    def __init__(self, slots: npt.NDArray[np.int64], size: int) -> None:
        self._size = size
        self._p: Array = slots / size
        if slots[0] == 0:  # every slot is taken: any number of features could have done it
            self._rates = np.full(len(slots), math.nan)
            return
        rates = np.zeros(len(slots))
        for k in range(1, len(slots)):
            j = np.arange(1, k)
            known = float(np.sum(j * rates[j] * self._p[k - j]))
            rates[k] = (k * self._p[k] - known) / (k * self._p[0])
        self._rates = rates

    def features(self) -> Estimate:
        """Return how many features there are."""
        if self._p[0] == 0:
            return Estimate(math.inf, math.inf)
        load = -math.log(self._p[0])
        error = math.sqrt(max(math.expm1(load) - load, 0.0) * self._size)
        return Estimate(self._size * load, error)

    def share(self, most: int) -> Estimate:
        """Return the share of features that occur from once to `most` times."""
        if self._p[0] == 0:
            return Estimate(math.nan, math.inf)
        load = -math.log(self._p[0])
        share = float(self._rates[1 : most + 1].sum()) / load
        gradient = self._gradient(np.ones(most))
        gradient[0] += share / self._p[0]
        error = self._error(gradient / load, share * (1 - share) / load)
        return Estimate(min(max(share, 0.0), 1.0), error)

    def occurrences(self, most: int) -> Estimate:
        """Return how many entries belong to features that occur up to `most` times."""
        if self._p[0] == 0:
            return Estimate(math.nan, math.inf)
        k = np.arange(1.0, most + 1)
        rates = self._rates[1 : most + 1]
        error = self._error(self._gradient(k), float(k**2 @ rates))
        return Estimate(self._size * float(k @ rates), self._size * error)

    def _gradient(self, weights: Array) -> Array:
        """Return the derivatives of ``sum of weights[k-1] l_k`` by p_0, p_1, ...: [k + 1]."""
        most = len(weights)
        # Those of l_k by p_j are coefficients k - j of 1 / sum p_k z^k.
        reciprocal = np.zeros(most + 1)
        reciprocal[0] = 1 / self._p[0]
        for k in range(1, most + 1):
            reciprocal[k] = -(self._p[1 : k + 1] @ reciprocal[:k][::-1]) / self._p[0]
        gradient = [weights @ reciprocal[1:]]
        gradient += [weights[j - 1 :] @ reciprocal[: most + 1 - j] for j in range(1, most + 1)]
        return np.array(gradient)

    def _error(self, gradient: Array, drawn: float) -> float:
        """Return the standard error of a function of p with this gradient.

        `drawn` is what would be chance in it if the features were drawn anew, which they are not.
        """
        p = self._p[: len(gradient)]
        variance = float(p @ gradient**2 - (p @ gradient) ** 2) - drawn
        return math.sqrt(max(variance, 0.0) / self._size)
