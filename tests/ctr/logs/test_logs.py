"""Logs as streams of batches: the same rows from every format, and the options of `open_log`."""

import gzip

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from adagrad.ctr.logs import LogError, open_log
from log_files import expected, made_up, read, write_csv


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
    (folder / "hour1").mkdir(parents=True)
    (folder / "_SUCCESS").touch()
    (folder / ".part.csv.crc").touch()
    write_csv(parts[0], folder / "a.csv")
    write_csv(parts[1], folder / "hour1" / "b.csv.gz")
    got, log = read(folder)
    assert got.equals(whole.slice(0, 200))
    assert log.paths == (str(folder / "a.csv"), str(folder / "hour1" / "b.csv.gz"))
    for path in ("none.csv", "none*.csv"):
        with pytest.raises(FileNotFoundError, match="none"):
            open_log(tmp_path / path, label="click")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no log in this directory"):
        open_log(tmp_path / "empty", label="click")


def test_every_file_has_the_same_types(tmp_path):
    table = made_up(100)
    write_csv(table, tmp_path / "a.csv")
    write_csv(table.select([3, 2, 1, 0]), tmp_path / "b.csv")
    parquet.write_table(table, tmp_path / "c.parquet")
    got, _ = read([tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.parquet"])
    assert got.equals(expected(pa.concat_tables([table] * 3)))
    got, log = read([tmp_path / "c.parquet", tmp_path / "a.csv"])
    assert log.schema.field("site").type == pa.string()
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
        (["True", "false", ""], pa.bool_(), "maybe", "'maybe' cannot be read as bool"),
        (
            ["2026-01-31 12:00:00", "2026-01-31T12:00", ""],
            pa.timestamp("us"),
            "noon",
            "read as timestamp",
        ),
        (
            ["2026-01-31T12:00:00Z", "", ""],
            pa.timestamp("us", "UTC"),
            "noon",
            "read as timestamp",
        ),
        (
            ["2026-01-31 12:00:00.5", "2026-01-31", ""],
            pa.timestamp("ns"),
            "noon",
            "read as timestamp",
        ),
        (["2026-01-31", "2026-02-01", ""], pa.string(), None, None),
        (["1", "0", ""], pa.int64(), "yes", "'yes' cannot be read as int64"),
    ],
)
def test_bools_and_timestamps(tmp_path, column, kind, wrong, reason):
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
    with pytest.raises(LogError, match=r"no column 'click'; .* no header, use c0, c1, c2 or give"):
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
    features = got.drop_columns("click")
    assert read(tmp_path / "a.svm.gz", label=None)[0].equals(features)
    entries = [line.partition(" ")[2] for line in lines[1:]]
    lines = [entry if ":" in entry else "0" for entry in entries]  # no labels
    (tmp_path / "a.svm").write_text("\n".join(lines))
    assert read(tmp_path / "a.svm", label=None)[0].equals(features)


def test_arrow_stream(tmp_path):
    table = made_up()
    write_csv(table, tmp_path / "a.csv")
    with open_log(tmp_path / "a.csv", label="click") as log:
        assert pa.table(log).equals(expected(table))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 100}, "rows must be a multiple of 64"),
        ({"rows": 0}, "rows must be a multiple of 64"),
        ({"format": "xml"}, "format must be one of"),
        ({"delimiter": "ab"}, "delimiter must be one character"),
        ({"columns": ["click"]}, "'click' is the label"),
        ({"columns": ["no"]}, "no column 'no'"),
        ({"numeric": ["no"]}, "no column 'no'"),
        (
            {"schema": pa.schema([]), "columns": ["x"]},
            "schema excludes columns, ignore, numeric, text, floats and multi",
        ),
        ({"format": "parquet", "header": True}, "header is for CSV and TSV"),
    ],
)
def test_bad_parameters(tmp_path, options, message):
    (tmp_path / "a.csv").write_text("click,x\n1,2\n")
    with pytest.raises(ValueError, match=message):
        open_log(tmp_path / "a.csv", **{"label": "click"} | options)


def test_an_unknown_suffix(tmp_path):
    (tmp_path / "a.txt").write_text("click\n1\n")
    with pytest.raises(ValueError, match="neither the suffix nor the first line tells the format"):
        open_log(tmp_path / "a.txt", label="click")
    assert read(tmp_path / "a.txt", format="tsv")[0].num_rows == 1
    with pytest.raises(ValueError, match="paths is empty"):
        open_log([], label="click")


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.tsv.gz"])
def test_a_header_alone(tmp_path, name):
    path = tmp_path / name
    text = b"click\tx\n" if "tsv" in name else b"click,x\n"
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    got, log = read(path)
    assert got.num_rows == 0
    assert log.schema.names == ["click", "x"]


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
