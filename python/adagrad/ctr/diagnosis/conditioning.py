"""How unevenly the loss curves along the features, before and after each feature is rescaled.

Called by `diagnosis`. The methods are those of `adagrad.analysis`, applied to sparse rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adagrad.analysis import GershgorinDiscs, gershgorin_discs, jacobi_precondition
from adagrad.analysis.spectrum import resolution

__all__ = ["Conditioning", "Spectrum", "conditioning"]

Array = npt.NDArray[np.float64]

_BLOCK = 1 << 20  # numbers in a dense block of rows


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a matrix, and the bounds on them by Gershgorin's theorem.

    Attributes
    ----------
    eigenvalues : ndarray of float64, shape [d]
        Ascending.
    condition : float
        The largest eigenvalue over the smallest that is not 0; inf if the latter is lost in
        rounding.
    discs : GershgorinDiscs
        Gershgorin discs of the same matrix.
    """

    eigenvalues: Array
    condition: float
    discs: GershgorinDiscs


@dataclass(frozen=True, eq=False)
class Conditioning:
    r"""Spectra of ``X.T @ X / n`` for some rows and features, as it is and with a unit diagonal.

    That is :math:`H = \frac1n X^\top X` and :math:`D^{-1/2} H D^{-1/2}` with
    :math:`D = \operatorname{diag}(H)`.

    Attributes
    ----------
    rows, features : int
        Shape of ``X``.
    rank : int
        Number of eigenvalues that are not 0, counted after rescaling, when rounding hides the
        fewest. In the other directions the rows say nothing, and a descent from 0 does not move.
    before, after : Spectrum
        Spectra of the matrix, and of the matrix rescaled to a diagonal of ones.
    """

    rows: int
    features: int
    rank: int
    before: Spectrum
    after: Spectrum

    @property
    def gain(self) -> float:
        """The factor by which rescaling reduces the condition number."""
        return self.before.condition / self.after.condition


def conditioning(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32] | None,
    shape: tuple[int, int],
) -> Conditioning:
    """Return the conditioning of a matrix of n rows and d columns.

    Takes :math:`O(n d^2 + d^3)` time and :math:`O(d^2)` memory.

    Parameters
    ----------
    rows, columns : ndarray of int64, shape [entries]
        Positions of the entries, in ascending order of rows.
    values : ndarray of float32, shape [entries], or None
        None if all values are 1.
    shape : tuple of int
        n and d. Columns without an entry are left out.
    """
    n, d = shape
    gram = np.zeros((d, d))
    height = max(1, _BLOCK // d)
    for start in range(0, n, height):
        part = slice(*np.searchsorted(rows, [start, start + height]))
        block = np.zeros((height, d))
        np.add.at(
            block, (rows[part] - start, columns[part]), 1.0 if values is None else values[part]
        )
        gram += block.T @ block
    gram /= n
    seen = np.flatnonzero(gram.diagonal() > 0)
    matrix: Array = gram[np.ix_(seen, seen)]
    scaled: Array = jacobi_precondition(matrix)
    eigenvalues = _eigenvalues(scaled)
    rank = int((eigenvalues > resolution(len(seen), eigenvalues[-1])).sum())
    return Conditioning(
        n,
        len(seen),
        rank,
        _spectrum(matrix, _eigenvalues(matrix), rank),
        _spectrum(scaled, eigenvalues, rank),
    )


def _spectrum(matrix: Array, eigenvalues: Array, rank: int) -> Spectrum:
    least, largest = eigenvalues[-rank], eigenvalues[-1]
    known = least > resolution(len(matrix), largest)
    condition = max(1.0, float(largest / least)) if known else math.inf
    return Spectrum(eigenvalues, condition, gershgorin_discs(matrix))


def _eigenvalues(matrix: Array) -> Array:
    return np.asarray(np.linalg.eigvalsh(matrix), np.float64)
