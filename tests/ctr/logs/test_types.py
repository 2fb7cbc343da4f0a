"""A value has one meaning in every format, file and block of a log, or the run stops."""

import datetime
import decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import need_packages

need_packages("pyarrow")

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from adagrad.ctr import HashingEncoder
from adagrad.ctr.logs import LogError, open_log
from adagrad.ctr.logs.log import Log
from adagrad.ctr.logs.types import as_text, convert, unify
from log_files import read, write_csv

TEXT_CODES = pa.dictionary(pa.int32(), pa.string())
DAY = datetime.date(2026, 1, 31)
NOON = datetime.datetime(2026, 1, 31, 12)

UNIFIED = [
    (pa.null(), pa.string(), pa.string()),
    (pa.null(), TEXT_CODES, TEXT_CODES),
    (pa.null(), pa.list_(pa.int64()), pa.list_(pa.int64())),
    (pa.int32(), pa.int32(), pa.int32()),
    (pa.int32(), pa.int64(), pa.int64()),
    (pa.int8(), pa.uint64(), pa.int64()),
    (pa.uint8(), pa.uint64(), pa.uint64()),
    (pa.int64(), pa.float32(), pa.float64()),
    (pa.float16(), pa.float32(), pa.float32()),
    (pa.float64(), pa.float32(), pa.float64()),
    (pa.string(), pa.string_view(), pa.string()),
    (pa.string(), pa.large_string(), pa.large_string()),
    (pa.string(), TEXT_CODES, pa.string()),
    (pa.dictionary(pa.int8(), pa.string()), TEXT_CODES, TEXT_CODES),
    (pa.dictionary(pa.int8(), pa.string(), ordered=True), TEXT_CODES, TEXT_CODES),
    (pa.string(), pa.binary(), pa.large_binary()),
    (pa.date32(), pa.date64(), pa.date32()),
    (pa.date32(), pa.timestamp("ms"), pa.timestamp("ms")),
    (pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ns")),
    (pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")),
    (pa.time32("s"), pa.time64("us"), pa.time64("us")),
    (pa.decimal128(5, 2), pa.decimal128(9, 2), pa.decimal128(9, 2)),
    (pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.large_list(pa.int64())),
    (pa.bool_(), pa.int64(), None),
    (pa.int64(), pa.string(), None),
    (pa.int64(), pa.dictionary(pa.int32(), pa.int64()), None),
    (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
    (pa.timestamp("us", "Europe/Paris"), pa.timestamp("us", "UTC"), None),
    (pa.date32(), pa.timestamp("us", "UTC"), None),
    (pa.date32(), pa.string(), None),
    (pa.decimal128(5, 2), pa.decimal128(5, 3), None),
    (pa.decimal128(5, 2), pa.float64(), None),
    (pa.duration("s"), pa.duration("ms"), None),
    (pa.list_(pa.string()), pa.string(), None),
    (pa.struct({"a": pa.int64()}), pa.int64(), None),
]


@pytest.mark.parametrize(("one", "other", "wanted"), UNIFIED, ids=str)
def test_which_types_mean_the_same(one, other, wanted):
    assert unify(one, other) == wanted
    assert unify(other, one) == wanted


def write(table, path, **options):
    """Write a table with a label, in the format of the suffix."""
    table = table.add_column(0, "click", pa.array(np.arange(len(table)) % 2))
    if path.suffix == ".parquet":
        parquet.write_table(table, path, **options)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".arrows":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        write_csv(table, path, "\t" if path.suffix == ".tsv" else ",")
    return path


def column(kind, values):
    return pa.table({"x": pa.array(values, kind)})


SAME = [
    (pa.null(), [None, None], pa.string(), ["a", None]),
    (pa.null(), [None, None], TEXT_CODES, ["a", None]),
    (pa.null(), [None], pa.int32(), [5, None]),
    (pa.int32(), [5, None], pa.int64(), [1 << 40, 7]),
    (pa.int64(), [5, None], pa.float64(), [5.0, 0.5]),
    (pa.uint64(), [5, None], pa.int8(), [-5, 7]),
    (pa.string(), ["a", None], pa.large_string(), ["b"]),
    (pa.string(), ["a", None], pa.string_view(), ["b", "a longer text than 12 bytes"]),
    (pa.string(), ["a", None], TEXT_CODES, ["b", None]),
    (pa.dictionary(pa.int8(), pa.large_string()), ["a", None], TEXT_CODES, ["b", None]),
    (pa.date32(), [DAY, None], pa.date64(), [DAY]),
    (pa.date32(), [DAY, None], pa.timestamp("us"), [NOON]),
    (pa.timestamp("ms"), [NOON, None], pa.timestamp("us"), [NOON]),
    (pa.time32("s"), [datetime.time(12), None], pa.time64("us"), [datetime.time(12, 0, 0, 5)]),
    (pa.decimal128(4, 2), [decimal.Decimal("1.50")], pa.decimal128(9, 2), [None]),
    (pa.list_(pa.int32()), [[1, 2], None, []], pa.large_list(pa.int64()), [[1 << 40]]),
]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("one", "first", "other", "second"), SAME, ids=str)
def test_no_value_is_lost_or_changed(tmp_path, suffix, order, one, first, other, second):
    tables = [column(one, first), column(other, second)][::order]
    paths = [write(table, tmp_path / f"{k}{suffix}") for k, table in enumerate(tables)]
    got, _ = read(paths)
    encoder = HashingEncoder(12)
    want = np.concatenate([encoder.transform(table).slots for table in tables])
    np.testing.assert_array_equal(encoder.transform(got.drop_columns("click")).slots, want)
    assert got["x"].null_count == sum(table["x"].null_count for table in tables)


DIFFERENT = [(one, other) for one, other, wanted in UNIFIED if wanted is None]


@pytest.mark.parametrize("suffix", [".arrows", ".arrow"])
@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=str)
def test_types_of_different_meaning_are_refused_by_name(tmp_path, suffix, one, other):
    paths = [
        write(column(kind, [None, None]), tmp_path / f"{k}{suffix}", use_dictionary=False)
        for k, kind in enumerate((one, other))
    ]
    with pytest.raises(LogError) as error:
        open_log(paths, label="click")
    assert error.value.path == str(paths[1])
    reason = error.value.reason.replace("element: ", "item: ")
    names = ["text" if kind == pa.string() else str(kind) for kind in (one, other)]
    for part in ("column 'x'", *names, str(paths[0])):
        assert part in reason
    scalar = as_text(one) and as_text(other)
    assert ("--text x" in error.value.reason) == bool(scalar)
    if scalar:
        got, _ = read(paths, text=["x"])
        assert got["x"].type in (pa.string(), TEXT_CODES)


MISFITS = [
    (pa.int64(), (1 << 53) + 1, pa.float64(), 0.5, "9007199254740993 (int64)", "double"),
    (pa.uint64(), 1 << 63, pa.int64(), 5, "9223372036854775808 (uint64)", "int64"),
    (pa.timestamp("s"), datetime.datetime(2300, 1, 1), pa.timestamp("ns"), NOON, "2300", "[ns]"),
]


@pytest.mark.parametrize(("one", "value", "other", "fits", "shown", "wanted"), MISFITS, ids=str)
def test_a_value_that_does_not_fit_is_a_broken_row(
    tmp_path, one, value, other, fits, shown, wanted
):
    paths = [
        write(column(other, [fits]), tmp_path / "0.parquet"),
        write(column(one, [None, None, value, None]), tmp_path / "1.parquet"),
    ]
    with open_log(paths, label="click") as log, pytest.raises(LogError) as error:
        rows = 0
        for batch in log:
            rows += batch.num_rows
    assert rows == 3
    assert (error.value.path, error.value.line) == (str(paths[1]), 3)
    for part in ("column 'x'", shown, wanted, "--text x"):
        assert part in error.value.reason
    got, log = read(paths, skip_bad=True)
    assert got["x"].to_pylist() == [fits, None, None, None]
    assert log.skipped == {"another type": 1}
    assert read(paths, text=["x"])[0].num_rows == 5


values_as_text = st.sampled_from(
    [
        (pa.int8(), [5, -7, 0, None]),
        (pa.uint64(), [5, (1 << 64) - 1, None]),
        (pa.float16(), [np.float16(0.1), np.float16(5), None]),
        (pa.float32(), [0.1, 5.0, -0.0, 1e-7, 1e18, 1e20, 16777216.0, None]),
        (pa.float64(), [0.1, 5.0, -0.0, 1e-7, 1e18, 1e20, 1e22, 123456.789, None]),
        (pa.bool_(), [True, False, None]),
        (pa.decimal128(9, 2), [decimal.Decimal("1.50"), None]),
        (pa.date64(), [DAY, None]),
        (pa.timestamp("ns"), [NOON, datetime.datetime(2026, 1, 31), None]),
        (pa.timestamp("ms", "Asia/Tokyo"), [NOON, None]),
        (pa.time64("us"), [datetime.time(1, 2, 3, 400000), None]),
        (pa.duration("s"), [datetime.timedelta(seconds=5), None]),
        (pa.binary(), [b"abc", None]),
        (pa.large_string(), ["a", "", None]),
        (pa.dictionary(pa.int16(), pa.int64()), [7, 9, None]),
    ]
)


@given(values_as_text)
def test_the_text_of_a_value_is_what_the_encoder_hashes(given_values):
    kind, values = given_values
    x = pa.chunked_array([pa.array(values, kind), pa.array(values[::-1], kind)])
    encoder = HashingEncoder(16, {"x": "categorical"})
    texts = convert(x, as_text(kind))
    np.testing.assert_array_equal(
        encoder.transform(pa.table({"x": texts})).slots,
        encoder.transform(pa.table({"x": x})).slots,
    )


def test_dictionaries_with_nulls_and_other_indices(tmp_path):
    codes = [0, 1, 2, None]
    first = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(["x", None, "y"]))
    second = pa.DictionaryArray.from_arrays(pa.array(codes, pa.uint16()), pa.array(["y", "z", ""]))
    paths = [
        write(pa.table({"x": pa.chunked_array([array] * 2)}), tmp_path / f"{k}.arrows")
        for k, array in enumerate((first, second))
    ]
    got, log = read(paths)
    assert log.schema.field("x").type == TEXT_CODES
    assert got["x"].to_pylist() == ["x", None, "y", None] * 2 + ["y", "z", "", None] * 2


