"""A Table equals the NumPy reference with ==: every rule, policy, storage, layout, thread, machine.

The combinations are drawn, the same ones on every instruction set.
"""

from __future__ import annotations

import copy
import pickle
import re
import zlib

import numpy as np
import pytest

import adagrad
import reference
from adagrad import Rule, Table
from checks import assert_same_bits, wide_range
from halves import HALVES
from rules import RULES, is_coupled
from tables import IDS, POLICIES, STATES, STORAGES, content

THREADS = [1, 2, 3, 7]
DIMS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 127, 128, 129]


def drawn(*of):
    """Return a generator seeded by `of`, so that adding a test changes no other."""
    return np.random.default_rng(zlib.crc32(repr(of).encode()))


def real(table):
    return np.float64 if table.dtype == "float64" else np.float32


def make(rng, rows, dim, rule=None, storage="float32", state="element"):
    """Return a table with random weights, accumulators and step count."""
    seed = int(rng.integers(2**64, dtype="u8"))
    table = Table(rows, dim, rule, state=state, init="normal", seed=seed, **STORAGES[storage])
    start = 0.01 + table.rule.initial_accumulator
    table.state[...] = start + np.abs(wide_range(rng, table.state.shape, np.float32))
    table.steps = int(rng.integers(1000))
    return table


def gradients(rng, table, n):
    shape = (n,) if table.dim == 1 else (n, table.dim)
    g = wide_range(rng, shape, real(table))
    if table.rule.on_nonfinite == "skip":
        g[rng.random(shape) < 0.1 / table.dim] = np.inf
    return g


def ids_of(rng, table, n, policy):
    ids = rng.permutation(table.rows)[:n] if policy == "unique" else rng.integers(0, table.rows, n)
    return ids.astype(rng.choice(IDS))


def assert_equal(table, oracle, context):
    assert table.steps == oracle.steps
    for what in ("w", "s"):
        held = (table.weights if what == "w" else table.state).astype(real(table))
        expected = getattr(oracle, what)
        assert_same_bits(held.reshape(expected.shape), expected, (*context, what))


def check_step(rng, table, n, policy, context, threads=(1,)):
    """Step with each number of threads: copies of the table, and the table itself with the last."""
    oracle = reference.Table(table)
    ids = ids_of(rng, table, n, policy)
    g = gradients(rng, table, len(ids))
    sent = g.copy(), ids.copy()
    skipped = oracle.step(ids, g, policy)
    for k in threads:
        stepped = table if k == threads[-1] else table.copy()
        returned = stepped.step(ids, g, policy, threads=int(k))
        assert returned == (skipped if table.rule.on_nonfinite == "skip" else None)
        assert_equal(stepped, oracle, (*context, k))
    assert_same_bits(g, sent[0], "the gradient was modified")
    np.testing.assert_array_equal(ids, sent[1])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_and_policy(name, policy, isa, fine_grain):
    rule, rng = RULES[name], drawn(name, policy)
    if policy == "each" and is_coupled(rule):
        with pytest.raises(ValueError, match="coupled"):
            Table(4, rule=rule).step(np.arange(4), np.ones(4, np.float32), policy)
        return
    for storage in STORAGES:
        for dim in (1, int(rng.choice(DIMS))):
            state = str(rng.choice(STATES))
            table = make(rng, 40, dim, rule, storage, state)
            for n in (7, 90):
                threads = rng.choice(THREADS, 1)
                check_step(rng, table, n, policy, (storage, dim, state, n), threads)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("state", STATES)
def test_every_dim(state, storage, isa, fine_grain):
    rng = drawn(state, storage)
    for dim in range(1, 130):
        table = make(rng, 12, dim, Rule(), storage, state)
        check_step(rng, table, 18, rng.choice(POLICIES), (dim,), rng.choice(THREADS, 1))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("storage", STORAGES)
def test_many_rows_on_threads(storage, policy, fine_grain):
    # More occurrences than a thread collects at a time, and rows that occur up to a hundred times.
    rng = drawn(storage, policy)
    for dim, name in ((1, "textbook"), (1, "lagged"), (3, "fbgemm_rowwise"), (8, "everything")):
        table = make(rng, 3000, dim, RULES[name], storage, "row" if dim == 3 else "element")
        check_step(rng, table, 6000, policy, (dim, name), THREADS)


