"""Which files a log has: formats by content, compression, folders of partitions and URIs."""

import bz2
import gzip
import io
import lzma
import os
import sys
import tarfile
from types import SimpleNamespace

import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import fs, parquet

from adagrad.ctr.logs import LogError, blocks, open_log, remote
from log_files import compressed, read

CSV = b"click,site,n\n1,a,3\n0,b,4\n"
ROWS_OF_CSV = [{"click": 1.0, "site": "a", "n": 3}, {"click": 0.0, "site": "b", "n": 4}]
LIBSVM = b"# made up\n1 3:0.5 7:1\n-1 qid:4 2:1\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.txt", "a.data", "a", "part-00000", "a.t.gz", "a.csv"])
def test_the_content_tells_format_and_compression(tmp_path, name, pack):
    """A suffix may be missing, and that of a compression wrong."""
    (tmp_path / name).write_bytes(pack(CSV))
    assert read(tmp_path / name)[0].to_pylist() == ROWS_OF_CSV
    (tmp_path / name).write_bytes(pack(CSV.replace(b",", b"\t")))
    if name != "a.csv":
        assert read(tmp_path / name)[0].to_pylist() == ROWS_OF_CSV
        (tmp_path / name).write_bytes(pack(LIBSVM))
        assert read(tmp_path / name)[0].column("ids").to_pylist() == [[3, 7], [2]]


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("size", [1 << 20, 1 << 6])
def test_members_and_padding(tmp_path, suffix, size, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    header, *lines = CSV.splitlines(keepends=True)
    parts = [header + lines[0][:2], lines[0][2:], b"", lines[1] * 500]
    whole = b"".join(compressed(part, suffix) for part in parts)
    padding = b"" if suffix == ".zst" else bytes(512)
    (tmp_path / f"a.csv{suffix}").write_bytes(whole + padding)
    got, _ = read(tmp_path / f"a.csv{suffix}")
    assert got.column("n").to_pylist() == [3] + [4] * 500
    (tmp_path / f"a.csv{suffix}").write_bytes(whole + b"garbage")
    with pytest.raises(LogError, match="line 503: the file ends early or is damaged"):
        read(tmp_path / f"a.csv{suffix}")


def test_plain_text_with_the_name_of_a_compression(tmp_path):
    """Web servers and browsers decompress files and keep their names."""
    (tmp_path / "a.csv.gz").write_bytes(CSV)
    assert read(tmp_path / "a.csv.gz")[0].num_rows == 2
    (tmp_path / "a.csv.gz").write_bytes(b"\0\1\2" + gzip.compress(CSV))
    with pytest.raises(LogError, match="the name says gzip, but the file is not compressed so"):
        open_log(tmp_path / "a.csv.gz", label="click")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_compressed_standard_input(monkeypatch, pack):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(pack(CSV))))
    with open_log("-", label="click") as log:
        assert pa.Table.from_batches(log).to_pylist() == ROWS_OF_CSV


def parquet_bytes(table):
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.csv", parquet_bytes(pa.table({"click": [1]})), "in parquet format: rename it to"),
        ("a.libsvm", b"ARROW1\0\0", "in arrow format: rename it to .arrow"),
        ("a.csv", b"PK\x03\x04....", "this is a zip archive: unpack it first"),
        ("a.txt", b"PK\x03\x04....", "this is a zip archive: unpack it first"),
        ("a.csv", b"\xff\xfec\0l\0", "this is text in UTF-16: convert it to UTF-8 first"),
        ("a.libsvm", b"1 0:1:1 1:5:0.3\n", "this looks like libffm"),
        ("a.ffm", b"1 3:0.5 7:1\n", "this looks like libsvm .*: use --format libsvm"),
        ("a.ffm", b"1 |site a b:3\n", "this looks like Vowpal Wabbit"),
        ("a.vw", b"1 0:1:1 1:5:0.3\n", "this looks like libffm .*: use --format libffm"),
        ("a.csv", b"1 3:0.5 7:1\n", "this looks like libsvm .*: use --format libsvm"),
        ("a.csv", b"1 |site a b:3 |ad c\n", "this looks like Vowpal Wabbit"),
        ("a.tsv", b"1 0:1:1 1:5:0.3\n", "this looks like libffm"),
        ("a.log", b"click;site\n1;a\n", "semicolons: use --delimiter ';' with --format csv$"),
        ("a.csv", b'{"click": 1}\n', "this looks like JSON .*: use --format jsonl"),
        ("a.txt", b"hello\n", "neither the suffix nor the first line tells the format"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=reason) as error:
        read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))


