"""A descent on a turned problem is the turned descent, where the rule has this symmetry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
from adagrad.analysis import SGD, Adadelta, Momentum, Quadratic, RMSProp, trace

seeds = st.integers(0, 2**32 - 1)
BY_COORDINATE = [
    adagrad.Rule(lr=0.5),
    adagrad.Rule(lr=0.5, eps=0.0, power=0.25),
    adagrad.Rule(lr=0.5, accumulator_decay=0.9, clip_value=1.0, weight_decay=0.01),
    adagrad.Rule(lr=0.5, eps_position="outside", lagged=True, initial_accumulator=0.1),
    RMSProp(0.1),
    Adadelta(),
]
TURNING = [SGD(0.01), SGD(0.05, power=0.5), Momentum(0.01)]


def problem(seed: int, dtype: type) -> tuple[Quadratic, Any, np.random.Generator]:
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 7))
    half = rng.standard_normal((d, d + 2))
    start = rng.standard_normal(d).astype(dtype)
    return Quadratic(half @ half.T, rng.standard_normal(d)), start, rng


def turned(f: Quadratic, u: Any) -> tuple[None, Callable[[Any], Any]]:
    return None, lambda y: u @ f.gradient(u.T @ y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", BY_COORDINATE + TURNING, ids=repr)
@given(seeds)
def test_signed_permutations_turn_the_path_to_the_bit(rule, dtype, seed):
    f, start, rng = problem(seed, dtype)
    d = len(start)
    p = (np.eye(d)[rng.permutation(d)] * rng.choice([-1.0, 1.0], d)).astype(dtype)
    path = trace(rule, turned(f, p), p @ start, 20)
    assert path.dtype == dtype
    assert (path == trace(rule, f, start, 20) @ p.T).all()


@pytest.mark.parametrize("rule", TURNING, ids=repr)
@given(seeds)
def test_rotations_turn_the_path_of_a_rule_with_one_rate(rule, seed):
    f, start, rng = problem(seed, np.float64)
    u = np.linalg.qr(rng.standard_normal((len(start), len(start))))[0]
    path = trace(rule, turned(f, u), u @ start, 20)
    expected = trace(rule, f, start, 20) @ u.T
    np.testing.assert_allclose(path, expected, atol=1e-10 * np.abs(expected).max())


def test_rotations_do_not_turn_the_path_of_a_rule_by_coordinate():
    f, u = Quadratic([[0.2, 0.0], [0.0, 4.0]]), np.array([[0.6, -0.8], [0.8, 0.6]])
    start = np.array([-5.0, -2.0])
    for rule in BY_COORDINATE:
        path = trace(rule, turned(f, u), u @ start, 20)
        assert np.abs(path - trace(rule, f, start, 20) @ u.T).max() > 1e-3


@given(seeds)
def test_gradient_descent_follows_the_whole_spectrum_and_the_start(seed):
    f, start, _ = problem(seed, np.float64)
    lr, t = 1 / f.eigenvalues[-1], np.arange(21)[:, np.newaxis]
    a = f.eigenvectors.T @ (start - f.minimizer)
    gaps = (f.eigenvalues * (1 - lr * f.eigenvalues) ** (2 * t) * a**2).sum(axis=1) / 2
    values = f(trace(SGD(lr), f, start, 20)) - f.minimum
    scale = 1 + np.abs(gaps).max() + abs(f.minimum)
    np.testing.assert_allclose(values, gaps, atol=1e-9 * scale)
