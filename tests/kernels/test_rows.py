"""Sparse steps equal the NumPy reference with ==, for every rule, policy, id type and layout."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adagrad
import reference
from checks import assert_same_bits, wide_range
from rules import RULES, is_coupled

DTYPES = ["float32", "float64"]
IDS = ["int32", "int64", "uint32", "uint64"]
POLICIES = ["sum", "sequential", "each", "unique"]


def table(rng, n, dim, dtype, row_state, s0):
    shape = (n,) if dim is None else (n, dim)
    w = rng.standard_normal(shape).astype(dtype)
    s = np.full(shape[:1] if row_state else shape, s0, dtype)
    return w, s


def check(rule, w, g, s, rows, context):
    expected = reference.step_rows(rule, w, g, s, rows)
    sent, sent_rows = g.copy(), rows.copy()
    adagrad.step_rows(w, g, s, rows, rule=rule)
    assert_same_bits(w, expected[0], (context, "w"))
    assert_same_bits(s, expected[1], (context, "s"))
    assert_same_bits(g, sent, "the gradient was modified")
    np.testing.assert_array_equal(rows, sent_rows)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_and_policy(name, dtype, policy, isa, rng):
    if policy == "each" and is_coupled(RULES[name]):
        with pytest.raises(ValueError, match="coupled"):
            RULES[name].replace(duplicates=policy)
        return
    rule = RULES[name].replace(duplicates=policy)
    layouts = [(None, False), (1, False), (1, True), (3, False), (8, True), (21, False), (21, True)]
    for (dim, row_state), ids in zip(layouts, IDS * 2, strict=False):
        w, s = table(rng, 40, dim, dtype, row_state, max(rule.initial_accumulator, 0.01))
        for n in (1, 5, 90):
            rows = rng.integers(0, 40, n).astype(ids)
            if policy == "unique":
                rows = rng.permutation(40)[:n].astype(ids)
            g = wide_range(rng, (len(rows), *w.shape[1:]), dtype)
            check(rule, w, g, s, rows, (name, policy, dim, row_state, n))


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("dim", [*range(1, 20), 31, 32, 33, 63, 64, 65, 100, 127, 128, 129])
def test_every_dim(dim, ids, isa, rng):
    for row_state in (False, True):
        for policy in POLICIES[:3]:
            w, s = table(rng, 30, dim, "float32", row_state, 0.0)
            rows = rng.integers(0, 30, 45).astype(ids)
            g = wide_range(rng, (45, dim), "float32")
            check(adagrad.Rule(duplicates=policy), w, g, s, rows, (dim, ids, row_state, policy))


@given(
    dim=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
    statistic=st.sampled_from(["mean", "max"]),
    evaluation=st.sampled_from(["lr*g/d", "lr/d*g", "g/d*lr"]),
    interleaved=st.booleans(),
    rows=st.lists(st.integers(0, 5), max_size=20)
    | st.lists(st.integers(0, 5), min_size=60, max_size=140),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_accumulator_per_row(dim, dtype, statistic, evaluation, interleaved, rows, seed):
    """Rows repeat, next to each other as well, and one gradient in eight has a NaN or infinity."""
    rng = np.random.default_rng(seed)
    rule = adagrad.Rule(
        duplicates="sequential",
        accumulator="row",
        row_statistic=statistic,
        evaluation=evaluation,
    )
    ids = np.array(rows, np.int64)
    g = wide_range(rng, (len(ids), dim), dtype)
    bad = rng.random(len(ids)) < 0.125
    g[bad, rng.integers(0, dim)] = rng.choice([np.nan, np.inf])
    w, s = table(rng, 6, dim, dtype, True, 0.5)
    with np.errstate(all="ignore"):
        expected = reference.step_rows(rule, w, g, s, ids)
    if interleaved:
        rowwise = adagrad.Table(6, dim, rule, dtype=dtype)
        rowwise.weights.reshape(w.shape)[:], rowwise.state[:] = w, s
        rowwise.step(ids, g if dim > 1 else g[:, 0])
        w, s = rowwise.weights.reshape(w.shape), rowwise.state
    else:
        adagrad.step_rows(w, g, s, ids, rule=rule)
    assert_same_bits(np.array(w), expected[0], "w")
    assert_same_bits(np.array(s), expected[1], "s")


@pytest.mark.parametrize("dim", [None, 4])
@pytest.mark.parametrize("policy", POLICIES[:3])
def test_nonfinite_rows_are_skipped_whole(policy, dim, rng):
    rule = adagrad.Rule(on_nonfinite="skip", duplicates=policy)
    w, s = table(rng, 10, dim, "float32", False, 0.0)
    rows = np.array([3, 1, 3, 7, 1, 9])
    g = wide_range(rng, (6, *w.shape[1:]), "float32")
    g[2] = np.nan  # the second gradient of row 3
    g.reshape(6, -1)[5, -1] = np.inf
    expected = reference.step_rows(rule, w, g, s, rows)
    assert adagrad.step_rows(w, g, s, rows, rule=rule) == 2
    assert_same_bits(w, expected[0])
    assert_same_bits(s, expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [1, 40, 3000, 1 << 17, 1 << 22])
def test_large_batches(spread, dtype, isa, rng):
    # Long enough for every way a bucket can be finished; duplicates from all to hardly any.
    n = 20_000
    rows = (rng.zipf(1.3, n) * 2654435761 % spread).astype(np.int64)
    g = wide_range(rng, n, dtype)
    w, s = np.zeros(spread, dtype), np.zeros(spread, dtype)
    unique, inverse = np.unique(rows, return_inverse=True)
    summed = np.zeros(len(unique), dtype)
    np.add.at(summed, inverse, g)  # in order of appearance
    expected = reference.step(adagrad.Rule(), w[unique], summed, s[unique])
    adagrad.step_rows(w, g, s, rows)
    assert_same_bits(w[unique], expected[0])
    assert_same_bits(s[unique], expected[1])
    assert np.count_nonzero(s) <= len(unique)


@given(st.data())
def test_policies_agree_where_ids_differ(data):
    n = data.draw(st.integers(0, 60))
    rows = np.array(data.draw(st.permutations(range(60)))[:n], np.int64)
    finite = st.floats(-1e3, 1e3, width=32)
    g = np.array(data.draw(st.lists(finite, min_size=n, max_size=n)), np.float32)
    name = data.draw(st.sampled_from(sorted(RULES)))
    results = []
    for policy in POLICIES:
        if policy == "each" and is_coupled(RULES[name]):
            continue  # refused: see test_each_refuses_coupled_decay
        w, s = np.linspace(-1, 1, 60, dtype=np.float32), np.full(60, 0.1, np.float32)
        adagrad.step_rows(w, g, s, rows, rule=RULES[name], duplicates=policy)
        results.append((w, s))
    for w, s in results[1:]:
        assert_same_bits(w, results[0][0])
        assert_same_bits(s, results[0][1])


def test_order_of_distinct_ids_does_not_matter(rng):
    rows = rng.permutation(1000)
    g = rng.standard_normal(1000).astype(np.float32)
    w, s = np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    adagrad.step_rows(w, g, s, rows)
    dense = np.empty(1000, np.float32)
    dense[rows] = g
    w2, s2 = np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    adagrad.step(w2, dense, s2)
    assert_same_bits(w, w2)
    assert_same_bits(s, s2)


@pytest.mark.parametrize("ids", IDS)
def test_coalesce(ids, rng):
    for n, spread in [(0, 1), (1, 1), (33, 5), (500, 50), (5000, 1 << 16), (40_000, 1 << 30)]:
        rows = rng.integers(0, spread, n).astype(ids)
        for shape in ((n,), (n, 1), (n, 6)):
            g = wide_range(rng, shape, "float32")
            unique, summed = adagrad.coalesce(rows, g)
            assert unique.dtype == rows.dtype
            expected, inverse = np.unique(rows, return_inverse=True)
            np.testing.assert_array_equal(unique, expected)
            sums = np.zeros((len(expected), *shape[1:]), np.float32)
            np.add.at(sums, inverse, g)
            np.testing.assert_array_equal(summed, sums)  # with ==: add.at turns -0.0 into 0.0


def test_coalesce_keeps_the_first_value_and_the_order(rng):
    big = np.float32(2.0**24)
    rows = np.array([5, 5, 5, 9], np.uint64)
    g = np.array([big, 1.0, -big, -0.0], np.float32)  # (2^24 + 1) - 2^24 is 0 in float32
    unique, summed = adagrad.coalesce(rows, g)
    assert unique.tolist() == [5, 9]
    assert summed.tolist() == [0.0, 0.0]
    assert np.signbit(summed).tolist() == [False, True]


def test_coalesce_ids_past_two_to_the_63(rng):
    base = np.array([2**64 - 1, 2**63, 0, 2**63 + 7], np.uint64)
    rows = base[rng.integers(0, 4, 2000)]
    g = rng.standard_normal(2000)
    unique, summed = adagrad.coalesce(rows, g)
    assert unique.tolist() == sorted(base.tolist())
    expected = reference.sum_rows(rows, g)
    assert_same_bits(summed, expected[1])


@pytest.mark.parametrize("bits", [0, 1, 12, 16, 17, 20, 27, 28, 32, 33, 45, 63])
@pytest.mark.parametrize("shape", [(3000,), (3000, 2)])
def test_coalesce_every_width_of_ids(bits, shape, rng):
    # Uniform, clustered at the top, and one hot id: the widths at which buckets change their kind.
    top = np.uint64(2**bits - 1)
    for rows in (
        rng.integers(0, int(top), shape[0], dtype=np.uint64, endpoint=True),
        top - np.minimum(rng.integers(0, 50, shape[0], dtype=np.uint64), top),
        np.where(rng.random(shape[0]) < 0.9, top, np.uint64(0)),
    ):
        g = np.where(rng.random(shape) < 0.3, -0.0, rng.standard_normal(shape)).astype(np.float32)
        unique, summed = adagrad.coalesce(rows, g)
        expected = reference.sum_rows(rows, g)
        np.testing.assert_array_equal(unique, expected[0])
        assert_same_bits(summed, expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 7, 16, 129])
def test_rows_that_come_often_are_summed_in_order(dim, dtype, isa, rng):
    # Half of the ids are a few: those that find a slot are summed without being dealt.
    n, count = 40_000, 1 << 12
    often = rng.integers(0, count, 50)
    rows = np.where(rng.random(n) < 0.5, rng.choice(often, n), rng.integers(0, count, n))
    g = wide_range(rng, (n, dim), dtype)
    g[rng.random(n) < 0.3] = -0.0
    unique, summed = reference.sum_occurrences(rows, g)
    w, s = table(rng, count, dim, dtype, True, 0.1)
    for threads in (1, 3):
        got, expected = (w.copy(), s.copy()), (w.copy(), s.copy())
        adagrad.step_rows(got[0], g, got[1], rows, duplicates="sum", threads=threads)
        adagrad.step_rows(expected[0], summed, expected[1], unique, duplicates="unique")
        assert_same_bits(got[0], expected[0], (threads, "w"))
        assert_same_bits(got[1], expected[1], (threads, "s"))


def test_check_unique(rng):
    w, s = np.zeros(100), np.zeros(100)
    rows = rng.permutation(100)[:50]
    adagrad.step_rows(w, np.ones(50), s, rows, duplicates="unique", check_unique=True)
    rows[[40, 45]] = rows[[7, 3]]
    before = w.copy()
    with pytest.raises(ValueError, match=rf"rows\[40\] = {rows[7]} repeats rows\[7\]"):
        adagrad.step_rows(w, np.ones(50), s, rows, duplicates="unique", check_unique=True)
    np.testing.assert_array_equal(w, before)
    with pytest.raises(ValueError, match="needs duplicates='unique'"):
        adagrad.step_rows(w, np.ones(50), s, rows, check_unique=True)


@pytest.mark.parametrize("n", [1, 32, 33, 64, 3000])
@pytest.mark.parametrize("dim", [None, 1, 3])
@pytest.mark.parametrize("id_", [0, 5])
def test_all_ids_the_same(id_, dim, n, isa):
    # A batch of a padding id, or a table of one row.
    rows = np.full(n, id_)
    shape = () if dim is None else (dim,)
    g = np.full((n, *shape), 0.5, np.float32)
    unique, summed = adagrad.coalesce(rows, g)
    assert unique.tolist() == [id_]
    np.testing.assert_array_equal(summed, np.full((1, *shape), n / 2))
    for policy in POLICIES[:3]:
        w, s = (np.zeros((id_ + 1, *shape), np.float32) for _ in range(2))
        check(adagrad.Rule(duplicates=policy), w, g, s, rows, (policy, n))
        assert (s[id_] > 0).all()
    if n > 1:
        with pytest.raises(ValueError, match=rf"rows\[1\] = {id_} repeats rows\[0\]"):
            adagrad.step_rows(w, g, s, rows, duplicates="unique", check_unique=True)
        rule = adagrad.Rule(on_nonfinite="raise")
        with pytest.raises(ValueError, match="sum of the gradients of row"):
            adagrad.step_rows(w, np.full_like(g, 3e38), s, rows, rule=rule)


def test_each_refuses_coupled_decay():
    rule = adagrad.Rule(weight_decay=0.1)
    w, g, s = np.ones(3), np.ones(2), np.zeros(3)
    with pytest.raises(ValueError, match="coupled weight decay makes a gradient depend"):
        adagrad.step_rows(w, g, s, np.array([0, 1]), rule=rule, duplicates="each")
    assert w.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="duplicates='each' accumulates before"):
        rule.replace(duplicates="each")
    adagrad.step_rows(w, g, s, np.array([0, 1]), duplicates="each", rule=adagrad.Rule(lagged=True))


def test_no_memory_no_change():
    # The memory for the sums is found before anything is written, decay of all rows included.
    code = """
import resource, numpy as np, adagrad
n = 20_000_000
w, s = np.ones(8, "f4"), np.full(8, 0.1, "f4")
rows, g = np.arange(n) % 8, np.ones(n, "f4")
rule = adagrad.preset("keras", weight_decay=0.1, lr=0.5, duplicates="sum")
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (100 << 20), -1))
try:
    adagrad.step_rows(w, g, s, rows, rule=rule)
except MemoryError:
    print(bool((w == 1).all() and (s == np.float32(0.1)).all()))
"""
    if "asan" in os.environ.get("LD_PRELOAD", "") or sys.platform != "linux":
        return  # the sanitizer maps terabytes, and stops where there is no memory
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_decay_of_all_rows_without_ids():
    rule = adagrad.preset("keras", weight_decay=0.5, lr=0.5)
    w, s = np.ones(4), np.full(4, 0.1)
    adagrad.step_rows(w, np.zeros(0), s, np.zeros(0, np.int64), rule=rule)
    assert w.tolist() == [0.75] * 4
