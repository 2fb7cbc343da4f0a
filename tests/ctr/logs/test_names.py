"""The names of columns: missing ones, several of one name, and very many."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from adagrad.ctr.logs import LogError, open_log
from adagrad.ctr.logs.request import distinct_names
from log_files import read, write_csv

TABLE = pa.Table.from_arrays(
    [pa.array([1, 0]), pa.array([1, 0]), pa.array(["a", "b"]), pa.array(["p", "q"])],
    names=["", "click", "x", "x"],
)


def test_distinct_names():
    assert distinct_names(["", "a"]) == ["", "a"]
    assert distinct_names(["", "a", "", "a", "b"]) == ["c0", "c1", "c2", "c3", "b"]
    assert distinct_names(["c1", "a", "a"]) == ["c1", "c1_", "c2"]


@pytest.fixture(params=["csv", "tsv", "parquet", "arrow", "arrows"])
def path(request, tmp_path):
    """A log with an unnamed column and two columns of one name."""
    path = tmp_path / f"a.{request.param}"
    if request.param == "parquet":
        parquet.write_table(TABLE, path)
    elif request.param in ("arrow", "arrows"):
        new = pa.ipc.new_file if request.param == "arrow" else pa.ipc.new_stream
        with new(path, TABLE.schema) as writer:
            writer.write_table(TABLE)
    else:
        text = ",click,x,x\n1,1,a,p\n0,0,b,q\n"
        path.write_text(text.replace(",", "\t") if request.param == "tsv" else text)
    return path


def test_two_columns_of_one_name(path):
    with pytest.raises(LogError) as error:
        read(path)
    reason = "2 columns 'x': their names by position are c2 and c3; choose or ignore them by these"
    assert error.value.reason == reason
    with pytest.raises(LogError, match="2 columns 'x'"):
        read(path, columns=["x"])
    got, _ = read(path, columns=["c3", "c2"])
    assert got.to_pydict() == {"click": [1.0, 0.0], "c3": ["p", "q"], "c2": ["a", "b"]}
    assert read(path, ignore=["c2"])[0].column_names == ["click", "", "c3"]
    assert read(path, ignore=["x"])[0].to_pydict() == {"click": [1.0, 0.0], "": [1, 0]}
    assert read(path, ignore=["", "x"])[0].column_names == ["click"]
    schema = pa.schema([("c3", pa.string())])
    assert read(path, schema=schema)[0]["c3"].to_pylist() == ["p", "q"]


def test_unnamed_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",click,,x\n0,1,5,7\n")
    assert read(path)[0].column_names == ["click", "c0", "c2", "x"]
    assert read(path, ignore=["c0"])[0].column_names == ["click", "c2", "x"]
    assert read(path, ignore=[""])[0].column_names == ["click", "x"]
    path.write_text(",click,x\n0,1,7\n")
    assert read(path, columns=[""])[0].to_pydict() == {"click": [1.0], "": [0]}


def seconds(columns, path, rows=20):
    table = pa.table(
        {"click": pa.array([0, 1] * (rows // 2))}
        | {f"f{k}": pa.array([f"s{k % 7}", str(k)] * (rows // 2)) for k in range(columns)}
    )
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    elif path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    start = time.process_time()
    with open_log(path, label="click") as log:
        opened = time.process_time() - start
        assert sum(batch.num_rows for batch in log) == rows
        assert len(log.schema) == columns + 1
    return opened


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_the_time_to_open_grows_with_the_columns_and_not_their_square(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    seconds(100, path)  # imports
    few = min(seconds(1000, path) for _ in range(3))
    many = min(seconds(10_000, path) for _ in range(2))
    assert many < 30 * few + 0.1


def test_many_files_on_few_descriptors(tmp_path):
    pytest.importorskip("resource")  # not on Windows
    for k in range(300):
        table = pa.table(
            {
                "click": [0, 1],
                "x": pa.array([k, k] if k else [None, None], pa.int32() if k else None),
            }
        )
        parquet.write_table(table, tmp_path / f"{k:03}.parquet")
    code = (
        "import resource, sys; from adagrad.ctr.logs import open_log\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "with open_log(sys.argv[1], label='click') as log:\n"
        "    print(sum(b.num_rows for b in log), log.schema.field('x').type)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == ["600", "int32"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_columns_that_only_later_files_have_are_named(tmp_path, suffix):
    tables = [
        pa.table({"click": [1], "site": ["a"]}),
        pa.table({"click": [0], "new": ["x"], "site": ["b"]}),
        pa.table({"click": [0], "site": ["b"], "new": ["x"], "newer": [1]}),
    ]
    paths = [str(tmp_path / f"{day}{suffix}") for day in range(3)]
    for table, path in zip(tables, paths, strict=True):
        if suffix == ".csv":
            write_csv(table, Path(path))
        elif suffix == ".parquet":
            parquet.write_table(table, path)
        else:
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
    with open_log(paths, label="click") as log:
        assert log.unread == {"new": paths[1], "newer": paths[2]}
        assert log.schema.names == ["click", "site"]
        assert [batch.column("site").to_pylist() for batch in log] == [["a", "b", "b"]]
    with open_log(paths, label="click", columns=["site"]) as log:
        assert log.unread == {}
    with open_log(paths[1:], label="click", ignore=["new"]) as log:
        assert log.unread == {"newer": paths[2]}
    with pytest.raises(LogError, match=r"1\.\w+, line 1: no column 'newer'"):
        open_log(paths[::-1], label="click")


@pytest.mark.parametrize(
    ("text", "label", "columns", "rows"),
    [
        ("a,,\n1,2,1\n3,4,0\n", "c2", None, [(1.0, 1, 2), (0.0, 3, 4)]),
        ("a,y,y\n1,2,1\n3,4,0\n", "c2", None, [(1.0, 1, 2), (0.0, 3, 4)]),
        (",,x\n5,6,7\n", None, ["c0", "c1"], [(5, 6)]),
        ("1,5,1\n0,6,0\n", "c2", None, [(1.0, 1, 5), (0.0, 0, 6)]),  # no header: 1 twice
        ("1,a,a\n0,a,b\n", "c0", ["c1", "c2"], [(1.0, "a", "a"), (0.0, "a", "b")]),
        ("a,a\na,b\n", None, ["c0", "c1"], [("a", "a"), ("a", "b")]),
    ],
)
def test_a_header_whose_columns_are_requested_by_position(tmp_path, text, label, columns, rows):
    (tmp_path / "a.csv").write_text(text)
    got, _ = read(tmp_path / "a.csv", label=label, columns=columns)
    assert list(zip(*got.to_pydict().values(), strict=True)) == rows
