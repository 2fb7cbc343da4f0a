"""Tables and their files: what a killed process leaves, sizes past 4 GiB, what others read.

The files themselves are tested in test_files.py.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import toolchain
from adagrad import Rule, Table
from checks import TESTS
from tables import STORAGES, content

pytest.importorskip("fcntl", reason="tables are mapped on POSIX systems only")

pytestmark = pytest.mark.unsanitized


def test_what_a_killed_process_leaves(tmp_path):
    script = TESTS / "helpers" / "kill_steps.py"
    interrupted = int(toolchain.run(sys.executable, "-W", "error", script, tmp_path))
    assert interrupted > 0, "no kill has interrupted a step"


def sparse(path, *args, **kwargs):
    """A mapped table that is larger than what may be written."""
    table = Table(*args, path=path, **kwargs)
    if path.stat().st_blocks * 512 > 1 << 26:
        pytest.skip("this file system has no sparse files")
    return table


@pytest.mark.parametrize("ids", ["uint32", "int64", "uint64"])
def test_rows_past_two_to_the_31(tmp_path, ids):
    n = (1 << 31) + (1 << 20)
    # The first and the last; around 2^31 rows, and 2 and 4 GiB; where a wrapped id would land.
    rows = [0, 5, 1 << 20, (1 << 28) + 5, (1 << 29) - 1, 1 << 29, (1 << 31) - 1, 1 << 31]
    rows = np.array([*rows, (1 << 31) + 5, n - 1])
    table, small = sparse(tmp_path / "table", n), Table(len(rows))
    rng = np.random.default_rng(3)
    for policy in ("sum", "sequential", "each"):
        for threads in (1, 2):
            at = rng.integers(0, len(rows), 40)
            g = rng.standard_normal(40).astype("f4")
            table.step(rows[at].astype(ids), g, policy, threads=threads)
            small.step(at, g, policy)
    np.testing.assert_array_equal(table.weights[rows], small.weights)
    np.testing.assert_array_equal(table.state[rows], small.state)
    named = rows.astype(ids)
    assert table.gather(named).tolist() == small.weights.tolist()
    offsets = np.array([0, 3, len(rows)])
    assert table.pool(named, offsets).tolist() == small.pool(np.arange(10), offsets).tolist()
    neighbours = np.setdiff1d(np.concatenate([rows[:-1] + 1, rows[1:] - 1]), rows)
    assert not table.gather(neighbours.astype(ids)).any()
    if ids != "uint32":
        with pytest.raises(IndexError, match=rf"rows\[0\] = {n} is out of range"):
            table.gather(np.array([n], ids))
    table.close()
    table = Table.open(tmp_path / "table")
    assert table.steps == 6
    np.testing.assert_array_equal(table.weights[rows], small.weights)
    assert (tmp_path / "table").stat().st_blocks * 512 < 1 << 26
    table.close()


@pytest.mark.parametrize("storage", ["float32", "bfloat16, float32", "float16"])
@pytest.mark.parametrize("state", ["element", "row"])
def test_wide_rows_past_4_gib(tmp_path, storage, state):
    given = {"dim": 5, "state": state, "seed": 9, **STORAGES[storage]}
    one = Table(1, **given).nbytes
    n = (5 << 30) // one
    table = sparse(tmp_path / "table", n, **given)
    # Where 2 and 4 GiB are passed in a row, and around.
    rows = np.array([0, (2 << 30) // one, (4 << 30) // one, (4 << 30) // one + 1, n - 1], np.int32)
    g = np.linspace(-1, 1, 25, dtype="f4").reshape(5, 5)
    table.step(rows, g)
    assert np.count_nonzero(table.weights[rows].astype("f4")) == 24  # all but one where g is 0
    gathered = table.gather(rows)
    np.testing.assert_array_equal(gathered, table.weights[rows].astype("f4"))
    near = np.setdiff1d(np.concatenate([rows[1:] - 1, rows[:-1] + 1, rows % (1 << 20)]), rows)
    assert not table.gather(near).any()
    table.close()


@pytest.mark.parametrize("state", ["element", "row"])
@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("storage", STORAGES)
def test_safetensors_reads_a_table(tmp_path, storage, dim, state):
    path = tmp_path / "table"
    table = Table(7, dim, state=state, init="normal", seed=3, **STORAGES[storage])
    real = "f8" if storage == "float64" else "f4"
    table.step(np.arange(7), np.ones((7, dim) if dim > 1 else 7, real))
    table.save(path)
    (tensor,) = safetensors.numpy.load_file(path).values()
    if table.dtype == table.state_dtype:
        w, s = tensor[:, :dim], tensor[:, dim:]
        assert w.dtype == table.weights.dtype
    else:
        cut = dim * table.weights.itemsize
        w, s = (np.ascontiguousarray(x) for x in (tensor[:, :cut], tensor[:, cut:]))
        w, s = w.view(table.weights.dtype), s.view(table.state.dtype)
    assert w.tobytes() + s.tobytes() == content(table)
    with safetensors.safe_open(path, "np") as file:
        found = file.metadata()
    assert (found["format"], found["rows"], found["dim"]) == ("adagrad.Table", "7", str(dim))
    assert (found["steps"], found["seed"], found["state"]) == ("1".zfill(20), "3", state)


def test_a_saved_table_and_a_mapped_one_are_the_same_file(tmp_path):
    given = {"dim": 2, "rule": Rule(lr=0.3, initial_accumulator=0.1), "init": "normal", "seed": 1}
    held, mapped = Table(9, **given), Table(9, **given, path=tmp_path / "mapped")
    for table in (held, mapped):
        table.step(np.arange(5), np.ones((5, 2), "f4"))
    mapped.close()
    held.save(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == (tmp_path / "mapped").read_bytes()


def test_a_flush_counts_what_a_death_would_lose(tmp_path):
    path = tmp_path / "table"
    script = f"""