@pytest.mark.parametrize("policy", POLICIES)
def test_threads_of_a_large_call(policy):
    # Without fine_grain: 5000 * (64 + 8) elements suffice for two threads.
    rng = drawn(policy)
    table = make(rng, 5000, 64)
    check_step(rng, table, 5000, policy, (), (1, 2, 7))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_step_rows_on_threads(dtype, policy, fine_grain):
    rng = drawn(dtype, policy)
    for dim, state in ((1, "element"), (5, "element"), (16, "row")):
        table = make(rng, 2000, dim, Rule(duplicates=policy), dtype, state)
        ids = ids_of(rng, table, 5000, policy)
        g = gradients(rng, table, len(ids))
        oracle = reference.Table(table)
        oracle.step(ids, g)
        for threads in THREADS:
            w, s = table.weights.copy(), table.state.copy()
            adagrad.step_rows(w, g, s, ids, rule=table.rule, threads=threads)
            assert_same_bits(w, oracle.w.reshape(w.shape), (dim, threads))
            assert_same_bits(s, oracle.s.reshape(s.shape), (dim, threads))


def test_wide_rows_and_few_or_no_ids(isa, fine_grain):
    rng = drawn("wide")
    for storage in STORAGES:
        table = make(rng, 3, 3000, Rule(), storage, "row")
        for n in (0, 1, 5):
            check_step(rng, table, n, "sum", (storage, n), (1, 3))


def test_lr_of_a_step_and_its_decay():
    rng = drawn("lr")
    table = make(rng, 30, 1, Rule(lr=0.3, lr_decay=0.2))
    oracle = reference.Table(table)
    for lr in (None, None, 0.7, None, 0.0):
        ids, g = ids_of(rng, table, 40, "sum"), gradients(rng, table, 40)
        table.step(ids, g, lr=lr)
        oracle.step(ids, g, lr=lr)
        assert_equal(table, oracle, (lr,))


# Reading


@pytest.mark.parametrize("storage", STORAGES)
def test_views_are_the_memory(storage):
    for dim, state in ((1, "element"), (1, "row"), (5, "element"), (5, "row")):
        table = Table(6, dim, state=state, **STORAGES[storage])
        w, s = table.weights, table.state
        assert w.shape == ((6,) if dim == 1 else (6, 5))
        assert s.shape == ((6,) if dim == 1 or state == "row" else (6, 5))
        assert w.dtype == HALVES.get(table.dtype, table.dtype)
        assert s.dtype == HALVES.get(table.state_dtype, table.state_dtype)
        assert w.strides[0] == s.strides[0] == table.nbytes // 6
        assert w.strides[1:] == (() if dim == 1 else (w.itemsize,))
        assert s.ctypes.data == w.ctypes.data + dim * w.itemsize
        assert table.nbytes == 6 * (dim * w.itemsize + s[0].size * s.itemsize)
        w[2] = 1.5
        assert table.gather(np.array([2, 1, 2])).reshape(3, dim)[:, 0].tolist() == [1.5, 0.0, 1.5]
        s[3] = 0.25
        table.step(np.array([3]), np.zeros(w[:1].shape, real(table)))
        assert (table.state[3] == 0.25).all()
        assert not table.state[[0, 1, 2, 4, 5]].any()
        table.step(np.arange(6), np.ones(w.shape, real(table)))
        assert (w != 0).all()  # seen through the view that was there before


@pytest.mark.parametrize("storage", STORAGES)
def test_gather(storage, isa, fine_grain):
    rng = drawn(storage)
    for dim in DIMS:
        table = make(rng, 50, dim, storage=storage, state=str(rng.choice(STATES)))
        for n in (0, 1, 130):
            ids = ids_of(rng, table, n, "sum")
            expected = table.weights.astype(real(table))[ids]
            for threads in (1, int(rng.choice(THREADS))):
                assert_same_bits(table.gather(ids, threads=threads), expected, (dim, n))
            out = np.full_like(expected, 7)
            assert table.gather(ids, out) is out
            assert_same_bits(out, expected)
            room = np.full((n + 2, *expected.shape[1:]), 7, real(table))
            table.gather(ids, out=room[1:-1])
            assert_same_bits(room[1:-1], expected)
            assert (room[[0, -1]] == 7).all()


