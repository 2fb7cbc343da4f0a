"""Changes of coordinates, what moves a minimizer, and what a diagonal scaling can do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
from adagrad.analysis import SGD, Quadratic, condition_number, jacobi_precondition, trace

seeds = st.integers(0, 10_000)
sizes = st.integers(1, 7)


def orthogonal(d: int, rng: np.random.Generator) -> Any:
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def positive_definite(d: int, seed: int, decades: float = 3.0) -> tuple[Quadratic, Any]:
    """Return a quadratic whose eigenvalues span some decades, and the generator for the rest."""
    rng = np.random.default_rng(seed)
    u, values = orthogonal(d, rng), 10 ** rng.uniform(-decades / 2, decades / 2, d)
    half = u * np.sqrt(values)
    return Quadratic(half @ half.T, rng.standard_normal(d), float(rng.standard_normal())), rng


# ---- coordinates ---------------------------------------------------------------------------------


@given(sizes, seeds)
def test_other_coordinates_change_no_value(d, seed):
    f, rng = positive_definite(d, seed)
    u, v, stretch = orthogonal(d, rng), orthogonal(d, rng), 10 ** rng.uniform(-1, 1, d)
    for T in (u * stretch @ v, stretch):
        matrix = T if T.ndim == 2 else np.diag(T)
        g = f.in_coordinates(T)
        x = rng.standard_normal((3, d))
        z = x @ matrix.T
        np.testing.assert_allclose(g(z), f(x), rtol=1e-9, atol=1e-9)
        # The chain rule: slopes are those in x, multiplied from the left by the transpose of T^-1.
        np.testing.assert_allclose(g.gradient(z) @ matrix, f.gradient(x), rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(g.minimizer, matrix @ f.minimizer, rtol=1e-6, atol=1e-6)
        assert g.minimum == pytest.approx(f.minimum, rel=1e-6, abs=1e-6)
        back = g.in_coordinates(np.linalg.inv(matrix))
        np.testing.assert_allclose(back.Q, f.Q, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(back.c, f.c, rtol=1e-7, atol=1e-7)


@given(sizes, seeds)
def test_a_rotation_is_a_change_of_coordinates(d, seed):
    f, rng = positive_definite(d, seed)
    u = orthogonal(d, rng)
    np.testing.assert_allclose(f.in_coordinates(u).Q, f.rotated(u).Q, atol=1e-11)
    np.testing.assert_allclose(f.in_coordinates(u).c, f.rotated(u).c, atol=1e-11)


@given(sizes, seeds)
def test_the_eigenbasis_and_its_formulas(d, seed):
    f, _ = positive_definite(d, seed)
    U, values = f.eigenvectors.T, f.eigenvalues
    g = f.in_coordinates(U)
    np.testing.assert_allclose(g.Q, np.diag(values), atol=1e-11)
    c = U @ f.c
    np.testing.assert_allclose(g.c, c, atol=1e-11)
    np.testing.assert_allclose(U.T @ (-c / values), f.minimizer, rtol=1e-9, atol=1e-9)
    assert f.minimum == pytest.approx(f.b - np.sum(c**2 / values) / 2, rel=1e-9, abs=1e-9)


@given(sizes, seeds)
def test_whitening_makes_one_step_enough(d, seed):
    f, rng = positive_definite(d, seed)
    T = np.sqrt(f.eigenvalues)[:, np.newaxis] * f.eigenvectors.T
    g = f.in_coordinates(T)
    np.testing.assert_allclose(g.Q, np.eye(d), atol=1e-10)
    start = rng.standard_normal(d)
    end = np.linalg.solve(T, trace(SGD(1.0), g, T @ start, 1)[-1])
    np.testing.assert_allclose(end, f.minimizer, rtol=1e-8, atol=1e-8)


@given(sizes, seeds, st.sampled_from([0.1, 0.5, 1.0]))
def test_a_step_in_scaled_coordinates_has_the_rates_of_the_inverse_diagonal(d, seed, lr):
    f, rng = positive_definite(d, seed)
    root = np.sqrt(f.Q.diagonal())
    g = f.in_coordinates(root)
    np.testing.assert_allclose(g.Q, jacobi_precondition(f.Q), rtol=1e-12, atol=1e-12)
    start = rng.standard_normal(d)
    end = trace(SGD(lr), g, root * start, 1)[-1] / root
    wanted = start - lr * f.gradient(start) / f.Q.diagonal()
    np.testing.assert_allclose(end, wanted, rtol=1e-9, atol=1e-9)


def test_scales_far_apart_are_not_taken_for_singular():
    scales = np.array([1e-150, 1.0, 1e150])
    g = Quadratic(np.eye(3), np.ones(3)).in_coordinates(1 / scales)
    np.testing.assert_allclose(g.c, scales, rtol=1e-12)


@pytest.mark.parametrize(
    ("T", "error", "message"),
    [
        ([1.0], ValueError, r"T has shape \(1,\), Q has \(2, 2\)"),
        (np.ones((2, 3)), ValueError, r"T has shape \(2, 3\)"),
        ([1.0, 0.0], ValueError, "T is singular"),
        (np.ones((2, 2)), ValueError, "T is singular"),
        (np.outer([0.1, 0.7], [0.3, 0.9]), ValueError, "T is singular"),
        (np.full((2, 2), 5e-324), ValueError, "T is singular"),
        ([1.0, math.nan], ValueError, r"T\[1\] must be finite, got nan"),
        (np.zeros((2, 2, 2)), ValueError, "T must have 2 dimensions"),
        (2.0, ValueError, "T must have 2 dimensions"),
        ([1j, 1.0], TypeError, "T must hold real numbers"),
        (np.ma.masked_less([1.0, 2.0], 1.5), TypeError, "T is a masked array"),
    ],
)
def test_coordinates_that_are_none_are_refused(T, error, message):
    with pytest.raises(error, match=message):
        Quadratic(np.eye(2)).in_coordinates(T)


# ---- what moves the minimizer --------------------------------------------------------------------


@given(sizes, seeds)
def test_a_change_of_c_moves_the_minimizer_by_its_share_over_the_eigenvalue(d, seed):
    f, rng = positive_definite(d, seed)
    change = rng.standard_normal(d)
    moved = Quadratic(f.Q, f.c + change, f.b)
    way = moved.minimizer - f.minimizer
    np.testing.assert_allclose(way, -np.linalg.solve(f.Q, change), rtol=1e-8, atol=1e-8)
    U = f.eigenvectors.T
    np.testing.assert_allclose(U @ way, -(U @ change) / f.eigenvalues, rtol=1e-8, atol=1e-8)
    length = np.linalg.norm(change)
    assert np.linalg.norm(way) <= length / f.eigenvalues[0] * (1 + 1e-9)
    assert np.linalg.norm(way) >= length / f.eigenvalues[-1] * (1 - 1e-9)
    # The minimum moves by the minimizer's share of the change, less a term of second order.
    wanted = f.minimizer @ change + change @ way / 2
    assert moved.minimum - f.minimum == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    # Relative to what they change, the way is at most the condition number times as long.
    kappa = condition_number(f.Q)
    relative = np.linalg.norm(way) / np.linalg.norm(f.minimizer)
    assert relative <= kappa * length / np.linalg.norm(f.c) * (1 + 1e-9)


@given(st.integers(2, 7), seeds)
def test_the_condition_number_bounds_the_relative_change_sharply(d, seed):
    f, _ = positive_definite(d, seed)
    c, change = f.eigenvectors[:, -1], 1e-3 * f.eigenvectors[:, 0]
    first, second = Quadratic(f.Q, c).minimizer, Quadratic(f.Q, c + change).minimizer
    relative = np.linalg.norm(second - first) / np.linalg.norm(first)
    assert relative == pytest.approx(1e-3 * condition_number(f.Q), rel=1e-6)


# ---- steps ---------------------------------------------------------------------------------------


@given(sizes, seeds)
def test_each_step_of_the_best_rate_shrinks_the_distance_by_the_textbooks_factor(d, seed):
    f, rng = positive_definite(d, seed, decades=2.0)
    low, high = f.eigenvalues[[0, -1]]
    factor = (high - low) / (high + low)
    path = trace(SGD(2 / (low + high)), f, f.minimizer + rng.standard_normal(d), 20)
    distance = np.linalg.norm(path - f.minimizer, axis=1)
    assert (distance[1:] <= factor * distance[:-1] + 1e-9).all()
    # The worst start has equal shares of both ends of the spectrum, and attains it in every step.
    worst = f.minimizer + f.eigenvectors[:, 0] + (f.eigenvectors[:, -1] if d > 1 else 0)
    distance = np.linalg.norm(trace(SGD(2 / (low + high)), f, worst, 20) - f.minimizer, axis=1)
    np.testing.assert_allclose(distance, distance[0] * factor ** np.arange(21), atol=1e-9)


# ---- diagonal scaling ----------------------------------------------------------------------------


@given(st.integers(2, 7), seeds)
def test_no_diagonal_scaling_is_more_than_d_times_better(d, seed):
    f, rng = positive_definite(d, seed, decades=4.0)
    ours = condition_number(jacobi_precondition(f.Q))
    for _ in range(20):
        scale = 10 ** rng.uniform(-1, 1, d) / np.sqrt(f.Q.diagonal()) ** rng.integers(0, 2)
        assert ours <= d * condition_number(f.Q * np.outer(scale, scale)) * (1 + 1e-6)


@given(seeds)
def test_in_two_dimensions_none_is_better(seed):
    f, rng = positive_definite(2, seed)
    ours = condition_number(jacobi_precondition(f.Q))
    correlation = abs(f.Q[0, 1]) / math.sqrt(f.Q[0, 0] * f.Q[1, 1])
    assert ours == pytest.approx((1 + correlation) / (1 - correlation), rel=1e-6)
    for scale in 10 ** rng.uniform(-2, 2, (20, 2)):
        assert ours <= condition_number(f.Q * np.outer(scale, scale)) * (1 + 1e-6)


@given(sizes, seeds)
def test_the_scaled_matrix_does_not_depend_on_units(d, seed):
    f, rng = positive_definite(d, seed)
    scale = 10 ** rng.uniform(-3, 3, d)
    np.testing.assert_allclose(
        jacobi_precondition(f.Q * np.outer(scale, scale)), jacobi_precondition(f.Q), rtol=1e-12
    )


@given(sizes, seeds)
def test_adagrad_without_eps_does_not_see_the_scale_of_the_gradient(d, seed):
    """If a feature is measured in other units, AdaGrad still takes steps of the same length."""
    f, rng = positive_definite(d, seed)
    start, scale = rng.standard_normal(d), 2.0 ** rng.integers(-20, 20, d)
    rule = adagrad.Rule(lr=0.5, eps=0.0)
    scaled = trace(rule, (None, lambda x: scale * f.gradient(x)), start, 10)
    np.testing.assert_array_equal(scaled, trace(rule, f, start, 10))
