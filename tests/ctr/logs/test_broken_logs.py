"""Every kind of broken row and broken file: the error, or what `skip_bad` leaves out."""

import re
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
from pyarrow import parquet

import adagrad.ctr.logs
from adagrad.ctr.logs import Log, LogError, blocks, open_log
from log_files import ROWS, compressed, read

GOOD = "1,a,2\n"
SCHEMA = pa.schema({"click": pa.float32(), "s": pa.string(), "n": pa.int64()})


BROKEN = {
    "number of columns": ("1,a\n", "2 columns instead of 3"),
    "empty line": ("\n", "the line is empty"),
    "not UTF-8": (b"1,a\xff,2\n", "byte 4 of the line is not UTF-8"),
    "not a number": (
        "1,a,two\n",
        "column 'n': 'two' cannot be read as int64, which looks like 42; --skip-bad leaves such"
        " rows out",
    ),
    "open quote": ('1,a,"2\n', "a quote is not closed within the line"),
    "carriage return": ("1,a\r,2\n", "a carriage return within the line"),
    "missing label": (",a,2\n", "the label is missing"),
    "bad label": ("nan,a,2\n", "the label is 'nan', not 0 or 1, -1 or +1, false or true"),
}


def with_broken(path, where, count, broken, end=""):
    lines = [GOOD.encode()] * count
    for line in where:
        lines[line - 2] = broken.encode() if isinstance(broken, str) else broken
    path.write_bytes(compressed(b"click,s,n\n" + b"".join(lines) + end.encode(), path.suffix))


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("where", [[2000], [1501, 1502, 2900], [3000], [1400, 2999]])
def test_a_broken_row(tmp_path, kind, where, small_blocks):
    broken, reason = BROKEN[kind]
    path = tmp_path / "a.csv.gz"
    with_broken(path, where, 3000, broken)
    rows = []
    with (
        open_log(path, label="click", rows=ROWS, schema=SCHEMA) as log,
        pytest.raises(LogError) as error,
    ):
        for batch in log:
            rows.append(batch.num_rows)
    assert error.value.path == str(path)
    assert error.value.line == where[0]
    assert error.value.reason == reason
    assert str(error.value) == f"{path}, line {where[0]}: {reason}"
    assert sum(rows) == where[0] - 2  # those above it, and no half of one
    got, log = read(path, skip_bad=True, schema=SCHEMA)
    assert log.skipped == {kind: len(where)}
    assert got.to_pylist() == [{"click": 1.0, "s": "a", "n": 2}] * (3000 - len(where))


