"""What a learner takes columns and labels for, and what it says about it."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.exceptions import DataConversionWarning

from adagrad.ctr import Examples, HashingEncoder, LogisticRegression

Y = [0, 1, 1, 0]
IDS = {"site": [7, 8, 9, 7], "ad": [1, 2, 3, 4]}
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


def fitted(x, y=Y):
    return LogisticRegression(lr=0.1).fit(x, y)


@pytest.mark.parametrize("name", FRAMES)
def test_columns_of_integers_are_amounts_and_that_is_said_once(name):
    x = FRAMES[name](IDS)
    message = (
        r"only columns of integers \('site', 'ad'\).*amounts.*HashingEncoder\(\), which tells ids"
    )
    with pytest.warns(UserWarning, match=message) as seen:
        learner = fitted(x)
    assert seen[0].filename == __file__
    assert learner.feature_names_in_.tolist() == ["site", "ad"]
    matrix = np.array([IDS["site"], IDS["ad"]], float).T
    np.testing.assert_array_equal(learner.coef_, fitted(matrix).coef_)
    learner.partial_fit(x, Y)
    learner.predict(x)


@pytest.mark.parametrize(
    "x",
    [
        pd.DataFrame({"a": pd.array([7, 8, 9, 7], "Int64"), "b": [True, False, True, True]}),
        pd.DataFrame({"a": pd.Series([7, 8, 9, 7], dtype=object)}),
        pd.DataFrame(IDS).astype("uint8"),
        pl.DataFrame(IDS).cast(pl.UInt16),
        pd.DataFrame({"a": pd.arrays.SparseArray([0, 5, 0, 7])}),
    ],
)
def test_other_columns_of_integers(x):
    with pytest.warns(UserWarning, match="only columns of integers"):
        fitted(x)


@pytest.mark.parametrize(
    "x",
    [
        pd.DataFrame({"a": [0.5, 1, 2, 3], "b": [7, 8, 9, 7]}),
        pd.DataFrame({"a": [0, 1, 1, 0], "b": [1, 1, 0, 0]}),
        pd.DataFrame({"a": [True, False, True, False]}),
        pd.DataFrame(np.arange(8).reshape(4, 2)),
        pl.DataFrame({"a": [0.5, 1, 2, 3]}),
        pa.table({"a": pa.array([1, 2, 3, 4], pa.float32())}),
        np.arange(8).reshape(4, 2),
        [[1, 2], [3, 4], [5, 6], [7, 8]],
    ],
)
def test_matrices_of_numbers_need_no_word(x):
    """Amounts, indicators, and columns without names."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(x)


TEXT = {"n": [1, 2, 3, 4], "site": ["a", "b", "c", "a"]}
DIGITS = {"n": [1, 2, 3, 4], "site": ["7", "8", "9", "7"]}


@pytest.mark.parametrize("columns", [TEXT, DIGITS], ids=["text", "digits"])
@pytest.mark.parametrize("name", FRAMES)
def test_text_needs_an_encoder(name, columns):
    x = FRAMES[name](columns)
    learner = fitted(np.ones((4, 2)) * [[1], [0], [1], [0]])
    for call in (fitted, learner.predict, lambda x: learner.partial_fit(x, Y)):
        with pytest.raises(ValueError, match=r"not numbers: 'site' \(.*tr.*encoder=HashingEncoder"):
            call(x)
    LogisticRegression(encoder=HashingEncoder(bits=8)).fit(x, Y)


DAYS = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]


@pytest.mark.parametrize(
    "x",
    [
        pd.DataFrame({"a": pd.Categorical([7, 8, 9, 7])}),
        pd.DataFrame({"a": pd.to_datetime(DAYS)}),
        pd.DataFrame({"a": pd.to_timedelta([1, 2, 3, 4])}),
        pd.DataFrame({"a": pd.Series([1, "b", 2, 3], dtype=object)}),
        pl.DataFrame({"a": pl.Series(list("abca"), dtype=pl.Categorical)}),
        pl.DataFrame({"a": pl.Series([1, 2, 3, 4]).cast(pl.Date)}),
        pl.DataFrame({"a": [[1], [2], [3], [4]]}),
        pa.table({"a": pa.array(list("abca")).dictionary_encode()}),
        pa.record_batch({"a": pa.array([1, 2, 3, 4], pa.timestamp("s"))}),
        np.array([["7"], ["8"], ["9"], ["7"]]),
        np.array([["7"], ["8"], ["9"], ["7"]], object),
        np.array([["a.com"], ["b"], ["c"], [7]], object),
        [["7"], ["8"], ["9"], ["7"]],
        np.array(DAYS, "M8[D]")[:, None],
    ],
    ids=lambda x: type(x).__module__.split(".")[0],
)
def test_other_columns_that_are_no_numbers(x):
    with pytest.raises(ValueError, match=r"numbers.*encoder=HashingEncoder"):
        fitted(x)


@pytest.mark.parametrize(
    "x",
    [IDS, pa.table(IDS).to_reader(), pl.DataFrame(IDS).lazy()],
    ids=["dict", "reader", "lazy frame"],
)
def test_columns_that_are_no_matrix(x):
    with pytest.raises(TypeError, match=r"X has columns, in a .* takes a matrix: pass encoder="):
        fitted(x)


def test_rows_in_dicts_need_an_encoder():
    rows = [{"site": "a", "ad": 7}] * 4
    for x in (rows, np.array(rows)):
        with pytest.raises(TypeError, match=r"X has rows in dicts, but .*: pass encoder=Hash"):
            fitted(x)
    LogisticRegression(encoder=HashingEncoder(bits=8)).fit(rows, Y)