def bags(rng, n, count):
    """Offsets of bags, some of them empty."""
    cuts = np.sort(rng.integers(0, n + 1, count - 1))
    return np.concatenate([[0], cuts, [n]]).astype(rng.choice(IDS))


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("storage", STORAGES)
def test_pool(storage, mode, isa, fine_grain):
    rng = drawn(storage, mode)
    for dim in DIMS:
        table = make(rng, 50, dim, storage=storage)
        for n, count in ((0, 1), (0, 3), (1, 1), (9, 30), (90, 20)):
            ids, offsets = ids_of(rng, table, n, "sum"), bags(rng, n, count)
            factors = [None, wide_range(rng, n, real(table))][int(rng.integers(2))]
            expected = reference.Table(table).pool(ids, offsets, mode, factors)
            pooled = table.pool(ids, offsets, mode, factors, threads=int(rng.choice(THREADS)))
            if dim == 1:
                expected = expected[:, 0]
            assert_same_bits(pooled, expected, (dim, n, count, factors is None))


def test_pool_without_bags():
    none = np.zeros(0, np.int64)
    assert Table(5).pool(none, np.zeros(1, np.int32)).shape == (0,)
    assert Table(5, 3).pool(none, np.zeros(1, np.uint64)).shape == (0, 3)


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("storage", STORAGES)
def test_step_pooled_is_a_step(storage, policy, mode, fine_grain):
    rng = drawn(storage, policy, mode)
    for dim in (1, 2, 8, 33):
        table = make(rng, 60, dim, Rule(), storage, str(rng.choice(STATES)))
        for n, count in ((0, 2), (5, 9), (60, 7)):
            ids, offsets = ids_of(rng, table, n, policy), bags(rng, n, count)
            g = gradients(rng, table, count)
            for factors in (None, wide_range(rng, n, real(table))):
                expected, threads = table.copy(), int(rng.choice(THREADS))
                each = reference.Table.expand(offsets, g, mode, factors)
                expected.step(ids, each, policy)
                table.step_pooled(ids, offsets, g, mode, factors, policy, threads=threads)
                assert content(table) == content(expected), (dim, n, factors is None)
                assert table.steps == expected.steps


# What a table starts from


@pytest.mark.parametrize("init", ["normal", "uniform"])
@pytest.mark.parametrize("storage", STORAGES)
def test_initial_weights(storage, init, isa, threads, fine_grain):
    for dim, scale in ((1, 0.01), (3, 1.0), (300, 1e4), (64, 0.0)):
        given = {"init": init, "seed": 2**64 - dim, "init_scale": scale, **STORAGES[storage]}
        coordinates = np.arange(70 * dim)
        table = Table(70, dim, Rule(initial_accumulator=0.5), **given)
        w = reference.initial_weights(init, given["seed"], coordinates, scale, real(table))
        with np.errstate(over="ignore"):
            w = w.astype(table.weights.dtype)
        assert_same_bits(table.weights.reshape(-1).astype("f8"), w.astype("f8"), (dim, scale))
        assert (table.state == 0.5).all()
        for k in THREADS[1:]:
            adagrad.set_num_threads(k)
            again = Table(70, dim, Rule(initial_accumulator=0.5), **given)
            assert content(again) == content(table), (dim, k)
        part = Table(9, dim, **given)
        assert part.weights.tobytes() == table.weights[:9].tobytes()
    assert Table(9, dim, **{**given, "init_scale": 1.0, "seed": 1}).weights.any()
    assert not Table(9, **STORAGES[storage]).weights.any()


def test_seeds_differ():
    tables = [Table(100, init="normal", seed=seed).weights for seed in (0, 1, 2, 2**63)]
    assert len(np.unique(np.concatenate(tables))) == 400
    # Without 16 bits, a seed is only for what a table starts from.
    first, second = Table(100, seed=1), Table(100, seed=2)
    halves = [Table(100, seed=seed, dtype="bfloat16") for seed in (1, 2)]
    for table in (first, second, *halves):
        table.step(np.arange(100), np.full(100, 0.123, np.float32))
    assert content(first) == content(second)
    assert content(halves[0]) != content(halves[1])


@pytest.mark.parametrize(
    ("storage", "element", "row"),
    [
        ("float32", 8, 8),
        ("float64", 16, 16),
        ("bfloat16, float32", 6, 6),
        ("float16, float32", 6, 6),
        ("bfloat16", 4, 4),
        ("float16", 4, 4),
    ],
)
def test_sizes(storage, element, row):
    assert Table(10, **STORAGES[storage]).nbytes == 10 * element
    assert Table(10, 8, **STORAGES[storage]).nbytes == 80 * element
    w = np.dtype(real(Table(1, **STORAGES[storage]))).itemsize if "," in storage else element // 2
    w = 2 if "," in storage else w
    assert Table(10, 8, state="row", **STORAGES[storage]).nbytes == 10 * (7 * w + row)


