"""Logs in JSON lines: what an object means, which lines are broken, and that nothing is silent."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow")

import numpy as np
import pyarrow as pa

from adagrad.ctr.logs import LogError, jsonl, open_log
from log_files import compressed, made_up, read, write_csv

WHOLE = {
    "click": 1,
    "n": 5,
    "s": "a",
    "f": 0.5,
    "b": True,
    "tags": ["x", "y"],
    "at": "2026-01-31T12:00:00",
    "user": {"id": 3, "os": "linux"},
}
TYPES = {
    "n": pa.int64(),
    "s": pa.string(),
    "f": pa.float64(),
    "b": pa.bool_(),
    "tags": pa.list_(pa.string()),
    "at": pa.timestamp("us"),
    "user.id": pa.int64(),
    "user.os": pa.string(),
}


@pytest.fixture
def short_sample(monkeypatch):
    """Let the first 4 KiB decide the columns, so that later lines can differ."""
    monkeypatch.setattr(jsonl, "SAMPLE", 1 << 12)


def write(path, *rows):
    """Write rows, each an object or the text of a line."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_bytes(compressed("".join(f"{line}\n" for line in lines).encode(), path.suffix))
    return path


def test_each_key_is_a_column(tmp_path):
    table, log = read(write(tmp_path / "a.jsonl", WHOLE, {"s": None, "click": 0}))
    assert dict(zip(log.schema.names, log.schema.types, strict=True)) == {
        "click": pa.float32(),
        **TYPES,
    }
    first, second = table.to_pylist()
    assert first["tags"] == ["x", "y"]
    assert (first["user.id"], first["user.os"]) == (3, "linux")
    assert second == dict.fromkeys(second) | {"click": 0.0}


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.log", "a", "a.jsonl.gz"])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_names_and_compressions(tmp_path, name, suffix):
    path = write(tmp_path / (name + suffix), WHOLE, {"click": 0})
    assert read(path)[0].column("n").to_pylist() == [5, None]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_members_and_padding(tmp_path, suffix):
    line = (json.dumps(WHOLE) + "\n").encode()
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compressed(line, suffix) + compressed(line * 2, suffix) + bytes(4096))
    assert read(path)[0].num_rows == 3
    path.write_bytes(compressed(line * 999, suffix)[:-9])
    with pytest.raises(LogError, match="the file ends early or is damaged"):
        read(path)


def test_the_same_values_as_in_csv(tmp_path):
    table = made_up(3000)
    write_csv(table, tmp_path / "a.csv")
    rows = table.to_pylist()
    keys = np.random.default_rng(0).permutation(table.column_names).tolist()
    write(
        tmp_path / "a.jsonl",
        *({key: row[key] for key in keys if row[key] is not None} for row in rows),
    )
    expected, _ = read(tmp_path / "a.csv")
    found, log = read(tmp_path / "a.jsonl")
    assert found.select(expected.column_names).equals(expected)
    assert log.position.bytes_read == log.total_bytes


def test_the_standard_input_is_recognized(monkeypatch):
    data = (json.dumps(WHOLE) + "\n").encode() * 2
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    with open_log("-", label="click") as log:
        assert sum(batch.num_rows for batch in log) == 2