def test_one_file_is_read_with_the_types_of_all(tmp_path):
    """A cluster reads each file alone."""
    paths = [
        write(column(pa.null(), [None]), tmp_path / "0.parquet"),
        write(column(pa.string(), ["a"]), tmp_path / "1.parquet"),
    ]
    with open_log(paths, label="click") as log:
        for source, value in zip(log.sources, [None, "a"], strict=True):
            with Log([source], log._request, skip_bad=False) as one:
                (batch,) = one
                assert batch.schema == log.schema
                assert batch.column("x").to_pylist() == [value]


@pytest.mark.parametrize("values", [["0x10", "0XfF"], ["7", "0x10"], ["0x10", ""]])
def test_hexadecimal_ids_are_text_as_in_a_typed_file(tmp_path, values):
    (tmp_path / "a.csv").write_text("click,id\n" + "".join(f"1,{value}\n" for value in values))
    got, _ = read(tmp_path / "a.csv")
    assert got.column("id").to_pylist() == [value or None for value in values]


@pytest.mark.parametrize("beside", ["8", "8.0"])
def test_a_hexadecimal_id_after_the_sample_is_a_broken_row(tmp_path, beside):
    """pyarrow would read 0x10 as 16."""
    lines = "1,7\n" * 300_000 + f"0,{beside}\n0,0x10\n1,9\n"
    (tmp_path / "a.csv").write_text("click,id\n" + lines)
    with pytest.raises(LogError, match="line 300003: column 'id': '0x10' cannot be read as int64"):
        read(tmp_path / "a.csv")
    got, log = read(tmp_path / "a.csv", skip_bad=True)
    assert got.column("id").to_pylist()[-2:] == [8, 9]
    assert log.skipped == {"not a number": 1}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([[1], [0]]), "column 'click' is list<item: int64>, not 0 or 1"),
        (pc.run_end_encode(pa.array([1, 0])), "column 'click' is run_end_encoded<.*>, not 0 or 1"),
        (pa.array([{"a": 1}] * 2), "column 'click' is struct<a: int64>, not 0 or 1"),
    ],
)
def test_a_label_of_a_type_without_single_values(tmp_path, column, reason):
    write_arrow(pa.table({"click": column, "n": [1, 2]}), tmp_path / "a.arrow")
    with pytest.raises(LogError, match=f"a.arrow, line 1: {reason}"):
        read(tmp_path / "a.arrow")