@pytest.mark.parametrize("block", [1 << 12, 1 << 23])
def test_all_kinds_at_once(tmp_path, block, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
    rng = np.random.default_rng(1)
    kinds = list(BROKEN)
    lines, counts, numbers = [b"click,s,n\n"], dict.fromkeys(kinds, 0), []
    for number in range(1500):
        kind = rng.choice([None, *kinds], p=[0.6] + [0.05] * 8)
        if kind is None:
            lines.append(f"0,x,{number}\r\n".encode())
            numbers.append(number)
        else:
            broken = BROKEN[kind][0]
            lines.append(broken if isinstance(broken, bytes) else broken.encode())
            counts[kind] += 1
    (tmp_path / "a.csv").write_bytes(b"".join(lines))
    got, log = read(tmp_path / "a.csv", skip_bad=True, schema=SCHEMA)
    assert log.skipped == counts
    assert got.column("n").to_pylist() == numbers
    with open_log(
        tmp_path / "a.csv", label="click", rows=ROWS, skip_bad=True, schema=SCHEMA
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
    with pytest.raises(LogError, match=r"line 3: column 'x': -?(nan|inf) is not finite"):
        read(path)
    got, log = read(path, skip_bad=True)
    assert got.column("x").to_pylist() == [0.5, None]
    assert log.skipped == {"not finite": 1}


def test_broken_rows_of_columns(tmp_path):
    table = pa.table(
        {
            "click": [1.0, float("nan"), 3.0, None, 0.0, 1.0],
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
    with pytest.raises(LogError, match="line 1: column 'x': inf is not finite"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        ("1 3:0.5 x:1", "bad entry", "'x:1' is not id:value with an id from 0 to 2**63 - 1"),
        ("1 -1:0.5", "bad entry", "'-1:0.5' is not id:value with an id from 0 to 2**63 - 1"),
        ("1 0x10:1", "bad entry", "'0x10:1' is not id:value with an id from 0 to 2**63 - 1"),
        ("1 1.0:1", "bad entry", "'1.0:1' is not id:value with an id from 0 to 2**63 - 1"),
        ("1 3", "bad entry", "'3' is not id:value with an id from 0 to 2**63 - 1"),
        ("1 1:1 qid:3", "bad entry", "'qid:3' is not id:value with an id from 0 to 2**63 - 1"),
        ("1 3:\xff", "bad entry", "'3:ÿ' is not id:value with an id from 0 to 2**63 - 1"),
        ("1 3:nan", "not finite", "column 'values': nan is not finite"),
        ("3:0.5", "missing label", "the label is missing"),
        ("", "empty line", "the line is empty"),
        ("yes 3:0.5", "bad label", "the label is 'yes', not 0 or 1, -1 or +1, false or true"),
        ("2 3:0.5", "bad label", "the label is 2.0, not 0 or 1, -1 or +1, false or true"),
    ],
)
def test_a_broken_line_of_libsvm(tmp_path, line, kind, reason, small_blocks):
    path = tmp_path / "a.libsvm"
    around = "-1 1:1 7:0.25\n" * 499 + " -1 -0:1\n", "\t-1 2:1\n" * 500
    path.write_text("# comment\n" + around[0] + line + "\n" + around[1])
    with pytest.raises(LogError) as error:
        read(path)
    assert (error.value.line, error.value.reason) == (502, reason)
    got, log = read(path, skip_bad=True)
    assert got.num_rows == 1000
    assert log.skipped == {kind: 1}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tar", ".tar.gz", ".tgz"])
def test_a_tar_archive_is_refused(tmp_path, suffix):
    (tmp_path / "log.csv").write_text("click,site\n" + "1,a\n0,b\n" * 50)
    path = tmp_path / f"a{suffix}"
    with tarfile.open(path, "w:gz" if "gz" in suffix else "w") as archive:
        archive.add(tmp_path / "log.csv", "log.csv")
    with pytest.raises(ValueError, match="this is a tar archive: unpack it first"):
        read(path)


def test_a_header_with_nul(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"click,si\0te\n1,a\n")
    with pytest.raises(LogError, match="this is not a text file: its first line contains NUL"):
        read(path)


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


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_truncated_stream(tmp_path, suffix, skip_bad, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 16)
    rng = np.random.default_rng(0)
    lines = 100_000 if suffix == ".bz2" else 20_000  # bzip2 compresses 900 kB at once
    data = "click,x\n" + "".join(f"1,{x}\n" for x in rng.random(lines))
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
    assert rows > 0.3 * lines
    assert error.value.line == rows + 2
    path.write_bytes(b"")
    with pytest.raises(LogError, match="line 1: the file is empty"):
        open_log(path, label="click")


@pytest.mark.parametrize("rows", [50, 3000, 10_000])
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
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(blocks, "LONGEST_LINE", 1 << 15)
    (tmp_path / "a.csv").write_bytes(b"click,x\n1,2\n1," + b"x" * (1 << 16))
    with pytest.raises(LogError, match=r"line 3: the line has no end within 32768 bytes"):
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
    schema = pa.schema({"click": pa.float32(), "x": pa.int64()})
    with pytest.raises(LogError, match=r"c\.parquet, line 1: column 'x' is \w+.*, but"):
        read([tmp_path / "a.csv", tmp_path / "c.parquet"], schema=schema)


@pytest.mark.parametrize("end", ["\n", "\n\n\n", "\r\n", "\r\n\n\r\n", "\n" * 5000])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.libsvm"])
def test_empty_lines_at_the_end_are_no_fault(tmp_path, name, end, small_blocks):
    text = "click,s\n" + "1,a\n0,b\n" * 500
    text = text.replace(",", "\t") if "tsv" in name else text
    text = "1 3:1\n" * 1000 if "libsvm" in name else text
    path = tmp_path / name
    path.write_bytes(compressed((text + end).encode(), path.suffix))
    assert read(path)[0].num_rows == 1000
    path.write_bytes(compressed((text + end + text[-4:]).encode(), path.suffix))
    with pytest.raises(LogError, match="the line is empty"):
        read(path)
    got, log = read(path, skip_bad=True)
    assert got.num_rows >= 1000
    assert log.skipped["empty line"] == end.count("\n")


def test_a_file_of_empty_lines(tmp_path, small_blocks):
    (tmp_path / "a.csv").write_text("\n" * 9000)
    with pytest.raises(LogError, match="the file is empty"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    "line",
    [
        b"1,a,2\r\r\n",
        b"1,a\xff,2\n1,b\r,2\n",
        b'1,"a\n\xff",2\n',
        b'1,"a,\xff\n1,b",2\n',
        b'1,"\n',
        b"\r\r\n1,a,2\n",
    ],
)
def test_lines_that_pyarrow_cannot_judge(tmp_path, line, skip_bad, capfd, small_blocks):
    path = tmp_path / "a.csv"
    good = b"1,a,2\n" * 400
    path.write_bytes(b"click,s,n\n" + good + line + good)
    if skip_bad:
        got, log = read(path, skip_bad=True)
        lines = line.count(b"\n")
        assert got.num_rows == 800 + (lines - sum(log.skipped.values()))
        assert 1 <= sum(log.skipped.values()) <= lines
    else:
        with pytest.raises(LogError, match="line 402: ") as error:
            read(path)
        assert error.value.line == 402
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "skipped"), [("word{}", "not a number"), ("{}.5.5", "not a number")]
)
def test_a_log_of_broken_rows_is_judged_at_once(tmp_path, value, skipped):
    """Bisecting each of them took minutes for a few megabytes."""
    lines = "".join(f"1,a,{value.format(k)}\n" for k in range(100_000))
    (tmp_path / "a.csv").write_text("click,s,n\n" + lines)
    schema = pa.schema({"click": pa.float32(), "s": pa.string(), "n": pa.int64()})
    begin = time.process_time()
    with pytest.raises(LogError, match=r"line 2: column 'n': .* which looks like 42"):
        read(tmp_path / "a.csv", schema=schema)
    assert time.process_time() - begin < 5
    assert read(tmp_path / "a.csv", schema=schema, skip_bad=True)[1].skipped == {skipped: 100_000}
    assert time.process_time() - begin < 20


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("vw", b"1 |n%d a:1 |all b\n"),
        ("libffm", b"1 %d:1:1 77777:1:1\n"),
        ("jsonl", b'{"click":1,"k%d":1,"all":2}\n'),
    ],
)
def test_a_name_per_line_is_no_column(tmp_path, format, line):
    """Each would take memory in every row: gigabytes for a log of a megabyte."""
    (tmp_path / "log").write_bytes(b"".join(line % k for k in range(7000)))
    label = "click" if format == "jsonl" else "label"
    with pytest.raises(LogError, match=r"lines have .* columns, most of which they lack"):
        open_log(tmp_path / "log", label=label, format=format)
    name = "77777" if format == "libffm" else "all"
    with open_log(tmp_path / "log", label=label, format=format, columns=[name]) as log:
        assert sum(map(len, log)) == 7000


