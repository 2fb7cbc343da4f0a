"""Parameters and columns that HashingEncoder rejects."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from adagrad import _core
from adagrad.ctr.encoding.encoder import HashingEncoder
from encoded import ROWS


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"bits": 7}, ValueError, "bits must be from 8 to 32, got 7"),
        ({"bits": 33}, ValueError, "bits must be from 8 to 32"),
        ({"bits": 2**18}, ValueError, "got 262144: for so many slots, bits=18"),
        ({"bits": 20.0}, TypeError, "bits must be an integer, got 20.0"),
        ({"bits": True}, TypeError, "bits must be an integer"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"numeric": "log"}, ValueError, "numeric must be in .*got 'log'"),
        ({"null": None}, ValueError, "null must be in"),
        ({"multi": "max"}, ValueError, "multi must be in"),
        ({"fields": "site"}, TypeError, "fields must be names or a dict, got 'site'"),
        ({"fields": []}, ValueError, "no columns"),
        ({"fields": ["site", "site"]}, ValueError, "field 'site' occurs twice"),
        ({"fields": ["site", "nope"]}, ValueError, "X has no column 'nope'; its columns are"),
        ({"fields": {"site": "bins"}}, ValueError, r"fields\['site'\] must be in .*got 'bins'"),
        ({"fields": {"site": "value"}}, ValueError, r"X\['site'\]\[0\] = 'a.com' cannot be read"),
        (
            {"fields": {"new": "value"}, "crosses": [("new", "hits")]},
            ValueError,
            "has 'hits', which is not one of",
        ),
        ({"crosses": ["site"]}, ValueError, "at least two fields, got 'site'"),
        ({"crosses": [("site",)]}, ValueError, "at least two fields"),
        ({"crosses": [("site", "hits")] * 2}, ValueError, r"'site\*hits' occurs twice"),
        ({"wide": ["sites"]}, ValueError, r"wide has \['sites'\]"),
        ({"wide": "site"}, TypeError, "wide must be a sequence of names"),
    ],
)
def test_bad_parameters(params, error, message):
    encoder = HashingEncoder(**params)
    with pytest.raises(error, match=message):
        encoder.transform(ROWS)
    if "cannot be read" not in message:
        with pytest.raises(error, match=message):
            encoder.fit(ROWS)


@pytest.mark.parametrize(
    ("x", "kind", "error", "message"),
    [
        (None, None, TypeError, "X must be columns.*got NoneType"),
        ("x", None, TypeError, "X must be columns.*got str"),
        ({"x": "abc"}, None, TypeError, r"X\['x'\] must be an array or a list, got 'abc'"),
        (
            {"x": 3},
            None,
            TypeError,
            r"got 3; if X is one row, pass \[X\]",
        ),
        ({"x": [1, "a"]}, None, TypeError, r"X\['x'\] cannot be converted to an Arrow array"),
        (
            {"x": np.zeros((2, 2))},
            None,
            TypeError,
            r"X\['x'\] cannot be converted to an Arrow array",
        ),
        (
            {"x": np.zeros(2, ">i4")},
            None,
            TypeError,
            r"X\['x'\] cannot be converted to an Arrow array",
        ),
        ({"x": [1, 2], "y": [1]}, None, ValueError, "columns of different lengths"),
        (
            {"x": pa.array([{"a": 1}], pa.struct({"a": pa.int64()}))},
            None,
            TypeError,
            r"X\['x'\] has type struct.*, which cannot be encoded",
        ),
        ({"x": [[[1]]]}, None, TypeError, r"X\['x'\] has type list<.*, which cannot be encoded"),
        ({"x": [datetime.date(2026, 1, 1)]}, "value", TypeError, "date32.*, which is not a number"),
        ({"x": [[1.0]]}, "value", TypeError, "kind 'value' needs one number per row"),
        ({"x": ["1", "2", "x", "3"]}, "value", ValueError, r"X\['x'\]\[2\] = 'x' cannot be read"),
        ({"x": [[1], [2]]}, "value", TypeError, "one number per row"),
        ({"x": [1.0, -np.inf]}, "value", ValueError, r"X\['x'\]\[1\] = -inf is not finite"),
        ({"x": [1.0, 1e30]}, "value", ValueError, r"X\['x'\]\[1\] = 1e\+30 is more than 2\*\*48"),
        ({"x": [1.0, 1e39]}, "value", ValueError, r"X\['x'\]\[1\] = 1e\+39 is not finite"),
    ],
)
def test_bad_columns(x, kind, error, message):
    encoder = HashingEncoder(fields=None if kind is None else {"x": kind})
    with pytest.raises(error, match=message):
        encoder.transform(x)


def test_bad_numbers_are_found_in_any_batch():
    x = np.ones(2000)
    x[1700] = np.inf
    table = pa.table({"x": pa.chunked_array([x[:1000], x[1000:]])})
    with pytest.raises(ValueError, match=r"X\['x'\]\[1700\] = inf is not finite in float32"):
        HashingEncoder(fields={"x": "value"}).transform(table)
    big = {"x": [1.0, 2.0**40], "y": [1.0, 2.0**9]}
    with pytest.raises(ValueError, match=r"X\['x\*y'\]\[1\] = 562949953421312 is more than 2"):
        HashingEncoder(numeric="value", crosses=[("x", "y")]).transform(big)


def test_a_column_twice():
    table = pa.Table.from_arrays([pa.array(["a"])] * 2, names=["x", "x"])
    with pytest.raises(ValueError, match="field 'x' occurs twice"):
        HashingEncoder().transform(table)


def test_an_index_outside_its_dictionary():
    buffers = [None, pa.py_buffer(np.array([0, 5], np.int32))]
    kind = pa.dictionary(pa.int32(), pa.string())
    index = pa.Array.from_buffers(pa.int32(), 2, buffers)
    array = pa.DictionaryArray.from_arrays(index, pa.array(["a"]), safe=False)
    assert array.type == kind
    with pytest.raises(ValueError, match=r"X\['x'\] has an index outside its dictionary"):
        HashingEncoder().transform({"x": array})


def test_the_compiled_part_checks_too():
    batch = pa.record_batch({"x": ["a"]})
    with pytest.raises(TypeError, match=r"X\['x'\] must hold numbers"):
        _core.Hasher([("x", "value", False)], [], 20, 0, False, False).encode([batch])
    with pytest.raises(TypeError, match="record batch of 2 columns"):
        _core.Hasher([("x", "value", False)] * 2, [], 20, 0, False, False).encode([batch])
    with pytest.raises(IndexError, match="cross 'c' has column 1, but there are 1 columns"):
        _core.Hasher([("x", "value", False)], [("c", [0, 1], False)], 20, 0, False, False)
    nested = pa.record_batch({"x": [[["a"]]]})
    with pytest.raises(TypeError, match=r"X\['x'\] is nested more deeply"):
        _core.Hasher([("x", "categorical", False)], [], 20, 0, False, False).encode([nested])