BROKEN = [
    ('{"click":1,"n":"1"}', """column 'n': "1" cannot be read as int64"""),
    ('{"click":1,"n":5.5}', "column 'n': 5.5 cannot be read as int64, .*; --text n reads"),
    ('{"click":1,"n":9223372036854775808}', "column 'n': 9223372036854775808 cannot be read"),
    ('{"click":1,"n":true}', "column 'n': true cannot be read as int64"),
    ('{"click":1,"b":1}', "column 'b': 1 cannot be read as bool"),
    ('{"click":1,"s":1}', "column 's': 1 is not text; --text s reads the column as text"),
    ('{"click":1,"s":["a"]}', """column 's': \\["a"\\] is not text"""),
    ('{"click":1,"s":"\\ud800"}', "column 's': .* has half of a surrogate pair"),
    ('{"click":1,"f":9007199254740993}', "an integer that double cannot hold exactly"),
    ('{"click":1,"f":1e999}', "column 'f': inf is not finite"),
    ('{"click":1,"f":NaN}', "column 'f': nan is not finite"),
    ('{"click":1,"f":-Infinity}', "column 'f': -inf is not finite"),
    ('{"click":1,"n":NaN}', "column 'n': NaN cannot be read as int64"),
    ('{"click":1,"at":"never"}', "column 'at': \"never\" cannot be read as timestamp"),
    ('{"click":1,"tags":"x"}', "column 'tags': \"x\" cannot be read as list<item: string>$"),
    ('{"click":1,"tags":[["x"]]}', "column 'tags': "),
    ('{"click":1,"user":5}', "the key 'user' has no object, as it has in other rows"),
    ('{"click":1,"user":{"new":4}}', "the key 'user.new' is not in the first MiB"),
    ('{"click":1,"new":1}', "the key 'new' is not in the first MiB.*--ignore.*--columns"),
    ('{"click":1,"new":null}', "the key 'new' is not in the first MiB"),
    ('{"click":1,"n":1,"n":2}', "the key 'n' occurs twice in an object"),
    ('{"click":1,"user":{"id":1,"id":1}}', "the key 'id' occurs twice in an object"),
    ('{"click":3}', "the label is '3', not 0 or 1"),
    ('{"n":1}', "the label is missing"),
    ("", "the line is empty"),
    ("[1]", "the line is an array, not a JSON object"),
    ("null", "the line is null, not a JSON object"),
    ('{"click":1', "the JSON object does not end on its line"),
    ('{"click":1} {"click":0}', "something follows the JSON object, at character 13"),
    ("{'click':1}", "this is not a JSON object: expecting property name"),
    ('{"click":1,"x":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    (b'{"click":1,"s":"\xff"}', "byte 17 of the line is not UTF-8"),
]


@pytest.mark.usefixtures("short_sample")
@pytest.mark.parametrize(("line", "reason"), BROKEN, ids=[str(line)[:30] for line, _ in BROKEN])
@pytest.mark.parametrize("ignore", [(), ("b2",)], ids=["all", "some"])
def test_broken_lines(tmp_path, line, reason, ignore):
    rows = [{**WHOLE, "b2": [k]} for k in range(60)]
    path = write(tmp_path / "a.jsonl", *rows)
    good = path.read_bytes()
    line = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(good + line + b"\n" + good)
    with open_log(path, label="click", rows=64, ignore=ignore) as log:
        with pytest.raises(LogError, match=reason) as error:
            list(log)
        assert error.value.line == 61
    table, log = read(path, skip_bad=True, ignore=ignore)
    assert table.num_rows == 120
    assert sum(log.skipped.values()) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'[{"click":1},\n {"click":0}]\n', r"a JSON array .*: convert it with jq -c '\.\[\]'$"),
        (b'{\n  "click": 1\n}\n', "does not end on its line: write each on a line, as jq -c"),
        (b'{"click":1,"u":{"x":1},"u.x":2}\n', "'u.x' and a key in an object mean the same"),
        (b'{"click":[1]}\n', "column 'click' is list<item: int64>, not 0 or 1"),
        (b'{"click":1,"x":[{"y":1}]}\n', "column 'x' has lists of objects or lists.*: ignore it"),
        (b'{"clock":1}\n', "no column 'click'; the columns are clock; did you mean 'clock'"),
    ],
)
def test_files_that_are_refused(tmp_path, data, reason):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(LogError, match=reason):
        open_log(tmp_path / "a.json", label="click")


def test_whole_floats_are_integers(tmp_path):
    rows = [{"click": 1, "n": 5}] * 3
    path = write(tmp_path / "a.jsonl", *rows, '{"click":0,"n":5.0}', '{"click":0,"n":5e0}')
    schema = pa.schema({"n": pa.int64()})
    assert read(path, schema=schema)[0].column("n").to_pylist() == [5] * 5


def test_a_model_of_whole_numbers_says_what_to_do(tmp_path):
    path = write(tmp_path / "a.jsonl", {"click": 1, "n": 5}, {"click": 1, "n": 5.5})
    reason = "line 2: column 'n': 5.5 cannot be read as int64, .*; --skip-bad leaves such rows out"
    with pytest.raises(LogError, match=reason):
        read(path, schema=pa.schema({"n": pa.int64()}))


def test_text_takes_any_value(tmp_path):
    path = write(tmp_path / "a.jsonl", *({"click": 1, "x": x} for x in [1, "1", 2, True, 0.5]))
    assert read(path, text=["x"])[0].column("x").to_pylist() == ["1", "1", "2", "1", "0.5"]
    with pytest.raises(LogError, match="line 2: column 'x': \"1\" cannot be read as double"):
        read(path)


def test_long_integers_are_ids(tmp_path):
    path = write(tmp_path / "a.jsonl", {"click": 1, "x": 2**64}, {"click": 0, "x": 7})
    assert read(path)[0].column("x").to_pylist() == [str(2**64), "7"]
    path = write(tmp_path / "a.jsonl", {"click": 1, "x": 0.5}, {"click": 0, "x": 2**53 + 1})
    assert read(path)[0].column("x").to_pylist() == ["0.5", str(2**53 + 1)]


