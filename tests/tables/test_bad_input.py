"""All or nothing, for tables: a bad call raises an error that names the argument, and changes no
byte, no count and no file."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import adagrad
from adagrad import Rule, Table, TableFileError
from bad_arrays import BAD_ROWS, readonly, strided, unaligned

ROWS = np.array([5, 2, 5])
OFFSETS = np.array([0, 1, 3])
POLICIES = ["sum", "sequential", "each", "unique"]


def table_of(dim=1, dtype="float32", **given):
    return Table(8, dim, dtype=dtype, init="uniform", seed=1, **given)


def reals(n, dim=1, dtype="float32"):
    return np.ones(n if dim == 1 else (n, dim), dtype)


def content(table):
    return table.weights.tobytes(), table.state.tobytes(), table.steps, table.skipped


def unchanged(table, error, message, call):
    before = content(table)
    with pytest.raises(error, match=message):
        call()
    assert content(table) == before


# Making one


BAD_TABLES = [
    ({}, TypeError, "a new table needs rows"),
    ({"rows": 0}, ValueError, "rows must be from 1 to"),
    ({"rows": -1}, ValueError, "rows must be from 1 to"),
    ({"rows": 2**63}, ValueError, "rows must be from 1 to"),
    ({"rows": 1.0}, TypeError, "rows must be an integer"),
    ({"rows": True}, TypeError, "rows must be an integer"),
    ({"rows": "8"}, TypeError, "rows must be an integer"),
    ({"rows": np.arange(3)}, TypeError, "rows must be an integer"),
    ({"rows": 8, "dim": 0}, ValueError, "dim must be from 1"),
    ({"rows": 8, "dim": -3}, ValueError, "dim must be from 1"),
    ({"rows": 8, "dim": 2.0}, TypeError, "dim must be an integer"),
    ({"rows": 2**62, "dim": 8}, ValueError, r"exceeds 2\*\*63 - 1 bytes"),
    ({"rows": 2**62}, ValueError, r"exceeds 2\*\*63 - 1 bytes"),
    ({"rows": 2**60 - 1}, MemoryError, "GiB"),
    ({"rows": 1, "dim": 2**60 - 1}, MemoryError, "GiB"),
    ({"rows": 2**45}, MemoryError, "a table needs 281474976710656 bytes"),
    ({"rows": 8, "rule": "torch"}, TypeError, "rule must be an adagrad.Rule, got 'torch'"),
    ({"rows": 8, "dtype": "float8"}, ValueError, "dtype must be one of 'float32', 'float64'"),
    ({"rows": 8, "dtype": "int32"}, ValueError, "dtype must be one of"),
    ({"rows": 8, "dtype": np.int32}, ValueError, "dtype must be one of"),
    ({"rows": 8, "dtype": 32}, TypeError, "dtype must be a dtype or the name of one"),
    ({"rows": 8, "state": "column"}, ValueError, "state must be one of 'element', 'row'"),
    ({"rows": 8, "state": 1}, ValueError, "state must be one of"),
    ({"rows": 8, "state_dtype": "float64"}, ValueError, "state_dtype must be 'float32' for"),
    ({"rows": 8, "state_dtype": "x"}, ValueError, "state_dtype must be 'float32' for"),
    (
        {"rows": 8, "dtype": "float16", "state_dtype": "bfloat16"},
        ValueError,
        "state_dtype must be 'float32' or 'float16' for dtype 'float16', got 'bfloat16'",
    ),
    ({"rows": 8, "dtype": "float64", "state_dtype": "float32"}, ValueError, "'float64' for"),
    ({"rows": 8, "init": "ones"}, ValueError, "init must be one of"),
    ({"rows": 8, "init": None}, ValueError, "init must be one of"),
    ({"rows": 8, "seed": -1}, ValueError, "seed must be from 0 to 18446744073709551615"),
    ({"rows": 8, "seed": 2**64}, ValueError, "seed must be from 0 to"),
    ({"rows": 8, "seed": 1.0}, TypeError, "seed must be an integer"),
    ({"rows": 8, "seed": False}, TypeError, "seed must be an integer"),
    ({"rows": 8, "init_scale": -0.5}, ValueError, "init_scale must not be negative"),
    ({"rows": 8, "init_scale": np.inf}, ValueError, "init_scale must be finite"),
    ({"rows": 8, "init_scale": np.nan}, ValueError, "init_scale must be finite"),
    ({"rows": 8, "init_scale": "1"}, TypeError, "init_scale must be a real number"),
    ({"rows": 8, "init_scale": True}, TypeError, "init_scale must be a real number"),
    ({"rows": 8, "path": 3}, TypeError, "path"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD_TABLES)
def test_bad_table(given, error, message, tmp_path):
    with pytest.raises(error, match=message):
        Table(**given)
    if "path" not in given and error is not MemoryError:
        with pytest.raises(error, match=message):
            Table(**given, path=tmp_path / "table")
        assert list(tmp_path.iterdir()) == []


def test_a_numpy_integer_is_an_integer():
    table = Table(np.int64(8), np.uint8(2), seed=np.uint64(2**64 - 1), init_scale=np.float32(1))
    assert (table.rows, table.dim, table.seed) == (8, 2, 2**64 - 1)


# Arrays


def as_list(a):
    return a.tolist()


def other_float(a):
    return a.astype("float32" if a.dtype == np.float64 else "float64")


BAD_ARRAYS = {
    "list": (as_list, TypeError, "must be a numpy.ndarray, got list"),
    "None": (lambda a: None, TypeError, "must be a numpy.ndarray, got NoneType"),
    "int64": (lambda a: a.astype("int64"), TypeError, "dtype int64"),
    "float16": (lambda a: a.astype("float16"), TypeError, "dtype float16"),
    "other float": (other_float, TypeError, "this table computes in float(32|64), and nothing"),
    "object": (lambda a: a.astype(object), TypeError, "dtype object"),
    "byte-swapped": (lambda a: a.astype(a.dtype.newbyteorder()), TypeError, "byte-swapped"),
    "masked": (lambda a: np.ma.masked_array(a, a > 9), TypeError, "masked array"),
    "strided": (strided, ValueError, "C-contiguous, got strides"),
    "reversed": (lambda a: a[::-1], ValueError, "C-contiguous, got strides"),
    "unaligned": (unaligned, ValueError, "not aligned"),
    "too short": (lambda a: a[:-1].copy(), ValueError, "has shape .* need"),
    "too long": (lambda a: np.concatenate([a, a]), ValueError, "has shape .* need"),
    "wrong dims": (lambda a: a[None], ValueError, "has shape .* need"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_bad_array(kind, dim, dtype):
    spoil, error, message = BAD_ARRAYS[kind]
    table = table_of(dim, dtype)
    real = "float64" if dtype == "float64" else "float32"
    three, two, factors = reals(3, dim, real), reals(2, dim, real), reals(3, 1, real)
    calls = {
        "step: g ": lambda: table.step(ROWS, spoil(three)),
        "step_pooled: g ": lambda: table.step_pooled(ROWS, OFFSETS, spoil(two)),
        "step_pooled: weights ": lambda: table.step_pooled(
            ROWS, OFFSETS, two, weights=spoil(factors)
        ),
        "gather: out ": lambda: table.gather(ROWS, spoil(three)),
        "pool: weights ": lambda: table.pool(ROWS, OFFSETS, weights=spoil(factors)),
    }
    for where, call in calls.items():
        if kind == "None" and ("out" in where or "weights" in where):
            call()  # the default
            table = table_of(dim, dtype)
        else:
            unchanged(table, error, f"Table.{where}.*(?:{message})", call)


def test_arrays_that_are_only_read():
    table = table_of()
    table.step(readonly(ROWS), readonly(reals(3)))
    table.pool(readonly(ROWS), readonly(OFFSETS), weights=readonly(reals(3)))
    unchanged(table, ValueError, "out is read-only", lambda: table.gather(ROWS, readonly(reals(3))))


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows(kind, dim):
    rows, error, message = BAD_ROWS[kind]
    table, n = table_of(dim), 3
    for policy in POLICIES:
        unchanged(table, error, message, lambda p=policy: table.step(rows, reals(n, dim), p))
    if kind == "wrong length":
        message = "out has shape|weights has shape|offsets"
    offsets = np.array([0, 3])
    for call in (
        lambda: table.gather(rows, reals(n, dim)),
        lambda: table.pool(rows, offsets, weights=reals(n)),
        lambda: table.step_pooled(rows, offsets, reals(1, dim), weights=reals(n)),
    ):
        unchanged(table, error, message, call)


BAD_OFFSETS = {
    "not from 0": ([1, 3], ValueError, r"offsets\[0\] = 1, but offsets ascend from 0 to 3"),
    "not to n": ([0, 2], ValueError, r"offsets\[1\] = 2, but offsets ascend from 0 to 3"),
    "past n": ([0, 4, 3], ValueError, r"offsets\[1\] = 4,"),
    "descending": ([0, 2, 1, 3], ValueError, r"offsets\[2\] = 1,"),
    "negative": ([0, -1, 3], ValueError, r"offsets\[1\] = -1,"),
    "lowest": ([0, -(2**63), 3], ValueError, r"offsets\[1\] = -9223372036854775808,"),
    "only 0": ([0], ValueError, r"offsets\[0\] = 0, but offsets ascend from 0 to 3"),
}


@pytest.mark.parametrize("kind", BAD_OFFSETS)
def test_bad_offsets(kind):
    given, error, message = BAD_OFFSETS[kind]
    offsets, table = np.array(given), table_of()
    g = reals(len(given) - 1)
    unchanged(table, error, message, lambda: table.pool(ROWS, offsets))
    unchanged(table, error, message, lambda: table.step_pooled(ROWS, offsets, g))


@pytest.mark.parametrize(
    ("offsets", "error", "message"),
    [
        (np.zeros(0, np.int64), ValueError, r"offsets must have shape \[B \+ 1\]"),
        (np.array([[0, 3]]), ValueError, r"offsets must have shape \[B \+ 1\]"),
        (np.array([0.0, 3.0]), TypeError, "offsets .*int32, int64, uint32 or uint64"),
        (np.array([0, 3], "i2"), TypeError, "offsets .*int32, int64, uint32 or uint64"),
        (np.array([0, 3], ">i8"), TypeError, "offsets .*native int32"),
        (np.array([0, 1, 3])[::2], ValueError, "offsets must be C-contiguous"),
        ([0, 3], TypeError, "offsets must be a numpy.ndarray, got list"),
        (None, TypeError, "offsets must be a numpy.ndarray, got NoneType"),
        (np.array([0, 2**64 - 1], "u8"), ValueError, r"offsets\[1\] = 18446744073709551615,"),
    ],
)
def test_bad_array_of_offsets(offsets, error, message):
    table = table_of()
    unchanged(table, error, message, lambda: table.pool(ROWS, offsets))
    unchanged(table, error, message, lambda: table.step_pooled(ROWS, offsets, reals(1)))


@pytest.mark.parametrize("storage", [{"state": "row"}, {}, {"dtype": "float64", "state": "row"}])
def test_memory_of_the_table_itself(storage):
    # With a row of w and s side by side, no part of a table is C-contiguous but within a row.
    table = Table(8, 4, init="uniform", **storage)
    own = table.weights[3:4]
    assert own.flags.c_contiguous
    one, offsets = np.array([3]), np.array([0, 1])
    for call in (
        lambda: table.gather(one, own),
        lambda: table.step(one, own),
        lambda: table.step_pooled(one, offsets, own),
        lambda: table.pool(one, offsets, weights=own[0, :1]),
        lambda: table.step(own.view("i4")[0, :1], own.copy()),
        lambda: table.gather(own.view("i4")[0, :1]),
    ):
        unchanged(table, ValueError, "overlap", call)


def test_an_output_that_holds_the_ids():
    table, ids = table_of(dtype="float64"), np.array([1, 2, 3])
    unchanged(table, ValueError, "overlap", lambda: table.gather(ids, ids.view("f8")))
    assert ids.tolist() == [1, 2, 3]


# Options


BAD_OPTIONS = [
    ({"duplicates": "add"}, ValueError, "duplicates must be one of 'sum'"),
    ({"duplicates": 3}, ValueError, "duplicates must be one of 'sum'.*, got 3"),
    ({"threads": 0}, ValueError, "threads must be from 1 to 1024, got 0"),
    ({"threads": 1025}, ValueError, "threads must be from 1 to 1024"),
    ({"threads": -1}, ValueError, "threads must be from 1 to 1024"),
    ({"threads": 2.0}, TypeError, "threads must be an integer"),
    ({"threads": True}, TypeError, "threads must be an integer"),
    ({"lr": -0.1}, ValueError, "lr must not be negative"),
    ({"lr": np.nan}, ValueError, "lr must be finite"),
    ({"lr": np.inf}, ValueError, "lr must be finite"),
    ({"lr": "0.1"}, TypeError, "lr must be a real number"),
    ({"lr": True}, TypeError, "lr must be a real number"),
    ({"lr": 1e300}, ValueError, r"lr=1e\+300 overflows float32"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD_OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_bad_option(given, error, message, dtype):
    table = table_of(dtype=dtype)
    unchanged(table, error, message, lambda: table.step(ROWS, reals(3), **given))
    pooled = (ROWS, OFFSETS, reals(2))
    unchanged(table, error, message, lambda: table.step_pooled(*pooled, **given))
    if "threads" in given:
        for call in (
            lambda: table.gather(ROWS, **given),
            lambda: table.pool(ROWS, OFFSETS, **given),
            lambda: table.decay(0.5, **given),
        ):
            unchanged(table, error, message, call)


def test_bad_mode():
    table = table_of()
    for mode in ("max", None, 1, ""):
        with pytest.raises(ValueError, match="mode must be 'sum' or 'mean'"):
            table.pool(ROWS, OFFSETS, mode)
        unchanged(
            table,
            ValueError,
            "mode must be 'sum' or 'mean'",
            lambda mode=mode: table.step_pooled(ROWS, OFFSETS, reals(2), mode),
        )


def test_coupled_decay_and_each():
    table = table_of(rule=Rule(weight_decay=0.1))
    unchanged(table, ValueError, "coupled", lambda: table.step(ROWS, reals(3), "each"))


def test_a_rule_that_float32_cannot_hold():
    table = table_of(rule=Rule(eps=1e-60))
    unchanged(table, ValueError, "eps=1e-60 is 0 in float32", lambda: table.step(ROWS, reals(3)))
    table_of(dtype="float64", rule=Rule(eps=1e-60)).step(ROWS, reals(3, dtype="float64"))


BAD_DECAYS = [
    ({"gamma": -0.1}, ValueError, "gamma must not be negative"),
    ({"gamma": 1.01}, ValueError, r"gamma must be in \[0, 1\], got 1.01"),
    ({"gamma": np.nan}, ValueError, "gamma must be"),
    ({"gamma": "1"}, TypeError, "gamma must be a real number"),
    ({"gamma": None}, TypeError, "gamma must be a real number"),
    ({"gamma": True}, TypeError, "gamma must be a real number"),
    ({"gamma": 0.5, "floor": -1.0}, ValueError, "floor must not be negative"),
    ({"gamma": 0.5, "floor": np.inf}, ValueError, "floor must be finite"),
    ({"gamma": 0.5, "floor": "0"}, TypeError, "floor must be a real number"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD_DECAYS)
def test_bad_decay(given, error, message):
    table = table_of(rule=Rule(initial_accumulator=1.0))
    unchanged(table, error, message, lambda: table.decay(**given))


def test_bad_merge():
    table = table_of()
    for tables, error, message in (
        ([], ValueError, "tables is empty"),
        ([table, 3], TypeError, r"tables\[1\] must be a Table, got 3"),
        ([table, None], TypeError, r"tables\[1\] must be a Table"),
        ([table, table_of(2)], ValueError, r"tables\[1\] has another layout or rule"),
        ([table, Table(9)], ValueError, r"tables\[1\] has another layout or rule"),
        ([table, table_of(dtype="float64")], ValueError, "has another layout or rule"),
        ([table, table, table_of(rule=Rule(lr=0.2))], ValueError, r"tables\[2\] has another"),
    ):
        unchanged(table, error, message, lambda tables=tables: Table.merge(tables))
    for weights in ("sum", None, 1):
        with pytest.raises(ValueError, match="weights must be 'state' or 'equal'"):
            Table.merge([table], weights)


# Files


def test_a_path_that_cannot_be(tmp_path):
    with pytest.raises((OSError, TableFileError)):
        Table(8, path=tmp_path)
    with pytest.raises(OSError, match="missing"):
        Table(8, path=tmp_path / "missing" / "table")
    with pytest.raises(TypeError, match="a new table needs rows: there is no file"):
        Table(path=tmp_path / "table")
    with pytest.raises(FileNotFoundError):
        Table.open(tmp_path / "table")
    with pytest.raises(FileNotFoundError):
        Table.load(tmp_path / "table")
    (tmp_path / "other").write_bytes(b"not a table at all" * 1000)
    for call in (Table.open, Table.load, lambda path: Table(8, path=path)):
        with pytest.raises(TableFileError):
            call(tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == b"not a table at all" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_arguments_that_do_not_fit_the_file(tmp_path):
    path = tmp_path / "table"
    fits = {"rows": 8, "dim": 2, "dtype": "float16", "state": "row", "seed": 4}
    fits |= {"state_dtype": "float32", "rule": Rule(lr=0.3, accumulator="row")}
    Table(**fits, path=path, init="normal").close()
    before = path.read_bytes()
    for name, value in {
        "rows": 9,
        "dim": 1,
        "dtype": "bfloat16",
        "state": "element",
        "seed": 5,
        "state_dtype": "float16",
        "rule": Rule(lr=0.3),
    }.items():
        with pytest.raises(ValueError, match=f"{path} has {name}="):
            Table(**{name: value}, path=path)
        assert path.read_bytes() == before
    Table(**fits, path=path).close()
    Table(path=path).close()
    Table(8, dtype=np.float16, path=path).close()
    assert path.read_bytes() == before


def test_metadata_that_do_not_fit_each_other(tmp_path):
    path = tmp_path / "table"
    Table(8).save(path)
    good = path.read_bytes()
    for old, new in (
        (b'"dim":"1"', b'"dim":"2"'),
        (b'"rows":"8"', b'"rows":"9"'),
        (b'"state_dtype":"float32"', b'"state_dtype":"float64"'),
        (b'"seed":"0"', b'"seed":"x"'),
        (b'\\"lr\\": 0.1', b'\\"lr\\": -.1'),
        (b'\\"power\\"', b'\\"powee\\"'),
    ):
        assert good.count(old) == 1, old
        path.write_bytes(good.replace(old, new))
        for call in (Table.load, Table.open):
            with pytest.raises(TableFileError, match=r"is corrupted|another version"):
                call(path)


def test_one_table_maps_a_file(tmp_path):
    path = tmp_path / "table"
    table = Table(8, path=path)
    for call in (lambda: Table(path=path), lambda: Table.open(path)):
        with pytest.raises(BlockingIOError):
            call()
    script = f"import adagrad; adagrad.Table.open({str(path)!r})"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "BlockingIOError" in other.stderr
    with pytest.raises(OSError, match="table"):
        Table(8).save(path)
    table.close()
    script += ".close(); print('opened')"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert other.stdout == "opened\n", other.stderr


def test_a_mapped_table_is_not_pickled(tmp_path):
    table = Table(8, path=tmp_path / "table")
    with pytest.raises(TypeError, match="a mapped table cannot be pickled"):
        pickle.dumps(table)
    assert pickle.loads(pickle.dumps(table.copy())).path is None
    table.close()


def test_flush_of_a_table_without_a_path():
    with pytest.raises(ValueError, match="no file to flush to"):
        Table(8).flush()


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_closed_table(where, tmp_path):
    table = Table(8, path=tmp_path / "table" if where == "file" else None)
    table.step(ROWS, reals(3))
    view = table.weights
    table.close()
    table.close()
    calls = {
        "step": lambda: table.step(ROWS, reals(3)),
        "step_pooled": lambda: table.step_pooled(ROWS, OFFSETS, reals(2)),
        "gather": lambda: table.gather(ROWS),
        "pool": lambda: table.pool(ROWS, OFFSETS),
        "decay": lambda: table.decay(0.5),
        "weights": lambda: table.weights,
        "state": lambda: table.state,
        "pages": lambda: table.pages if where == "memory" else table.flush(),
        "save": lambda: table.save(tmp_path / "other"),
        "copy": lambda: table.copy(),
        "merge": lambda: Table.merge([table, table]),
        "flush": lambda: table.flush(),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match="this table is closed"):
            call()
            pytest.fail(name)
    assert table.steps == 1
    assert len(table) == 8
    assert view[5] != 0  # still valid
    assert not os.path.lexists(tmp_path / "other")


def test_public_names():
    assert {"Table", "TableFileError"} <= set(adagrad.__all__)


@pytest.mark.parametrize("policy", ["sum", "sequential", "each", "unique"])
@pytest.mark.parametrize("dim", [1, 3])
def test_a_product_with_a_weight_that_is_not_finite(dim, policy):
    table = Table(4, dim, rule=Rule(on_nonfinite="raise"))
    g = np.full((1, dim) if dim > 1 else 1, 1e30, np.float32)
    weights = np.array([1e30, 1.0], np.float32)
    with pytest.raises(ValueError, match="times its weight is not finite"):
        table.step_pooled(np.array([1, 2]), np.array([0, 2]), g, "sum", weights, policy)
    assert not table.state.any()
    assert table.steps == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rule": Rule(initial_accumulator=1e300)},
            "accumulator=1e\\+300 overflows float32",
        ),
        ({"rule": Rule(initial_accumulator=1e-60)}, "initial_accumulator=1e-60 is 0 in float32"),
        (
            {"rule": Rule(initial_accumulator=1e5), "dtype": "float16", "state_dtype": "float16"},
            "overflows float16",
        ),
        ({"init": "normal", "init_scale": 1e300}, "init_scale=1e\\+300 overflows float32"),
    ],
)
def test_numbers_that_are_lost(arguments, message):
    with pytest.raises(ValueError, match=message):
        Table(2, **arguments)


def test_decays_that_are_lost():
    table = Table(2, rule=Rule(initial_accumulator=1.0))
    for given in ((1.0, 1e300), (1e-60,)):
        with pytest.raises(ValueError, match="float32"):
            table.decay(*given)
    assert (table.state == 1.0).all()
    assert table.decays == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rule: rule | {"momentum": 0.9},
            "another version of adagrad: .* momentum",
        ),
        (lambda rule: {k: v for k, v in rule.items() if k != "eps"}, "its rule lacks eps"),
        (lambda rule: [], "its rule is"),
    ],
)
def test_rules_of_other_versions(tmp_path, monkeypatch, change, message):
    path, table = tmp_path / "table", Table(4)
    metadata = table._metadata()
    changed = metadata | {"rule": json.dumps(change(json.loads(metadata["rule"])))}
    monkeypatch.setattr(Table, "_metadata", lambda self: changed)
    table.save(path)
    with pytest.raises(adagrad.TableFileError, match=message):
        Table.load(path)


def test_counts_that_are_not(tmp_path):
    table = Table(4)
    table.steps = -5
    with pytest.raises(ValueError, match="steps must be from 0"):
        table.save(tmp_path / "table")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["steps", "skipped", "decays"])
def test_a_count_that_cannot_go_on(tmp_path, monkeypatch, name):
    path, table = tmp_path / "table", Table(4)
    changed = table._metadata() | {name: str(2**64 - 1)}
    monkeypatch.setattr(Table, "_metadata", lambda self: changed)
    table.save(path)
    with pytest.raises(adagrad.TableFileError, match=f"{name} must be from 0"):
        Table.load(path)
