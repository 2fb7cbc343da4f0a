"""Arrays and rows of Python as columns of HashingEncoder."""

from __future__ import annotations

import importlib
import json
import warnings

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from adagrad.ctr.encoding.encoder import HashingEncoder
from checks import need_packages
from encoded import ROWS, entries_of

VALUES = {
    "text": st.text(max_size=3),
    "ids": st.integers(-(2**63), 2**63 - 1),
    "amounts": st.floats(width=32, allow_infinity=False),
    "flags": st.booleans(),
    "lists": st.lists(st.text(max_size=2), max_size=3),
}


def rows_of(columns):
    """Return the rows of a dict of columns; those of nothing lack the key."""
    return [
        {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        for row in zip(*columns.values(), strict=True)
    ]


@st.composite
def columns(draw):
    n = draw(st.integers(1, 5))
    names = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, unique=True))
    return {
        name: draw(st.lists(st.none() | VALUES[name], min_size=n, max_size=n)) for name in names
    }


@given(columns(), st.sampled_from(["value", "skip"]))
def test_rows_are_encoded_as_their_columns(columns, null):
    encoder = HashingEncoder(10, null=null, kinds="types").fit(columns)
    expected = entries_of(encoder.transform(columns))
    rows = rows_of(columns)
    for some in (rows, iter(rows), np.array([*rows, {}], object)[:-1]):
        assert entries_of(encoder.transform(some)) == expected
    complete = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    fresh = HashingEncoder(10, null=null, kinds="types")
    assert entries_of(fresh.fit_transform(iter(complete))) == expected
    assert fresh.fields_ == encoder.fields_


def test_a_key_that_no_row_has():
    encoder = HashingEncoder(10).fit([{"site": "a", "hits": 3}])
    found = encoder.transform([{"hits": 5, "other": "x"}])
    assert entries_of(found) == entries_of(encoder.transform({"site": [None], "hits": [5]}))
    stateless = HashingEncoder(10, ["site", "hits"], kinds="types")
    assert entries_of(stateless.transform([{"hits": 5}])) == entries_of(found)
    rare = HashingEncoder(10).fit([{"hits": 3}, {"site": None}])
    assert entries_of(rare.transform([{"hits": 5, "site": "a"}])) == entries_of(
        rare.transform({"hits": [5], "site": ["a"]})
    )
    with pytest.raises(ValueError, match="X has no column 'sites'"):  # a slip of the pen
        HashingEncoder(10, ["sites"]).fit([{"site": "a"}])


def test_sets_are_sorted_lists():
    """Their own order differs between processes, and with it that of sums."""
    words = [f"w{k}" for k in range(50)]
    lists = [sorted(words[:30]), None, [*sorted(words), None]]
    sets = [{*words[:30]}, None, frozenset([None, *words])]
    encoder = HashingEncoder(10)
    expected = entries_of(encoder.fit_transform({"tags": lists}))
    assert entries_of(encoder.transform([{"tags": some} for some in sets])) == expected
    need_packages("pandas")
    import pandas as pd

    assert entries_of(encoder.transform(pd.DataFrame({"tags": sets}))) == expected


def test_rows_in_a_series():
    need_packages("pandas")
    import pandas as pd

    rows = rows_of(ROWS)
    encoder = HashingEncoder(10).fit(rows)
    assert entries_of(encoder.transform(pd.Series(rows, range(4, 8)))) == entries_of(
        encoder.transform(rows)
    )


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int32).reshape(4, 3),
        np.asfortranarray(np.linspace(-3, 3, 12).reshape(4, 3)),
        np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::2],
        np.array([["a", "b"], ["c", ""]]),
        np.array([["a", 1, 2.5], [None, 2, float("nan")]], object),
        np.array([["2026-01-31", "2026-02-28"]], "M8[D]"),
        np.ones((2, 2), bool),
    ],
    ids=lambda array: f"{array.dtype}",
)
def test_the_columns_of_an_array_are_numbered(array):
    columns = {f"x{j}": array[:, j] for j in range(array.shape[1])}
    expected = HashingEncoder(10, kinds="types").fit(columns)
    encoder = HashingEncoder(10, kinds="types").fit(array)
    assert encoder.fields_ == expected.fields_
    assert encoder.n_features_in_ == array.shape[1]
    assert not hasattr(encoder, "feature_names_in_")
    assert entries_of(encoder.transform(array)) == entries_of(expected.transform(columns))
    if array.dtype.kind in "ifO":  # numbers beside text in a list stay numbers
        assert entries_of(encoder.transform(array.tolist())) == entries_of(encoder.transform(array))