def test_binary_formats_without_a_suffix(tmp_path):
    table = pa.table({"click": [1, 0], "n": [3, 4]})
    parquet.write_table(table, tmp_path / "part-0")
    with pa.ipc.new_stream(tmp_path / "part-1", table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_file(tmp_path / "part-2", table.schema) as writer:
        writer.write_table(table)
    assert read(tmp_path)[0].column("n").to_pylist() == [3, 4] * 3


def test_empty_parts(tmp_path):
    for name in ("0.csv", "2.csv", "4.csv"):
        (tmp_path / name).touch()
    for name in ("1.csv", "3.csv"):
        (tmp_path / name).write_bytes(CSV)
    (tmp_path / "5.csv.gz").write_bytes(gzip.compress(b""))
    assert read(tmp_path)[0].to_pylist() == ROWS_OF_CSV * 2
    assert read(tmp_path, rows=64)[1].position.rows == 4
    with pytest.raises(LogError, match="the file is empty"):
        read([tmp_path / "0.csv", tmp_path / "2.csv"])


# Partitions


def partitioned(folder, values=("de", "us"), name="country", suffix="csv"):
    for k, value in enumerate(values):
        path = folder / f"{name}={value}"
        path.mkdir(parents=True)
        table = pa.table({"click": [k % 2, 1], "site": ["a", "b"]})
        if suffix == "parquet":
            parquet.write_table(table, path / "part-0.parquet")
        else:
            (path / "part-0.csv").write_text(f"click,site\n{k % 2},a\n1,b\n")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("rows", [64, 128])
def test_partitions_are_columns(tmp_path, suffix, rows):
    partitioned(tmp_path / "log", suffix=suffix)
    every = [tmp_path / "log", str(tmp_path / "log" / "*" / "*")]
    every.append(sorted((tmp_path / "log").rglob("*.*")))
    every.append(sorted((tmp_path / "log").iterdir()))
    for paths in every:
        got, log = read(paths, rows=rows)
        assert log.schema.names == ["click", "site", "country"]
        assert got.column("country").to_pylist() == ["de", "de", "us", "us"]
        assert got.column("site").to_pylist() == ["a", "b"] * 2
    got, _ = read(tmp_path / "log", columns=["country"], label=None)
    assert got.to_pylist() == [{"country": "de"}] * 2 + [{"country": "us"}] * 2
    with open_log(tmp_path / "log", label="click") as log:
        schema = log.schema
    alone, _ = read(tmp_path / "log" / "country=us" / f"part-0.{suffix}", schema=schema)
    assert alone.column("country").to_pylist() == ["us", "us"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["7", "08"], [8, 7]),
        (["7", "b"], ["7", "b"]),
        (["7", "__HIVE_DEFAULT_PARTITION__"], [7, None]),
        (["a%2Fb", "a%20b"], ["a b", "a/b"]),
        (["2026-01-31", "2026-02-01"], ["2026-01-31", "2026-02-01"]),
    ],
)
def test_values_in_paths_have_the_types_of_values_in_csv(tmp_path, values, expected):
    partitioned(tmp_path / "log", values)
    got, log = read(tmp_path / "log")
    assert [*dict.fromkeys(got.column("country").to_pylist())] == expected
    texts = sorted("" if value.startswith("__") else value for value in values)
    (tmp_path / "a.csv").write_text("click,country\n" + "".join(f"1,{x}\n" for x in texts))
    assert read(tmp_path / "a.csv")[1].schema.field("country") == log.schema.field("country")


def test_nested_partitions_and_a_label_in_the_path(tmp_path):
    for k in range(4):
        path = tmp_path / f"log/click={k % 2}/day={k}"
        path.mkdir(parents=True)
        (path / "a.csv").write_text("site\nx\n")
    got, _ = read(tmp_path / "log")
    assert got.to_pylist() == [{"click": float(k % 2), "site": "x", "day": k} for k in (0, 2, 1, 3)]
    got, _ = read(tmp_path / "log", columns=["day"])
    assert got.column("day").to_pylist() == [0, 2, 1, 3]


def test_partitions_that_disagree(tmp_path):
    partitioned(tmp_path / "log")
    (tmp_path / "log" / "rest.csv").write_text("click,site\n1,c\n")
    with pytest.raises(LogError, match=r"rest\.csv, line 1: no column 'country'"):
        open_log(tmp_path / "log", label="click")
    (tmp_path / "log" / "all.csv").write_text("click,site\n1,c\n")
    with pytest.raises(
        LogError, match=r"all\.csv, line 1: no column 'country', which .*country=de"
    ):
        open_log(tmp_path / "log", label="click")
    assert read(tmp_path / "log", columns=["site"])[0].num_rows == 6
    (tmp_path / "log" / "all.csv").write_text("click,site,country\n1,c,fr\n")
    (tmp_path / "log" / "rest.csv").unlink()
    assert read(tmp_path / "log")[0].column("country").to_pylist() == [
        "fr",
        *["de"] * 2,
        *["us"] * 2,
    ]
    clash = tmp_path / "log" / "country=de" / "part-0.csv"
    clash.write_text("click,site,country\n1,c,fr\n")
    with pytest.raises(LogError, match="column 'country' is in the file and in its path"):
        read(clash)
    assert read(clash, columns=["site"])[0].num_rows == 1