import os, numpy as np, adagrad
rule = adagrad.Rule(lr=1.0, eps=0.0, on_nonfinite="skip")
table = adagrad.Table(4, rule=rule, path={str(path)!r})
for step in range(5):
    table.step(np.array([0, 1]), np.array([1.0, np.nan if step else 1.0], "f4"))
    if step == 2:
        table.flush()
os._exit(0)
"""
    toolchain.run(sys.executable, "-W", "error", "-c", script)
    table = Table.open(path)
    assert (table.steps, table.skipped) == (3, 2)
    assert table.state.tolist() == [5.0, 1.0, 0.0, 0.0]  # also the steps that were not flushed
    table.close()


FORKED = """
import os, sys
import numpy as np
from adagrad import Table
from adagrad.tables.files import read_header

path = sys.argv[1]
table = Table(4, path=path)
table.step(np.array([1]), np.ones(1, "f4"))
child = os.fork()
if not child:
    try:
        table.flush()
    except RuntimeError as error:
        told = "a forked process cannot flush" in str(error)
    table.close()
    os._exit(0 if told else 1)
assert os.waitpid(child, 0)[1] == 0, "the child could flush"
assert read_header(path).metadata["steps"].strip("0") == "", "the child has counted"
table.step(np.array([1]), np.ones(1, "f4"))
table.close()
with Table.open(path) as table:
    assert table.steps == 2
    print(table.state[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_leaves_counting_to_its_parent(tmp_path):
    printed = toolchain.run(sys.executable, "-W", "error", "-c", FORKED, tmp_path / "table")
    assert printed.strip() == "2.0"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("policy", ["sequential", "unique", "sum", "each"])
def test_a_mapped_table_has_the_bits_of_one_in_memory(tmp_path, dtype, policy):
    """Two loops: one stores pairs whole, the other params and accumulators apart."""
    rng = np.random.default_rng(11)
    args = {"dtype": dtype, "init": "normal", "seed": 2}
    mapped, held = Table(300, path=tmp_path / "table", **args), Table(300, **args)
    for n in (1, 7, 8, 129, 200):
        ids = rng.permutation(300)[:n] if policy == "unique" else rng.zipf(1.2, n) % 300
        g = rng.standard_normal(n).astype(dtype)
        mapped.step(ids, g, policy)
        held.step(ids, g, policy)
        assert content(mapped) == content(held), n