def test_an_array_in_place_of_a_frame():
    array = np.array([["a", 1], ["b", 2]], object)
    named = {"site": ["a", "b"], "hits": [1, 2]}
    by_name, by_number = HashingEncoder(10).fit(named), HashingEncoder(10).fit(array)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        found = by_name.transform(array)
    assert entries_of(found) == entries_of(by_name.transform(named))
    with pytest.warns(UserWarning, match="X has feature names, but HashingEncoder was fitted with"):
        found = by_number.transform(named)
    assert entries_of(found) == entries_of(by_number.transform(array))
    by_number.transform({"x1": [1, 2], "x0": ["a", "b"]})  # these are the names: no warning
    for encoder in (by_name, by_number):
        with pytest.raises(ValueError, match="X has 1 features, but HashingEncoder is expecting 2"):
            encoder.transform(array[:, :1])
    with pytest.raises(ValueError, match="X has 3 features, but HashingEncoder is expecting 2"):
        by_number.transform({**named, "more": [1, 2]})


@pytest.mark.parametrize("fields", [["hits", "site"], {"hits": "numeric", "site": None}])
def test_an_array_has_the_order_of_the_frame_and_not_of_the_fields(fields):
    named = {"site": ["a", "b"], "hits": [1, 2]}
    encoder = HashingEncoder(10, fields).fit(named)
    assert list(encoder.fields_) == ["hits", "site"]
    assert encoder.feature_names_in_.tolist() == ["site", "hits"]
    stored = HashingEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    for one in (encoder, stored):
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            found = one.transform(np.array([["a", 1], ["b", 2]], object))
        assert entries_of(found) == entries_of(encoder.transform(named))
    with pytest.raises(
        TypeError, match=r"feature_names_in_ of the encoder is \['site'\], expected"
    ):
        HashingEncoder.from_dict({**encoder.to_dict(), "feature_names_in_": ["site"]})


def test_rows_have_no_positions():
    encoder = HashingEncoder(10, null="skip").fit(np.array([["a", 1], ["b", 2]], object))
    with pytest.raises(
        ValueError, match=r"columns \['site'\], but fit got an array, .* \['x0', 'x1"
    ):
        encoder.transform([{"site": "a"}])
    assert entries_of(encoder.transform([{"x0": "a", "site": "a"}])) == entries_of(
        encoder.transform({"x0": ["a"], "x1": [None]})
    )


def test_a_column_of_moments_keeps_its_number():
    moments = np.array(["2026-01-31T12", "2026-02-28T13"], "M8[s]").astype(object)
    array = np.stack([np.array(["a", "b"], object), moments, np.array([1, 2], object)], axis=1)
    encoder = HashingEncoder(10)
    with pytest.warns(UserWarning, match=r"X\['x1'\] holds moments"):
        encoder.fit(array)
    assert (list(encoder.fields_), encoder.n_features_in_) == (["x0", "x2"], 3)
    stored = HashingEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert stored.n_features_in_ == 3
    assert not hasattr(stored, "feature_names_in_")
    expected = entries_of(encoder.transform({"x0": ["a", "b"], "x2": [1, 2]}))
    for one in (encoder, stored):
        assert entries_of(one.transform(array)) == expected


