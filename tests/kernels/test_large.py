"""Offsets are 64-bit: tables past 4 GiB and ids past 2^31, in sparse files that hold few blocks."""

from __future__ import annotations

import numpy as np
import pytest

import adagrad


def mapped(path, shape):
    return np.memmap(path, np.float32, "w+", shape=shape)


@pytest.mark.parametrize("policy", ["sum", "sequential", "each"])
def test_int32_ids_past_4_gib(tmp_path, policy):
    # 2^28 rows of 5 floats are 5 GiB; the last rows lie where a 32-bit byte offset wraps.
    n = 1 << 28
    w, s = mapped(tmp_path / "w", (n, 5)), mapped(tmp_path / "s", (n, 5))
    rows = np.array([0, n - 1, (1 << 32) // 20 + 1, n - 1], np.int32)
    g = np.full((4, 5), 2.0, np.float32)
    adagrad.step_rows(w, g, s, rows, lr=1.0, eps=0.0, duplicates=policy)
    assert w[0, 0] == -1.0
    assert s[n - 1, 4] == {"sum": 16.0, "sequential": 8.0, "each": 8.0}[policy]
    assert s[rows[2]].tolist() == [4.0] * 5
    touched = {int(r) for r in rows}
    for row in touched:  # the neighbors, and where a wrapped offset would have landed
        for other in (row - 1, row + 1, (row * 20 % (1 << 32)) // 20, row % (1 << 24)):
            if 0 <= other < n and other not in touched:
                assert not s[other].any()


@pytest.mark.parametrize("ids", ["uint32", "int64", "uint64"])
def test_ids_past_two_to_the_31(tmp_path, ids):
    n = (1 << 31) + (1 << 20)
    w, s = mapped(tmp_path / "w", (n,)), mapped(tmp_path / "s", (n,))
    rows = np.array([n - 1, (1 << 31) + 5, 5, n - 1], ids)
    adagrad.step_rows(w, np.full(4, 2.0, np.float32), s, rows, lr=1.0)
    assert s[n - 1] == 16.0
    assert s[(1 << 31) + 5] == 4.0
    assert s[5] == 4.0
    assert s[[0, 4, 6, n - 2, (1 << 31) + 4]].tolist() == [0.0] * 5
