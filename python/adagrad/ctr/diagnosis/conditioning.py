"""How unevenly the loss is curved along the features of some rows, before and after rescaling.

Called by `diagnosis`; the matrices and bounds are those of `adagrad.analysis`.
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

_BLOCK = 1 << 20  # numbers of a dense block of rows


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a matrix, and where Gershgorin's theorem says they are.

    Attributes
    ----------
    eigenvalues : ndarray of float64, shape [d]
        Ascending.
    condition : float
        The largest over the smallest of those that are not 0; inf where this one is lost in
        rounding.
    discs : GershgorinDiscs
        Of the same matrix.
    """

    eigenvalues: Array
    condition: float
    discs: GershgorinDiscs


@dataclass(frozen=True, eq=False)
class Conditioning:
    """``X^T X / n`` of some rows and features, and the same with ones on its diagonal.

    Attributes
    ----------
    rows, features : int
        Shape of ``X``.
    rank : int
        Eigenvalues that are not 0, counted after rescaling, where rounding hides the fewest. In the
        other directions the rows say nothing, and a descent from 0 does not move.
    before, after : Spectrum
        Of the matrix, and of it rescaled by its diagonal.
    """

    rows: int
    features: int
    rank: int
    before: Spectrum
    after: Spectrum

    @property
    def gain(self) -> float:
        """How many times smaller rescaling makes the condition number."""
        return self.before.condition / self.after.condition


def conditioning(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32] | None,
    shape: tuple[int, int],
) -> Conditioning:
    """Return the conditioning of data given by its entries. O(n d^2 + d^3), O(d^2) memory.

    Parameters
    ----------
    rows, columns : ndarray of int64, shape [entries]
        Ascending rows.
    values : ndarray of float32, shape [entries], or None
        None where all are 1.
    shape : tuple of int
        Of the data. Columns without an entry are left out.
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
