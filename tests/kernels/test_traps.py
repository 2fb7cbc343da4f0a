"""Defects of other implementations, one test each: named as in the list they were collected in.

B3, B4 and B5's layout (non-contiguous and unaligned arrays) are refused: test_bad_input. B7 (ids
out of range) and B8 (32-bit offsets): test_bad_input, test_large. B12 (a fallback that computes
something else): every bit test runs on every instruction set.
"""

from __future__ import annotations

import numpy as np
import pytest

import adagrad
import reference
from adagrad import Rule
from checks import assert_same_bits


def test_b1_coupled_weight_decay_reaches_the_step_and_the_accumulator(isa):
    w, g, s = np.full(67, 2.0), np.zeros(67), np.zeros(67)
    adagrad.step(w, g, s, rule=Rule(lr=0.5, eps=0.0, weight_decay=0.25))
    assert (s == 0.25).all()  # (0 + 0.25 * 2)^2
    assert (w == 1.5).all()  # 2 - 0.5 * 0.5 / 0.5


@pytest.mark.parametrize("n", range(40))
def test_b2_b6_body_and_tail_agree_and_leave_the_gradient(n, isa):
    rule = Rule(weight_decay=0.1, maximize=True, scale=0.5, clip_value=3.0)
    w, g, s = (np.full(n, x, np.float32) for x in (1.25, -0.75, 0.5))
    adagrad.step(w, g, s, rule=rule)
    assert (g == np.float32(-0.75)).all()
    assert len(np.unique(w)) <= 1
    assert len(np.unique(s)) <= 1


def test_b5_the_step_count_is_not_a_float32():
    w = np.ones(1)
    opt = adagrad.Adagrad([w], rule=Rule(lr_decay=1.0))
    state = opt.state_dict()
    state["steps"][:] = 2**24 + 1  # float32 has no such number
    opt.load_state_dict(state)
    opt.step([np.ones(1)])
    assert opt.state_dict()["steps"].tolist() == [2**24 + 2]
    assert opt.state_dict()["steps"].dtype == np.int64
    state["steps"][:] = 2**62
    opt.load_state_dict(state)
    opt.step([np.ones(1)])
    assert opt.steps == [2**62 + 1]


def test_b5_a_zero_gradient_on_a_fresh_coordinate_is_no_nan(isa):
    for name in adagrad.presets():
        rule = adagrad.preset(name, lr=0.1)
        if rule.eps == 0.0 and rule.initial_accumulator == 0.0:
            continue  # 0 / 0, as the formula says: see the next test
        w, g = np.ones((19, 1), np.float32), np.zeros((19, 1), np.float32)
        shape = (19,) if rule.accumulator == "row" else w.shape
        s = np.full(shape, rule.initial_accumulator, np.float32)
        rule = rule.replace(weight_decay=0.0, weight_decay_rows="touched")
        adagrad.step(w, g, s, rule=rule)
        assert (w == 1.0).all(), name


def test_zero_over_zero_is_what_ieee_says_unless_the_rule_skips_it(isa):
    for rule, expected in [
        (Rule(eps=0.0), np.nan),
        (Rule(eps=0.0, eps_position="outside"), np.nan),
        (Rule(eps=0.0, skip_zero_accumulator=True), 1.0),
    ]:
        w = np.ones(9)
        adagrad.step(w, np.zeros(9), np.zeros(9), rule=rule)
        np.testing.assert_array_equal(w, expected)


def test_b9_rowwise_weight_decay_is_honoured(rng):
    rule = adagrad.preset("fbgemm_rowwise", weight_decay=0.1)
    w = rng.standard_normal((20, 8)).astype(np.float32)
    s = np.zeros(20, np.float32)
    rows, g = rng.integers(0, 20, 30), rng.standard_normal((30, 8)).astype(np.float32)
    without = w.copy(), s.copy()
    adagrad.step_rows(*without[:1], g, *without[1:], rows, rule=rule.replace(weight_decay=0.0))
    expected = reference.step_rows(rule, w, g, s, rows)
    adagrad.step_rows(w, g, s, rows, rule=rule)
    assert_same_bits(w, expected[0])
    assert not np.array_equal(w, without[0])


def test_b10_any_initial_accumulator():
    w = np.ones((3, 2), np.float32)
    opt = adagrad.Adagrad([w], initial_accumulator=0.1)
    assert (opt.accumulators[0] == np.float32(0.1)).all()


def test_b11_rowwise_is_the_mean_of_squares_not_the_square_of_the_mean():
    w, g, s = np.zeros((1, 2)), np.array([[3.0, -3.0]]), np.zeros(1)
    adagrad.step(w, g, s)
    assert s[0] == 9.0


