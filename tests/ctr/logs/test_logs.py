"""Logs as streams of batches: the same rows whatever holds them, and every kind of broken row."""

import bz2
import gzip
import io
import itertools
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from adagrad import _batches
from adagrad._batches import rechunk
from adagrad.ctr.logs import LogError, blocks, open_log

ROWS = 64


@pytest.fixture(autouse=True)
def _no_thread_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "adagrad-log"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Make a block shorter than the tests' files, so that lines lie across its borders."""
    monkeypatch.setattr(blocks, "BLOCK", 1 << 12)


def made_up(rows: int = 1000, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "site": pa.array([f"säit{i}" for i in rng.integers(0, 9, rows)]),
            "click": pa.array(rng.integers(0, 2, rows)),
            "count": pa.array(rng.integers(0, 99, rows), mask=rng.random(rows) < 0.1),
            "price": pa.array(rng.random(rows)),
        }
    )


def write_csv(table, path, delimiter=","):
    out = io.BytesIO()
    arrow_csv.write_csv(table, out, arrow_csv.WriteOptions(delimiter=delimiter))
    data = out.getvalue()
    if delimiter == "\t":
        data = data.replace(b'"', b"")
    path.write_bytes(compressed(data, path.suffix))


def compressed(data: bytes, suffix: str) -> bytes:
    if suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    return {".gz": gzip.compress, ".bz2": bz2.compress}.get(suffix, bytes)(data)


def read(paths, **options):
    with open_log(paths, **{"label": "click", "rows": ROWS} | options) as log:
        batches = list(log)
        assert all(batch.schema == log.schema for batch in batches)
        assert all(batch.num_rows == log.rows for batch in batches[:-1])
        return pa.Table.from_batches(batches, log.schema), log


def expected(table: pa.Table) -> pa.Table:
    label = table.column("click").cast(pa.float32())
    return table.drop_columns("click").add_column(0, "click", label)


# The same rows, whatever holds them.


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.zst", "a.csv.bz2"])
def test_text(tmp_path, name, small_blocks):
    table = made_up()
    write_csv(table, tmp_path / name, "\t" if "tsv" in name else ",")
    got, log = read(tmp_path / name)
    assert got.equals(expected(table))
    assert log.position.rows == 1000
    assert log.position.bytes_read == log.total_bytes == (tmp_path / name).stat().st_size
    assert log.skipped == {}


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrow", "a.arrows"])
def test_columns(tmp_path, name):
    table = made_up()
    path = tmp_path / name
    if name.endswith("parquet"):
        parquet.write_table(table, path, row_group_size=300)
    else:
        new = pa.ipc.new_stream if name.endswith("arrows") else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=110)
    got, log = read(path)
    want = expected(table)
    if name.endswith("parquet"):  # what the writer encoded stays encoded
        assert pa.types.is_dictionary(got.schema.field("site").type)
        got = got.set_column(1, "site", got.column("site").cast(pa.string()))
    assert got.equals(want)
    assert log.position.bytes_read == log.total_bytes


def test_parquet_without_dictionaries_and_with_lists(tmp_path):
    table = made_up(200).append_column("tags", pa.array([["a", "b"], None, [], ["c"]] * 50))
    parquet.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    assert read(tmp_path / "a.parquet")[0].equals(expected(table))


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=6),
    rows=st.integers(1, 250),
    start=st.integers(0, 400),
)
def test_batches_are_the_whole(sizes, rows, start):
    table = pa.table({"i": pa.array(range(sum(sizes)))})
    ends = np.cumsum([0, *sizes])
    parts = [table.slice(low, high - low) for low, high in itertools.pairwise(ends)]
    batches = list(rechunk(iter(parts), rows, start))
    left = max(sum(sizes) - start, 0)
    assert [b.num_rows for b in batches] == [rows] * (left // rows) + [left % rows] * (
        left % rows > 0
    )
    assert [i for b in batches for i in b.column(0).to_pylist()] == list(range(start, sum(sizes)))


def test_a_batch_within_a_table_is_a_slice():
    table = pa.table({"x": pa.array(np.arange(256.0))})
    batches = list(rechunk([table], 64))
    address = table.column(0).chunk(0).buffers()[1].address
    assert all(batch.column(0).buffers()[1].address == address for batch in batches)