def test_folders_above_a_log_are_no_partitions(tmp_path):
    partitioned(tmp_path / "run=3" / "log")
    assert read(tmp_path / "run=3" / "log")[1].schema.names == ["click", "site", "country"]
    one = tmp_path / "run=3" / "log" / "country=de" / "part-0.csv"
    assert read(one)[1].schema.names == ["click", "site", "country"]


# URIs


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Make ``s3://bucket/`` a folder of this machine."""
    (tmp_path / "bucket").mkdir()
    local = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())

    def from_uri(uri):
        assert uri.startswith("s3://")
        return local, uri[len("s3://") :].partition("?")[0].rstrip("/")

    of_tests = SimpleNamespace(
        FileSystem=SimpleNamespace(from_uri=from_uri),
        FileSelector=fs.FileSelector,
        FileType=fs.FileType,
    )
    monkeypatch.setattr(remote, "fs", of_tests)
    return tmp_path / "bucket"


def test_a_bucket(bucket):
    partitioned(bucket / "log")
    (bucket / "log" / "_SUCCESS").touch()
    for uri in ("s3://bucket/log", "s3://bucket/log/", "s3://bucket/log/*/part-*?region=x"):
        got, log = read(uri)
        assert log.paths[0] == "s3://bucket/log/country=de/part-0.csv"
        assert got.column("country").to_pylist() == ["de", "de", "us", "us"]
        assert log.position.bytes_read == log.total_bytes
    (bucket / "a.csv.gz").write_bytes(gzip.compress(CSV))
    assert read("s3://bucket/a.csv.gz")[0].to_pylist() == ROWS_OF_CSV
    table = pa.table({"click": [1], "n": [2]})
    parquet.write_table(table, bucket / "a.parquet")
    with pa.ipc.new_file(bucket / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert read(["s3://bucket/a.parquet", "s3://bucket/a.arrow"])[0].num_rows == 2
    with pytest.raises(FileNotFoundError, match=r"s3://bucket/none\.csv: no such file"):
        read("s3://bucket/none.csv")


def test_uris_of_files(tmp_path):
    (tmp_path / "a b.csv").write_bytes(CSV)
    assert read(f"file://{tmp_path}/a%20b.csv")[0].to_pylist() == ROWS_OF_CSV


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://example.com/a.csv", "ftp:// is not read; copy the log to this machine first"),
        ("s3a://bucket/a.csv", r"s3a:// is not read; give s3://bucket/path"),
    ],
)
def test_other_uris_are_refused_by_name(uri, message):
    with pytest.raises(ValueError, match=message):
        open_log(uri, label="click")


def test_a_link_to_nothing_is_no_file(tmp_path):
    (tmp_path / "a.csv").symlink_to(tmp_path / "gone.csv")
    for path in ("a.csv", "*.csv"):
        with pytest.raises(FileNotFoundError, match=r"a\.csv: no such file"):
            open_log(tmp_path / path, label="click")


def test_a_frame_without_data_begins_a_zst_file(tmp_path):
    """As parallel compressors write it."""
    empty = b"\x50\x2a\x4d\x18\x04\0\0\0size"
    (tmp_path / "a.csv.zst").write_bytes(empty + compressed(CSV, ".zst"))
    assert read(tmp_path / "a.csv.zst")[0].to_pylist() == ROWS_OF_CSV


def test_an_arrow_file_in_a_pipe_is_named(tmp_path, monkeypatch):
    table = pa.table({"click": [1, 0], "n": [3, 4]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    data = (tmp_path / "a.arrow").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    with pytest.raises(LogError, match="an Arrow file cannot be read from a pipe: write a stream"):
        open_log("-", label="click", format="arrow")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.csv"])
def test_a_tar_archive_is_no_log(tmp_path, name, pack):
    """Its first header would be a part of the names of the columns."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writer:
        member = tarfile.TarInfo("log.csv")
        member.size = len(CSV)
        writer.addfile(member, io.BytesIO(CSV))
    (tmp_path / name).write_bytes(pack(archive.getvalue()))
    with pytest.raises(ValueError, match=f"{name}.*: this is a tar archive: unpack it first"):
        read(tmp_path / name, label="site")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\3\4" + bytes(40), "this is a zip archive"),
        ("click,site\n1,a\n".encode("utf-16"), "this is text in UTF-16"),
        (b"PAR1" + bytes(40), "this is a file in parquet format: decompress its gzip first"),
    ],
)
def test_a_compressed_file_of_another_format(tmp_path, data, reason):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(data))
    with pytest.raises(LogError, match=f"a.csv.gz, line 1: {reason}"):
        read(tmp_path / "a.csv.gz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipes_are_not_empty_files(tmp_path):
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(ValueError, match=r"log.csv is a pipe or a device.*give - as the log"):
        open_log(tmp_path / "log.csv", label="click")