def test_duplicates_have_three_meanings():
    # [1, -0.9] on one row: the accumulator grows by 0.01 or by 1.81.
    rows, g = np.array([0, 0]), np.array([1.0, -0.9])
    for policy, grown in [("sum", (1.0 - 0.9) ** 2), ("sequential", 1.81), ("each", 1.81)]:
        w, s = np.zeros(1), np.zeros(1)
        adagrad.step_rows(w, g, s, rows, lr=1.0, eps=0.0, duplicates=policy)
        assert s[0] == pytest.approx(grown, rel=1e-12)
        expected = {
            "sum": -1.0,
            "sequential": -1.0 + 0.9 / np.sqrt(1.81),
            "each": -0.1 / np.sqrt(1.81),
        }
        assert w[0] == pytest.approx(expected[policy], rel=1e-9)


def test_sum_equals_add_at_then_dense(rng):
    rows, g = rng.integers(0, 50, 200), rng.standard_normal(200)
    w, s = rng.standard_normal(50), np.zeros(50)
    w2, s2, dense = w.copy(), s.copy(), np.zeros(50)
    adagrad.step_rows(w, g, s, rows)
    np.add.at(dense, rows, g)
    adagrad.step(w2, dense, s2)
    touched = np.unique(rows)
    assert_same_bits(w[touched], w2[touched])
    assert_same_bits(s[touched], s2[touched])


def test_sequential_equals_a_loop(rng):
    rows, g = rng.integers(0, 9, 100), rng.standard_normal((100, 3)).astype(np.float32)
    w, s = np.ones((9, 3), np.float32), np.zeros((9, 3), np.float32)
    w2, s2 = w.copy(), s.copy()
    adagrad.step_rows(w, g, s, rows, duplicates="sequential")
    for row, gradient in zip(rows, g, strict=True):
        adagrad.step(w2[row], gradient, s2[row])
    assert_same_bits(w, w2)
    assert_same_bits(s, s2)


def test_squares_that_overflow_freeze_the_coordinate(isa):
    # |g| above 1.8e19 squares to inf in float32: s stays inf and the step 0, as in NumPy.
    w, g, s = np.ones(9, np.float32), np.full(9, 2e19, np.float32), np.zeros(9, np.float32)
    adagrad.step(w, g, s)
    assert np.isinf(s).all()
    assert (w == 1.0).all()
    adagrad.step(w, np.ones(9, np.float32), s)
    assert (w == 1.0).all()


def test_squares_that_underflow_leave_the_divisor_to_eps(isa):
    w, g, s = np.ones(9, np.float32), np.full(9, 1e-23, np.float32), np.zeros(9, np.float32)
    adagrad.step(w, g, s, rule=adagrad.preset("torch", lr=0.1))
    assert (s == 0.0).all()
    expected = np.float32(1) - np.float32(0.1) * np.float32(1e-23) / np.float32(1e-10)
    assert (w == expected).all()


def test_hyperparameters_are_cast_once_to_the_compute_type(isa):
    # 0.1 in float32 and not in float64: the products differ in the last bit.
    w, g, s = (np.full(5, x, np.float32) for x in (0.0, 3.0, 0.0))
    adagrad.step(w, g, s, lr=0.1, eps=1e-6)
    lr, eps = np.float32(0.1), np.float32(1e-6)
    assert (w == -(lr * g) / np.sqrt(g * g + eps)).all()


def test_maximize_negates_before_coupled_decay():
    w, s = np.full(3, 2.0), np.zeros(3)
    adagrad.step(w, np.full(3, 0.5), s, rule=Rule(maximize=True, weight_decay=0.1))
    assert s[0] == pytest.approx((-0.5 + 0.1 * 2.0) ** 2)


def test_resume_is_exact(rng):
    for preset in ("torch", "keras", "fbgemm_rowwise", "libffm"):
        w0 = rng.standard_normal((30, 4)).astype(np.float32)
        grads = rng.standard_normal((10, 30, 4)).astype(np.float32)
        straight, resumed = w0.copy(), w0.copy()
        one = adagrad.Adagrad([straight], preset=preset, lr=0.1, lr_decay=0.01)
        first = adagrad.Adagrad([resumed], preset=preset, lr=0.1, lr_decay=0.01)
        for g in grads:
            one.step([g])
        for g in grads[:5]:
            first.step([g])
        second = adagrad.Adagrad([resumed], lr=0.5)
        second.load_state_dict(first.state_dict())
        for g in grads[5:]:
            second.step([g])
        assert_same_bits(resumed, straight, preset)
        assert_same_bits(second.accumulators[0], one.accumulators[0], preset)


