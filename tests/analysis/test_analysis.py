"""`adagrad.analysis`: what theorems promise, sparse against dense, paths against plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import adagrad
from adagrad import analysis
from adagrad.analysis import (
    SGD,
    Adadelta,
    Momentum,
    Quadratic,
    RMSProp,
    condition_number,
    gershgorin_discs,
    jacobi_precondition,
    trace,
)
from checks import assert_same_bits, need_packages

need_packages("scipy")
import scipy.sparse as sp

BOWL = Quadratic([[0.2, 0.0], [0.0, 4.0]])
START = (-5.0, -2.0)

entries = st.floats(-10, 10, allow_subnormal=False).map(lambda x: round(x, 3))
sizes = st.integers(1, 7)
square = sizes.flatmap(lambda d: arrays(np.float64, (d, d), elements=entries))
data = st.tuples(sizes, st.integers(0, 5)).flatmap(
    lambda s: arrays(np.float64, (s[0] + s[1], s[0]), elements=entries)
)


def mirrored(a: Any) -> Any:
    return (a + a.T) / 2


def orthogonal(d: int, seed: int) -> Any:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def no_zero_column(x: Any) -> bool:
    return bool((np.abs(x).max(axis=0) > 0).all())


# ---- quadratics ----------------------------------------------------------------------------------


@given(square, st.integers(0, 100))
def test_value_and_gradient_are_those_of_the_formula(a, seed):
    rng = np.random.default_rng(seed)
    Q, d = mirrored(a), len(a)
    c, x, b = rng.standard_normal(d), rng.standard_normal(d), float(rng.standard_normal())
    f = Quadratic(Q, c, b)
    value = b
    for i in range(d):
        value += c[i] * x[i] + sum(x[i] * Q[i, j] * x[j] for j in range(d)) / 2
    assert f(x) == pytest.approx(value, rel=1e-12, abs=1e-10)
    step = 1e-3
    slopes = [(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(d)]
    np.testing.assert_allclose(f.gradient(x), slopes, rtol=1e-7, atol=1e-7)
    points = rng.standard_normal((2, 3, d))
    assert f(points).shape == (2, 3)
    assert f(points)[1, 2] == pytest.approx(f(points[1, 2]), rel=1e-12, abs=1e-10)
    np.testing.assert_allclose(f.gradient(points)[1, 2], f.gradient(points[1, 2]), atol=1e-10)


@given(square)
def test_eigenvectors_rebuild_the_matrix(a):
    f = Quadratic(mirrored(a))
    assert (np.diff(f.eigenvalues) >= 0).all()
    rebuilt = f.eigenvectors * f.eigenvalues @ f.eigenvectors.T
    np.testing.assert_allclose(rebuilt, f.Q, atol=1e-11)


@given(data, st.integers(0, 100))
def test_nothing_is_below_the_minimum(x, seed):
    rng = np.random.default_rng(seed)
    d = x.shape[1]
    f = Quadratic(x.T @ x + np.eye(d), rng.standard_normal(d), 3.0)
    np.testing.assert_allclose(f.gradient(f.minimizer), 0, atol=1e-9)
    around = f.minimizer + rng.standard_normal((20, d)) * 10.0 ** rng.integers(-4, 2, (20, 1))
    assert (f(around) >= f.minimum - 1e-9).all()


@given(square, st.integers(0, 1000))
def test_rotations_leave_norms_and_eigenvalues_unchanged(a, seed):
    rng = np.random.default_rng(seed)
    d = len(a)
    u, x = orthogonal(d, seed), rng.standard_normal(d)
    assert np.linalg.norm(u @ x) == pytest.approx(np.linalg.norm(x), rel=1e-12)
    f = Quadratic(mirrored(a), rng.standard_normal(d), 1.0)
    turned = f.rotated(u)
    np.testing.assert_allclose(turned.eigenvalues, f.eigenvalues, atol=1e-11)
    assert turned(u @ x) == pytest.approx(f(x), rel=1e-10, abs=1e-9)
    np.testing.assert_allclose(turned.gradient(u @ x), u @ f.gradient(x), atol=1e-9)


def test_an_angle_turns_counter_clockwise():
    f = Quadratic([[0.2, 0.0], [0.0, 4.0]], c=[-0.2, 0.0])
    assert f.minimizer.tolist() == [1.0, 0.0]
    turned = f.rotated(math.pi / 2)
    np.testing.assert_allclose(turned.minimizer, [0.0, 1.0], atol=1e-12)
    assert turned.minimum == pytest.approx(f.minimum)
    # Turned by 45 degrees it is half of the objective in the chapter's exercise.
    x = np.array([1.5, -0.25])
    exercise = 0.1 * (x[0] + x[1]) ** 2 + 2 * (x[0] - x[1]) ** 2
    assert 2 * BOWL.rotated(math.pi / 4)(x) == pytest.approx(exercise, rel=1e-12)


# ---- conditioning --------------------------------------------------------------------------------


@given(square)
def test_every_eigenvalue_lies_in_a_disc(a):
    discs = gershgorin_discs(a)
    values = np.linalg.eigvals(a)
    # An eigenvalue of a defective matrix is found to about the root of the precision.
    slack = 1e-6 * (1 + np.abs(a).max())
    assert discs.contain(values, slack).all()
    assert (values.real >= discs.lower - slack).all()
    assert (values.real <= discs.upper + slack).all()
    assert not discs.contain([discs.upper + 1.0]).any()
    for i, row in enumerate(a):
        assert discs.centres[i] == row[i]
        assert discs.radii[i] == pytest.approx(sum(map(abs, row)) - abs(row[i]), abs=1e-12)


@given(data)
def test_the_discs_of_data_hold_the_eigenvalues_of_its_gram_matrix(x):
    for scaled in (x, jacobi_precondition(x, gram=True)) if no_zero_column(x) else (x,):
        gram = scaled.T @ scaled
        slack = 1e-10 * (1 + np.abs(gram).max())
        for given_as in (scaled, sp.csr_array(scaled)):
            discs = gershgorin_discs(given_as, gram=True)
            assert discs.contain(np.linalg.eigvalsh(gram), slack).all()
            exact = gershgorin_discs(gram)
            np.testing.assert_allclose(discs.centres, exact.centres, rtol=1e-10, atol=1e-12)
            assert (discs.radii >= exact.radii - slack).all()
            if (x >= 0).all():
                np.testing.assert_allclose(discs.radii, exact.radii, atol=slack)


def test_the_condition_bound_holds_and_is_infinite_where_a_disc_reaches_0():
    q = np.array([[1.0, 0.25, 0.0], [0.25, 1.0, 0.25], [0.0, 0.25, 1.0]])
    assert gershgorin_discs(q).condition_bound == 3.0
    assert condition_number(q) == pytest.approx((1 + 0.25 * 2**0.5) / (1 - 0.25 * 2**0.5))
    assert gershgorin_discs(q + 0.5).condition_bound == math.inf
    assert gershgorin_discs(-q).condition_bound == math.inf  # negative definite: no disc has 0


@given(data)
def test_preconditioning_puts_ones_on_the_diagonal(x):
    assume(no_zero_column(x))
    q = x.T @ x
    scaled = jacobi_precondition(q)
    assert (scaled.diagonal() == 1).all()
    roots = np.sqrt(np.diag(q))
    np.testing.assert_allclose(scaled * np.outer(roots, roots), q, rtol=1e-12, atol=1e-12)
    sparse = jacobi_precondition(sp.csr_matrix(q))
    assert sp.issparse(sparse)
    np.testing.assert_allclose(sparse.toarray(), scaled, rtol=1e-14)
    for columns in (
        jacobi_precondition(x, gram=True),
        jacobi_precondition(sp.csr_matrix(x), gram=True).toarray(),
    ):
        np.testing.assert_allclose(columns.T @ columns, scaled, atol=1e-12)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8))
def test_an_axis_aligned_quadratic_is_cured(diagonal):
    q = np.diag(diagonal)
    assert condition_number(q) == pytest.approx(max(diagonal) / min(diagonal))
    assert condition_number(jacobi_precondition(q)) == 1.0
    assert condition_number(jacobi_precondition(sp.csr_array(q))) == pytest.approx(1.0, rel=1e-12)


def test_a_rotated_quadratic_is_not():
    turned = BOWL.rotated(math.pi / 4)
    assert condition_number(BOWL.Q) == 20
    assert condition_number(jacobi_precondition(BOWL.Q)) == 1
    assert condition_number(turned.Q) == pytest.approx(20)
    assert condition_number(jacobi_precondition(turned.Q)) == pytest.approx(20)


def close(found: float, wanted: float) -> bool:
    """Equal within what float64 can tell of a number so large."""
    return found == wanted or abs(found - wanted) <= wanted * (2e-6 + 1e-13 * wanted)


@given(data)
def test_sparse_analysis_equals_dense(x):
    wanted = condition_number(x, gram=True)
    assume(wanted < 1e11 or wanted == math.inf)
    assert wanted >= 1
    # float64 takes some 1e-13 of the largest entry for 0, and a little more or less than it.
    assert close(condition_number(sp.csr_matrix(x), gram=True), wanted)
    assert close(condition_number(x.T @ x), wanted)
    assert close(condition_number(sp.csc_array(x.T @ x)), wanted)


@pytest.mark.parametrize("seed", range(3))
def test_sparse_data_of_rare_features(seed):
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, 301.0)
    ids = rng.choice(300, size=(3000, 8), p=p / p.sum())
    x = sp.csr_array((np.ones(ids.size), (np.repeat(np.arange(3000), 8), ids.ravel())), (3000, 300))
    penalised = sp.vstack([x, sp.eye_array(300)]).tocsr()
    for case in (penalised, jacobi_precondition(penalised, gram=True)):
        dense = np.linalg.eigvalsh((case.T @ case).toarray())
        assert condition_number(case, gram=True) == pytest.approx(dense[-1] / dense[0], rel=1e-5)
    # Two fields which each have one value per row: the columns of either sum to the same.
    ids = rng.integers([0, 20], [20, 40], (500, 2))
    fields = sp.csr_array((np.ones(1000), (np.repeat(np.arange(500), 2), ids.ravel())), (500, 40))
    assert condition_number(fields, gram=True) == math.inf


def test_singular_matrices_have_an_infinite_condition_number():
    for q in (np.zeros((2, 2)), np.ones((3, 3)), np.diag([1.0, 0.0]), np.diag([1.0, 1e-17])):
        assert condition_number(q) == math.inf
        assert condition_number(sp.csr_array(q)) == math.inf
    for x in (np.ones((1, 2)), np.ones((5, 2)), np.array([[1.0, 0.0], [2.0, 0.0]])):
        assert condition_number(x, gram=True) == math.inf
        assert condition_number(sp.csr_array(x), gram=True) == math.inf


@given(st.integers(2, 12), st.integers(0, 300))
def test_an_indefinite_matrix_is_refused(d, seed):
    u = orthogonal(d, seed)
    values = 10.0 ** np.random.default_rng(seed).uniform(-3, 1, d)
    values[0] *= -1
    q = mirrored(u * values @ u.T)
    for case in (q, sp.csr_array(q)):
        with pytest.raises(ValueError, match="positive semidefinite"):
            condition_number(case)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-100, 1e100, 1e160, 1e300])
def test_results_do_not_depend_on_the_scale(scale):
    x = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.1], [0.0, 1.0, 1.0]])
    q = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 0.5]])
    for sparse in (np.array, sp.csr_array):
        for case, gram in ((q, False), (x, True)):
            wanted = condition_number(case, gram=gram)
            assert condition_number(sparse(scale * case), gram=gram) == pytest.approx(wanted)
            found = jacobi_precondition(sparse(scale * case), gram=gram)
            found = found.toarray() if sp.issparse(found) else found
            np.testing.assert_allclose(found, jacobi_precondition(case, gram=gram), rtol=1e-12)
        with pytest.raises(ValueError, match=rf"A\[1, 1\] is {-scale:g}".replace("+", r"\+")):
            jacobi_precondition(sparse(scale * np.diag([1.0, -1.0])))


@pytest.mark.parametrize("exponent", [-1060, -1022, -500, 500, 1020])
def test_eigenvalues_and_minimizer_do_not_depend_on_the_scale(exponent):
    q, c, scale = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, -2.0]), math.ldexp(1, exponent)
    f, scaled = Quadratic(q, c), Quadratic(scale * q, scale * c)
    np.testing.assert_allclose(scaled.minimizer, f.minimizer, rtol=1e-14)
    np.testing.assert_allclose(scaled.eigenvalues / scale, f.eigenvalues, rtol=1e-4)
    np.testing.assert_allclose(scaled.minimum / scale, f.minimum, rtol=1e-4)


def test_crowded_eigenvalues_are_found():
    n = 2500
    beside = -np.ones(n - 1)
    laplacian = sp.diags_array([beside, 2 * np.ones(n), beside], offsets=[-1, 0, 1])
    angle = math.pi / (2 * (n + 1))
    wanted = (math.cos(angle) / math.sin(angle)) ** 2  # 2.5e6
    assert condition_number(laplacian) == pytest.approx(wanted, rel=1e-6)


def test_a_large_sparse_matrix_is_not_made_dense():
    d = 50_000  # dense, it would take 20 GB, and hours
    diagonal = np.linspace(1.0, 2.0, d)
    diagonal[[5, 6]] = 4.0
    beside = np.zeros(d - 1)
    beside[5] = 3.0  # these two have the eigenvalues 1 and 7; the first coordinate now 0.25
    diagonal[0] = 0.25
    q = sp.diags_array([beside, diagonal, beside], offsets=[-1, 0, 1])
    assert condition_number(q) == pytest.approx(28, rel=1e-5)
    scaled = jacobi_precondition(q)
    assert condition_number(scaled) == pytest.approx(1.75 / 0.25, rel=1e-5)
    assert gershgorin_discs(scaled).condition_bound == pytest.approx(7)


# ---- paths ---------------------------------------------------------------------------------------


def chapter(lr: float, steps: int, lr_first: bool) -> list[tuple[float, float]]:
    """The chapter's adagrad_2d on 0.1 x1^2 + 2 x2^2, number by number."""
    (x1, x2), s1, s2, eps = START, 0.0, 0.0, 1e-6
    path = [(x1, x2)]
    for _ in range(steps):
        g1, g2 = 0.2 * x1, 4 * x2
        s1 += g1**2
        s2 += g2**2
        if lr_first:
            x1 -= lr * g1 / math.sqrt(s1 + eps)
            x2 -= lr * g2 / math.sqrt(s2 + eps)
        else:
            x1 -= lr / math.sqrt(s1 + eps) * g1
            x2 -= lr / math.sqrt(s2 + eps) * g2
        path.append((x1, x2))
    return path