def test_a_union_is_refused_by_name(tmp_path):
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
    )
    write_arrow(pa.table({"click": [1, 0], "x": union, "n": [1, 2]}), tmp_path / "a.arrow")
    with pytest.raises(LogError, match=r"column 'x' is sparse_union<.*>, which cannot be encoded"):
        read(tmp_path / "a.arrow")
    assert read(tmp_path / "a.arrow", ignore=["x"])[0].column("n").to_pylist() == [1, 2]


def write_arrow(table, path):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("beside", ["", "2.5e3"])
def test_an_integer_that_float64_rounds_is_a_broken_row_as_in_a_typed_file(
    tmp_path, suffix, beside
):
    delimiter = "\t" if suffix == ".tsv" else ","
    numbers = ["5.5"] * 300_000 + ["9007199254740992", "1e300", "9007199254740993", beside]
    lines = ["click,x", *(f"{k % 2},{number}" for k, number in enumerate(numbers))]
    path = tmp_path / f"log{suffix}"
    path.write_text("\n".join(lines).replace(",", delimiter) + "\n")
    with pytest.raises(LogError, match=r"line 300004: .*'x': 9007199254740993 .*exactly"):
        read(path, rows=65_536)
    table, log = read(path, rows=65_536, skip_bad=True)
    assert log.skipped == {"not a number": 1}
    assert table.column("x").to_pylist()[-3:-1] == [2.0**53, 1e300]
