r"""Quadratic functions, and the Jacobi preconditioner.

The number of steps of gradient descent on :math:`\tfrac12 x^\top Q x` grows with the condition
number of ``Q``. Dividing rows and columns by the roots of the diagonal (the Jacobi preconditioner)
is the cheapest remedy. With noise, the accumulators of AdaGrad are proportional to that diagonal
(*Dive into Deep Learning*, section 12.7.2).

Sparse matrices and sparse data need SciPy, and are never made dense.
"""

from __future__ import annotations

import functools
import math
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_real
from adagrad.analysis.spectrum import (
    Array,
    diagonal_of,
    is_sparse,
    matrix,
    real,
    resolution,
    squared_norms,
    symmetric,
    unit,
)

__all__ = ["Quadratic", "jacobi_precondition"]

# The largest difference between an entry of U.U^T and the identity, for a rotation U.
ORTHOGONAL = 1e-10
# The largest difference between an entry of T^-1.T and the identity, for a change of coordinates T.
INVERTIBLE = 1e-6


class Quadratic:
    r"""A quadratic function of d variables.

    .. math::

        f(x) = \tfrac12\, x^\top Q\, x + c^\top x + b

    Parameters
    ----------
    Q : array_like, shape [d, d]
        Symmetric and finite; stored as float64. Entries may differ from their mirror images by up
        to 1e-6 of the largest entry, and are then replaced by the mean of both.
    c : array_like, shape [d], optional
        Linear term; zeros by default.
    b : float, default 0.0
        Constant term.

    Attributes
    ----------
    Q : ndarray of float64, shape [d, d]
    c : ndarray of float64, shape [d]
    b : float
        The terms. The arrays are read-only.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If `Q` is not square, not symmetric or empty, `c` has another length, or an entry is not
        finite. The message names the argument, the position and the value.

    Examples
    --------
    >>> from adagrad.analysis import Quadratic
    >>> f = Quadratic([[0.2, 0.0], [0.0, 4.0]])
    >>> f([-5.0, -2.0]), f.gradient([-5.0, -2.0])
    (10.5, array([-1., -8.]))
    """

    def __init__(self, Q: npt.ArrayLike, c: npt.ArrayLike | None = None, b: float = 0.0) -> None:
        self.Q: Array = symmetric(matrix(Q, "Q"), "Q")
        d = len(self.Q)
        self.c: Array = np.zeros(d) if c is None else matrix(c, "c", ndim=1)
        if len(self.c) != d:
            raise ValueError(f"c has {len(self.c)} entries for a Q of shape {self.Q.shape}")
        self.b: float = check_real("b", b, negative=True)
        self.Q.flags.writeable = self.c.flags.writeable = False

    def __repr__(self) -> str:
        return f"Quadratic({self.Q.tolist()}, c={self.c.tolist()}, b={self.b})"

    def __call__(self, x: npt.ArrayLike) -> Any:
        """Return the value at `x` [d], or the values [...] at points [..., d]."""
        x = self._points(x)
        value = np.sum((x @ self.Q) * x, axis=-1) / 2 + x @ self.c + self.b
        return float(value) if value.ndim == 0 else value

    def gradient(self, x: npt.ArrayLike) -> Array:
        """Return :math:`Q x + c` at `x`: [..., d], float64."""
        gradient: Array = self._points(x) @ self.Q + self.c
        return gradient

    def _points(self, x: npt.ArrayLike) -> Array:
        points: Array = real(x, "x").astype(np.float64)
        if points.shape[-1:] != self.c.shape:
            raise ValueError(f"x must have shape [..., {len(self.c)}], got {points.shape}")
        return points

    @functools.cached_property
    def eigenvalues(self) -> Array:
        """The eigenvalues of `Q`, ascending: [d]."""
        return self._eigen[0]

    @functools.cached_property
    def eigenvectors(self) -> Array:
        """Orthonormal eigenvectors, [d, d]: column ``i`` belongs to ``eigenvalues[i]``."""
        return self._eigen[1]

    @functools.cached_property
    def _eigen(self) -> tuple[Array, Array]:
        values, vectors = np.linalg.eigh(self.Q)
        return values, vectors

    @property
    def minimizer(self) -> Array:
        """The minimizer :math:`-Q^{-1} c`, [d]; ValueError if `Q` is not positive definite."""
        low, high = self.eigenvalues[0], self.eigenvalues[-1]
        if low <= resolution(len(self.Q), high):
            raise ValueError(
                f"there is no unique minimum: Q is not positive definite, its smallest eigenvalue"
                f" is {low:g}"
            )
        # LAPACK loses the digits of subnormal pivots.
        scale = unit(self.Q)
        # Subtracted from 0 so that no coordinate is -0.
        minimizer: Array = np.subtract(0.0, np.linalg.solve(self.Q / scale, self.c / scale))
        return minimizer

    @property
    def minimum(self) -> float:
        """The value at `minimizer`. Raises ValueError as `minimizer` does."""
        return float(self(self.minimizer))

    def rotated(self, rotation: float | npt.ArrayLike) -> Quadratic:
        r"""Return :math:`x \mapsto f(U^\top x)`: the same function, rotated about the origin.

        Parameters
        ----------
        rotation : float, or array_like of shape [d, d]
            An orthogonal matrix ``U``; for ``d = 2`` also an angle in radians, counter-clockwise.

        Returns
        -------
        Quadratic
            With :math:`U Q U^\top`, :math:`U c` and the same `b`. The minimum and the eigenvalues
            stay the same; ``U`` rotates the minimizer and the eigenvectors. The axes of the valley
            no longer agree with the coordinates, which every diagonal method relies on.

        Raises
        ------
        ValueError
            If an angle is given and ``d != 2``, or ``U`` has the wrong shape or is not orthogonal.
        """
        d = len(self.Q)
        if isinstance(rotation, numbers.Real):
            if d != 2:
                raise ValueError(f"an angle rotates 2 dimensions, but Q has {d}: pass a matrix U")
            cosine, sine = math.cos(rotation), math.sin(rotation)
            rotation = [[cosine, -sine], [sine, cosine]]
        u = matrix(rotation, "rotation")
        if u.shape != (d, d):
            raise ValueError(f"rotation has shape {u.shape}, Q has {self.Q.shape}")
        defect = float(np.abs(u @ u.T - np.eye(d)).max())
        if defect > ORTHOGONAL:
            raise ValueError(
                f"rotation is not orthogonal: U.U^T differs from the identity by {defect:g}"
            )
        return Quadratic(u @ self.Q @ u.T, u @ self.c, self.b)

    def in_coordinates(self, T: npt.ArrayLike) -> Quadratic:
        r"""Return :math:`z \mapsto f(T^{-1} z)`: the same function in :math:`z = T x`.

        Parameters
        ----------
        T : array_like, shape [d, d] or [d]
            An invertible matrix; or the diagonal of one.

        Returns
        -------
        Quadratic
            With :math:`T^{-\top} Q\, T^{-1}`, :math:`T^{-\top} c` and the same `b`. The minimum
            stays the same, and ``T`` maps the minimizer. Unless ``T`` is orthogonal, the
            eigenvalues change: that is what preconditioning is for.

        Raises
        ------
        ValueError
            If ``T`` has the wrong shape, is not finite, or is too close to singular to be inverted.

        Notes
        -----
        With the eigenvectors as rows, ``T = f.eigenvectors.T``, the new matrix is diagonal. With
        these rows times ``sqrt(f.eigenvalues)``, it is the identity. With ``sqrt(diag(Q))``, it is
        that of `jacobi_precondition`. A step of gradient descent in ``z`` is, in ``x``, a step that
        multiplies the gradient by :math:`T^{-1} T^{-\top}`.

        Examples
        --------
        >>> from adagrad.analysis import Quadratic
        >>> f = Quadratic([[0.2, 0.0], [0.0, 4.0]], c=[0.4, 4.0])
        >>> f.in_coordinates([1.0, 2.0])
        Quadratic([[0.2, 0.0], [0.0, 1.0]], c=[0.4, 2.0], b=0.0)
        """
        d = len(self.Q)
        t = real(T, "T")
        t = np.diag(matrix(t, "T", ndim=1)) if t.ndim == 1 else matrix(t, "T")
        if t.shape != (d, d):
            raise ValueError(f"T has shape {np.shape(T)}, Q has {self.Q.shape}")
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # then it is refused
                inverse = np.linalg.inv(t)
                defect = float(np.abs(inverse @ t - np.eye(d)).max())
        except np.linalg.LinAlgError:
            defect = math.inf
        if not defect <= INVERTIBLE:
            raise ValueError(f"T is singular: T^-1.T differs from the identity by {defect:g}")
        q = inverse.T @ self.Q @ inverse
        # Rounding may leave it less symmetric than the constructor accepts.
        return Quadratic(q / 2 + q.T / 2, self.c @ inverse, self.b)