def test_properties():
    rule = Rule(lr=0.5, accumulator="row")
    table = Table(12, 3, rule, "bfloat16", seed=5)
    assert len(table) == table.rows == 12
    assert (table.dim, table.dtype, table.state_dtype, table.seed) == (3, "bfloat16", "float32", 5)
    assert table.rule is rule
    assert table.state.shape == (12,)
    assert table.pages == "ordinary"
    assert table.path is None
    table.step(np.array([1, 2]), np.ones((2, 3), np.float32))
    assert table.steps == 1
    assert table.skipped == 0
    stored = "dtype='bfloat16', state='row', state_dtype='float32'"
    assert repr(table).startswith(f"Table(12, dim=3, {stored}, steps=1, Rule(")
    assert "state_dtype" not in repr(Table(1))
    table.close()
    assert "closed" in repr(table)
    assert Table(2, dtype=np.float64).dtype == "float64"
    assert Table(2, dtype=np.dtype("float16"), state_dtype=np.float16).state_dtype == "float16"
    assert Table(2).rule == Rule()


# A restored table continues with the same bits


def mapped(table, path):
    table.save(path / "table")
    table = Table(path=path / "table")
    table.close()
    return Table.open(path / "table")


REVIVALS = {
    "save": lambda table, path: (table.save(path / "t"), Table.load(path / "t"))[1],
    "map": mapped,
    "pickle": lambda table, path: pickle.loads(pickle.dumps(table)),
    "pickle 5": lambda table, path: pickle.loads(pickle.dumps(table, protocol=5)),
    "copy": lambda table, path: copy.copy(table),
    "deepcopy": lambda table, path: copy.deepcopy(table),
    "copy of a mapped one": lambda table, path: mapped(table, path).copy(),
}


@pytest.mark.parametrize("how", REVIVALS)
@pytest.mark.parametrize("storage", STORAGES)
def test_it_goes_on(storage, how, tmp_path):
    rng = drawn(storage, how)
    rule = Rule(lr=0.3, lr_decay=0.1, on_nonfinite="skip", duplicates="sequential")
    table = make(rng, 30, 4, rule, storage, "row")
    calls = [(ids_of(rng, table, 50, "sum"), gradients(rng, table, 50)) for _ in range(6)]
    for ids, g in calls[:3]:
        table.step(ids, g)
    other = REVIVALS[how](table, tmp_path)
    for name in ("steps", "skipped", "seed", "rule", "dtype", "state_dtype", "rows", "dim"):
        assert getattr(other, name) == getattr(table, name)
    assert content(other) == content(table)
    before = content(table)
    for ids, g in calls[3:]:
        other.step(ids, g)
    assert content(table) == before  # they share nothing
    for ids, g in calls[3:]:
        table.step(ids, g)
    assert content(other) == content(table)
    assert (other.steps, other.skipped) == (table.steps, table.skipped)
    assert table.skipped > 0


def test_a_mapped_table_is_the_file(tmp_path):
    path, rng = tmp_path / "table", drawn("mapped")
    ids = rng.integers(0, 100, 300)
    g = rng.standard_normal((300, 3)).astype("f4")
    given = {"init": "uniform", "seed": 3, "dtype": "float16"}
    held, table = Table(100, 3, **given), Table(100, 3, **given, path=path)
    assert table.pages == "file"
    assert table.path == str(path)
    for _ in range(2):
        held.step(ids, g)
        table.step(ids, g)
        table.flush()
    assert str(path) in repr(table)
    table.close()
    again = Table(100, 3, dtype="float16", seed=3, path=path)
    assert content(again) == content(held)
    assert again.steps == 2
    again.step(ids, g)
    held.step(ids, g)
    again.close()
    assert content(Table.load(path)) == content(held)


# Forgetting, merging, looking


@pytest.mark.parametrize("storage", STORAGES)
def test_decay(storage, isa, fine_grain):
    rng = drawn(storage)
    for dim, state in ((1, "element"), (5, "element"), (20, "row")):
        for gamma, floor in ((0.9, 0.0), (0.5, 0.3), (0.0, 0.0), (1.0, 0.0), (0.0, 2.0)):
            table = make(rng, 90, dim, Rule(), storage, state)
            table.state[4] = np.nan
            oracle = reference.Table(table)
            oracle.decay(gamma, floor)
            table.decay(gamma, floor, threads=int(rng.choice(THREADS)))
            assert_equal(table, oracle, (dim, state, gamma, floor))