HOSTILE_TEXTS = {
    "vw": {
        b"1 |a f:" + b"9" * 1000: "is not a feature",
        b"1 |a f:1e999999999999": "is not finite",
        b"1 |a f:1e39": "is not finite",
        b"1 |a f:0x1p4": "is not a feature",
        b"1 |a:1e400 f": "is not finite",
        b"1" * 1000 + b" |a f": "not one number",
        b"1 1e400 |a f": "is not finite|not a number",
        b"1 |a f:1\0": "is not a feature",
        b"1 |a f\0:1 \0 |\0 x": "",
        b"1 |a " + b"x" * 200_000 + b":1": "",
        b"1 |" + b"n" * 200_000 + b" f": "",
        b"1 |a " + b":" * 100_000: "",  # a name and a text
        b"1 |a" + b"|" * 100_000: "",
    },
    "libffm": {
        b"1 1:2:" + b"9" * 1000: "is not field:id:value",
        b"1 1:2:1e400": "is not finite",
        b"1 1:99999999999999999999:1": "is not field:id:value",
        b"1 1:9223372036854775807:1": "",
        b"1 9999999999:1:1": "is not field:id:value",
        b"1 1:2:3\0": "is not field:id:value",
        b"1 1:-2:3": "is not field:id:value",
        b"1" + b":" * 100_000: "is not field:id:value",
    },
    "jsonl": {
        b'{"label":1,"a":' + b"9" * 5000 + b"}": "not a JSON object",
        b'{"label":1,"a":' + b"9" * 400 + b"}": "",
        b'{"label":1,"a":1e400}': "is not finite",
        b'{"label":1,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deeply",
        b'{"label":1,"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001: "nested too deeply",
        b'{"label":1,"a":"\0"}': "invalid control character",
        b'{"label":1,"a\\u0000b":"\\u0000"}': "",
        b'{"label":1,"a":"\\ud800"}': "half of a surrogate pair",
        b'{"label":1,"' + b"k" * 200_000 + b'":1}': "",
    },
}


@pytest.mark.parametrize("format", HOSTILE_TEXTS)
def test_hostile_lines(tmp_path, format):
    for line, message in HOSTILE_TEXTS[format].items():
        (tmp_path / "log").write_bytes(line)  # without an end
        found = ""
        try:
            with open_log(tmp_path / "log", label="label", format=format) as log:
                assert sum(map(len, log)) == 1
        except LogError as error:
            found = str(error)
        assert bool(found) == bool(message), (line[:50], found)
        assert re.search(message, found), (line[:50], found)
        assert found.isprintable()
        assert len(found) < 1000


@pytest.mark.parametrize("format", ["vw", "libffm", "jsonl"])
def test_a_file_without_the_end_of_a_line(tmp_path, format):
    path = tmp_path / "log"
    begin = {"vw": b"1 |a x", "libffm": b"1 1:1:1", "jsonl": b'{"label": 1}'}[format]
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(100 << 20)  # zeros, which take no room
    with pytest.raises(LogError, match="line 1: the line has no end within"):
        open_log(path, label="label", format=format)


def test_the_documentation_lists_every_kind_of_fault():
    room = Path(adagrad.ctr.logs.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in room.glob("*.py"))
    kinds = set(re.findall(r'Fault\(\s*"([^"]+)"', code))
    assert {"bad weight", "not JSON", "unreadable line"} < kinds
    listed = " ".join(Log.skipped.__doc__.split())
    assert [kind for kind in sorted(kinds) if f'``"{kind}"``' not in listed] == []