def test_names_of_an_earlier_fit_are_forgotten():
    learner = fitted(pd.DataFrame({"a": [0.5, 1, 2, 3]}))
    assert learner.feature_names_in_.tolist() == ["a"]
    x = HashingEncoder(bits=8).transform(TEXT)
    assert not hasattr(learner.fit(x, Y), "feature_names_in_")


# -- labels ---------------------------------------------------------------------------------------

ROWS = np.eye(4)


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        (["click", "noclick"], [0, 1, 1, 0]),
        (["click", "not clicked"], [0, 1, 1, 0]),
        (["Yes", "nope"], [0, 1, 1, 0]),
        (["clicked", "view"], [0, 1, 1, 0]),
        (["+1", "-1"], [0, 1, 1, 0]),
        (["buy", "impression"], [1, 1, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_text_that_is_probably_reversed(labels, rows):
    y = np.array(labels)[rows]
    less, more = labels
    message = rf"'{more.replace('+', '[+]')}' is the positive class.*pass y == "
    with pytest.warns(UserWarning, match=message) as seen:
        learner = fitted(np.eye(len(y)), y)
    assert seen[0].filename == __file__
    assert learner.classes_.tolist() == [less, more]
    again = LogisticRegression(lr=0.1)
    with pytest.warns(UserWarning, match=message):
        again.partial_fit(np.eye(len(y)), y, classes=labels[::-1])
    again.partial_fit(np.eye(len(y)), y)


@pytest.mark.parametrize(
    "labels",
    [
        ("no", "yes"),
        ("False", "True"),
        ("n", "y"),
        ("neg", "pos"),
        ("a", "b"),
        ("0", "1"),
        ("no click", "sale"),
        ("noclick", "zclick"),
    ],
)
def test_text_in_the_usual_order(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = fitted(ROWS, np.array(labels)[[0, 1, 1, 0]])
    positive = learner.predict_proba(ROWS[1:2])[0, 1]
    assert positive > 0.5
    assert learner.classes_[1] == labels[1]


NAN = float("nan")
BAD_LABELS = {
    "list of text and numbers": (["yes", 1, "yes", 1], r"y\[1\] = 1 is a number, but other labels"),
    "text and bool": (np.array([True, "a", "a", True], object), r"y\[0\] = True is a number"),
    "None": ([None, "a", "b", "a"], r"y\[0\] = None is not a label"),
    "None and numbers": (np.array([1, None, 0, 1], object), r"y\[1\] = None is not a label"),
    "NaN and text": (np.array(["a", NAN, "b", "a"], object), r"y\[1\] = nan is missing"),
    "pandas text": (pd.Series(["a", "b", None, "a"]), r"y\[2\] = nan is missing"),
    "pandas Int64": (pd.Series([1, 0, None, 1], dtype="Int64"), r"y\[2\] = nan is not finite"),
    "pandas bool": (pd.Series([True, None, False, True], dtype="boolean"), r"y\[1\] = nan is not"),
    "polars": (pl.Series(["a", None, "b", "a"]), r"y\[1\] = None is not a label"),
    "pyarrow": (pa.array(["a", None, "b", "a"]), r"y\[1\] = None is not a label"),
    "masked": (np.ma.array([1, 0, 1, 0], mask=[0, 0, 1, 0]), r"y\[2\] is masked"),
    "dicts": ([{"a": 1}, 1, 1, 1], r"y\[0\] = \{'a': 1\} is not a label"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_labels_of_more_than_one_type(name):
    y, message = BAD_LABELS[name]
    with pytest.raises(ValueError, match=message):
        fitted(ROWS, y)
    learner = fitted(ROWS, Y)
    with pytest.raises(ValueError, match=message):
        learner.partial_fit(ROWS, y)
    with pytest.raises(ValueError, match=message.replace("y", "classes", 1)):
        LogisticRegression().partial_fit(ROWS, Y, classes=y)


@pytest.mark.parametrize("y", [[1, 0, 1, 0], [True, False, True, False], [1.0, 0.0, 1, 0]])
def test_numbers_in_an_object_array(y):
    learner = fitted(ROWS, np.array(y, object))
    np.testing.assert_array_equal(learner.coef_, fitted(ROWS, y).coef_)
    assert learner.classes_.dtype.kind in "bif"


def test_text_of_any_dtype():
    words = ["no", "yes", "yes", "no"]
    expected = fitted(ROWS, words).coef_
    dtypes = [object, "U3"]
    if hasattr(np.dtypes, "StringDType"):  # NumPy 2
        dtypes.append(np.dtypes.StringDType())
    for y in (
        *(np.array(words, dtype) for dtype in dtypes),
        pd.Series(words, dtype="category"),
        pl.Series(words),
        pa.chunked_array([words]),
    ):
        learner = fitted(ROWS, y)
        assert learner.classes_.tolist() == ["no", "yes"]
        np.testing.assert_array_equal(learner.coef_, expected)
        assert set(learner.predict(ROWS)) <= {"no", "yes"}


def test_a_column_of_text():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        learner = fitted(ROWS, [["no"], ["yes"], ["yes"], ["no"]])
    assert learner.classes_.tolist() == ["no", "yes"]


def test_a_masked_value():
    x = np.ma.array(np.ones((2, 2)), mask=[[0, 0], [0, 1]])
    learner = fitted(np.eye(2), [0, 1])
    for call in (lambda x: fitted(x, [0, 1]), learner.predict, Examples.from_csr):
        with pytest.raises(ValueError, match=r"X\[1, 1\] is masked"):
            call(x)
    assert fitted(np.ma.array(np.eye(2)), [0, 1]).coef_.tolist() == learner.coef_.tolist()


def test_a_number_beyond_float64():
    with pytest.raises(ValueError, match="X has a number that float64 cannot hold"):
        fitted(np.array([[10**400], [1]], object), [0, 1])