@pytest.mark.parametrize("rows", [64, 128, 64 * 7, 65536])
def test_any_batch_size_and_start(tmp_path, rows, small_blocks):
    table = made_up()
    write_csv(table, tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", rows=rows)[0].equals(expected(table))
    with open_log(tmp_path / "a.csv", label="click", rows=rows) as log:
        for start in (0, 64, 333, 1000):
            got = list(log.batches(start))
            assert pa.Table.from_batches(got, log.schema).equals(expected(table).slice(start))
            assert log.position.rows == 1000
        with pytest.raises(ValueError, match="start is 1001, but the log has 1000 rows"):
            list(log.batches(1001))
        with pytest.raises(ValueError, match="negative"):
            list(log.batches(-1))


def test_files_globs_and_directories(tmp_path):
    parts = [made_up(100, seed) for seed in range(4)]
    whole = expected(pa.concat_tables(parts))
    for index, part in enumerate(parts):
        write_csv(part, tmp_path / f"day{index}.csv")
    files = [tmp_path / f"day{index}.csv" for index in range(4)]
    assert read(files)[0].equals(whole)
    assert read(str(tmp_path / "day*.csv"))[0].equals(whole)
    folder = tmp_path / "set"
    (folder / "hour=1").mkdir(parents=True)
    (folder / "_SUCCESS").touch()
    (folder / ".part.csv.crc").touch()
    write_csv(parts[0], folder / "a.csv")
    write_csv(parts[1], folder / "hour=1" / "b.csv.gz")
    got, log = read(folder)
    assert got.equals(whole.slice(0, 200))
    assert log.paths == (str(folder / "a.csv"), str(folder / "hour=1" / "b.csv.gz"))
    for path in ("none.csv", "none*.csv"):
        with pytest.raises(FileNotFoundError, match="none"):
            open_log(tmp_path / path, label="click")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no log in this directory"):
        open_log(tmp_path / "empty", label="click")


def test_every_file_has_the_types_of_the_first(tmp_path):
    table = made_up(100)
    write_csv(table, tmp_path / "a.csv")
    write_csv(table.select([3, 2, 1, 0]), tmp_path / "b.csv")
    parquet.write_table(table, tmp_path / "c.parquet")
    got, _ = read([tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.parquet"])
    assert got.equals(expected(pa.concat_tables([table] * 3)))
    got, log = read([tmp_path / "c.parquet", tmp_path / "a.csv"])
    assert pa.types.is_dictionary(log.schema.field("site").type)
    assert got.num_rows == 200
    _, first = read(tmp_path / "a.csv")
    (tmp_path / "v.csv").write_text("price,site,count,click\n1,2,3,1\n")
    got, log = read(tmp_path / "v.csv", schema=first.schema)
    assert log.schema == first.schema
    assert got.to_pylist() == [{"click": 1.0, "site": "2", "count": 3, "price": 1.0}]
    got, _ = read(tmp_path / "v.csv", label=None, schema=first.schema.remove(0))
    assert got.column_names == ["site", "count", "price"]


@pytest.mark.parametrize(
    ("column", "kind", "wrong", "reason"),
    [
        (["True", "false", ""], pa.bool_(), "maybe", "'maybe' is no bool"),
        (["2026-01-31 12:00:00", "2026-01-31T12:00", ""], pa.timestamp("us"), "noon", "no timest"),
        (["2026-01-31T12:00:00Z", "", ""], pa.timestamp("us", "UTC"), "noon", "is no timestamp"),
        (["2026-01-31 12:00:00.5", "2026-01-31", ""], pa.timestamp("ns"), "noon", "is no time"),
        (["2026-01-31", "2026-02-01", ""], pa.string(), None, None),
        (["1", "0", ""], pa.int64(), "yes", "'yes' is no int64"),
    ],
)
def test_flags_and_moments(tmp_path, column, kind, wrong, reason):
    lines = ["click,x\n", *(f"1,{text}\n" for text in column)]
    path = tmp_path / "a.csv"
    path.write_text("".join(lines))
    with open_log(path, label="click") as log:
        assert log.schema.field("x").type == kind
        values = pa.Table.from_batches(log).column("x")
    assert values.null_count == column.count("")
    if wrong is None:
        return
    path.write_text("".join(lines) + "1,\n" * 400_000 + f"1,{wrong}\n")
    with open_log(path, label="click") as log, pytest.raises(LogError, match=reason):
        list(log)
    kinds = {"bool": "not a bool", "int64": "not a number"}
    with open_log(path, label="click", skip_bad=True) as log:
        list(log)
    assert log.skipped == {kinds.get(str(kind), "not a timestamp"): 1}


def test_types_come_from_the_first_block_or_the_caller(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("click\ti\tf\ts\tid\tnone\n1\t3\t0.5\t0a\t12345678901234567890\t\n")
    assert read(path)[1].schema.types == [
        pa.float32(),
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.string(),
        pa.string(),
    ]
    _, log = read(path, numeric=["i", "none"], columns=["none", "i", "f"])
    assert log.schema == pa.schema(
        {"click": pa.float32(), "none": pa.float64(), "i": pa.int64(), "f": pa.string()}
    )


def test_headers(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("1\tx\t7\n0\ty\t8\n")
    assert read(path, label="c0")[0].to_pydict() == {
        "c0": [1.0, 0.0],
        "c1": ["x", "y"],
        "c2": [7, 8],
    }
    got, _ = read(path, header=["click", "site", "n"], columns=["n"])
    assert got.to_pydict() == {"click": [1.0, 0.0], "n": [7, 8]}
    with pytest.raises(LogError, match="no column 'click'; the columns are c0, c1, c2"):
        read(path)
    assert read(path, label=None, header=False)[0].num_rows == 2
    assert read(path, label=None)[0].column_names == ["1", "x", "7"]
    path.write_bytes(b"\xef\xbb\xbfclick\tx\r\n1\t2\r\n")
    assert read(path)[0].to_pylist() == [{"click": 1.0, "x": 2}]
    path.write_text("click\tx\tx\n1\t2\t3\n")
    with pytest.raises(LogError, match="2 columns 'x'"):
        read(path)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 1, 1]),
        pa.array([-1, 1, 1], pa.int8()),
        pa.array([False, True, True]),
        pa.array([0.0, 1.0, 1.0]),
        pa.array(["0", "+1", " 1.0"]),
        pa.array(["-1", "true", "TRUE"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_labels(tmp_path, column):
    parquet.write_table(pa.table({"click": column, "x": [1, 2, 3]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0].column("click").to_pylist() == [0.0, 1.0, 1.0]


def test_libsvm(tmp_path, small_blocks):
    rng = np.random.default_rng(0)
    lines, examples = ["# made up"], []
    for _ in range(500):
        ids = np.cumsum(rng.integers(1, 9, rng.integers(0, 9))).tolist()
        values = rng.random(len(ids)).astype(np.float32).tolist()
        label = int(rng.integers(0, 2))
        text = " ".join(f"{i}:{v!r}" for i, v in zip(ids, values, strict=True))
        lines.append(f"{'+1' if label else '-1'} {text}" + (" # why" if label else ""))
        examples.append({"click": float(label), "ids": ids, "values": values})
    (tmp_path / "a.svm.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    got, log = read(tmp_path / "a.svm.gz")
    assert got.to_pylist() == examples
    assert log.schema == pa.schema(
        {"click": pa.float32(), "ids": pa.list_(pa.int64()), "values": pa.list_(pa.float32())}
    )
    assert read(tmp_path / "a.svm.gz", label=None)[0].column_names == ["ids", "values"]


def test_arrow_stream(tmp_path):
    table = made_up()
    write_csv(table, tmp_path / "a.csv")
    with open_log(tmp_path / "a.csv", label="click") as log:
        assert pa.table(log).equals(expected(table))


# Broken rows.

GOOD = "1,a,2\n"
BROKEN = {
    "number of columns": ("1,a\n", "2 columns instead of 3"),
    "empty line": ("\n", "the line is empty"),
    "not UTF-8": (b"1,a\xff,2\n", "byte 4 of the line is not UTF-8"),
    "not a number": ("1,a,two\n", "column 'n': 'two' is no int64"),
    "open quote": ('1,a,"2\n', "a quote is not closed within the line"),
    "carriage return": ("1,a\r,2\n", "a carriage return within the line"),
    "missing label": (",a,2\n", "the label is missing"),
    "bad label": ("nan,a,2\n", "the label is 'nan', not 0 or 1, -1 or +1"),
}


def with_broken(path, where, count, broken, end=""):
    lines = [GOOD.encode()] * count
    for line in where:
        lines[line - 2] = broken.encode() if isinstance(broken, str) else broken
    path.write_bytes(compressed(b"click,s,n\n" + b"".join(lines) + end.encode(), path.suffix))


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("where", [[2000], [1501, 1502, 2900], [3001], [1400, 3000]])
def test_a_broken_row(tmp_path, kind, where, small_blocks):
    broken, reason = BROKEN[kind]
    path = tmp_path / "a.csv.gz"
    with_broken(path, where, 3000, broken)
    rows = []
    with (
        open_log(path, label="click", rows=ROWS) as log,
        pytest.raises(LogError) as error,
    ):
        for batch in log:
            rows.append(batch.num_rows)
    assert error.value.path == str(path)
    assert error.value.line == where[0]
    assert error.value.reason == reason
    assert str(error.value) == f"{path}, line {where[0]}: {reason}"
    assert sum(rows) == where[0] - 2  # those above it, and no half of one
    got, log = read(path, skip_bad=True)
    assert log.skipped == {kind: len(where)}
    assert got.to_pylist() == [{"click": 1.0, "s": "a", "n": 2}] * (3000 - len(where))


@pytest.mark.parametrize("block", [1 << 12, 1 << 23])
def test_all_kinds_at_once(tmp_path, block, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", block)
    rng = np.random.default_rng(1)
    kinds = list(BROKEN)
    schema = pa.schema({"click": pa.float32(), "s": pa.string(), "n": pa.int64()})
    lines, counts, numbers = [b"click,s,n\n"], dict.fromkeys(kinds, 0), []
    for number in range(3000):
        kind = rng.choice([None, *kinds], p=[0.6] + [0.05] * 8)
        if kind is None:
            lines.append(f"0,x,{number}\r\n".encode())
            numbers.append(number)
        else:
            broken = BROKEN[kind][0]
            lines.append(broken if isinstance(broken, bytes) else broken.encode())
            counts[kind] += 1
    (tmp_path / "a.csv").write_bytes(b"".join(lines))
    got, log = read(tmp_path / "a.csv", skip_bad=True, schema=schema)
    assert log.skipped == counts
    assert got.column("n").to_pylist() == numbers
    with open_log(
        tmp_path / "a.csv", label="click", rows=ROWS, skip_bad=True, schema=schema
    ) as log:
        half = pa.Table.from_batches(list(log.batches(640)))
        assert half.equals(got.slice(640))
        assert log.skipped == counts


def test_quotes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('click,s\n1,"a,""b"""\n0,"two\nlines"\n1,c\n')
    with pytest.raises(LogError, match="line 3: a quote is not closed") as error:
        read(path)
    assert error.value.line == 3
    got, log = read(path, skip_bad=True)
    assert got.column("s").to_pylist() == ['a,"b"', "c"]
    assert sum(log.skipped.values()) == 2
    path.write_text('click\ts\n1\t"a\n')
    assert read(path, format="tsv")[0].column("s").to_pylist() == ['"a']


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf", "1e999"])
def test_numbers_are_finite(tmp_path, value):
    path = tmp_path / "a.csv"
    path.write_text(f"click,x\n1,0.5\n1,{value}\n1,\n")
    with pytest.raises(LogError, match=r"line 3: column 'x' has -?(nan|inf)"):
        read(path)
    got, log = read(path, skip_bad=True)
    assert got.column("x").to_pylist() == [0.5, None]
    assert log.skipped == {"not finite": 1}


def test_broken_rows_of_columns(tmp_path):
    table = pa.table(
        {
            "click": [1.0, float("nan"), 2.0, None, 0.0, 1.0],
            "x": [[0.0], [0.0], [0.0], [0.0], [1.0, float("inf")], None],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(LogError, match="line 2: the label is nan") as error:
        read(tmp_path / "a.parquet")
    assert error.value.line == 2
    got, log = read(tmp_path / "a.parquet", skip_bad=True)
    assert got.to_pylist() == [{"click": 1.0, "x": [0.0]}, {"click": 1.0, "x": None}]
    assert log.skipped == {"bad label": 2, "missing label": 1, "not finite": 1}
    parquet.write_table(table.slice(4, 1), tmp_path / "a.parquet")
    with pytest.raises(LogError, match="line 1: column 'x' has inf"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        ("1 3:0.5 x:1", "bad entry", "'x:1' is not id:value with an id of 0 to 2**63 - 1"),
        ("1 -1:0.5", "bad entry", "'-1:0.5' is not id:value with an id of 0 to 2**63 - 1"),
        ("1 3", "bad entry", "'3' is not id:value with an id of 0 to 2**63 - 1"),
        ("1 qid:3 1:1", "bad entry", "'qid:3' is not id:value with an id of 0 to 2**63 - 1"),
        ("1 3:\xff", "bad entry", "'3:ÿ' is not id:value with an id of 0 to 2**63 - 1"),
        ("1 3:nan", "not finite", "column 'values' has nan"),
        ("3:0.5", "missing label", "the label is missing"),
        ("", "empty line", "the line is empty"),
        ("yes 3:0.5", "bad label", "the label is 'yes', not 0 or 1, -1 or +1"),
        ("2 3:0.5", "bad label", "the label is 2.0, not 0 or 1, -1 or +1"),
    ],
)
def test_a_broken_line_of_libsvm(tmp_path, line, kind, reason, small_blocks):
    path = tmp_path / "a.libsvm"
    path.write_text("# comment\n" + "+1 1:1 7:0.25\n" * 500 + line + "\n" + "-1 2:1\n" * 500)
    with pytest.raises(LogError) as error:
        read(path)
    assert (error.value.line, error.value.reason) == (502, reason)
    got, log = read(path, skip_bad=True)
    assert got.num_rows == 1000
    assert log.skipped == {kind: 1}


# Broken files.


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_truncated_stream(tmp_path, suffix, skip_bad):
    rng = np.random.default_rng(0)
    data = "click,x\n" + "".join(f"1,{x}\n" for x in rng.random(100_000))
    path = tmp_path / f"a.csv{suffix}"
    whole = compressed(data.encode(), suffix)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    rows = 0
    with (
        open_log(path, label="click", rows=ROWS, skip_bad=skip_bad) as log,
        pytest.raises(LogError, match="the file ends early or is damaged") as error,
    ):
        for batch in log:
            rows += batch.num_rows
    assert rows > 30_000
    assert error.value.line == rows + 2
    path.write_bytes(b"")
    with pytest.raises(LogError, match="line 1: the compressed file is empty"):
        open_log(path, label="click")


@pytest.mark.parametrize("rows", [50, 3000, 40_000])
def test_a_small_truncated_file_ends_where_its_data_do(tmp_path, rows, small_blocks):
    rng = np.random.default_rng(0)
    data = ("click,x\n" + "".join(f"1,{x}\n" for x in rng.random(rows))).encode()
    path = tmp_path / "a.csv.gz"
    path.write_bytes(compressed(data, ".gz")[:-20])
    seen = 0
    with open_log(path, label="click", rows=ROWS) as log, pytest.raises(LogError) as error:
        for batch in log:
            seen += batch.num_rows
    assert error.value.line == seen + 2
    assert seen >= rows - 10


def test_damaged_files(tmp_path):
    for name in ("a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(b"PAR1 and nothing")
        with pytest.raises(LogError, match=f"{name}, line 1: not a readable"):
            open_log(tmp_path / name, label="click")
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(LogError, match="line 1: the file is empty"):
        open_log(tmp_path / "a.csv", label="click")


def test_an_endless_line(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 1 << 12)
    monkeypatch.setattr(blocks, "LONGEST_LINE", 1 << 15)
    (tmp_path / "a.csv").write_bytes(b"click,x\n1,2\n1," + b"x" * (1 << 16))
    with pytest.raises(LogError, match=r"line 3: no end of the line within 32768 bytes"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"click,x\n1,2\n1," + b"x" * (1 << 14) + b"\n0,y\n")
    assert [len(x) for x in read(tmp_path / "a.csv", numeric=[])[0].column("x").to_pylist()] == [
        1,
        1 << 14,
        1,
    ]


def test_a_later_file_that_does_not_fit(tmp_path):
    (tmp_path / "a.csv").write_text("click,x\n1,2\n")
    (tmp_path / "b.csv").write_text("click,y\n1,2\n")
    with pytest.raises(LogError, match=r"b\.csv, line 1: no column 'x'; the columns are click, y"):
        read([tmp_path / "a.csv", tmp_path / "b.csv"])
    parquet.write_table(pa.table({"click": [1], "x": ["two"]}), tmp_path / "c.parquet")
    with pytest.raises(LogError, match=r"c\.parquet, line 1: column 'x' is"):
        read([tmp_path / "a.csv", tmp_path / "c.parquet"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 100}, "rows must be a multiple of 64"),
        ({"rows": 0}, "rows must be a multiple of 64"),
        ({"format": "xml"}, "format must be one of"),
        ({"delimiter": "ab"}, "delimiter must be one character"),
        ({"columns": ["click"]}, "'click' is the label"),
        ({"columns": ["no"]}, "no column 'no'"),
        ({"numeric": ["no"]}, "no column 'no', which numeric names"),
        ({"schema": pa.schema([]), "columns": ["x"]}, "schema already says"),
        ({"format": "parquet", "header": True}, "header is for CSV and TSV"),
    ],
)
def test_bad_parameters(tmp_path, options, message):
    (tmp_path / "a.csv").write_text("click,x\n1,2\n")
    with pytest.raises(ValueError, match=message):
        open_log(tmp_path / "a.csv", **{"label": "click"} | options)


def test_a_suffix_that_tells_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("click\tx\n1\t2\n")
    with pytest.raises(ValueError, match="the suffix does not tell the format"):
        open_log(tmp_path / "a.txt", label="click")
    assert read(tmp_path / "a.txt", format="tsv")[0].num_rows == 1
    with pytest.raises(ValueError, match="paths is empty"):
        open_log([], label="click")


# The standard input, threads, memory.


def test_standard_input(monkeypatch):
    class Input:
        buffer = io.BytesIO(b"click\tx\n1\t2\n0\t3\n")

    monkeypatch.setattr(sys, "stdin", Input)
    with open_log("-", label="click") as log:
        assert log.total_bytes is None
        assert [batch.to_pydict() for batch in log] == [{"click": [1.0, 0.0], "x": [2, 3]}]
        assert log.position.bytes_read == 16
        with pytest.raises(ValueError, match="can be read only once"):
            list(log)
    with pytest.raises(ValueError, match="can be read only once"):
        open_log(["-", "-"], label="click")


@pytest.mark.parametrize("format", ["arrow", "libsvm"])
def test_standard_input_of_other_formats(format):
    code = (
        "from adagrad.ctr.logs import open_log\n"
        f"log = open_log('-', label='click', format={format!r})\n"
        "print(sum(batch.num_rows for batch in log), log.schema.names)"
    )
    if format == "arrow":
        sink = pa.BufferOutputStream()
        table = made_up(300)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data, want = sink.getvalue().to_pybytes(), "300 ['click', 'site', 'count', 'price']"
    else:
        data, want = b"1 2:3\n" * 300, "300 ['click', 'ids', 'values']"
    got = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert got.stdout.decode().strip() == want


def test_a_silent_pipe_does_not_hold_the_thread(monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"click,x\n" + b"1,2\n" * 3)

    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb") as writer:
        monkeypatch.setattr(blocks, "BLOCK", 16)  # else opening waits for more

        class Input:
            buffer = stream

        monkeypatch.setattr(sys, "stdin", Input)
        log = open_log("-", label="click", rows=ROWS)
        batches = log.batches()
        taker = threading.Thread(target=lambda: next(batches, None))
        taker.start()
        time.sleep(0.05)
        assert taker.is_alive()
        log.close()
        taker.join(10)
        assert not taker.is_alive()
        writer.flush()


def test_leaving_early_ends_the_thread(tmp_path, small_blocks):
    write_csv(made_up(5000), tmp_path / "a.csv")
    running = lambda: [t for t in threading.enumerate() if t.name == "adagrad-log"]  # noqa: E731
    log = open_log(tmp_path / "a.csv", label="click", rows=ROWS)
    batches = log.batches()
    next(batches)
    assert running()
    batches.close()
    assert not running()
    for _ in log:
        break
    assert not running()
    again = log.batches()
    next(again)
    assert sum(batch.num_rows for batch in log) == 5000  # a new pass ends the one before
    log.close()
    assert not running()


def test_memory_does_not_grow_with_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 1 << 18)
    line = b"1,some text,12345\n"
    peaks = []
    for lines in (100_000, 1_000_000):
        (tmp_path / "a.csv").write_bytes(b"click,s,n\n" + line * lines)
        peak, rows = 0, 0
        with open_log(tmp_path / "a.csv", label="click", rows=4096) as log:
            for batch in log:
                rows += batch.num_rows
                del batch
                peak = max(peak, pa.total_allocated_bytes())
        assert rows == lines
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0]


def test_importing_adagrad_needs_no_pyarrow():
    code = "import adagrad, adagrad.datasets, sys; assert 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.tsv.gz"])
def test_a_header_alone(tmp_path, name):
    path = tmp_path / name
    text = b"click\tx\n" if "tsv" in name else b"click,x\n"
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    got, log = read(path)
    assert got.num_rows == 0
    assert log.schema.names == ["click", "x"]


def test_a_column_too_large_for_one_array_makes_several_batches(monkeypatch):
    monkeypatch.setattr(_batches, "LARGEST", 20_000)
    parts = [pa.table({"x": [f"{k:0100d}" for k in range(low, low + 90)]}) for low in (0, 90, 180)]
    batches = list(rechunk(parts, 256))
    assert [k for b in batches for k in b.column(0).to_pylist()] == [
        f"{k:0100d}" for k in range(270)
    ]
    ends = np.cumsum([b.num_rows for b in batches])
    assert len(ends) > 2
    assert all(ends[:-1] % 64 == 0)


@pytest.mark.parametrize("before", [1, 400])
def test_a_line_of_another_width_that_is_not_utf8(tmp_path, before, small_blocks, capfd):
    path = tmp_path / "a.csv"
    path.write_bytes(b"click,site\n" + b"1,a\n" * before + b"0,b,\xff\n" + b"1,c\n")
    with pytest.raises(LogError, match=rf"line {before + 2}: byte 5 of the line is not UTF-8"):
        read(path)
    table, log = read(path, skip_bad=True)
    assert table.column("site").to_pylist() == ["a"] * before + ["c"]
    assert sum(log.skipped.values()) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_file_whose_lines_end_in_carriage_returns(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"click,s\r1,a\r0,b\r")
    with pytest.raises(LogError, match="line 1: a carriage return within the line"):
        read(tmp_path / "a.csv")


def test_a_long_field_in_the_first_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"1," + b"x" * 200_000 + b"\n0,b\n")
    with open_log(tmp_path / "a.csv", label="c0", header=False) as log:
        (batch,) = log
    assert [len(s) for s in batch.column("c1").to_pylist()] == [200_000, 1]


def test_a_schema_without_the_label(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"click,s\n1,a\n0,b\n")
    with open_log(tmp_path / "a.csv", label="click", schema=pa.schema([("s", pa.string())])) as log:
        (batch,) = log
    assert batch.column("click").to_pylist() == [1.0, 0.0]


@pytest.mark.parametrize("rows", [64, 128])
def test_a_byte_order_mark_counts_at_the_start_of_the_file_only(tmp_path, rows, small_blocks):
    mark = b"\xef\xbb\xbf"
    path = tmp_path / "a.csv"
    path.write_bytes(mark + b"s,click\n" + b"b,0\n" * 64 + mark + b"a,1\n" + b"b,0\n" * 80)
    table, _ = read(path, rows=rows)
    assert table.column("s").to_pylist()[63:66] == ["b", "\ufeffa", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in KiB on Linux")
def test_memory_does_not_grow_with_a_parquet_file(tmp_path):
    code = (
        "import resource, sys; from adagrad.ctr.logs import open_log;"
        "sum(b.num_rows for b in open_log(sys.argv[1], label='click'));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    random = np.random.default_rng(0)
    schema = pa.schema([("click", pa.int64()), *((f"x{k}", pa.float64()) for k in range(10))])
    peaks = []
    for groups in (3, 24):
        path = tmp_path / f"{groups}.parquet"
        with parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
            for _ in range(groups):
                columns = [np.zeros(65_536, np.int64), *random.random((10, 65_536))]
                writer.write_table(pa.table(columns, schema))
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 40 * 1024, peaks  # of 105 MiB more