def test_a_frame_whose_names_are_numbers():
    need_packages("pandas")
    import pandas as pd

    array = np.array([["a", 1], ["b", 2]], object)
    encoder = HashingEncoder(10).fit(pd.DataFrame(array))
    assert list(encoder.fields_) == ["0", "1"]  # as ever
    assert not hasattr(encoder, "feature_names_in_")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = entries_of(encoder.transform(pd.DataFrame(array)))
        assert entries_of(encoder.transform(array)) == expected
    named = HashingEncoder(10).fit({"site": ["a", "b"], "hits": [1, 2]})
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.transform(pd.DataFrame(array))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.array(["a", "b"]), ValueError, r"Expected 2D array.*reshape\(-1, 1\)"),
        (["a", "b"], ValueError, r"Expected 2D array.*reshape\(-1, 1\)"),
        ([], ValueError, "Expected 2D array"),
        (np.zeros((2, 2, 2)), ValueError, "array with dim 3"),
        (np.zeros((2, 2), complex), ValueError, "Complex data not supported"),
        (np.zeros((0, 2)), ValueError, r"0 sample\(s\)"),
        (np.zeros((2, 0)), ValueError, r"0 feature\(s\)"),
        (np.ma.masked_equal([[1, 2]], 2), ValueError, r"X\[0, 1\] is masked"),
        (np.array([[{"a": 1}, 2.0], [3.0, 4.0]]), TypeError, r"X\['x0'\] cannot be converted"),
        (pa.array(["a"]), ValueError, r"X is one column, a StringArray: name it, as in \{'name'"),
        (pa.chunked_array([["a"]]), ValueError, "X is one column, a ChunkedArray"),
        (scipy.sparse.eye(2), TypeError, "X is a sparse matrix, whose columns are slots already"),
        (HashingEncoder(8).transform(ROWS), TypeError, "X are Examples, which are encoded already"),
        ([{"a": 1}, 3], TypeError, r"X\[1\] has type int, but X\[0\] is a dict"),
        ([{"a": 1}, {3: 1}], TypeError, "X has rows with the key 3, but keys must be text"),
        ([{"a": 1}, {"a": "x"}], TypeError, r"X\['a'\] .* mixes numbers and text: make all of its"),
        ([{"a": True}, {"a": 2}], TypeError, r"X\['a'\] .* it mixes bools and numbers"),
        ([["a", 1], [2, 3]], TypeError, r"X\['x0'\] .* it mixes numbers and text"),
        ([{"a": ["x", 1]}], TypeError, r"X\['a'\] .* it mixes numbers and text"),
        (
            [["a", "b"], ["a"]],
            ValueError,
            r"X\[1\] has 1 elements, but .*\[\{'words': \['a', 'b'\]",
        ),
        ({"a": [1, 2], "b": [1]}, ValueError, r"columns of different lengths: \{'a': 2, 'b': 1\}"),
        ([{}], ValueError, "X has no columns to encode"),
        (iter([1, 2]), TypeError, "X is an iterator, and its elements are no dicts"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_what_is_refused(x, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        HashingEncoder(8).fit_transform(x)


def test_frames_that_are_refused():
    need_packages("pandas", "polars")
    import pandas as pd
    import polars as pl

    with pytest.raises(TypeError, match=r"X\['b'\] cannot .* it mixes numbers and text"):
        HashingEncoder(8).fit(pd.DataFrame({"a": ["x", "y"], "b": ["x", 1]}))
    with pytest.raises(TypeError, match=r"X is a LazyFrame, which has no rows yet: pass X.collect"):
        HashingEncoder(8).fit(pl.LazyFrame({"a": ["x"]}))


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_series_is_refused(package):
    need_packages(package)
    series = importlib.import_module(package).DataFrame({"site": ["a", "b"]})["site"]
    with pytest.raises(ValueError, match=r"X is a Series: pass .* one column as df\[\[.* one row"):
        HashingEncoder(8).fit(series)
    assert list(HashingEncoder(8).fit(series.to_frame()).fields_) == ["site"]


def test_fit_does_not_use_up_rows():
    rows = iter([{"a": 1}])
    with pytest.raises(TypeError, match="fit would use up X, an iterator"):
        HashingEncoder(8).fit(rows)
    assert next(rows) == {"a": 1}
