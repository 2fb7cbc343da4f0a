"""The limit loops of the benchmarks visit the rows that they are given, and no others."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

import benchmark
from checks import ROOT, need, need_packages

need_packages("scipy", "sklearn", "pyarrow")

import ctr_data

sys.path.append(str(ROOT))  # bench/ is not part of what is installed

from bench import limits, machine

ROWS, N = 97, 500


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    try:
        return limits.Limits(limits.build(tmp_path_factory.mktemp("limits")))
    except RuntimeError as error:
        need(False, str(error))


def whole(rng, shape, dtype=np.float32):
    """Small integers: their sums are exact in any order."""
    return rng.integers(-8, 9, shape).astype(dtype)


def new_rows(rng, dim, state, layout):
    """w and s of a table in memory of their own, or side by side; and all of that memory."""
    if layout == "apart":
        w, s = whole(rng, (ROWS, dim)), whole(rng, (ROWS, state))
        memory = (w, s)
    else:
        both = whole(rng, (ROWS, dim + state))
        w, s, memory = both[:, :dim], both[:, dim:], (both,)
    return (w[:, 0] if dim == 1 else w), (s[:, 0] if state == 1 else s), memory


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 1000])
def test_dense(loops, rng, n, dtype):
    w, g, s = (whole(rng, n, dtype) for _ in range(3))
    expected = w - g, s + g
    assert loops.dense(w, g, s)() is None
    np.testing.assert_array_equal(w, expected[0])
    np.testing.assert_array_equal(s, expected[1])


@pytest.mark.parametrize("layout", ["apart", "interleaved"])
@pytest.mark.parametrize("state", ["element", "row"])
@pytest.mark.parametrize("dim", [1, 3, 4, 8, 16, 31, 32, 64, 128, 300])
def test_rows_and_bags(loops, rng, dim, state, layout):
    length = dim if state == "element" else 1
    w, s, memory = new_rows(rng, dim, length, layout)
    shape = () if dim == 1 else (dim,)
    ids = rng.integers(0, ROWS, N)
    g = whole(rng, (N, *shape))
    offsets = np.concatenate([[0], np.sort(rng.choice(np.arange(1, N), 40, False)), [N]])
    of_bags = whole(rng, (len(offsets) - 1, *shape))

    out = np.full((N, *shape), np.nan, np.float32)
    loops.gather(w, ids, out)()
    np.testing.assert_array_equal(out, w[ids])
    sums = np.full((len(offsets) - 1, *shape), np.nan, np.float32)
    loops.pool(w, ids, offsets, sums)()
    np.testing.assert_array_equal(sums, np.add.reduceat(w[ids], offsets[:-1]))

    every = np.concatenate([g, np.repeat(of_bags, np.diff(offsets), axis=0)])
    expected_w, expected_s = w.copy(), s.copy()
    np.subtract.at(expected_w, np.tile(ids, 2), every)
    by = every if s.shape == w.shape else every[:, 0]
    np.add.at(expected_s, np.tile(ids, 2), by)
    untouched = np.setdiff1d(np.arange(ROWS), ids)
    before = [part[untouched].copy() for part in memory]
    loops.step_rows(w, s, ids, g)()
    loops.step_bags(w, s, ids, offsets, of_bags)()
    np.testing.assert_array_equal(w, expected_w)
    np.testing.assert_array_equal(s, expected_s)
    for part, old in zip(memory, before, strict=True):
        np.testing.assert_array_equal(part[untouched], old)


def test_scan(loops):
    found = np.zeros(1, np.uint64)
    for text in (b"", b"\t", b"a\tb\r\n\xff\t\n" * 37):
        loops.scan(text, found)()
        assert found[0] == text.count(b"\t") + text.count(b"\n")


@pytest.mark.parametrize("widths", [[1], [8], [1, 8], [1, 6, 20, 4], [1, 80, 76]])
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("values", [True, False])
def test_learners(loops, rng, widths, fixed, values):
    slots = 512
    x = ctr_data.batch(rng, 60, slots, fixed=fixed)
    if values:
        x = type(x)(
            x.slots, x.bounds, slots, len(x) if fixed else None, values=whole(rng, len(x.slots))
        )
    both = [whole(rng, (slots, 2 * width)) for width in widths]
    start = [b.copy() for b in both]
    cuts = [(b[:, :width], b[:, width:]) for b, width in zip(both, widths, strict=True)]
    tables = [(w[:, 0], s[:, 0]) if w.shape[1] == 1 else (w, s) for w, s in cuts]
    g, margins = whole(rng, len(x)), np.full(len(x), np.nan, np.float32)
    loops.learn(tables, x, g, margins)()
    indptr = x.indptr
    for i in range(len(x)):
        margin = np.float32(0)
        for k in range(indptr[i], indptr[i + 1]):
            by = g[i] * (1 if x.values is None else x.values[k])
            for memory, width in zip(start, widths, strict=True):
                row = memory[x.slots[k]]
                margin += row[:width].sum()
                row[:width] -= by
                row[width:] += by
        assert margins[i] == margin, i
    for found, expected in zip(both, start, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("steps", [0, 1, 16, 100])
def test_roots(loops, steps):
    w, s = np.zeros(16, np.float32), np.ones(16, np.float32)
    g = np.linspace(-1, 1, 16, dtype=np.float32)
    lr, eps = np.float32(0.5), np.float32(0.25)
    expected_w, expected_s = w.copy(), s.copy()
    for k in range(steps):
        j = k % 16
        expected_s[j] += g[j] * g[j]
        expected_w[j] -= lr * g[j] / np.sqrt(expected_s[j] + eps)
    loops.roots(w, s, g, steps, 0.5, 0.25)()
    np.testing.assert_array_equal(s, expected_s)
    np.testing.assert_allclose(w, expected_w, rtol=1e-6)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("values", [True, False])
def test_a_plain_learner(loops, rng, fixed, values):
    """In double precision, as the exponential function of a C library has no bits to promise."""
    slots, lr, eps = 100, 0.5, 1.0
    x = ctr_data.batch(rng, 60, slots, fixed=fixed, values=values)
    y = (rng.random(60) < 0.3).astype(np.float32)
    pairs, margins = np.zeros((slots, 2), np.float32), np.full(60, np.nan, np.float32)
    loops.learn_logistic(pairs[:, 0], pairs[:, 1], x, y, lr, eps, margins)()
    w, s, b, sb = np.zeros(slots), np.zeros(slots), 0.0, 0.0
    for i, (begin, end) in enumerate(itertools.pairwise(x.indptr)):
        at = x.slots[begin:end]
        of = np.ones(end - begin) if x.values is None else x.values[begin:end]
        margin = b + w[at] @ of
        assert margins[i] == pytest.approx(margin, rel=1e-4, abs=1e-4)
        g = 1 / (1 + np.exp(-margin)) - y[i]
        for slot, value in zip(at, of, strict=True):
            s[slot] += (g * value) ** 2
            w[slot] -= lr * g * value / np.sqrt(s[slot] + eps)
        sb += g * g
        b -= lr * g / np.sqrt(sb + eps)
    np.testing.assert_allclose(pairs[:, 0], w, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pairs[:, 1], s, rtol=1e-3, atol=1e-4)


def test_refuses_what_it_would_misread(loops):
    w, s = np.zeros(8, np.float32), np.zeros(8, np.float32)
    ids, g = np.array([1, 7]), np.zeros(2, np.float32)
    with pytest.raises(IndexError, match=r"ids must be in \[0, 8\), they are in \[1, 8\]"):
        loops.step_rows(w, s, np.array([1, 8]), g)
    with pytest.raises(TypeError, match=r"ids must be int64 .* got int32"):
        loops.step_rows(w, s, ids.astype(np.int32), g)
    with pytest.raises(TypeError, match=r"g must be float32 of shape \(2,\), got float64"):
        loops.step_rows(w, s, ids, g.astype(float))
    with pytest.raises(ValueError, match="g must be contiguous"):
        loops.step_rows(w, s, ids, np.zeros(4, np.float32)[::2])
    with pytest.raises(ValueError, match=r"s must have shape \(8,\)"):
        loops.step_rows(w, s[:4], ids, g)
    with pytest.raises(ValueError, match="no bag may be empty"):
        loops.pool(w, ids, np.array([0, 1, 1, 2]), np.zeros(3, np.float32))


def test_compiles_once(loops, tmp_path):
    library = limits.build(tmp_path)
    made = library.stat().st_mtime_ns
    assert limits.build(tmp_path) == library
    assert library.stat().st_mtime_ns == made
    assert list(tmp_path.iterdir()) == [library]


def test_without_a_compiler(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    limits.load.cache_clear()
    try:
        assert limits.variant(lambda of, i: of.dense) == []
        assert limits.variant(lambda of, i: of.dense) == []
        said = capsys.readouterr().err
        assert said.startswith("No column 'limit': no C compiler: ")
        assert said.endswith("install one or set CC.\n")
        assert said.count("\n") == 1
        assert "limit (needs a C compiler)" in machine.left_out()
    finally:
        limits.load.cache_clear()
        machine._absent.discard("limit (needs a C compiler)")


def test_a_benchmark_without_a_compiler(tmp_path):
    printed = benchmark.smoke("rows", without="torch,numba", CC=str(tmp_path / "none"))
    assert "Left out, not installed: " in printed
    assert "limit (needs a C compiler)" in printed