@pytest.mark.parametrize("lr", [0.4, 2.0])
def test_the_chapters_path_to_the_last_bit(lr):
    ours = trace(adagrad.Rule(lr=lr), BOWL, START, 20)
    assert_same_bits(ours, np.array(chapter(lr, 20, lr_first=True)))
    # Which product is rounded first is a choice of the rule; the chapter's is the other one.
    theirs = trace(adagrad.Rule(lr=lr, evaluation="lr/d*g"), BOWL, START, 20)
    assert_same_bits(theirs, np.array(chapter(lr, 20, lr_first=False)))


def test_an_optimizer_goes_on_from_the_state_it_has():
    whole = trace(adagrad.Rule(lr=0.4, lr_decay=0.1), BOWL, START, 20)
    optimizer = adagrad.Adagrad(np.zeros(2), lr=0.4, lr_decay=0.1)
    first = trace(optimizer, BOWL, START, 12)
    second = trace(optimizer, BOWL, first[-1], 8)
    assert_same_bits(np.concatenate([first, second[1:]]), whole)
    assert optimizer.params[0].tolist() == whole[-1].tolist()
    assert optimizer.steps == [20]


def plain(rule: Any, steps: int) -> list[list[float]]:
    """The rules for comparison, one coordinate after the other, from their formulas."""
    path = [list(START)]
    state = [[0.0, 0.0] for _ in START]
    for t in range(1, steps + 1):
        point = []
        for x, curvature, v in zip(path[-1], (0.2, 4.0), state, strict=True):
            g = curvature * x
            if isinstance(rule, SGD):
                x -= rule.lr / t**rule.power * g
            elif isinstance(rule, Momentum):
                v[0] = rule.beta * v[0] + g
                x -= rule.lr * v[0]
            else:
                v[0] = rule.decay * v[0] + (1 - rule.decay) * g**2
                if isinstance(rule, RMSProp):
                    x -= rule.lr * g / math.sqrt(v[0] + rule.eps)
                else:
                    change = math.sqrt(v[1] + rule.eps) / math.sqrt(v[0] + rule.eps) * g
                    x -= change
                    v[1] = rule.decay * v[1] + (1 - rule.decay) * change**2
            point.append(x)
        path.append(point)
    return path