def jacobi_precondition(A: Any, *, gram: bool = False) -> Any:
    r"""Scale the rows and columns of a matrix to ones on its diagonal.

    The result is :math:`D^{-1/2} A\, D^{-1/2}` with :math:`D = \operatorname{diag}(A)`.

    Parameters
    ----------
    A : array_like or scipy sparse matrix, shape [d, d], or [n, d] with `gram`
        Symmetric with a positive diagonal; or data without zero columns.
    gram : bool, default False
        Whether `A` is data ``X`` that represents :math:`X^\top X`. Its columns are then divided by
        their norms, which has the same effect on :math:`X^\top X` without forming it.

    Returns
    -------
    ndarray of float64 or scipy.sparse.csr_array, shape of `A`
        Sparse if `A` is sparse. With `gram`, the scaled data.

    Raises
    ------
    TypeError
        If `A` is not numeric.
    ValueError
        If `A` is not symmetric (without `gram`) or not finite, or if a diagonal entry or a column
        norm is not positive. The message names the position and the value.

    Notes
    -----
    If `A` is positive definite, this scaling leaves a condition number at most ``d`` times that of
    the best diagonal scaling, for a sparse matrix at most as many times as a row has entries (van
    der Sluis 1969). In the coordinates :math:`D^{1/2} x`, a descent with one rate :math:`\eta` for
    all is, in the old ones, a descent with the rates :math:`\eta / A_{ii}`. AdaGrad divides by the
    root of the sum of :math:`g_i^2` instead, which gradients give for free; with noise, it is
    proportional to :math:`\sqrt{A_{ii}}`, see `gradient_scales`. Takes time linear in the number of
    entries.

    References
    ----------
    van der Sluis, "Condition numbers and equilibration of matrices", Numerische Mathematik 14
    (1969). *Dive into Deep Learning*, section 12.7.2.

    Examples
    --------
    >>> from adagrad.analysis import condition_number, jacobi_precondition
    >>> Q = np.array([[0.2, 0.0], [0.0, 4.0]])
    >>> condition_number(Q), condition_number(jacobi_precondition(Q))
    (20.0, 1.0)
    """
    A = matrix(A, "A")
    if not gram:
        A = symmetric(A, "A")
    scale = unit(A)
    A = A / scale
    diagonal = squared_norms(A) if gram else diagonal_of(A)
    bad = np.flatnonzero(diagonal <= 0)
    if len(bad):
        i = int(bad[0])
        what = f"the squared norm of column {i}" if gram else f"A[{i}, {i}]"
        raise ValueError(
            f"{what} is {diagonal[i] * scale:g}: it must be positive to divide by its root"
        )
    root = np.sqrt(diagonal)
    if is_sparse(A):
        import scipy.sparse

        inverse = scipy.sparse.diags_array(1 / root)
        scaled = (A @ inverse if gram else inverse @ A @ inverse).tocsr()
    else:
        scaled = A / root if gram else A / root / root[:, np.newaxis]
    if not gram:
        # A rounded root leaves ones that are off by their last bit.
        scaled.setdiag(1.0) if is_sparse(scaled) else np.fill_diagonal(scaled, 1.0)
    return scaled
