"""The laws of reading: the same rows in any format, and any split of a log, give the same slots."""

import datetime
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow")

import itertools

import pyarrow as pa
from pyarrow import parquet

from adagrad.ctr import HashingEncoder
from adagrad.ctr.logs import LogError, blocks, open_log
from log_files import write_csv

KINDS = {
    "integer": pa.int64(),
    "small": pa.int16(),
    "real": pa.float64(),
    "whole": pa.float64(),
    "text": pa.string(),
    "flag": pa.bool_(),
    "moment": pa.timestamp("us"),
    "empty": pa.null(),
}
# A value of no other kind: no text reads as a number, and none is empty, which CSV cannot tell from
# a missing one.
VALUES = {
    "integer": st.integers(-(1 << 62), 1 << 62),
    "small": st.integers(-99, 99),
    "real": st.floats(-1e15, 1e15).map(lambda x: x + 0.5),
    "whole": st.integers(-(1 << 50), 1 << 50).map(float),
    "text": st.text('abcé ,"/', min_size=1, max_size=20).map("t{}".format),
    "flag": st.booleans(),
    "moment": st.datetimes(datetime.datetime(1980, 1, 1), datetime.datetime(2100, 1, 1)),
    "empty": st.none(),
}


@st.composite
def tables(draw):
    """Return rows with a column of each kind, some values missing, and a label."""
    rows = draw(st.integers(1, 30))
    columns = {"click": pa.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))}
    for name, kind in KINDS.items():
        value = st.one_of(VALUES[name], VALUES[name], st.none())
        columns[name] = pa.array(draw(st.lists(value, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


def slots(source, kinds):
    return HashingEncoder(16, kinds, kinds="types").transform(source).slots.tolist()


def read(paths, **options):
    with open_log(paths, label="click", rows=64, **options) as log:
        return pa.Table.from_batches(log, log.schema)


def stored(table, folder, group, dictionaries, codes):
    """Write the table in every format that has types; return the paths."""
    parquet.write_table(
        table, folder / "a.parquet", row_group_size=group, use_dictionary=dictionaries
    )
    encoded = table.set_column(
        table.schema.get_field_index("text"),
        "text",
        table["text"].dictionary_encode().cast(pa.dictionary(codes, pa.string())),
    )
    for name, content in (("a.arrow", table), ("b.arrow", encoded)):
        with pa.ipc.new_file(folder / name, content.schema) as writer:
            writer.write_table(content, max_chunksize=group)
    with pa.ipc.new_stream(folder / "a.arrows", encoded.schema) as writer:
        writer.write_table(encoded, max_chunksize=group)
    return [folder / name for name in ("a.parquet", "a.arrow", "b.arrow", "a.arrows")]


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    tables(),
    st.integers(1, 40),
    st.sampled_from([True, False, ["text"]]),
    st.sampled_from([pa.int8(), pa.int32(), pa.uint16()]),
)
def test_the_same_rows_in_every_format(table, group, dictionaries, codes):
    kinds = dict.fromkeys(KINDS)
    want = slots(table, kinds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = stored(table, folder, group, dictionaries, codes)
        for path in paths:
            assert slots(read(path), kinds) == want, path
        assert slots(read(paths), kinds) == slots(pa.concat_tables([table] * 4), kinds)
        write_csv(table, folder / "a.csv")
        assert slots(read(folder / "a.csv"), kinds) == want
        # A tab has no quotes, so that a text that contains one has another meaning there.
        write_csv(table, folder / "a.tsv", "\t")
        without = table.set_column(5, "text", pa.compute.replace_substring(table["text"], '"', ""))
        assert slots(read(folder / "a.tsv"), kinds) == slots(without, kinds)
        mixed = read([folder / "a.csv", folder / "a.parquet"])
        assert slots(mixed, kinds) == slots(pa.concat_tables([table] * 2), kinds)
    assert slots({name: table[name] for name in KINDS}, kinds) == want
    assert slots({name: table[name].to_pylist() for name in KINDS}, kinds) == want


@settings(deadline=None, max_examples=15)
@given(tables())
def test_the_same_rows_in_memory(table):
    pandas, polars, duckdb = (pytest.importorskip(x) for x in ("pandas", "polars", "duckdb"))
    del pandas
    kinds = dict.fromkeys(KINDS)
    want = slots(table, kinds)
    assert slots(polars.from_arrow(table), kinds) == want
    assert slots(duckdb.from_arrow(table), kinds) == want
    # A float of pandas has no room for the integers that a missing one turns into floats.
    exact = {name: None for name in KINDS if name != "integer"}
    assert slots(table.to_pandas(), exact) == slots(table, exact)


fields = st.sampled_from(["5", "7", "5.0", "0.5", "007", "x", "true", "", "1", "2026-01-31"])


def outcome(paths, **options):
    table = read(paths, **options)
    return table.schema.types, slots(table, ["x", "y"])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(fields, fields), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=4),
    st.sampled_from([64, 1 << 20]),
    st.booleans(),
)
@example([("5", "true"), ("x", "1")], [1], 64, False)
def test_any_split_into_files_and_blocks(rows, cuts, size, text):
    lines = [f"1,{x},{y}\n" for x, y in rows]
    options = {"text": ["x", "y"]} if text else {}
    ends = [0, *sorted(min(cut, len(lines)) for cut in cuts), len(lines)]
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole.csv"
        whole.write_text("click,x,y\n" + "".join(lines))
        parts = []
        for k, (start, end) in enumerate(itertools.pairwise(ends)):
            turned = [line.rstrip().split(",")[::-1] for line in lines[start:end]]
            content = "".join(",".join(line) + "\n" for line in turned)
            parts.append(Path(name) / f"{k}.csv")
            parts[-1].write_text("y,x,click\n" + content)
        want = outcome(whole, **options)
        with mock.patch.object(blocks, "BLOCK_BYTES", size):
            assert outcome(parts, **options, columns=["x", "y"]) == want


def test_a_value_that_no_sample_has_is_refused_by_its_column(tmp_path):
    first = "click,x\n" + "1,5\n" * 300_000
    for value in ("x", "0.5", str(1 << 63)):
        (tmp_path / "a.csv").write_text(first + f"1,{value}\n")
        with pytest.raises(LogError) as error:
            read(tmp_path / "a.csv")
        reason = (
            f"column 'x': {value!r} cannot be read as int64, which looks like 42;"
            " --text x reads the column as text, and --numbers x as floats"
        )
        assert (error.value.line, error.value.reason) == (300_002, reason)
        assert read(tmp_path / "a.csv", text=["x"])["x"][-1].as_py() == value
        (tmp_path / "b.csv").write_text(f"click,x\n1,{value}\n")
        table = read([tmp_path / "b.csv", tmp_path / "a.csv"])
        assert table["x"].to_pylist()[::300_001] in ([value, value], [0.5, 0.5])
