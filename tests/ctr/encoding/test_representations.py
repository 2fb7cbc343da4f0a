"""A value has one slot, whatever holds it: Python, NumPy, pandas, polars, or any Arrow type."""

from __future__ import annotations

import datetime
import itertools

import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.ctr.encoding.encoder import HashingEncoder
from encoded import entries_of

INDICES = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64()]
INDICES.append(pa.uint64())


def of_arrow(array: pa.Array):
    """Yield arrays of equal values, in all layouts that Arrow has for them."""
    yield array
    yield pa.concat_arrays([array[:2], array])[min(2, len(array)) :]
    yield pc.run_end_encode(array)
    encoded = array.dictionary_encode()
    for index in INDICES:
        indices = encoded.indices.cast(index)
        yield pa.DictionaryArray.from_arrays(indices, encoded.dictionary)
    # A null is also an index of a null, and a value may occur twice in a dictionary.
    twice = pa.concat_arrays([encoded.dictionary, pa.nulls(1, array.type), encoded.dictionary])
    half = len(encoded.dictionary)
    odd = [
        half if k is None else k + (half + 1) * (place % 2)
        for place, k in enumerate(encoded.indices.to_pylist())
    ]
    yield pa.DictionaryArray.from_arrays(pa.array(odd, pa.int16()), twice)


def of_texts(values):
    for kind in (pa.string(), pa.large_string()):
        yield from of_arrow(pa.array(values, kind))
    yield pa.array(values, pa.string_view())
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        yield pa.array([None if x is None else x.encode() for x in values], kind)
    views = pa.array(values).dictionary_encode()
    yield pa.DictionaryArray.from_arrays(views.indices, views.dictionary.cast(pa.string_view()))
    yield pandas.Series(values, dtype="string[pyarrow]")
    yield polars.Series(values, dtype=polars.String)
    yield polars.Series(values, dtype=polars.Categorical)
    if None not in values:
        yield np.array(values, np.dtypes.StringDType())


def of_integers(values):
    kinds = [pa.int16(), pa.int32(), pa.int64()]
    if all(x is None or x >= 0 for x in values):
        kinds += [pa.uint16(), pa.uint64()]
    for kind in kinds:
        yield from of_arrow(pa.array(values, kind))
    yield pandas.Series(values, dtype="Int32")
    yield polars.Series(values, dtype=polars.Int32)
    yield pa.array([None if x is None else str(x) for x in values])
    yield [None if x is None else float(x) for x in values]
    if None not in values:
        yield np.array(values, np.int16)
        yield np.array([*values, 0], np.int16)[:-1]


def of_floats(values):
    for kind in (pa.float32(), pa.float64()):
        yield from of_arrow(pa.array(values, kind))
    yield pa.array(values, pa.float16())
    yield np.array([np.nan if x is None else x for x in values], np.float32)
    yield polars.Series(values, dtype=polars.Float64)
    yield pandas.Series(values, dtype="Float64")


def of_bools(values):
    yield from of_arrow(pa.array(values, pa.bool_()))
    storage = pa.array([None if x is None else 3 * x for x in values], pa.int8())
    yield pa.ExtensionArray.from_storage(pa.bool8(), storage)
    yield pa.array([None if x is None else int(x) for x in values], pa.uint8())
    yield pandas.Series(values, dtype="boolean")
    yield polars.Series(values, dtype=polars.Boolean)


def of_days(values):
    for kind in (pa.date32(), pa.date64(), *(pa.timestamp(u) for u in ("s", "ms", "us", "ns"))):
        yield from of_arrow(pa.array(values, pa.date32()).cast(kind))
    yield pa.array([None if x is None else x.isoformat() for x in values])
    days = np.array(values, "M8[D]")
    for unit in ("12h", "m", "30s", "s", "25us", "ns"):
        yield days.astype(f"M8[{unit}]")
    yield list(days.astype("M8[10s]"))
    yield polars.Series(values, dtype=polars.Date)
    yield pandas.Series(pandas.to_datetime(days.astype("M8[s]")))


def of_moments(values):
    for unit in ("us", "ns"):
        yield from of_arrow(pa.array(values, pa.timestamp(unit)))
    yield np.array(values, "M8[us]").astype("M8[125us]")
    yield polars.Series(values, dtype=polars.Datetime("us"))


ALL = {
    of_texts: st.text("aä0\x00\n", max_size=20),
    of_integers: st.integers(-(2**15), 2**15 - 1),
    of_floats: st.integers(-2000, 2000).map(lambda x: x / 8),
    of_bools: st.booleans(),
    of_days: st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1)),
    of_moments: st.integers(-(2**40), 2**40).map(
        lambda x: datetime.datetime(2000, 1, 1) + datetime.timedelta(microseconds=125 * x)
    ),
}


def chunked(column, cuts):
    if not isinstance(column, pa.Array):
        return column
    edges = [0, *sorted(min(cut, len(column)) for cut in cuts), len(column)]
    chunks = [column[a:b] for a, b in itertools.pairwise(edges)]
    return pa.chunked_array(chunks, column.type)


@pytest.mark.parametrize("of_values", ALL)
@settings(max_examples=15)
@given(data=st.data())
def test_equal_values_have_equal_slots(of_values, data):
    values = data.draw(st.lists(st.none() | ALL[of_values], min_size=1, max_size=12))
    cuts = data.draw(st.lists(st.integers(0, 12), max_size=3))
    null = data.draw(st.sampled_from(["value", "skip"]))
    encoder = HashingEncoder(20, {"x": "categorical"}, null=null)
    expected = entries_of(encoder.transform({"x": values}))
    plain = np.empty(len(values), object)
    plain[:] = values
    columns = [plain, pandas.Series(plain), pandas.Series(values).astype("category")]
    columns += of_values(values)
    for column in columns:
        assert entries_of(encoder.transform({"x": chunked(column, cuts)})) == expected, column
        frame = pandas.DataFrame({"x": column}) if isinstance(column, pandas.Series) else None
        frame = polars.DataFrame({"x": column}) if isinstance(column, polars.Series) else frame
        if frame is not None:
            assert entries_of(encoder.transform(frame)) == expected, column


@pytest.mark.parametrize("of_values", [of_texts, of_integers, of_days])
@settings(max_examples=15)
@given(data=st.data())
def test_equal_items_of_lists_have_equal_slots(of_values, data):
    rows = data.draw(st.lists(st.none() | st.lists(ALL[of_values], max_size=3), min_size=1))
    encoder = HashingEncoder(20, {"x": "categorical"})
    items = [item for row in rows if row is not None for item in row]
    ends = np.cumsum([0, *(len(row or ()) for row in rows)])
    missing = pa.array([row is None for row in rows])
    starts, sizes = pa.array(ends[:-1], pa.int32()), pa.array(np.diff(ends), pa.int32())
    found = []
    for column in of_values(items) if items else ():
        if isinstance(column, pa.Array) and not pa.types.is_run_end_encoded(column.type):
            for lists in (
                pa.ListArray.from_arrays(pa.array(ends, pa.int32()), column, mask=missing),
                pa.LargeListArray.from_arrays(pa.array(ends), column, mask=missing),
                pa.ListViewArray.from_arrays(starts, sizes, column, mask=missing),
            ):
                found.append((lists.type, entries_of(encoder.transform({"x": lists}))))
    for kind, entries in found:
        assert entries == found[0][1], kind
