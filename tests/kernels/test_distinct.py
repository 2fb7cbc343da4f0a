"""Sums of repeated ids, by every way in which distinct ids are found (cpp/adagrad/distinct.hpp).

The oracle adds gradients in order of appearance and updates distinct rows, which other tests check.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import adagrad
from checks import assert_same_bits, wide_range

# Batches that are looked up at once, and ids that fit in the 16 bits of a cell: one less, as many,
# one more.
FEW, MOST = 8192, 65534
SIZES = [0, 1, 2, 31, 32, 33, 255, 256, 2048, FEW - 1, FEW, FEW + 1, 20_000, MOST, MOST + 3]
ROWS = [1, 2, 300, FEW, 1 << 16, 1 << 17, (1 << 20) + 5]
LAWS = ["uniform", "frequent", "different", "adjacent", "last", "one"]


def cells(ids, bits, times):
    """Return the cells of ids in a table of 2^bits, when their hash is taken for this time."""
    odd = pow(0x9E3779B97F4A7C15, times, 1 << 64)
    return (ids.astype(np.uint64) * np.uint64(odd)) >> np.uint64(64 - bits)


def draw(rng, law, n, rows):
    if law == "frequent":
        return rng.zipf(1.2, n) * 2654435761 % rows
    if law == "different":
        return np.resize(rng.permutation(rows), n)
    if law == "adjacent":
        return rng.integers(0, min(rows, n // 2 + 1), n)
    if law == "last":
        return rows - 1 - rng.integers(0, min(rows, 50), n)
    if law == "one":
        return np.full(n, rng.integers(0, rows))
    return rng.integers(0, rows, n)


def check(rng, ids, rows, dim, dtype="float32", row_state=False, threads=1, context=""):
    shape = () if dim is None else (dim,)
    g = wide_range(rng, (len(ids), *shape), dtype)
    g[rng.random(len(ids)) < 0.1] = -0.0
    unique, of = np.unique(ids, return_inverse=True)
    summed = np.full((len(unique), *shape), -0.0, dtype)
    np.add.at(summed, of, g)
    # Rows without a gradient are 0, so that the memory of large tables is not touched.
    w, expected_w = (np.zeros((rows, *shape), dtype) for _ in range(2))
    w[unique] = expected_w[unique] = 1
    s, expected_s = (np.zeros(rows if row_state else w.shape, dtype) for _ in range(2))
    adagrad.step_rows(w, g, s, ids, duplicates="sum", threads=threads)
    adagrad.step_rows(expected_w, summed, expected_s, unique, duplicates="unique", threads=1)
    for name, array, expected in (("w", w, expected_w), ("s", s, expected_s)):
        assert_same_bits(array[unique], expected[unique], (context, name))
        array[unique] = 0
        assert not array.view(np.uint8).any(), (context, name)


@settings(max_examples=150)
@given(
    st.sampled_from(SIZES),
    st.sampled_from(ROWS),
    st.sampled_from(LAWS),
    st.one_of(st.none(), st.integers(1, 70)),
    st.sampled_from(["int32", "int64"]),
    st.sampled_from(["float32", "float64"]),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
@example(MOST + 3, 1 << 16, "different", None, "int64", "float32", False, 1, 0)
@example(FEW + 1, 1 << 17, "frequent", 5, "int32", "float32", True, 2, 0)
def test_sums_are_made_in_order(
    fine_grain_once, n, rows, law, dim, ids, dtype, row_state, threads, seed
):
    rng = np.random.default_rng(seed)
    width = 1 if dim is None else dim
    while max(n, rows) * width > 1 << 21:  # stay fast
        n, rows = n // 2, max(1, rows // 2)
    chosen = draw(rng, law, n, rows).astype(ids)
    row_state = row_state and dim is not None
    check(rng, chosen, rows, dim, dtype, row_state, threads)


@pytest.fixture(scope="module")
def fine_grain_once():
    """Let sparse calls take the threads that they are given, however small they are."""
    before = adagrad._core.set_sparse_grain(1)
    yield
    adagrad._core.set_sparse_grain(before)


@pytest.mark.parametrize("dim", [None, 3])
@pytest.mark.parametrize("more", [-1, 0, 1, 2])
@pytest.mark.parametrize("bits", [16, 17])
def test_more_ids_than_numbers(bits, more, dim, rng):
    # Of 2^16 ids that have a cell each, the last get no number. Some come twice.
    rows = 1 << bits
    ids = rng.permutation(rows)[: rows - (1 << 16) + MOST + more]
    check(rng, np.concatenate([ids, ids[-500:], ids[:500]]), rows, dim)


@pytest.mark.parametrize("dim", [None, 1, 2, 16, 70])
@pytest.mark.parametrize("n", [40, 48, 200])
def test_ids_of_one_cell(n, dim, isa, rng):
    # Ids share a cell by the first hash, then by the second: few are found in each pass, and they
    # are sorted at last.
    rows = 1 << (22 if dim is None else 20)
    bits = n.bit_length() + 3
    found = np.arange(rows)
    for times in (1, 2):
        at = cells(found, bits, times)
        found = found[at == np.bincount(at.astype(np.int64)).argmax()]
        assert len(found) > 1
        repeated = np.resize(found[:n], n)
        check(rng, rng.permutation(repeated), rows, dim, context=times)


@pytest.mark.parametrize("law", ["top", "bottom", "steps"])
@pytest.mark.parametrize(("bits", "dim"), [(18, None), (26, None), (18, 4), (23, 4)])
def test_ids_that_fill_few_buckets(bits, dim, law, rng):
    # Dealt by their top bits, all ids would fall into one bucket or a few.
    n, rows = 30_000, 1 << bits
    near = rng.integers(0, 40_000, n)
    ids = {"top": rows - 1 - near, "bottom": near, "steps": near % 4 * (rows // 4) + near // 4}[law]
    table = (rows,) if dim is None else (rows, dim)
    g = wide_range(rng, (n, *table[1:]), "float32")
    w, s = np.zeros(table, np.float32), np.zeros(table, np.float32)
    adagrad.step_rows(w, g, s, ids, duplicates="sum", threads=1)
    unique, of = np.unique(ids, return_inverse=True)
    summed = np.full((len(unique), *table[1:]), -0.0, np.float32)
    np.add.at(summed, of, g)
    expected_w, expected_s = np.zeros_like(summed), np.zeros_like(summed)
    every = np.arange(len(unique))
    adagrad.step_rows(expected_w, summed, expected_s, every, duplicates="unique", threads=1)
    assert_same_bits(w[unique], expected_w)
    assert_same_bits(s[unique], expected_s)


@pytest.mark.parametrize("dim", [None, 5])
@pytest.mark.parametrize("n", [1, 33, FEW, FEW + 1, MOST + 3])
@pytest.mark.parametrize("threads", [1, 4])
def test_an_id_out_of_range_changes_nothing(threads, n, dim, fine_grain, rng):
    rows = 1 << 17
    ids = rng.integers(0, rows, n)
    shape = () if dim is None else (dim,)
    g = np.ones((n, *shape), np.float32)
    w, s = np.ones((rows, *shape), np.float32), np.ones((rows, *shape), np.float32)
    for at, wrong in ((n - 1, rows), (n // 2, -1)):
        bad = ids.copy()
        bad[at] = wrong
        with pytest.raises(IndexError, match=rf"rows\[{at}\] = {wrong}"):
            adagrad.step_rows(w, g, s, bad, duplicates="sum", threads=threads)
        assert (w == 1).all()
        assert (s == 1).all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dim", [2, 4, 7])
@pytest.mark.parametrize("n", [2048, 2049, 10_000, (1 << 18) - 1, 1 << 18])
def test_few_ids_that_repeat(fine_grain_once, n, dim, threads, rng):
    # From no repeat to as many as are too many to tell single ids apart, at the end or anywhere.
    rows = 1 << 19
    for repeats in (0, 1, n // 20, n // 4):
        ids = rng.permutation(rows)[:n]
        ids[n - repeats :] = ids[:repeats]
        for chosen in (ids, rng.permutation(ids)) if n < 20_000 else (ids,):
            check(rng, chosen, rows, dim, threads=threads, context=repeats)
