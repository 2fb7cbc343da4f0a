"""Dense steps equal the NumPy reference with ==, whatever surrounds a coordinate."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import adagrad
import reference
from checks import assert_same_bits, wide_range
from rules import RULES

LENGTHS = [*range(68), 97, 1000, 4097]
DTYPES = ["float32", "float64"]


def placed(n, dtype, offset):
    """n zeros that begin `offset` elements after a 64-byte boundary."""
    room = np.zeros(n + 64, dtype)
    start = -(room.ctypes.data // room.itemsize) % (64 // room.itemsize) + offset
    return room[start : start + n]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_every_length_and_offset(name, dtype, isa, rng):
    # Three steps in a row at every length; the offset from a 64-byte boundary runs through 0..15.
    rule = RULES[name]
    row_state = rule.accumulator == "row"
    for k, n in enumerate(LENGTHS):
        offset = k % 16
        w, g, s = (placed(n, dtype, offset) for _ in range(3))
        w[:] = rng.standard_normal(n)
        s[:] = rule.initial_accumulator
        if row_state:
            w, g, s = w[:, None], g[:, None], s[:]
        for _ in range(3):
            g[:] = wide_range(rng, g.shape, dtype)
            sent = g.copy()
            expected = reference.step(rule, w, g, s)
            adagrad.step(w, g, s, rule=rule)
            assert_same_bits(w, expected[0], (name, dtype, isa, n, offset, "w"))
            assert_same_bits(s, expected[1], (name, dtype, isa, n, offset, "s"))
            assert_same_bits(g, sent, "the gradient was modified")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_every_offset(name, dtype, isa, rng):
    # Lengths around the widths of vectors and of blocks, each at every offset.
    rule = RULES[name].replace(accumulator="element")
    for n in (3, 17, 67, 131):
        for offset in range(16):
            w, g, s = (placed(n, dtype, offset) for _ in range(3))
            w[:], g[:], s[:] = rng.standard_normal(n), wide_range(rng, n, dtype), 0.1
            expected = reference.step(rule, w, g, s)
            adagrad.step(w, g, s, rule=rule)
            assert_same_bits(w, expected[0], (name, n, offset))
            assert_same_bits(s, expected[1], (name, n, offset))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", reference.PRESETS)
def test_presets_equal_their_own_formula(name, dtype, isa, rng):
    rule = adagrad.preset(name, **({"lr": 0.1} if name in ("tf1", "optax") else {}))
    w = rng.standard_normal((37, 5)).astype(dtype)
    shape = (37,) if rule.accumulator == "row" else w.shape
    s = np.full(shape, rule.initial_accumulator, dtype)
    for _ in range(5):
        g = wide_range(rng, w.shape, dtype)
        expected = reference.PRESETS[name](w, g, s)
        adagrad.step(w, g, s, rule=rule)
        assert_same_bits(w, expected[0], name)
        assert_same_bits(s, expected[1], name)


def test_every_preset_has_a_formula():
    assert set(reference.PRESETS) == set(adagrad.presets())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_special_values(name, dtype, isa):
    # Zeros of both signs, subnormals, squares that underflow or overflow, infinities, NaN.
    rule = RULES[name]
    if rule.on_nonfinite == "raise":
        rule = rule.replace(on_nonfinite="propagate")
    info = np.finfo(dtype)
    values = [0.0, -0.0, info.smallest_subnormal, -info.tiny, 1e-25, 1.0, -3.0, info.max, -info.max]
    values += [np.inf, -np.inf, np.nan, np.sqrt(float(info.max)) * 4]
    with np.errstate(all="ignore"):
        g, w = (x.ravel().astype(dtype) for x in np.meshgrid(values, values))
    for s0 in (0.0, 1e-30, 1.0, np.inf):
        s = np.full(g.shape, s0, dtype)
        w1 = w.copy()
        if rule.accumulator == "row":
            w1, g1 = w1[:, None], g[:, None]
        else:
            g1 = g
        expected = reference.step(rule, w1, g1, s)
        adagrad.step(w1, g1, s, rule=rule)
        assert_same_bits(w1, expected[0], (name, s0))
        assert_same_bits(s, expected[1], (name, s0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_rowwise_equals_numpy_mean(name, dtype, isa, rng):
    rule = RULES[name]
    for dim in [1, 2, 3, 7, 8, 9, 15, 16, 31, 64, 100, 127, 128, 129, 200, 1000, 4097]:
        w = rng.standard_normal((5, dim)).astype(dtype)
        s = np.full(5, max(rule.initial_accumulator, 0.01), dtype)
        for _ in range(2):
            g = wide_range(rng, w.shape, dtype)
            expected = reference.step(rule, w, g, s)
            adagrad.step(w, g, s, rule=rule)
            assert_same_bits(w, expected[0], (name, dim))
            assert_same_bits(s, expected[1], (name, dim))


def test_rowwise_of_one_element_is_elementwise(isa, rng):
    for rule in RULES.values():
        w, g = rng.standard_normal((2, 50, 1)).astype(np.float32)
        s = np.full(50, 0.1, np.float32)
        w2, s2 = w[:, 0].copy(), s.copy()
        adagrad.step(w, g, s, rule=rule)
        adagrad.step(w2, g[:, 0].copy(), s2, rule=rule)
        assert_same_bits(w[:, 0], w2)
        assert_same_bits(s, s2)


@pytest.mark.parametrize("name", RULES)
def test_instruction_sets_agree(name, rng):
    from adagrad import _core

    rule = RULES[name].replace(accumulator="element")
    w0, g = rng.standard_normal(1000), wide_range(rng, 1000, "float64")
    before, results = adagrad.isa(), []
    for isa in adagrad.isas():
        assert _core.use_isa(isa)
        w, s = w0.copy(), np.full(1000, 0.1)
        adagrad.step(w, g, s, rule=rule)
        results.append((w, s))
    assert _core.use_isa(before)
    for w, s in results[1:]:
        assert_same_bits(w, results[0][0], name)
        assert_same_bits(s, results[0][1], name)


@given(st.data())
def test_splits_change_nothing(data):
    # Any cut of an array into calls gives the bits of one call.
    dtype = data.draw(st.sampled_from(DTYPES))
    rule = RULES[data.draw(st.sampled_from(sorted(RULES)))].replace(accumulator="element")
    n = data.draw(st.integers(0, 300))
    finite = st.floats(-1e6, 1e6, width=32)
    w, g = (data.draw(npst.arrays(dtype, n, elements=finite)) for _ in range(2))
    s = np.full(n, 0.5, dtype)
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=5))})
    w1, s1 = w.copy(), s.copy()
    adagrad.step(w1, g, s1, rule=rule)
    for a, b in itertools.pairwise(cuts):
        adagrad.step(w[a:b], g[a:b], s[a:b], rule=rule)
    assert_same_bits(w, w1)
    assert_same_bits(s, s1)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_threads_change_nothing(count, threads, rng):
    n = (1 << 20) + 37
    w0, g = rng.standard_normal((2, n)).astype(np.float32)
    for rule in (RULES["textbook"], RULES["everything"]):
        adagrad.set_num_threads(1)
        w, s = w0.copy(), np.zeros(n, np.float32)
        adagrad.step(w, g, s, rule=rule)
        adagrad.set_num_threads(count)
        w2, s2 = w0.copy(), np.zeros(n, np.float32)
        adagrad.step(w2, g, s2, rule=rule)
        assert_same_bits(w2, w, count)
        assert_same_bits(s2, s, count)
    # One accumulator per row, and a count of what was skipped.
    rows = n // 16
    rule = adagrad.Rule(on_nonfinite="skip")
    w3, g3 = w0[: rows * 16].reshape(rows, 16).copy(), g[: rows * 16].reshape(rows, 16).copy()
    g3[::1000, 3] = np.nan
    s3 = np.zeros(rows, np.float32)
    expected = reference.step(rule, w3, g3, s3)
    assert adagrad.step(w3, g3, s3, rule=rule) == len(g3[::1000])
    assert_same_bits(w3, expected[0])
    assert_same_bits(s3, expected[1])


def test_python_threads_on_disjoint_parts(rng):
    n = 1 << 18
    w0, g = rng.standard_normal((2, n)).astype(np.float32)
    w, s = w0.copy(), np.zeros(n, np.float32)
    expected = reference.step(RULES["textbook"], w0, g, s)
    with ThreadPoolExecutor(4) as pool:
        parts = [slice(k * n // 16, (k + 1) * n // 16) for k in range(16)]
        list(pool.map(lambda p: adagrad.step(w[p], g[p], s[p]), parts))
    assert_same_bits(w, expected[0])
    assert_same_bits(s, expected[1])


def test_skip_counts(rng):
    g = rng.standard_normal(100)
    g[[3, 50]] = np.nan, np.inf
    w, s = np.ones(100), np.zeros(100)
    assert adagrad.step(w, g, s, rule=adagrad.Rule(on_nonfinite="skip")) == 2
    assert w[3] == 1.0
    assert s[50] == 0.0
    assert adagrad.step(w, np.ones(100), s) is None


def test_step_many_equals_step(isa, rng):
    rule = adagrad.Rule(weight_decay=0.01)
    shapes = [(3,), (4, 5), (0,), (2, 3, 4), ()]
    tensors, expected = [], []
    for k, shape in enumerate(shapes):
        dtype = DTYPES[k % 2]
        w, g = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
        tensors.append((w, g, np.zeros(shape, dtype)))
        expected.append(reference.step(rule, *tensors[-1]))
    assert adagrad.step_many(tensors, rule) is None
    for (w, _, s), (w2, s2) in zip(tensors, expected, strict=True):
        assert_same_bits(w, np.asarray(w2))
        assert_same_bits(s, np.asarray(s2))
    assert adagrad.step_many([]) is None


def test_power_is_close_to_numpy_power():
    # One rounding per digit: the error bound is a unit in the last place for each root and product.
    x = np.geomspace(1e-20, 1e20, 2001)
    for p in (2.0**-11, 0.1, 0.3, 0.499, 0.75, 0.999):
        np.testing.assert_allclose(reference.power(x, p), x**p, rtol=60 * 2.0**-53)
        y = x.astype(np.float32)
        exact = y.astype(float) ** float(np.float32(p))
        np.testing.assert_allclose(reference.power(y, p), exact, rtol=25 * 2.0**-24)
