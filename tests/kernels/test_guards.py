"""Loops over rows read and write nothing past the end of an array."""

from __future__ import annotations

import mmap
import subprocess
import sys

import numpy as np
import pytest

import adagrad
from adagrad import Table
from checks import TESTS, assert_same_bits, wide_range
from guarded import guarded

DIMS = [*range(1, 10), 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 127, 128, 129]
ROWS = 40


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="looks at how a process was killed")
def test_the_guard_kills():
    script = f"""
import ctypes, sys
sys.path.insert(0, {str(TESTS / "helpers")!r})
import numpy as np
from guarded import guarded
a = guarded(np.zeros({mmap.PAGESIZE // 4} + 3, "f4"))
a[-1] = 1
ctypes.c_float.from_address(a.ctypes.data + a.nbytes).value
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -11


def last_ids(rng, n):
    """Ids of which many, and the last ones, are those of the last rows."""
    ids = rng.integers(0, ROWS, n)
    ids[rng.random(n) < 0.3] = ROWS - 1
    ids[n - min(n, 3) :] = ROWS - 1
    return ids


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("duplicates", ["sum", "sequential", "each", "unique"])
def test_steps(isa, fine_grain, rng, duplicates, dtype):
    for dim in DIMS:
        for n in (0, 1, 33, 300):
            ids = last_ids(rng, n)
            if duplicates == "unique":
                ids = np.unique(ids)
            shape = () if dim == 1 else (dim,)
            g = wide_range(rng, (len(ids), *shape), dtype)
            for narrow in ("int64", "uint32"):
                made = np.ones((ROWS, *shape), dtype), g, np.zeros((ROWS, *shape), dtype)
                given = [guarded(a) for a in made]
                for threads in (1, 3):
                    named = guarded(ids.astype(narrow))
                    adagrad.step_rows(*made, ids, duplicates=duplicates, threads=1)
                    adagrad.step_rows(*given, named, duplicates=duplicates, threads=threads)
                for found, expected in zip(given, made, strict=True):
                    assert_same_bits(found, expected, (dim, n, narrow))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("state", ["element", "row"])
def test_tables(isa, fine_grain, rng, dtype, state):
    for dim in DIMS:
        table = Table(ROWS, dim, dtype=dtype, state=state, init="normal", seed=2)
        found = table.copy()
        found._take(guarded(table._memory))
        computed = "float64" if dtype == "float64" else "float32"
        for n in (0, 1, 33, 300):
            ids = last_ids(rng, n)
            offsets = np.array([0, 0, n // 3, n // 2, n, n])
            g = wide_range(rng, (n,) if dim == 1 else (n, dim), computed)
            own, of, of_ids = guarded(ids), guarded(offsets), guarded(ids.astype("u4"))
            weights = guarded(rng.standard_normal(n).astype(computed))
            for threads in (1, 3):
                context = (dim, n, threads)
                assert_same_bits(found.gather(own, threads=threads), table.gather(ids), context)
                for mean in (False, True):
                    mode = "mean" if mean else "sum"
                    assert_same_bits(
                        found.pool(of_ids, of, mode, threads=threads),
                        table.pool(ids, offsets, mode, threads=1),
                        context,
                    )
                assert_same_bits(
                    found.pool(own, of, weights=weights, threads=threads),
                    table.pool(ids, offsets, weights=weights, threads=1),
                    context,
                )
                table.step(ids, g, threads=1)
                found.step(own, guarded(g), threads=threads)
                bags = g[:5] if n > 4 else np.ones((5, *g.shape[1:]), computed)
                table.step_pooled(ids, offsets, bags, threads=1)
                found.step_pooled(own, of, guarded(bags), threads=threads)
            assert_same_bits(found._memory, table._memory, (dim, n))
