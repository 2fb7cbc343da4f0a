"""Gradient scales: what the theory says of both kinds of noise, rotations, units and bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adagrad.analysis import Quadratic, gradient_scales, power_law
from checks import need_packages

need_packages("scipy")
import scipy.sparse as sp

seeds = st.integers(0, 10_000)
# The standard deviation of 20,000 products of two normal numbers is off by some 1.5 %.
SAMPLES, SLACK = 20_000, 0.08


def curved(d: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((2 * d, d)) * 10 ** rng.uniform(-2, 2, d)
    return half.T @ half


@given(st.integers(1, 6), seeds)
def test_scales_of_a_quadratic_are_those_of_the_theory(d, seed):
    Q = curved(d, seed)
    rows = np.linalg.norm(Q, axis=1)
    for noise, wanted in (("residuals", np.sqrt(np.diag(Q))), ("minimizers", rows)):
        scales = gradient_scales(Q, noise=noise, samples=SAMPLES, seed=seed)
        np.testing.assert_array_equal(scales.curvature, np.diag(Q))
        np.testing.assert_allclose(scales.signal, rows, rtol=SLACK)
        np.testing.assert_allclose(scales.noise, wanted, rtol=SLACK)


@given(st.integers(1, 6), seeds)
def test_without_noise_the_gradient_is_curvature_times_distance(d, seed):
    rng = np.random.default_rng(seed)
    f = Quadratic(curved(d, seed), rng.standard_normal(d))
    start = rng.standard_normal(d)
    found = gradient_scales(f, starts=start, samples=2).signal
    np.testing.assert_allclose(found, np.abs(f.Q @ (start - f.minimizer)), rtol=1e-6, atol=1e-9)
    starts = rng.standard_normal((5, d))
    found = gradient_scales(f, starts=starts, samples=2).signal
    np.testing.assert_allclose(found, np.sqrt(np.mean(f.gradient(starts) ** 2, axis=0)), rtol=1e-12)


@given(st.integers(1, 5), seeds)
def test_scales_of_data_are_those_of_a_loop_over_examples(d, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((4 * d, d)) * 10 ** rng.uniform(-3, 3, d), rng.standard_normal(4 * d)
    w = np.linalg.lstsq(X, y)[0]
    gradients = [x * (x @ w - target) for x, target in zip(X, y, strict=True)]
    start = w + rng.standard_normal(d)
    for given_as in (X, sp.csr_array(X)):
        scales = gradient_scales(given_as, y, gram=True, starts=start, samples=2)
        np.testing.assert_allclose(scales.curvature, np.mean(X**2, axis=0), rtol=1e-12)
        np.testing.assert_allclose(scales.noise, np.std(gradients, axis=0), rtol=1e-6)
        signal = np.abs(X.T @ (X @ (start - w)) / len(X))
        np.testing.assert_allclose(scales.signal, signal, rtol=1e-6, atol=1e-9)


@given(st.integers(1, 6), seeds)
def test_other_units_of_a_feature_scale_its_noise_and_the_square_its_curvature(d, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((5 * d, d)), rng.standard_normal(5 * d)
    units = 10 ** rng.uniform(-3, 3, d)
    one, other = (gradient_scales(x, y, gram=True, samples=2) for x in (X, X * units))
    np.testing.assert_allclose(other.noise, units * one.noise, rtol=1e-8)
    np.testing.assert_allclose(other.curvature, units**2 * one.curvature, rtol=1e-10)


@given(st.integers(2, 5), seeds)
def test_a_rotation_turns_curvature_and_noise_together(d, seed):
    """The covariance of the noise is the curvature, in any basis: so are both diagonals."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((d, d)))[0]
    turned = Quadratic(np.diag(10 ** rng.uniform(-2, 2, d))).rotated(U)
    scales = gradient_scales(turned, samples=SAMPLES, seed=seed)
    np.testing.assert_allclose(scales.noise, np.sqrt(scales.curvature), rtol=SLACK)