def test_objects(tmp_path):
    """The same keys in every row are columns; numbers by varying keys are a map."""
    bag = {"click": 1, "words": {"cheap": 0.5}}
    path = write(tmp_path / "a.jsonl", bag, {"click": 0, "words": {"fly": 2, "now": None}})
    table, log = read(path)
    assert log.schema.field("words").type == pa.map_(pa.string(), pa.float32())
    assert table.column("words").to_pylist() == [[("cheap", 0.5)], [("fly", 2.0)]]
    assert read(path, columns=["words.fly"])[0].column("words.fly").to_pylist() == [None, 2]
    mixed = write(tmp_path / "b.jsonl", bag, {"click": 0, "words": {"fly": "x"}})
    assert read(mixed)[1].schema.names == ["click", "words.cheap", "words.fly"]
    record = write(tmp_path / "c.jsonl", bag, bag)
    assert read(record)[1].schema.names == ["click", "words.cheap"]
    assert read(record, columns=["words"])[0].column("words").to_pylist() == [[("cheap", 0.5)]] * 2


def test_columns_that_are_asked_for_need_not_be_in_the_first_rows(tmp_path):
    path = write(tmp_path / "a.jsonl", {"click": 1}, {"click": 0, "a": {"b": 7}, "c.d": 8, "e": 9})
    schema = pa.schema({"a.b": pa.int64(), "c.d": pa.int64()})
    table, _ = read(path, schema=schema)
    assert table.drop_columns("click").to_pylist()[1] == {"a.b": 7, "c.d": 8}


@pytest.mark.usefixtures("short_sample")
def test_new_keys_that_are_named_or_ignored(tmp_path):
    rows = [{"click": 1, "n": k} for k in range(999)]
    path = write(tmp_path / "a.jsonl", *rows, {"click": 0, "n": 1, "new": {"x": [1]}})
    assert read(path, ignore=["new"])[0].num_rows == 1000
    assert read(path, columns=["n"])[0].num_rows == 1000
    with pytest.raises(LogError, match=r"line 1000: the key 'new.*' is not in the first MiB"):
        read(path)


def test_files_of_one_log(tmp_path):
    write(tmp_path / "a.jsonl", {"click": 1, "n": 1, "m": None, "at": "2026-01-31T12:00:00"})
    write(tmp_path / "b.jsonl", {"click": 0, "n": 0.5, "m": "x", "more": 1}, {"click": 0})
    table, log = read(tmp_path)
    assert table.column("n").to_pylist() == [1.0, 0.5, None]
    assert table.column("m").to_pylist() == [None, "x", None]
    assert log.unread == {"more": str(tmp_path / "b.jsonl")}
    write(tmp_path / "c.jsonl", {"click": 0, "n": "x"})
    with pytest.raises(LogError, match=r"c.jsonl.*'n' is text, but double in .*--text n"):
        read(tmp_path)


def test_beside_parquet(tmp_path):
    schema = {"click": pa.int64(), "at": pa.timestamp("ms"), "x": pa.decimal128(5, 2)}
    table = pa.table({"click": [1], "at": [0], "x": ["1.50"]}).cast(pa.schema(schema))
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    write(tmp_path / "b.jsonl", {"click": 0, "at": "1970-01-01 00:00:00", "x": "1.5"})
    found, _ = read(tmp_path)
    assert found.column("at").to_pylist()[0] == found.column("at").to_pylist()[1]
    assert found.column("x").to_pylist()[0] == found.column("x").to_pylist()[1]


def test_a_byte_order_mark_and_returns(tmp_path):
    row = json.dumps(WHOLE).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + row + b"\r\n" + row + b"\r\n\r\n")
    assert read(tmp_path / "a.jsonl")[0].num_rows == 2


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=3)
SCALARS |= st.floats(allow_nan=False, allow_infinity=False)
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
VALUES |= st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "a.x"]), VALUES, max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=6), st.sampled_from(["", " ", "\r"]), st.booleans())
def test_both_ways_to_parse_agree(tmp_path_factory, rows, end, escaped):
    """pyarrow, where it is used, has the values that the parser of single lines has."""
    path = tmp_path_factory.mktemp("log") / "a.jsonl"
    lines = [json.dumps({"click": 1, **row}, ensure_ascii=escaped) + end for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    found = []
    for line_by_line in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if line_by_line:
                patch.setattr(jsonl._FastColumns, "parse", lambda self, block: None)
            try:
                table, log = read(path, skip_bad=True)
                found.append((table.schema, table.to_pylist(), log.skipped))
            except LogError as error:
                found.append(str(error))
    assert found[0] == found[1]