def test_glove_is_adagrad_with_lr_1_and_a_start_of_one_over_lr_squared(rng):
    # Exact in a power of two: lr = 1/16 scales without rounding.
    w, g = rng.standard_normal((2, 50))
    w2, s, s2 = w.copy(), np.ones(50), np.full(50, 256.0)
    for _ in range(5):
        adagrad.step(w, g, s, rule=adagrad.preset("glove", lr=0.0625))
        adagrad.step(w2, g, s2, rule=Rule(lr=1.0, eps=0.0, lagged=True))
    assert_same_bits(w, w2)
    assert_same_bits(s * 256.0, s2)


def test_lagged_presets_against_a_loop(rng):
    for name in ("lightfm", "glove"):
        rule = adagrad.preset(name)
        w, s, g = [0.3], [1.0], rng.standard_normal(6)
        for x in g:
            used = x * rule.lr if name == "glove" else x
            step = used / np.sqrt(s[-1]) if name == "glove" else rule.lr / np.sqrt(s[-1]) * x
            w.append(w[-1] - step)
            s.append(s[-1] + used * used)
        param, accumulator = np.array([0.3]), np.array([1.0])
        for x in g:
            adagrad.step(param, np.array([x]), accumulator, rule=rule)
        assert param[0] == w[-1]
        assert accumulator[0] == s[-1]


def test_eps_inside_with_no_start_is_a_start_of_eps(rng):
    # The same map in exact arithmetic: documents of some systems call the start "eps".
    g = rng.standard_normal((20, 10))
    w, w2, s, s2 = np.zeros(10), np.zeros(10), np.zeros(10), np.full(10, 0.5)
    for x in g:
        adagrad.step(w, x, s, rule=Rule(eps=0.5))
        adagrad.step(w2, x, s2, rule=Rule(eps=0.0))
    np.testing.assert_allclose(w, w2, rtol=1e-13)


def test_ftrl_without_penalties_takes_adagrad_steps(rng):
    # FTRL-Proximal with l1 = l2 = 0 from w = z = 0 is AdaGrad with divisor beta + sqrt(s)
    # (McMahan et al., KDD 2013, algorithm 1).
    alpha, beta = 0.1, 1.0
    w, s, z, n = np.zeros(8), np.zeros(8), np.zeros(8), np.zeros(8)
    rule = Rule(lr=alpha, eps=beta, eps_position="outside")
    for _ in range(30):
        g = rng.standard_normal(8)
        ftrl = -z * alpha / (beta + np.sqrt(n))
        np.testing.assert_allclose(w, ftrl, rtol=1e-10, atol=1e-14)
        sigma = (np.sqrt(n + g * g) - np.sqrt(n)) / alpha
        z += g - sigma * ftrl
        n += g * g
        adagrad.step(w, g, s, rule=rule)


def test_counter_clock_counts_what_was_observed():
    w, s, g = np.zeros(3), np.zeros(3), np.array([2.0, 0.0, -0.5])
    rule = Rule(lr=1.0, eps=1.0, statistic="count")
    for t in (1, 2, 3):
        before = w.copy()
        adagrad.step(w, g, s, rule=rule)
        assert s.tolist() == [t, 0, t]
        np.testing.assert_array_equal(w, before - g / np.sqrt(np.array([t, 0, t]) + 1.0))


def test_decoupled_decay_of_all_rows(rng):
    rule = adagrad.preset("keras", lr=0.1, weight_decay=0.01)
    w, s = rng.standard_normal((6, 2)), np.full((6, 2), 0.1)
    before = w.copy()
    adagrad.step_rows(w, np.ones((1, 2)), s, np.array([3]), rule=rule)
    others = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(w[others], before[others] - before[others] * 0.01 * 0.1)
    touched = rule.replace(weight_decay_rows="touched")
    before = w.copy()
    adagrad.step_rows(w, np.ones((1, 2)), s, np.array([3]), rule=touched)
    np.testing.assert_array_equal(w[others], before[others])


def test_disjoint_halves_can_be_updated_by_owners(rng):
    # No state across coordinates: any partition of the rows is exact.
    w0 = rng.standard_normal(100)
    rows, g = rng.integers(0, 100, 500), rng.standard_normal(500)
    w, s = w0.copy(), np.zeros(100)
    adagrad.step_rows(w, g, s, rows)
    parts, state = w0.copy(), np.zeros(100)
    for low in range(0, 100, 30):
        high = min(low + 30, 100)
        mine = (rows >= low) & (rows < high)
        adagrad.step_rows(parts[low:high], g[mine], state[low:high], rows[mine] - low)
    assert_same_bits(parts, w)
    assert_same_bits(state, s)