def test_data_without_targets_have_residuals_of_variance_one():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((SAMPLES, 4)) * [0.1, 1.0, 10.0, 100.0]
    scales = gradient_scales(X, gram=True, samples=100)
    np.testing.assert_allclose(scales.noise, np.sqrt(scales.curvature), rtol=SLACK)
    assert power_law(scales.curvature, scales.noise).power == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_what_an_exact_fit_leaves_is_no_noise(rows, container):
    X = np.random.default_rng(0).standard_normal((rows, 3)) * [0.1, 1.0, 10.0]
    exact, other = X @ [1.0, 2.0, 3.0], np.arange(40.0)
    assert gradient_scales(container(X), exact, gram=True).noise.tolist() == [0.0] * 3
    assert rows <= 3 or (gradient_scales(container(X), other, gram=True).noise > 0).all()


def test_the_seed_decides():
    first, again, other = (gradient_scales(np.eye(2), samples=10, seed=s) for s in (3, 3, 4))
    assert first.noise.tolist() == again.noise.tolist() != other.noise.tolist()
    assert first.signal.tolist() == again.signal.tolist() != other.signal.tolist()


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=9), st.floats(-2, 2), st.floats(-3, 3))
def test_a_power_law_is_found(logs, power, constant):
    x = np.exp(logs)
    if np.ptp(logs) < 1e-3:
        return
    found = power_law(x, math.exp(constant) * x**power)
    assert found.power == pytest.approx(power, abs=1e-9)
    if abs(power) > 1e-3:
        assert found.correlation == pytest.approx(math.copysign(1, power), abs=1e-6)


def test_what_does_not_vary_has_no_correlation():
    found = power_law([1.0, 2.0], [3.0, 3.0])
    assert found.power == 0
    assert math.isnan(found.correlation)


SPD = np.diag([1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gradient_scales(-SPD), ValueError, "not positive definite"),
        (lambda: gradient_scales([[1j]]), TypeError, "Q must hold real numbers"),
        (lambda: gradient_scales(np.ones((3, 2))), ValueError, "Q must be square"),
        (lambda: gradient_scales(SPD, [1.0, 2.0]), ValueError, "pass gram=True with it"),
        (lambda: gradient_scales(SPD, noise="pink"), ValueError, "residuals, minimizers, got"),
        (
            lambda: gradient_scales(SPD, gram=True, noise="minimizers"),
            ValueError,
            "is for a quadratic",
        ),
        (lambda: gradient_scales(SPD, samples=1), ValueError, "samples must be at least 2"),
        (lambda: gradient_scales(SPD, samples=2.5), TypeError, "samples must be an integer"),
        (lambda: gradient_scales(SPD, seed=-1), ValueError, "seed must be at least 0"),
        (lambda: gradient_scales(SPD, starts=[1.0]), ValueError, r"starts must have shape \[k, 2"),
        (lambda: gradient_scales(SPD, starts=[1.0, math.inf]), ValueError, "must be finite"),
        (lambda: gradient_scales(SPD, starts=["a", "b"]), TypeError, "starts must hold real"),
        (lambda: gradient_scales(SPD, [1.0], gram=True), ValueError, "y has 1 entries for data"),
        (lambda: gradient_scales(SPD, [1.0, math.nan], gram=True), ValueError, r"y\[1\] must be"),
        (
            lambda: gradient_scales(np.ma.masked_less(SPD, 0.5), gram=True),
            TypeError,
            "A is a masked array",
        ),
        (lambda: gradient_scales([[1.0, 0.0]], gram=True), ValueError, "column 1 is zero"),
        (lambda: power_law([1.0], [1.0]), ValueError, "x is constant"),
        (lambda: power_law([2.0, 2.0 + 1e-15], [1.0, 2.0]), ValueError, "x is constant"),
        (lambda: power_law([1.0, 2.0], [1.0]), ValueError, "x has 2 entries, y has 1"),
        (lambda: power_law([1.0, 0.0], [1.0, 2.0]), ValueError, r"x\[1\] must be positive, got 0"),
        (lambda: power_law([1.0, 2.0], [1.0, -2.0]), ValueError, r"y\[1\] must be positive"),
        (lambda: power_law([[1.0]], [1.0]), ValueError, "x must have 1 dimensions"),
        (lambda: power_law(["a"], [1.0]), TypeError, "x must hold real numbers"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