def replicas(rng, storage, dim=4, state="element", count=3):
    start = Table(
        20,
        dim,
        Rule(initial_accumulator=0.1),
        state=state,
        seed=9,
        init="normal",
        **STORAGES[storage],
    )
    tables = [start.copy() for _ in range(count)]
    for table in tables:
        for _ in range(3):
            g = rng.standard_normal((12, dim) if dim > 1 else 12)
            table.step(rng.integers(0, 15, 12), g.astype(real(table)))
    return start, tables


@pytest.mark.parametrize("storage", STORAGES)
def test_merge(storage):
    rng = drawn(storage)
    for dim, state in ((1, "element"), (4, "element"), (4, "row")):
        start, tables = replicas(rng, storage, dim, state)
        before = [content(table) for table in tables]
        w, s = (
            np.stack([x.astype("f8") for x in of])
            for of in ([t.weights for t in tables], [t.state for t in tables])
        )
        began = s.min()
        gathered = (s - began)[(..., None) if state == "row" and dim > 1 else ()]
        total = gathered.sum(0)
        by_state = (gathered * w).sum(0) / np.where(total == 0, 1, total)
        by_state = np.where(total == 0, w[0], by_state)
        for weights, expected in (("state", by_state), ("equal", w.mean(0))):
            merged = Table.merge(tables, weights)
            for actual, wanted in (
                (merged.weights, expected),
                (merged.state, (s - began).sum(0) + began),
            ):
                eps = {"float64": 2.0**-50, "float32": 2.0**-23}.get(actual.dtype.name, 2.0**-8)
                np.testing.assert_allclose(actual.astype("f8"), wanted, rtol=eps, atol=1e-7)
            # Rows that no replica touched are as they were.
            for what in ("weights", "state"):
                held, was = getattr(merged, what)[15:], getattr(start, what)[15:]
                assert_same_bits(held.astype("f8"), was.astype("f8"), (what, weights))
            assert (merged.steps, merged.seed, merged.path) == (9, 9, None)
        assert [content(table) for table in tables] == before


@pytest.mark.parametrize("weights", ["state", "equal"])
def test_merge_of_one_and_of_identical_ones(weights):
    rng = drawn(weights)
    start, (table, *_) = replicas(rng, "float64")
    merged = Table.merge([table], weights)
    np.testing.assert_allclose(merged.weights, table.weights, rtol=1e-15)
    np.testing.assert_allclose(merged.state, table.state, rtol=1e-15)
    assert merged.steps == table.steps
    twice = Table.merge([table, table], weights)
    np.testing.assert_allclose(twice.weights, table.weights, rtol=1e-15)
    np.testing.assert_allclose(twice.state - 0.1, 2 * (table.state - 0.1), rtol=1e-12, atol=1e-15)
    assert content(Table.merge([start, start], weights)) == content(start)


def test_merge_after_decay():
    """An accumulator below its start has gathered nothing, and gives no negative weight."""
    tables = [Table(2, rule=Rule(initial_accumulator=1.0)) for _ in range(3)]
    for table in tables:
        table.decay(0.1)
    tables[0].weights[0], tables[1].weights[0] = 1.0, 2.0
    tables[0].state[0], tables[1].state[0] = 0.6, 1.5
    merged = Table.merge(tables)
    np.testing.assert_array_equal(merged.state, np.array([1.5, 0.1], "f4"))
    np.testing.assert_array_equal(merged.weights, np.array([2.0, 0.0], "f4"))
    tables[0].state[0] = np.inf
    with pytest.raises(OverflowError, match="not finite or exceed"):
        Table.merge(tables)


def test_each_decay_rounds_by_numbers_of_its_own():
    table = Table(
        4096, dtype="bfloat16", state_dtype="bfloat16", rule=Rule(initial_accumulator=1.0)
    )
    for _ in range(50):
        table.decay(0.999)
    assert table.decays == 50
    assert abs(float(table.state.astype("f8").mean()) - 0.999**50) < 2e-3


def test_merge_weighs_by_what_was_gathered():
    first, second = Table(2, rule=Rule(lr=1.0, eps=0.0)), Table(2, rule=Rule(lr=1.0, eps=0.0))
    for _ in range(3):
        first.step(np.array([0]), np.array([2.0], "f4"))  # w = -1, then less; s = 12
    second.step(np.array([0]), np.array([2.0], "f4"))  # w = -1; s = 4
    merged = Table.merge(iter([first, second]))
    assert merged.state[0] == 16.0
    assert merged.weights[0] == np.float32((12.0 * float(first.weights[0]) - 4.0) / 16.0)
    assert merged.weights[1] == 0.0


