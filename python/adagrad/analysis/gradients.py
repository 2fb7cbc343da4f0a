r"""The size of gradients beside the curvature, with and without noise.

AdaGrad divides by the root of the sum of squared gradients, and so takes the size of a gradient for
a proxy of the curvature (*Dive into Deep Learning*, section 12.7.2). These functions measure how
well the one follows the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_integer
from adagrad.analysis.quadratics import Quadratic
from adagrad.analysis.spectrum import Array, is_sparse, matrix, real, squared_norms

__all__ = ["GradientScales", "PowerLaw", "gradient_scales", "power_law"]

# Logarithms that differ by less are equal up to rounding.
CONSTANT = 1e-9
# Residuals of less than this fraction of the targets are rounding.
EXACT = 1e-10
NOISES = ("residuals", "minimizers")


@dataclass(frozen=True, eq=False)
class GradientScales:
    """The curvature along each coordinate, and the size of the gradient there.

    Attributes
    ----------
    curvature : ndarray of float64, shape [d]
        The diagonal of the Hessian, ``Q[i, i]``.
    signal : ndarray of float64, shape [d]
        Root mean square of the gradient without noise, over the starts.
    noise : ndarray of float64, shape [d]
        Standard deviation at the minimizer of the gradient of a single example; 0 for data that a
        linear model fits exactly, such as those with fewer rows than columns.
    """

    curvature: Array
    signal: Array
    noise: Array


def gradient_scales(
    A: Any,
    y: npt.ArrayLike | None = None,
    *,
    gram: bool = False,
    starts: npt.ArrayLike | None = None,
    noise: str = "residuals",
    samples: int = 1000,
    seed: int = 0,
) -> GradientScales:
    r"""Measure the gradients of a quadratic, far from the minimum and at it.

    Parameters
    ----------
    A : Quadratic, array_like of shape [d, d], or [n, d] with `gram`
        A quadratic with a positive definite ``Q``, or ``Q`` itself; or data ``X``, dense or sparse,
        which stands for the least-squares loss :math:`\lVert X w - y \rVert^2 / (2n)`.
    y : array_like, shape [n], optional
        Targets of the data. Without them, the residuals at the minimizer, which is then 0, are
        standard normal.
    gram : bool, default False
        Whether `A` is data.
    starts : array_like, shape [k, d] or [d], optional
        Points at which the gradient without noise is taken. By default `samples` points at standard
        normal distances from the minimizer.
    noise : {"residuals", "minimizers"}, default "residuals"
        Where the noise of a quadratic comes from. "residuals": an example is :math:`g = r x`, with
        a standard normal residual :math:`r`, and features :math:`x` with :math:`\operatorname{E} x
        x^\top = Q`. "minimizers": each example has a minimizer of its own, at a standard normal
        distance from the common one. Data have residuals.
    samples : int, default 1000
        Number of random starts, and of random examples of a quadratic, at least 2.
    seed : int, default 0
        Seeds the starts and the examples.

    Returns
    -------
    GradientScales

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If ``Q`` is not positive definite, the data have a column of zeros, shapes differ, an entry
        is not finite, or an option does not apply. The message names the argument.

    Notes
    -----
    Without noise, :math:`g = Q (x - x^*)` mixes the curvature with the distance to the minimizer
    :math:`x^*`. At standard normal distances, its mean square is :math:`\sum_j Q_{ij}^2`.

    With noise, the variance at the minimizer is a property of the curvature alone: with residuals
    of mean 0 and variance :math:`\sigma^2`, independent of the features, it is
    :math:`\sigma^2 Q_{ii}`. With minimizers at standard normal distances, it is
    :math:`\sum_j Q_{ij}^2`.

    Takes time proportional to `samples` times the number of entries, and memory for `samples` times
    :math:`n + d` numbers.

    Examples
    --------
    >>> from adagrad.analysis import gradient_scales, power_law
    >>> scales = gradient_scales(np.diag([1.0, 10.0, 100.0]), samples=100_000)
    >>> round(power_law(scales.curvature, scales.signal).power, 2)
    1.0
    >>> round(power_law(scales.curvature, scales.noise).power, 2)
    0.5
    """
    samples = check_integer("samples", samples, 2)
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    if noise not in NOISES:
        raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {noise!r}")
    if gram:
        if noise != "residuals":
            raise ValueError(f"noise={noise!r} is for a quadratic; data have residuals")
        return _scales_of_data(A, y, starts, samples, rng)
    if y is not None:
        raise ValueError("y is for data: pass gram=True with it")
    f = A if isinstance(A, Quadratic) else Quadratic(A)
    minimizer = f.minimizer
    signal = _root_mean_square(f.gradient(_starts(starts, minimizer, samples, rng)))
    # Rows of this whitened basis times standard normal numbers have the covariance Q.
    basis = np.sqrt(f.eigenvalues)[:, np.newaxis] * f.eigenvectors.T
    drawn = rng.standard_normal((samples, len(minimizer)))
    if noise == "residuals":
        examples = rng.standard_normal((samples, 1)) * (drawn @ basis)
    else:
        examples = drawn @ f.Q
    return GradientScales(f.Q.diagonal().copy(), signal, examples.std(axis=0))


def _scales_of_data(
    A: Any, given_y: Any, starts: Any, samples: int, rng: np.random.Generator
) -> GradientScales:
    X = matrix(A, "A")
    n, d = X.shape
    curvature = squared_norms(X) / n
    bad = np.flatnonzero(curvature <= 0)
    if len(bad):
        raise ValueError(f"column {bad[0]} is zero: the loss has no curvature there")
    if given_y is None:
        minimizer, residuals = np.zeros(d), rng.standard_normal(n)
    else:
        y = matrix(given_y, "y", ndim=1)
        if len(y) != n:
            raise ValueError(f"y has {len(y)} entries for data of shape {X.shape}")
        minimizer = _least_squares(X, y)
        residuals = X @ minimizer - y
        # What an exact fit leaves is rounding, which is no noise.
        if np.linalg.norm(residuals) <= EXACT * np.linalg.norm(y):
            residuals = np.zeros(n)
    away = _starts(starts, minimizer, samples, rng) - minimizer
    signal = _root_mean_square((X.T @ (X @ away.T)).T / n)
    variance = (X * X).T @ residuals**2 / n - (X.T @ residuals / n) ** 2
    return GradientScales(curvature, signal, np.sqrt(np.maximum(variance, 0.0)))


def _least_squares(X: Any, y: Array) -> Array:
    """Return the minimizer, which does not depend on the scales of the columns."""
    norms = np.sqrt(squared_norms(X))
    if is_sparse(X):
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import lsqr

        return np.asarray(lsqr(X @ diags_array(1 / norms), y, atol=1e-12, btol=1e-12)[0]) / norms
    solution: Array = np.linalg.lstsq(X / norms, y)[0] / norms
    return solution


def _starts(given: Any, minimizer: Array, samples: int, rng: np.random.Generator) -> Array:
    d = len(minimizer)
    if given is None:
        return minimizer + rng.standard_normal((samples, d))
    starts = np.atleast_2d(real(given, "starts"))
    if starts.shape[1:] != (d,):
        raise ValueError(f"starts must have shape [k, {d}], got {np.shape(given)}")
    return np.asarray(matrix(starts, "starts"))


def _root_mean_square(gradients: Array) -> Array:
    root: Array = np.sqrt(np.mean(gradients**2, axis=0))
    return root


class PowerLaw(NamedTuple):
    """The power with which one quantity follows another, and how closely it does.

    Attributes
    ----------
    power : float
        Slope of the logarithm of the one over the logarithm of the other.
    correlation : float
        Correlation of the two logarithms; NaN if the second is constant.
    """

    power: float
    correlation: float


def power_law(x: npt.ArrayLike, y: npt.ArrayLike) -> PowerLaw:
    """Fit :math:`y = a x^p` by least squares on the logarithms.

    Parameters
    ----------
    x, y : array_like, shape [k]
        Positive and finite, at least two; `x` must not be constant.

    Returns
    -------
    PowerLaw
        The power :math:`p` and the correlation of the logarithms.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If an argument has another shape or an entry that is not positive, or `x` is constant.

    Examples
    --------
    >>> from adagrad.analysis import power_law
    >>> round(power_law([1.0, 4.0, 9.0], [2.0, 4.0, 6.0]).power, 12)
    0.5
    """
    logs = []
    for name, given in (("x", x), ("y", y)):
        values = matrix(given, name, ndim=1)
        bad = np.flatnonzero(values <= 0)
        if len(bad):
            raise ValueError(f"{name}[{bad[0]}] must be positive, got {values[bad[0]]:g}")
        logs.append(np.log(values) - np.log(values).mean())
    a, b = logs
    if len(a) != len(b):
        raise ValueError(f"x has {len(a)} entries, y has {len(b)}")
    spread, other = float(a @ a), float(b @ b)
    if not np.ptp(a) > CONSTANT:
        raise ValueError("x is constant: no power can be seen")
    product = float(a @ b)
    correlation = product / (spread * other) ** 0.5 if np.ptp(b) > CONSTANT else float("nan")
    return PowerLaw(product / spread, min(max(correlation, -1.0), 1.0))
