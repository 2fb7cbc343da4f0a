"""Checks of matrices, dense or sparse, and their condition numbers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Entries of a symmetric matrix may differ from their mirror images by this fraction of
# the largest.
ASYMMETRY = 1e-6
# Relative accuracy of the extreme eigenvalues by Lanczos, and of the solves for the smallest.
LANCZOS_TOLERANCE = 1e-6
RESTARTS = 500
# Vectors kept between restarts. SciPy's default of 20 misses the largest eigenvalue of the
# Laplacian of a path, because its neighbors are close to it.
VECTORS = 64
SOLVE_TOLERANCE = 1e-9
_INDEFINITE = "A must be positive semidefinite, but x.A.x / x.x is {:g} for some x"


def is_sparse(A: object) -> bool:
    """Return whether `A` is a scipy sparse matrix or array, without importing scipy."""
    return hasattr(A, "tocsr")


def check_real(dtype: Any, name: str) -> None:
    """Raise TypeError if a dtype is not real: a cast would drop imaginary parts."""
    if dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {dtype}")


def real(A: Any, name: str) -> Any:
    """Return a dense copy, or raise if `A` is not an array of real numbers or is masked."""
    if np.ma.isMaskedArray(A):
        raise TypeError(f"{name} is a masked array: fill or drop the masked entries")
    try:
        copy = np.array(A)
    except ValueError:
        raise ValueError(f"{name} must be an array: its rows differ in length") from None
    if copy.dtype.kind in "OUST":
        for place, value in np.ndenumerate(copy.astype(object)):
            if not isinstance(value, numbers.Real):
                entry = f"{name}[{', '.join(map(str, place))}]" if place else name
                raise TypeError(f"{name} must hold real numbers, but {entry} is {value!r}")
    check_real(copy.dtype, name)
    return copy


def matrix(A: Any, name: str, ndim: int = 2) -> Any:
    """Return a float64 copy, dense or CSR, or raise if `A` is not finite with `ndim` dimensions."""
    if is_sparse(A):
        import scipy.sparse

        copy = scipy.sparse.csr_array(A, copy=True)
        check_real(copy.dtype, name)
    else:
        copy = real(A, name)
    shape = copy.shape
    if len(shape) != ndim or 0 in shape:
        raise ValueError(f"{name} must have {ndim} dimensions and not be empty, got shape {shape}")
    copy = copy.astype(np.float64)
    if is_sparse(copy):
        copy.sum_duplicates()
    values = copy.data if is_sparse(copy) else copy
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        value = values[tuple(bad[0])]
        place = _place(copy, bad[0][0]) if is_sparse(copy) else bad[0].tolist()
        raise ValueError(f"{name}[{', '.join(map(str, place))}] must be finite, got {value}")
    return copy


def _place(A: Any, entry: int) -> list[int]:
    """Return row and column of a stored entry of a CSR array."""
    row = int(np.searchsorted(A.indptr, entry, side="right")) - 1
    return [row, int(A.indices[entry])]


def symmetric(A: Any, name: str) -> Any:
    """Return a matrix with each entry replaced by the mean of itself and its mirror image."""
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"{name} must be square, got shape {A.shape}")
    difference = abs(A - A.T)
    if difference.max() > ASYMMETRY * abs(A).max():
        i, j = np.unravel_index(int(difference.argmax()), A.shape)
        raise ValueError(
            f"{name} must be symmetric, but {name}[{i}, {j}] is {A[i, j]:g} and"
            f" {name}[{j}, {i}] is {A[j, i]:g}"
        )
    mean = A / 2 + A.T / 2
    return mean.tocsr() if is_sparse(mean) else mean


def diagonal_of(A: Any) -> Array:
    """Return a copy of the diagonal, dense."""
    return np.array(A.diagonal())


def squared_norms(X: Any) -> Array:
    r"""Return the diagonal of :math:`X^\top X`: the squared norm of each column."""
    return np.asarray((X * X).sum(axis=0)).ravel()


def unit(A: Any) -> float:
    """Return the power of 2 above the largest entry: divided by it, squares do not overflow."""
    # At most 2**1023, and with a finite reciprocal.
    exponent = math.frexp(float(abs(A).max()))[1]
    return math.ldexp(1.0, min(max(exponent, -1022), 1023))


def resolution(d: int, largest: float) -> float:
    """Return the size below which float64 cannot distinguish an eigenvalue from 0."""
    return d * float(np.finfo(np.float64).eps) * max(float(largest), 0.0)


def condition_number(A: Any, *, gram: bool = False) -> float:
    r"""Return the largest eigenvalue of a positive semidefinite matrix over the smallest.

    Parameters
    ----------
    A : array_like or scipy sparse matrix, shape [d, d], or [n, d] with `gram`
        Symmetric and positive semidefinite; or data.
    gram : bool, default False
        Whether `A` is data ``X`` that represents :math:`X^\top X`, which is not formed.

    Returns
    -------
    float
        At least 1. ``inf`` if the matrix is singular: its smallest eigenvalue is below
        :math:`2.2 \cdot 10^{-16} d` times the largest and cannot be distinguished from 0.
        :math:`X^\top X` is singular if the data have fewer rows than columns, a column of zeros, or
        linearly dependent columns, as one-hot fields have. An L2 penalty :math:`\lambda`
        adds :math:`\lambda` to every eigenvalue; to the data it adds d rows,
        :math:`\sqrt\lambda` times the identity.

    Raises
    ------
    TypeError
        If `A` is not numeric.
    ValueError
        If `A` is not symmetric (without `gram`), not finite, or has a negative eigenvalue.
    RuntimeError
        If the iteration for a sparse matrix does not converge.

    Notes
    -----
    Dense: LAPACK, :math:`O(d^3)`; with `gram`, the singular values of ``X`` itself,
    :math:`O(n d^2)`.

    Sparse: the largest eigenvalue by Lanczos (``scipy.sparse.linalg.eigsh``), and the smallest by
    Lanczos on the inverse, applied by conjugate gradients with the diagonal as preconditioner. Only
    products with `A` are computed and nothing is made dense. Each takes time linear in the number
    of entries, and :math:`O(d)` memory. There are a hundred to some thousands of them, more if the
    condition number *after* `jacobi_precondition` is larger. The relative error is about 1e-6, or
    about 1e-16 times the result if that is more.

    Examples
    --------
    >>> from adagrad.analysis import condition_number
    >>> condition_number([[0.2, 0.0], [0.0, 4.0]])
    20.0
    >>> condition_number([[1.0, 1.0], [1.0, 1.0]])
    inf
    """
    A = matrix(A, "A")
    if not gram:
        A = symmetric(A, "A")
    d = A.shape[1]
    if gram and A.shape[0] < d:
        return math.inf
    scale = unit(A)
    A = A / scale
    if is_sparse(A):
        low, high = _extremes_by_lanczos(A, gram, scale)
    elif gram:
        high, low = np.linalg.svd(A, compute_uv=False)[[0, -1]] ** 2
    else:
        low, high = np.linalg.eigvalsh(A)[[0, -1]]
    tiny = resolution(d, high)
    if low < -tiny:
        raise ValueError(_INDEFINITE.format(low * scale))
    # Two equal eigenvalues that were computed separately may be rounded into the wrong order.
    return max(1.0, float(high / low)) if low > tiny else math.inf


def _check_zeros(A: Any, diagonal: Array) -> None:
    """Raise if a row has entries beside a diagonal of 0: the matrix then has a negative minor."""
    row = np.repeat(np.arange(len(diagonal)), np.diff(A.indptr))
    bad = np.flatnonzero((diagonal[row] == 0) & (A.data != 0))
    if len(bad):
        i, j = row[bad[0]], A.indices[bad[0]]
        raise ValueError(
            f"A must be positive semidefinite, but A[{i}, {i}] is 0 and A[{i}, {j}] is not"
        )


class _SingularError(Exception):
    """Conjugate gradients found a direction without curvature."""


def _extremes_by_lanczos(A: Any, gram: bool, scale: float) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue; 0 if it cannot be distinguished from 0.

    `scale` is the number by which `A` was divided, for messages.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, cg, eigsh

    d = A.shape[1]
    diagonal = squared_norms(A) if gram else diagonal_of(A)
    if (diagonal < 0).any():
        raise ValueError(_INDEFINITE.format(diagonal.min() * scale))
    if not gram:
        _check_zeros(A, diagonal)
    if (diagonal == 0).any() or d == 1:
        return float(diagonal.min()), float(diagonal.max())
    transposed = A.T.tocsr() if gram else None

    def product(x: Array) -> Array:
        y: Array = A @ x
        return y if transposed is None else transposed @ y

    def operator(function: Callable[[Array], Array]) -> Any:
        return LinearOperator((d, d), matvec=lambda x: function(x.ravel()), dtype=np.float64)

    def largest(function: Callable[[Array], Array]) -> float:
        try:
            values = eigsh(
                operator(function),
                k=1,
                which="LM",
                ncv=min(VECTORS, d),
                v0=np.random.default_rng(0).standard_normal(d),
                tol=LANCZOS_TOLERANCE,
                maxiter=RESTARTS,
                return_eigenvectors=False,
            )
        except ArpackNoConvergence:
            raise RuntimeError(
                f"Lanczos did not converge in {RESTARTS} restarts: too many eigenvalues are close"
                " to the largest or smallest one"
            ) from None
        return float(values[0])

    high = abs(largest(product))
    tiny = resolution(d, high)

    def watched_product(x: Array) -> Array:
        # A curvature is a weighted mean of eigenvalues: if negative, so is one of them.
        y = product(x)
        curvature = float(x @ y) / float(x @ x)
        if curvature < -tiny:
            raise ValueError(_INDEFINITE.format(curvature * scale))
        if curvature <= tiny:
            raise _SingularError
        return y

    def solve(x: Array) -> Array:
        solution, failed = cg(
            operator(watched_product),
            x,
            rtol=SOLVE_TOLERANCE,
            M=operator(lambda r: r / diagonal),
            maxiter=max(10 * d, 1000),
        )
        if failed:
            raise RuntimeError(
                f"conjugate gradients did not converge in {failed} steps: A is close to singular"
            )
        return np.asarray(solution)

    try:
        return 1 / largest(solve), high
    except _SingularError:
        return 0.0, high
