"""Params in 16 bits: a step equals the reference's in float32, rounded to nearest even, with ==."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import adagrad
import reference
from checks import assert_same_bits, need_packages, wide_range
from rules import RULES

need_packages("ml_dtypes")

import ml_dtypes

from halves import HALVES, all_patterns, hard_floats

LENGTHS = [*range(1, 71), *range(255, 261), 1000]
# Around the leaves of a pairwise sum, the blocks of a step, and both doubled.
DIMS = [1, 2, 7, 8, 100, 127, 128, 129, *range(255, 261), 511, 512, 513, 1000, 4097]


def storages(half):
    """The dtypes that g and s may have beside such a w."""
    return itertools.product((np.dtype(np.float32), half), repeat=2)


def gradients(rng, rule, shape, dtype):
    g = wide_range(rng, shape, np.float32)
    if rule.on_nonfinite == "skip":
        g[rng.random(shape) < 0.02] = np.inf
    return g.astype(dtype)


def expected_step(rule, w, g, s):
    with np.errstate(all="ignore"):
        new_w, new_s = reference.step(rule, *(a.astype(np.float32) for a in (w, g, s)))
        return new_w.astype(w.dtype), new_s.astype(s.dtype)


def check_step(rule, w, g, s, context):
    sent, expected = g.copy(), expected_step(rule, w, g, s)
    adagrad.step(w, g, s, rule=rule)
    assert_same_bits(w, expected[0], (*context, "w"))
    assert_same_bits(s, expected[1], (*context, "s"))
    assert_same_bits(g, sent, "the gradient was modified")


@pytest.mark.parametrize("half", HALVES)
def test_every_value_is_converted_as_numpy_does(half, isa):
    # From w = 0, with a divisor of 1: the new w is the gradient.
    rule = adagrad.Rule(lr=1.0, power=0.0, maximize=True)
    for g in (hard_floats(), all_patterns(half)):
        w, s = np.zeros(g.shape, HALVES[half]), np.zeros(g.shape, np.float32)
        adagrad.step(w, g, s, rule=rule)
        with np.errstate(all="ignore"):
            assert_same_bits(w, np.where(g == 0, 0.0, g.astype("f4")).astype(HALVES[half]))


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("name", RULES)
def test_every_length(name, half, isa, rng):
    rule = RULES[name]
    for g_type, s_type in storages(half):
        for n in LENGTHS:
            w = rng.standard_normal(n).astype(half)
            s = np.full(n, rule.initial_accumulator, s_type)
            for _ in range(2):
                check_step(rule, w, gradients(rng, rule, n, g_type), s, (name, g_type, s_type, n))


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("name", RULES)
def test_one_accumulator_per_row(name, half, isa, rng):
    rule = RULES[name]
    for g_type, s_type in storages(half):
        for dim in DIMS:
            w = rng.standard_normal((4, dim)).astype(half)
            s = np.full(4, max(rule.initial_accumulator, 0.01), s_type)
            g = gradients(rng, rule, w.shape, g_type)
            if dim > 1:
                g[0] = 1.0  # one row at least is not skipped
            check_step(rule, w, g, s, (name, g_type, s_type, dim))


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("name", RULES)
def test_special_values(name, half, isa):
    rule = RULES[name]
    if rule.on_nonfinite == "raise":
        rule = rule.replace(on_nonfinite="propagate")
    info = ml_dtypes.finfo(half)
    values = [0.0, -0.0, info.smallest_subnormal, -info.tiny, 1.0, -3.0, info.max, -info.max]
    values = np.array([float(x) for x in values] + [np.inf, -np.inf, np.nan], np.float32)
    for g_type, s_type in storages(half):
        g, w = (x.ravel() for x in np.meshgrid(values.astype(g_type), values.astype(half)))
        for s0 in (0.0, 1e-6, 1.0, np.inf):
            s = np.full(g.shape, s0, s_type)
            check_step(rule, w.copy(), g, s, (name, g_type, s_type, s0))


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_threads_change_nothing(count, half, threads, rng):
    adagrad.set_num_threads(count)
    n = (1 << 20) + 37
    for rule, (g_type, s_type) in zip(
        itertools.cycle((RULES["textbook"], RULES["everything"])), storages(half), strict=False
    ):
        w = rng.standard_normal(n).astype(half)
        s = np.full(n, 0.1, s_type)
        check_step(rule, w, gradients(rng, rule, n, g_type), s, (count, g_type, s_type))
    # One accumulator per row, and a count of what was skipped.
    rule = adagrad.Rule(on_nonfinite="skip")
    w = rng.standard_normal((n // 16, 16)).astype(half)
    g, s = rng.standard_normal(w.shape).astype(half), np.zeros(len(w), np.float32)
    g[::1000, 3] = np.nan
    expected = expected_step(rule, w, g, s)
    assert adagrad.step(w, g, s, rule=rule) == len(g[::1000])
    assert_same_bits(w, expected[0])
    assert_same_bits(s, expected[1])


def test_step_many(rng):
    tensors, expected = [], []
    for shape, dtype in (((3, 4), HALVES["bfloat16"]), ((5,), "f8"), ((), HALVES["float16"])):
        w, g = (np.asarray(rng.standard_normal(shape)).astype(dtype) for _ in range(2))
        tensors.append((w, g, np.zeros(shape, dtype)))
        step = reference.step if dtype == "f8" else expected_step
        expected.append(step(adagrad.Rule(), *tensors[-1]))
    tensors.append(tuple(np.zeros((0, 3), HALVES["bfloat16"]) for _ in range(3)))
    assert adagrad.step_many(tensors) is None
    for (w, _, s), (w2, s2) in zip(tensors, expected, strict=False):
        assert_same_bits(w, np.asarray(w2))
        assert_same_bits(s, np.asarray(s2))


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("g_type", ["half", "float32"])
def test_nonfinite_gradients(half, g_type):
    g = np.ones(300, half if g_type == "half" else np.float32)
    g[[3, 280]] = np.nan, np.inf
    w, s = np.ones(300, half), np.zeros(300, np.float32)
    with pytest.raises(ValueError, match=r"step: g\[3\] = nan is not finite"):
        adagrad.step(w, g, s, rule=adagrad.Rule(on_nonfinite="raise"))
    assert (w == 1).all()
    assert (s == 0).all()
    assert adagrad.step(w, g, s, rule=adagrad.Rule(on_nonfinite="skip")) == 2
    assert np.flatnonzero(s == 0).tolist() == [3, 280]
    with pytest.raises(ValueError, match=r"g of tensors\[0\]\[3\] = nan is not finite"):
        adagrad.step_many([(w, g, s)], adagrad.Rule(on_nonfinite="raise"))


def test_what_does_not_fit():
    f4, f8, f2, bf = (np.ones(3, t) for t in ("f4", "f8", *reversed(HALVES.values())))
    needed = "float32, float64, bfloat16 or float16 is needed"
    for arrays, message in [
        (
            (bf, f8, f4),
            r"g\b.* has dtype float64, but w has bfloat16, beside which float32 or bfloat16",
        ),
        (
            (bf, f4, f2),
            r"s\b.* has dtype float16, but w has bfloat16, beside which float32 or bfloat16",
        ),
        (
            (f2, bf, f4),
            r"g\b.* has dtype bfloat16, but w has float16, beside which float32 or float16",
        ),
        ((f4, f2, f4), r"g\b.* has dtype float16, but w has float32; nothing is cast"),
        ((f4, f4, bf), r"s\b.* has dtype bfloat16, but w has float32; nothing is cast"),
        ((f2.view("i2"), f4, f4), rf"w\b.* has dtype int16; {needed}"),
        ((f2.astype(ml_dtypes.float8_e4m3fn), f4, f4), rf"w\b.* has dtype float8_e4m3fn; {needed}"),
        ((f2.view("V2"), f4, f4), needed),
        ((f2.astype(">f2"), f4, f4), f"byte-swapped dtype >f2; native {needed}"),
    ]:
        for call in (adagrad.step, lambda *triple: adagrad.step_many([triple])):
            with pytest.raises(TypeError, match=message):
                call(*arrays)
    assert all((a == 1).all() for a in (f4, f8, f2))


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_only_dense_steps_take_16_bits(half):
    w, s, rows = np.ones(3, half), np.ones(3, np.float32), np.arange(3)
    message = "float32 or float64 is needed .step and step_many take 16 bits"
    for call in (
        lambda: adagrad.step_rows(w, w.copy(), s, rows),
        lambda: adagrad.Adagrad([w]),
        lambda: adagrad.coalesce(rows, w),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_overlap_is_in_bytes():
    room = np.ones(100, np.uint8).view(HALVES["bfloat16"])
    adagrad.step(room[:10], room[10:20], room[20:30])
    with pytest.raises(ValueError, match="w and s overlap"):
        adagrad.step(room[:10], room[10:20], room[8:28].view(np.float32))
