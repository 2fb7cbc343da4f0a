"""Bags of several tables in one call: what one call for each table gives, and all or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adagrad._core as _core
from adagrad import Rule, Table
from checks import assert_same_bits

STORAGES = {
    np.float32: [
        {},
        {"state": "row"},
        {"dtype": "bfloat16"},
        {"dtype": "float16", "state_dtype": "float16"},
    ],
    np.float64: [{"dtype": "float64"}, {"dtype": "float64", "state": "row"}],
}
DIMS = st.sampled_from([1, 2, 3, 4, 7, 8, 16, 17, 33, 40])
POLICIES = st.sampled_from(["sum", "sequential"])


def make(rows, dim, seed=0, rule=None, **storage):
    return Table(
        rows, dim, rule or Rule(lr=0.1), init="normal", init_scale=1.0, seed=seed, **storage
    )


def cores(tables):
    return [table._core for table in tables]


def held(tables):
    return [table._memory.tobytes() for table in tables]


def steps_of(tables):
    return [(t.rule._compiled, t.rule.lr_at(t.steps + 1), t.seed, t.steps + 1) for t in tables]


@st.composite
def calls(draw):
    """Draw tables, the sizes of their bags, types of ids and of offsets, and a way to reduce."""
    real = draw(st.sampled_from(list(STORAGES)))
    tables = [
        make(
            draw(st.integers(1, 9)),
            draw(DIMS),
            seed,
            Rule(lr=0.1, duplicates=draw(POLICIES)),
            **draw(st.sampled_from(STORAGES[real])),
        )
        for seed in range(draw(st.integers(1, 4)))
    ]
    bags = draw(st.integers(0, 5))
    most = draw(st.sampled_from([0, 1, 4]))
    size = st.integers(most if draw(st.booleans()) else 0, most)
    sizes = draw(st.lists(size, min_size=bags * len(tables), max_size=bags * len(tables)))
    types = [draw(st.sampled_from(["i4", "i8", "u4", "u8"])) for _ in range(2)]
    return real, tables, bags, sizes, types, draw(st.sampled_from(["sum", "mean", "weights"]))


@pytest.fixture(params=[1, 100])
def grain(request):
    """Let threads share the rows of a table, or whole tables, which are too small to be shared."""
    before = _core.set_sparse_grain(request.param)
    yield
    _core.set_sparse_grain(before)


@pytest.mark.parametrize("number", [1, 2, 3])
@given(call=calls())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_one_call_is_a_call_for_each_table(grain, number, call):
    real, tables, bags, sizes, (id_type, offset_type), how = call
    rng = np.random.default_rng(len(sizes))
    ends = np.append(0, np.cumsum(sizes, dtype=np.int64))
    parts = [slice(ends[t * bags], ends[(t + 1) * bags]) for t in range(len(tables))]
    rows = np.concatenate(
        [rng.integers(0, t.rows, p.stop - p.start) for t, p in zip(tables, parts, strict=True)]
    ).astype(id_type)
    weights = rng.standard_normal(len(rows)).astype(real) if how == "weights" else None
    mean, mode = how == "mean", "mean" if how == "mean" else "sum"
    arguments = [rows, ends.astype(offset_type)]
    width = sum(table.dim for table in tables)
    g = rng.standard_normal((bags, width)).astype(real)
    for array in (*arguments, g):
        array.flags.writeable = False  # each is only read
    same = [table.copy() for table in tables]
    for _ in range(2):
        pooled = _core.pool_tables(cores(tables), *arguments, mean, weights, number)
        assert pooled.shape == (bags, width)
        skipped = _core.step_tables(
            cores(tables), *arguments, g, mean, weights, steps_of(tables), number
        )
        first = 0
        for t, (table, part) in enumerate(zip(same, parts, strict=True)):
            own = ends[t * bags : (t + 1) * bags + 1] - ends[t * bags]
            factors = None if weights is None else weights[part]
            expected = table.pool(rows[part], own, mode, factors, threads=1)
            columns = slice(first, first + table.dim)
            first = columns.stop
            assert_same_bits(pooled[:, columns].copy(), expected.reshape(bags, table.dim))
            of_bags = g[:, columns].reshape(expected.shape).copy()
            table.step_pooled(rows[part], own, of_bags, mode, factors, threads=1)
            tables[t]._count(skipped[t])
        assert held(tables) == held(same)
        assert [t.skipped for t in tables] == [t.skipped for t in same]


def bags_of_two():
    """Return tables of 4 and 3 rows, and arguments that are right: two bags of each table."""
    tables = [make(4, 2), make(3, 3, seed=1)]
    return tables, {
        "rows": np.array([0, 3, 1, 2, 0]),
        "offsets": np.array([0, 2, 3, 3, 5]),
        "g": np.ones((2, 5), "f4"),
        "weights": np.ones(5, "f4"),
    }


BAD = {
    "an id of the last table": ("rows", [0, 3, 1, 2, 3], IndexError, r"rows\[4\] = 3 .* 3 rows"),
    "a negative id": ("rows", [0, 3, 1, 2, -1], IndexError, r"rows\[4\] = -1 "),
    "an id of the first": ("rows", [0, 4, 1, 2, 3], IndexError, r"rows\[1\] = 4 .* 4 rows"),
    "ids of floats": ("rows", [0.0, 3.0, 1.0, 2.0, 0.0], TypeError, "rows"),
    "offsets that fall": ("offsets", [0, 2, 1, 3, 5], ValueError, r"offsets\[2\] = 1, "),
    "offsets that end early": ("offsets", [0, 2, 3, 3, 4], ValueError, r"offsets\[4\] = 4, "),
    "an odd bag": ("offsets", [0, 2, 3, 5], ValueError, "3 bags cannot be divided evenly"),
    "gradients of a table": ("g", np.ones((2, 3), "f4"), ValueError, r"need \(2, 5\)"),
    "gradients of one axis": ("g", np.ones(10, "f4"), ValueError, r"need \(2, 5\)"),
    "gradients of float64": ("g", np.ones((2, 5)), TypeError, "computes in float32"),
    "strided gradients": ("g", np.ones((5, 2), "f4").T, ValueError, "g"),
    "too few weights": ("weights", np.ones(4, "f4"), ValueError, r"rows need \(5,\)"),
    "weights of float64": ("weights", np.ones(5), TypeError, "computes in float32"),
}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("what", BAD)
def test_bad_input_leaves_every_table(what, number, grain):
    name, value, error, message = BAD[what]
    tables, given_arguments = bags_of_two()
    given_arguments[name] = np.asarray(value)
    before = held(tables)
    rows, offsets, g, weights = given_arguments.values()
    with pytest.raises(error, match=message):
        _core.step_tables(cores(tables), rows, offsets, g, False, weights, steps_of(tables), number)
    if name != "g":
        with pytest.raises(error, match=message):
            _core.pool_tables(cores(tables), rows, offsets, False, weights, number)
    assert held(tables) == before


def test_tables_that_cannot_be_written():
    tables, arguments = bags_of_two()
    rows, offsets, g, _ = arguments.values()
    tables[1]._memory.flags.writeable = False
    frozen = _core.Table(tables[1]._memory, 3, 3, "float32", False, False, False)
    before = held(tables)
    both = [tables[0]._core, frozen]
    with pytest.raises(ValueError, match="read-only"):
        _core.step_tables(both, rows, offsets, g, False, None, steps_of(tables), 1)
    assert held(tables) == before
    expected = _core.pool_tables(cores(tables), rows, offsets, False, None, 1)
    assert_same_bits(_core.pool_tables(both, rows, offsets, False, None, 1), expected)


@pytest.mark.parametrize("name", ["rows", "weights"])
def test_arguments_in_the_memory_of_a_table(name):
    tables, arguments = bags_of_two()
    of_table = np.frombuffer(tables[1]._memory.data, np.int64 if name == "rows" else "f4")
    arguments[name] = of_table[:5]
    rows, offsets, g, weights = arguments.values()
    before = held(tables)
    with pytest.raises(ValueError, match="overlap"):
        _core.step_tables(cores(tables), rows, offsets, g, False, weights, steps_of(tables), 1)
    assert held(tables) == before


def test_tables_of_different_dtypes_and_no_table():
    rows, offsets = np.array([0, 1]), np.array([0, 1, 2])
    two = cores([make(3, 2), make(3, 2, dtype="float64")])
    with pytest.raises(ValueError, match="different dtypes"):
        _core.pool_tables(two, rows, offsets, False, None, 1)
    with pytest.raises(ValueError, match="0 tables"):
        _core.pool_tables([], rows, offsets, False, None, 1)
