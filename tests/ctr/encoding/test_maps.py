"""Columns of maps: each key is a category of the column, and its number the value of the entry."""

from __future__ import annotations

import json

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adagrad.ctr import HashingEncoder
from encoded import entries_of
from hashing_reference import encode

NUMBERS = st.none() | st.floats(-(2.0**20), 2.0**20, width=32)
MAPS = st.none() | st.dictionaries(st.text(max_size=9), NUMBERS, max_size=4)
IDS = st.none() | st.dictionaries(st.integers(-(2**63), 2**63 - 1), NUMBERS, max_size=4)
ROW = st.tuples(st.sampled_from(["a", "b", None]), MAPS, IDS)

ROWS = [
    {"site": "a", "user": {"x": 0.5, "y": 2}},
    {"site": "b", "user": {}},
    {"site": "b"},
    {"site": None, "user": {"z": 3.0}},
]
ENCODER = HashingEncoder(20, crosses=[("site", "user")])


@settings(max_examples=40)
@given(
    st.lists(ROW, min_size=1, max_size=5),
    st.sampled_from(["value", "skip"]),
    st.sampled_from(["sum", "mean"]),
)
def test_rules(rows, null, multi):
    site, user, ids = (list(column) for column in zip(*rows, strict=True))
    columns = {
        "site": pa.array(site, pa.string()),
        "user": pa.array([x and list(x.items()) for x in user], pa.map_("string", "float")),
        "ids": pa.array([x and list(x.items()) for x in ids], pa.map_("int64", "double")),
    }
    how = {"bits": 16, "crosses": [("site", "user", "ids")], "null": null, "multi": multi}
    kinds = dict.fromkeys(columns, "categorical")
    expected = encode({"site": site, "user": user, "ids": ids}, kinds, **how)
    assert entries_of(HashingEncoder(**how).transform(columns)) == expected


def maps(key="string", item="double"):
    values = [row.get("user") for row in ROWS]
    return pa.array([x and list(x.items()) if x else x and [] for x in values], pa.map_(key, item))


def with_keys(keys, items):
    plain = maps()
    column = pa.MapArray.from_arrays(
        plain.offsets, plain.keys.cast(keys), plain.items.cast(items), mask=plain.is_null()
    )
    return {"site": [row["site"] for row in ROWS], "user": column}


SAME = {
    "pandas": pandas.DataFrame(ROWS),
    "structs of polars": polars.DataFrame(
        {
            "site": [row["site"] for row in ROWS],
            "user": [
                None
                if row.get("user") is None
                else [{"key": k, "value": float(v)} for k, v in row["user"].items()]
                for row in ROWS
            ],
        }
    ),
    "large texts": with_keys(pa.large_string(), pa.float32()),
    "views": with_keys(pa.string_view(), pa.float16()),
    "bytes": with_keys(pa.binary(), pa.decimal128(30, 3)),
    "dictionaries": with_keys(pa.dictionary(pa.int8(), pa.string()), pa.float64()),
}


@pytest.mark.parametrize("name", SAME)
def test_same_entries_of_every_representation(name):
    expected = entries_of(ENCODER.transform(ROWS))
    assert entries_of(ENCODER.transform(SAME[name])) == expected
    table = pa.table(SAME["bytes"] if name == "pandas" else SAME[name])
    twice = pa.concat_tables([table, table]).combine_chunks().slice(3, 4)
    assert entries_of(ENCODER.transform(twice)) == [expected[3], *expected[:3]]


def test_fit_and_save():
    encoder = HashingEncoder(20, crosses=[("site", "user")]).fit(ROWS)
    assert encoder.fields_ == {"site": "categorical", "user": "categorical"}
    again = HashingEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert entries_of(again.transform(ROWS)) == entries_of(ENCODER.transform(ROWS))


def test_keys_are_found_by_their_slots():
    encoder = HashingEncoder(20, crosses=[("site", "user")])
    x = encoder.transform(ROWS)
    found = {value for values in encoder.inverse(ROWS).values() for value in values}
    assert {slot for row in entries_of(x) for slot, _, _ in row} == set(encoder.inverse(ROWS))
    assert {("user", "x"), ("user", "z"), ("user", None), ("site*user", ("a", "y"))} <= found
    assert encoder.collisions(ROWS)["user"]["values"] == 4


@pytest.mark.parametrize(
    ("column", "kind", "error", "message"),
    [
        ([{"a": 1}, {"a": float("nan")}], None, ValueError, r"\[1\] = nan is not finite"),
        ([{"a": 1e39}], None, ValueError, r"\[0\] = 1e\+39 is not finite in float32"),
        ([{"a": 1}, None, {"b": -(2.0**49)}], None, ValueError, r"\[2\] = .*more than 2\*\*48"),
        ([{"a": "b"}], None, TypeError, "a dict has the value 'b', which is not a number"),
        ([{"a": 1, 2: 3}], None, TypeError, "of the keys of its dicts, it mixes numbers and text"),
        ([{"a": 1}, 3], None, TypeError, "it mixes dicts and int"),
        ([{"a": 1}], "value", TypeError, "cannot have the kind 'value'"),
        ([{"a": 1}], "log2-bins", TypeError, "cannot have the kind 'log2-bins'"),
        (pa.array([[("a", "b")]], pa.map_("string", "string")), None, TypeError, "cannot be enc"),
        (pa.array([[([1], 2)]], pa.map_(pa.list_(pa.int8()), "int8")), None, TypeError, "nested"),
    ],
)
def test_refused(column, kind, error, message):
    with pytest.raises(error, match=rf"^X\['x'\].*{message}"):
        HashingEncoder(fields=kind and {"x": kind}).transform({"x": column})


def test_values_that_cross_into_infinity():
    rows = {"a": [{"x": 2.0**40}], "b": [{"y": 2.0**40}]}
    with pytest.raises(ValueError, match=r"X\['a\*b'\]\[0\] = .* is more than 2\*\*48"):
        HashingEncoder(crosses=[("a", "b")]).transform(rows)


def test_damaged_maps():
    """Offsets that do not ascend are refused before a key is read."""
    entries = pa.StructArray.from_arrays(
        [pa.array(["a", "b"]), pa.array([1.0, 2.0])], names=["key", "value"]
    )
    offsets = pa.py_buffer(np.array([1, 0, 2], np.int32))
    column = pa.Array.from_buffers(
        pa.map_("string", "double"), 2, [None, offsets], children=[entries]
    )
    with pytest.raises(ValueError, match=r"X\['x'\] has damaged memory: its offsets do not ascend"):
        HashingEncoder().transform({"x": column})
