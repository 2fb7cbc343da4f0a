"""Types without a meaning are refused by name, and moments mean the same in every unit."""

from __future__ import annotations

import datetime

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest

from adagrad.ctr.encoding.encoder import HashingEncoder
from encoded import entries_of

UTC = datetime.timezone.utc
DAY, NOON = datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31, 12)
UUIDS = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16)))
POINTERS = pa.ExtensionArray.from_storage(
    pa.opaque(pa.binary(8), "pointer", "someone"), pa.array([bytes(8)], pa.binary(8))
)
INTERVALS = pandas.Series(pandas.interval_range(0, 2))
MONTHS = pandas.Series(pandas.period_range("2026-01", periods=2, freq="M"))


def unknown(kind, values):
    field = pa.field("x", kind, metadata={"ARROW:extension:name": "some.kind"})
    return pa.table([pa.array(values, kind)], schema=pa.schema([field]))


REFUSED = {
    "polars objects": (
        polars.DataFrame({"x": polars.Series([b"", 1], dtype=polars.Object)}),
        "Obj",
    ),
    "a polars object": ({"x": polars.Series([b"", 1], dtype=polars.Object)}, "Object"),
    "int128": (polars.DataFrame({"x": polars.Series([1], dtype=polars.Int128)}), "cannot be read"),
    "opaque": ({"x": POINTERS}, "arrow.opaque"),
    "opaque items": ({"x": pa.ListArray.from_arrays([0, 1], POINTERS)}, "arrow.opaque"),
    "opaque values": ({"x": pa.DictionaryArray.from_arrays([0], POINTERS)}, "arrow.opaque"),
    "unknown numbers": (unknown(pa.int64(), [1]), "some.kind"),
    "intervals": (pandas.DataFrame({"x": INTERVALS}), "pandas.interval"),
    "categories of intervals": (pandas.DataFrame({"x": INTERVALS.astype("category")}), "interval"),
    "periods": ({"x": MONTHS}, "pandas.period"),
    "categories of periods": (pandas.DataFrame({"x": MONTHS.astype("category")}), "pandas.period"),
    "sparse": ({"x": pandas.Series([1, 0], dtype="Sparse[int]")}, "cannot be converted"),
    "mixed objects": (pandas.DataFrame({"x": [1, "a"]}), "cannot be converted"),
    "other objects": (pandas.DataFrame({"x": [object()]}), "cannot be converted"),
    "dates and datetimes": ({"x": [DAY, NOON]}, "dates and datetimes"),
    "the same in pandas": (pandas.DataFrame({"x": [DAY, NOON]}), "dates and datetimes"),
    "one time zone": ({"x": [NOON, None, NOON.replace(tzinfo=UTC)]}, "with and without a time"),
    "moments and texts": ({"x": [np.datetime64(1, "10s"), "a"]}, "datetime64, str"),
    "moments and durations": ({"x": [np.datetime64(1, "s"), np.timedelta64(1, "s")]}, "timedelta"),
    "lists of moments": ({"x": [[np.datetime64(1, "10s")]]}, "a list has moments"),
    "arrays of moments": ({"x": [np.array([1], "M8[10s]"), None]}, "a list has moments"),
    "durations of months": ({"x": np.array([1], "m8[M]")}, "no fixed length"),
    "too fine": ({"x": np.array([1], "i8").view("M8[ps]")}, "does not fit"),
    "too late": ({"x": np.array([2**60], "i8").view("M8[Y]")}, "does not fit"),
    "a late day": ({"x": np.array([2**40], "i8").view("M8[D]")}, "does not fit"),
    "too large": ({"x": [1, 2**64]}, "too large"),
    "a struct with long names": (
        {"x": pa.array([{"a" * 1000: 1}], pa.struct({"a" * 1000: pa.int64()}))},
        r"has type struct<a{90}.*\.\.\.",
    ),
    "lists of run ends": (
        {"x": pa.ListArray.from_arrays([0, 1], pa.RunEndEncodedArray.from_arrays([1], ["a"]))},
        "cannot be encoded",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    x, message = REFUSED[name]
    with pytest.raises(TypeError, match=f"^X(.'x'.)? [^\n]*{message}[^\n]*$"):
        HashingEncoder(20).transform(x)


def slots(column, **options):
    return entries_of(HashingEncoder(20, **options).transform({"x": column}))


@pytest.mark.parametrize(
    ("column", "same"),
    [
        (np.array(["2026-01", "NaT"], "M8[M]"), [datetime.date(2026, 1, 1), None]),
        (np.array(["2026", "NaT"], "M8[Y]"), [datetime.date(2026, 1, 1), None]),
        (np.array(["2026-01-31"], "M8[W]"), [datetime.date(2026, 1, 29)]),
        (np.array(["2026-01-31T12"], "M8[h]"), [NOON]),
        (np.array([NOON], "M8[s]").astype("M8[10s]"), [NOON]),
        (np.array([NOON], "M8[s]").astype("M8[25us]"), [NOON]),
        (np.array([0, 5], "M8[ps]"), None),
        ([np.datetime64(0, "10s"), None], [datetime.datetime(1970, 1, 1), None]),
        (np.array(["NaT", "NaT"], "M8"), [None, None]),
        (np.array([3, "NaT"], "m8[10s]"), pa.array([30, None], pa.duration("s"))),
        ([np.timedelta64(2, "h"), None], pa.array([7200, None], pa.duration("s"))),
        (np.array([1], "m8[W]"), pa.array([604800], pa.duration("s"))),
        (UUIDS, [bytes(16)]),
        (pa.DictionaryArray.from_arrays([0, None], UUIDS), [bytes(16), None]),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])), ["{}"]),
        (pa.nulls(2), ["a", None]),
    ],
)
def test_as_encoded(column, same):
    if same is None:
        with pytest.raises(TypeError, match="does not fit"):
            slots(column)
    elif isinstance(column, pa.NullArray):
        assert slots(column) == [slots(same)[1]] * 2
    else:
        assert slots(column) == slots(same)


def test_moments_in_objects_of_pandas():
    column = [np.datetime64(12, "10s"), None]
    frame = pandas.DataFrame({"x": pandas.Series(column, dtype=object), "y": ["a", "b"]})
    before = frame.copy()
    encoder = HashingEncoder(20, ["x"])
    assert entries_of(encoder.transform(frame)) == slots(column)
    pandas.testing.assert_frame_equal(frame, before)


def test_unknown_extension_types_of_text_are_text():
    x = unknown(pa.string(), ["a"])
    assert entries_of(HashingEncoder(20).transform(x)) == slots(["a"])


def test_bytes_as_bools():
    storage = pa.array([0, 5, None], pa.int8())
    bools = pa.ExtensionArray.from_storage(pa.bool8(), storage)
    assert slots(bools) == slots([False, True, None])


@pytest.mark.parametrize("missing", [False, True])
def test_fields_that_claim_no_missing_values(missing):
    values = ["a", None if missing else "b"]
    schema = pa.schema([pa.field("x", pa.string(), nullable=False)])
    table = pa.table([pa.array(values)], schema=schema)
    assert entries_of(HashingEncoder(20).transform(table)) == slots(values)


def test_a_column_of_nulls_is_fitted_first_or_later():
    texts, nulls = {"x": ["a", None]}, {"x": [None, None]}
    encoder = HashingEncoder(20)
    expected = entries_of(encoder.transform(texts))
    for first in (texts, nulls):
        encoder.fit(first)
        assert entries_of(encoder.transform(texts)) == expected
        assert entries_of(encoder.transform(nulls)) == [expected[1]] * 2
