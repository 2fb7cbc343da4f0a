"""Gershgorin's discs: where the eigenvalues of a matrix are, in time linear in its entries.

Sparse matrices and sparse data need SciPy, and are never made dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.analysis.spectrum import Array, diagonal_of, is_sparse, matrix, squared_norms

__all__ = ["GershgorinDiscs", "gershgorin_discs"]


@dataclass(frozen=True, eq=False)
class GershgorinDiscs:
    """Discs in the complex plane whose union contains every eigenvalue of a matrix.

    Attributes
    ----------
    centres : ndarray of float64, shape [d]
        The diagonal.
    radii : ndarray of float64, shape [d]
        Row sums of the absolute values off the diagonal.
    """

    centres: Array
    radii: Array

    @property
    def lower(self) -> float:
        """No eigenvalue has a real part below it."""
        return float((self.centres - self.radii).min())

    @property
    def upper(self) -> float:
        """No eigenvalue has a real part above it."""
        return float((self.centres + self.radii).max())

    @property
    def condition_bound(self) -> float:
        """A bound of the condition number of a symmetric matrix; inf unless `lower` is positive."""
        return self.upper / self.lower if self.lower > 0 else math.inf

    def contain(self, values: npt.ArrayLike, slack: float = 0.0) -> npt.NDArray[np.bool_]:
        """Return for each of the values [k], real or complex, whether a disc contains it.

        `slack` is added to every radius, to allow for rounding of the values.
        """
        points = np.asarray(values)
        if points.ndim != 1:
            raise ValueError(f"values must have shape [k], got {points.shape}")
        distances = np.abs(points[:, np.newaxis] - self.centres)
        inside: npt.NDArray[np.bool_] = np.any(distances <= self.radii + slack, axis=1)
        return inside

    def clusters(self) -> list[npt.NDArray[np.intp]]:
        r"""Return the discs of each cluster, by index, from left to right.

        Discs that overlap or touch, directly or through others, are in one cluster. The union of
        the :math:`k` discs of a cluster contains exactly :math:`k` eigenvalues, counted with
        multiplicity (Horn and Johnson, *Matrix Analysis*, theorem 6.1.1). Takes
        :math:`O(d \log d)` time.

        Examples
        --------
        >>> from adagrad.analysis import gershgorin_discs
        >>> discs = gershgorin_discs([[0.0, 1.0, 0.0], [1.0, 1.5, 0.0], [0.0, 0.5, 9.0]])
        >>> [cluster.tolist() for cluster in discs.clusters()]
        [[0, 1], [2]]
        """
        order = np.argsort(self.centres - self.radii, kind="stable")
        left = (self.centres - self.radii)[order]
        right = np.maximum.accumulate((self.centres + self.radii)[order])
        return np.split(order, np.flatnonzero(left[1:] > right[:-1]) + 1)


def gershgorin_discs(A: Any, *, gram: bool = False) -> GershgorinDiscs:
    r"""Return the Gershgorin disc of each row: its diagonal entry and the sum of the others' sizes.

    The disc of row i contains all complex :math:`z` with

    .. math::

        |z - A_{ii}| \le \sum_{j \ne i} |A_{ij}|

    Parameters
    ----------
    A : array_like or scipy sparse matrix, shape [d, d], or [n, d] with `gram`
        A square matrix, symmetric or not; or data.
    gram : bool, default False
        Whether `A` is data ``X`` that represents :math:`X^\top X`, which is not formed. The radii
        are then those of :math:`|X|^\top |X|`: exact if no entry is negative, otherwise at least as
        large, so that the discs still contain every eigenvalue.

    Returns
    -------
    GershgorinDiscs
        Centers, radii and the resulting bounds.

    Raises
    ------
    TypeError
        If `A` is not numeric.
    ValueError
        If `A` is not square (without `gram`) or not finite.

    Notes
    -----
    After `jacobi_precondition` all centers are 1. If the largest radius is :math:`r < 1`, the
    condition number is at most :math:`(1 + r) / (1 - r)`. Takes time linear in the number of
    entries.

    References
    ----------
    Gershgorin, "Über die Abgrenzung der Eigenwerte einer Matrix", Izv. Akad. Nauk SSSR, 7th
    series, 1931, no. 6.

    Examples
    --------
    >>> from adagrad.analysis import gershgorin_discs
    >>> discs = gershgorin_discs([[2.0, 0.5], [0.5, 1.0]])
    >>> discs.lower, discs.upper, discs.condition_bound
    (0.5, 2.5, 5.0)
    """
    A = matrix(A, "A")
    size = abs(A)
    if gram:
        centres = squared_norms(A)
        sums = size.T @ (size @ np.ones(A.shape[1]))
        # The radius of a column that is alone in its rows may be negative by rounding.
        return GershgorinDiscs(centres, np.maximum(sums - centres, 0.0))
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"A must be square, got shape {A.shape}; pass gram=True if it is data")
    size_beside = size - _diagonal_matrix(size)
    return GershgorinDiscs(diagonal_of(A), np.asarray(size_beside.sum(axis=1)).ravel())


def _diagonal_matrix(A: Any) -> Any:
    if not is_sparse(A):
        return np.diag(A.diagonal())
    import scipy.sparse

    return scipy.sparse.diags_array(A.diagonal())