@pytest.mark.parametrize(
    "rule", [SGD(0.4), SGD(0.4, power=0.5), Momentum(0.2), RMSProp(0.3), Adadelta(eps=0.01)]
)
def test_rules_for_comparison_follow_their_formulas(rule):
    np.testing.assert_allclose(trace(rule, BOWL, START, 30), plain(rule, 30), rtol=1e-12)


def test_what_the_rules_for_comparison_have_in_common_with_adagrad():
    assert_same_bits(
        trace(SGD(0.3), BOWL, START, 20), trace(adagrad.Rule(lr=0.3, power=0.0), BOWL, START, 20)
    )
    root = math.sqrt(1 - 0.9)
    leaky = adagrad.Rule(lr=0.3 / root, eps=1e-6 / root**2, accumulator_decay=0.9)
    np.testing.assert_allclose(
        trace(RMSProp(0.3), BOWL, START, 20), trace(leaky, BOWL, START, 20), rtol=1e-10
    )


def test_a_descent_on_any_function():
    def rosenbrock(x: Any) -> float:
        return float((1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)

    def gradient(x: Any) -> list[float]:
        inner = x[1] - x[0] ** 2
        return [-2 * (1 - x[0]) - 400 * x[0] * inner, 200 * inner]

    path = trace(adagrad.Rule(lr=0.5), (rosenbrock, gradient), [-1.0, 1.0], 2000)
    assert rosenbrock(path[-1]) < 0.01 * rosenbrock(path[0])
    single = trace(adagrad.Rule(lr=0.4), BOWL, np.array(START, np.float32), 3)
    assert single.dtype == np.float32
    assert trace(SGD(), BOWL, [1, 2], 0).tolist() == [[1.0, 2.0]]


def test_divergence_is_shown_rather_than_raised():
    path = trace(SGD(1e200), BOWL, START, 10)
    assert np.isfinite(path[1]).all()
    assert not np.isfinite(path[-1]).any()


# ---- bad input -----------------------------------------------------------------------------------

NAN = math.nan


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Quadratic([[1.0, 2.0], [3.0, 4.0]]),
            ValueError,
            r"Q\[0, 1\] is 2 and Q\[1, 0\] is 3",
        ),
        (lambda: Quadratic([[1.0, 2.0]]), ValueError, r"Q must be square, got shape \(1, 2\)"),
        (lambda: Quadratic([[1.0, 0], [0, NAN]]), ValueError, r"Q\[1, 1\] must be finite, got nan"),
        (lambda: Quadratic([1.0]), ValueError, r"Q must have 2 dimensions"),
        (lambda: Quadratic(np.zeros((0, 0))), ValueError, r"Q must have .* shape \(0, 0\)"),
        (lambda: Quadratic([[1j]]), TypeError, "Q must hold real numbers, got dtype complex128"),
        (lambda: Quadratic([["a"]]), TypeError, r"real numbers, but Q\[0, 0\] is 'a'"),
        (lambda: Quadratic(np.array([[1.0, None]])), TypeError, r"but Q\[0, 1\] is None"),
        (lambda: Quadratic([[1.0]], [1.0, 2.0]), ValueError, "c has 2 entries for a Q of shape"),
        (lambda: Quadratic([[1.0]], [math.inf]), ValueError, r"c\[0\] must be finite, got inf"),
        (lambda: Quadratic([[1.0]], b=NAN), ValueError, "b must be finite, got nan"),
        (lambda: Quadratic([[1.0]], b="1"), TypeError, "b must be a real number, got '1'"),
        (lambda: BOWL([1.0, 2.0, 3.0]), ValueError, r"x must have shape \[..., 2\], got \(3,\)"),
        (lambda: BOWL.gradient(1.0), ValueError, r"x must have shape \[..., 2\], got \(\)"),
        (lambda: Quadratic([[0.0]]).minimizer, ValueError, "not positive definite"),
        (lambda: Quadratic([[1.0, 0], [0, -2]]).minimum, ValueError, "smallest eigenvalue is -2"),
        (lambda: Quadratic([[1.0]]).rotated(0.1), ValueError, "but Q has 1: pass a matrix U"),
        (lambda: BOWL.rotated(np.eye(3)), ValueError, r"rotation has shape \(3, 3\)"),
        (lambda: BOWL.rotated([[1.0, 1], [0, 1]]), ValueError, "rotation is not orthogonal"),
        (lambda: BOWL.rotated(NAN), ValueError, r"rotation\[0, 0\] must be finite"),
        (lambda: condition_number([[1.0, 2], [2, 1]]), ValueError, "positive semidefinite"),
        (lambda: condition_number(sp.diags_array([1.0, -2])), ValueError, "semidefinite"),
        (
            lambda: condition_number(sp.csr_array([[0.0, 1], [1, 0]])),
            ValueError,
            r"positive semidefinite, but A\[0, 0\] is 0 and A\[0, 1\] is not",
        ),
        (lambda: condition_number(sp.diags_array([1.0, -2e9])), ValueError, "is -2e\\+09 for"),
        (lambda: condition_number(np.ones((3, 2))), ValueError, r"A must be square"),
        (
            lambda: condition_number(sp.csr_array([[0.0, 0], [NAN, 1]]), gram=True),
            ValueError,
            r"A\[1, 0\] must be finite, got nan",
        ),
        (
            lambda: condition_number(sp.csr_array([[1.0, 2], [0, 1]])),
            ValueError,
            r"A\[0, 1\] is 2 and A\[1, 0\] is 0",
        ),
        (lambda: jacobi_precondition([[1.0, 0], [0, -4]]), ValueError, r"A\[1, 1\] is -4"),
        (lambda: jacobi_precondition(sp.diags_array([1.0, 0])), ValueError, r"A\[1, 1\] is 0"),
        (
            lambda: jacobi_precondition([[1.0, 0], [2, 0]], gram=True),
            ValueError,
            "squared norm of column 1 is 0",
        ),
        (lambda: jacobi_precondition([[1.0, 0], [2, 1]]), ValueError, "A must be symmetric"),
        (lambda: gershgorin_discs(np.ones((3, 2))), ValueError, "pass gram=True if it is data"),
        (lambda: gershgorin_discs([[NAN]]), ValueError, r"A\[0, 0\] must be finite"),
        (lambda: Quadratic([[1.0], [1.0, 2.0]]), ValueError, "Q must be .* rows differ in length"),
        (
            lambda: Quadratic(np.ma.masked_less(np.eye(2), 0.5)),
            TypeError,
            "Q is a masked array: fill or drop",
        ),
        (lambda: BOWL([1j, 2.0]), TypeError, "x must hold real numbers, got dtype complex128"),
        (lambda: BOWL.gradient(["a", "b"]), TypeError, "x must hold real numbers"),
        (lambda: BOWL(np.ma.masked_less([1.0, 2.0], 1.5)), TypeError, "x is a masked array"),
        (lambda: gershgorin_discs([[1.0]]).contain(3), ValueError, r"values must have shape \[k\]"),
        (
            lambda: trace(SGD(), (sum, lambda x: x * 1j), START, 1),
            TypeError,
            "the gradient must hold real numbers, got dtype complex128",
        ),
        (lambda: trace(SGD, BOWL, START, 1), TypeError, r"got a class: pass SGD\(\)"),
        (lambda: trace("adagrad", BOWL, START, 1), TypeError, "rule must be a Rule"),
        (lambda: trace(SGD(), np.sum, START, 1), TypeError, "f must have a method gradient"),
        (lambda: trace(SGD(), (BOWL, 3), START, 1), TypeError, "f must have a method gradient"),
        (lambda: trace(SGD(), BOWL, [[1.0]], 1), ValueError, r"start must have shape \[d\]"),
        (lambda: trace(SGD(), BOWL, [1.0, NAN], 1), ValueError, "start must be finite"),
        (lambda: trace(SGD(), BOWL, ["a"], 1), TypeError, "start must hold real numbers"),
        (lambda: trace(SGD(), BOWL, START, -1), ValueError, "steps must be at least 0, got -1"),
        (lambda: trace(SGD(), BOWL, START, 1.0), TypeError, "steps must be an integer, got 1.0"),
        (
            lambda: trace(SGD(), (sum, lambda x: [1.0]), START, 1),
            ValueError,
            r"the gradient has shape \(1,\), start has \(2,\)",
        ),
        (
            lambda: trace(adagrad.Adagrad(np.zeros(3)), BOWL, START, 1),
            ValueError,
            "must have one param of float64 and shape",
        ),
        (lambda: SGD(-1.0), ValueError, "lr must not be negative, got -1.0"),
        (lambda: SGD("1"), TypeError, "lr must be a real number"),
        (lambda: SGD(1.0, NAN), ValueError, "power must be finite"),
        (lambda: Momentum(1.0, 1.0), ValueError, r"beta must be in \[0, 1\), got 1.0"),
        (lambda: RMSProp(eps=-1), ValueError, "eps must not be negative"),
        (lambda: Adadelta(decay=2), ValueError, "decay must be in"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_slightly_asymmetric_matrices_are_taken_for_symmetric():
    f = Quadratic([[1.0, 0.5], [0.5 + 1e-9, 1.0]])
    assert f.Q[0, 1] == f.Q[1, 0] == pytest.approx(0.5 + 5e-10, abs=1e-15)


def test_arguments_are_not_kept_or_changed():
    Q, x = np.eye(2), sp.csr_array(np.eye(2))
    f = Quadratic(Q)
    Q[0, 0] = 7
    assert f.Q[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        f.Q[0, 0] = 2
    jacobi_precondition(4 * x)
    assert x.toarray().tolist() == np.eye(2).tolist()
    assert set(analysis.__all__) <= set(dir(analysis))