def test_check_unique():
    table = Table(100)
    ids, g = np.arange(50), np.ones(50, np.float32)
    table.step(ids, g, "unique", check_unique=True)
    ids[30] = 7
    before = content(table)
    with pytest.raises(ValueError, match=r"rows\[30\] = 7 repeats rows\[7\]"):
        table.step(ids, g, "unique", check_unique=True)
    with pytest.raises(ValueError, match="needs duplicates='unique'"):
        table.step(ids, g, check_unique=True)
    assert content(table) == before
    assert table.steps == 1


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dim", [1, 3])
def test_nonfinite(storage, dim):
    rng = drawn(storage, dim)
    ids = np.array([3, 1, 3, 7, 1, 9])
    for policy in POLICIES[:3]:
        table = make(rng, 10, dim, Rule(on_nonfinite="raise", duplicates=policy), storage)
        before, steps, g = content(table), table.steps, gradients(rng, table, 6)
        g.reshape(6, dim)[4, -1] = np.nan
        where = "g[4] = nan is not finite" if dim == 1 else "g[4, 2] = nan is not finite"
        with pytest.raises(ValueError, match=re.escape(where)):
            table.step(ids, g)
        with pytest.raises(ValueError, match=re.escape(where)):
            table.step_pooled(ids, np.arange(7), g)
        if policy == "sum":
            huge = np.full_like(g, np.finfo(g.dtype).max)
            with pytest.raises(ValueError, match="sum of the gradients of row 1 is not finite"):
                table.step(ids, huge)
        assert (content(table), table.steps) == (before, steps)

        table = make(rng, 10, dim, Rule(on_nonfinite="skip", duplicates=policy), storage)
        held, g = table.copy(), np.ones_like(g)
        g.reshape(6, dim)[2, 0] = np.inf  # the second gradient of row 3
        g.reshape(6, dim)[5, -1] = np.nan
        oracle = reference.Table(table)
        assert table.step(ids, g) == oracle.step(ids, g) == 2
        assert table.skipped == held.skipped + 2
        assert_equal(table, oracle, (policy,))
        assert table.weights[9].tobytes() == held.weights[9].tobytes()


# Stochastic rounding is right on average


@pytest.mark.parametrize("policy", ["sum", "sequential"])
@pytest.mark.parametrize("half", HALVES)
def test_rounding_is_unbiased(half, policy):
    rows, dim, times = 4000, 8, 3
    rng = drawn(half, policy)
    table = Table(rows, dim, Rule(lr=0.01), half, seed=1, state_dtype=half)
    exact = Table(rows, dim, Rule(lr=0.01))
    table.weights[...] = exact.weights[...] = rng.uniform(1, 2, (rows, dim)).astype(HALVES[half])
    table.state[...] = exact.state[...] = 4.0
    ids = np.tile(np.arange(rows), times)
    g = rng.uniform(0.2, 0.5, (rows * times, dim)).astype("f4")
    table.step(ids, g, policy)
    exact.step(ids, g, policy)
    steps = times if policy == "sequential" else 1
    for what, around in (("weights", 1), ("state", 4)):
        apart = around * 2.0 ** (-7 if half == "bfloat16" else -10)
        error = getattr(table, what).astype("f8") - getattr(exact, what)
        assert np.abs(error).max() < steps * apart * 1.01
        assert np.abs(error).max() > apart / 2
        sigma = apart / 2 * np.sqrt(steps / error.size)
        assert abs(error.mean()) < 5 * sigma, (what, error.mean() / sigma)


@pytest.mark.parametrize("half", HALVES)
def test_small_updates_are_not_lost(half):
    # Each is an eighth of the distance between neighbors around 1, where nearest would lose all.
    apart = 2.0 ** (-8 if half == "bfloat16" else -11)
    rule = Rule(lr=apart / 8, power=0.0, eps=0.0)
    table = Table(20_000, rule=rule, dtype=half, seed=2)
    table.weights[...] = 1.0
    everything, g = np.arange(20_000), np.ones(20_000, np.float32)
    for _ in range(64):
        table.step(everything, g, "unique")
    mean = float(table.weights.astype("f8").mean())
    sigma = apart * np.sqrt(64 / 4 / 20_000)
    assert abs(mean - (1 - 8 * apart)) < 5 * sigma
