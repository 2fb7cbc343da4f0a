"""Arrays, and rows of Python, as columns: what scikit-learn's transformers take beside frames.

`columns` calls this module for what names no columns, or has them in each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from adagrad.ctr.encoding.examples import Examples, check_unmasked
from adagrad.ctr.encoding.row_form import RowForm

__all__ = ["columns_of", "has_names", "refuse_iterator"]

_NAMED = ("columns", "schema", "__arrow_c_array__", "__arrow_c_stream__")  # of what has columns


def has_names(X: Any) -> bool:
    """Return whether X names its columns: arrays do not, nor frames whose names are not text."""
    if _is_array(X):
        return isinstance(_first(X), Mapping)
    return not _has(X, "iloc") or all(isinstance(name, str) for name in X.columns)


def columns_of(
    X: Any, positions: Sequence[str] | None = None, wanted: Iterable[str] = ()
) -> dict[str, Any] | None:
    """Return the columns of an array or of dicts by name; None if X is something else.

    Parameters
    ----------
    X : object
        What `HashingEncoder.transform` takes.
    positions : sequence of str, optional
        Names of the columns of an array; by default ``x0``, ``x1``, ...
    wanted : iterable of str
        Columns that dicts have even if no row has the key: all of their values are missing. A
        column such as ``user.id`` may be the key "id" of a dict "user".

    Raises
    ------
    TypeError, ValueError
        X has another number of axes or of columns, no rows, or rows that are not all dicts; or it
        is sparse, or encoded already.
    """
    _refuse_encoded(X)
    if _is_iterator(X):
        X = list(X)
        if not isinstance(_first(X), Mapping):
            raise TypeError("X is an iterator, and its elements are no dicts: pass a list")
    if not _is_array(X):
        return None
    if isinstance(_first(X), Mapping):
        return _of_dicts(X, wanted)
    if _has(X, "to_frame"):
        raise ValueError(
            f"X is a {type(X).__name__}: pass a DataFrame, of one column as df[['name']] gives it,"
            " or of one row as df[:1] does"
        )
    return _of_array(X, positions)


def refuse_iterator(X: Any) -> None:
    """Raise TypeError if X can be read only once, and `fit` would lose its rows."""
    if _is_iterator(X):
        raise TypeError("fit would use up X, an iterator: pass a list, or call fit_transform")


def _refuse_encoded(X: Any) -> None:
    if isinstance(X, Examples):
        raise TypeError("X are Examples, which are encoded already: pass them to a learner")
    if _has(X, "tocsr"):
        raise TypeError(
            "X is a sparse matrix, whose columns are slots already: pass it to a learner without an"
            " encoder, or its columns as a DataFrame"
        )


def _has(X: Any, *names: str) -> bool:
    """Return whether the class of X has any of these: a table would make its columns on request."""
    return any(hasattr(type(X), name) for name in names)


def _is_iterator(X: Any) -> bool:
    return isinstance(X, Iterator) and not _has(X, *_NAMED)


def _is_array(X: Any) -> bool:
    """Return whether X is an array, a list or a Series: it has rows, but no columns with names."""
    if isinstance(X, (np.ndarray, list, tuple)):
        return True
    if _has(X, "to_frame") and not _has(X, "columns"):  # a Series of pandas or polars
        return True
    return _has(X, "__array__") and not _has(X, *_NAMED)


def _first(X: Any) -> Any:
    """Return the first row of a list, or of an array of objects or a Series with one axis."""
    if isinstance(X, (list, tuple)):
        return X[0] if X else None
    if getattr(X, "dtype", None) == np.dtype(object) and len(X.shape) == 1 and X.shape[0]:
        return np.asarray(X)[0]
    return None


def _of_dicts(X: Iterable[Any], wanted: Iterable[str]) -> dict[str, Any]:
    rows = list(X)
    names = dict.fromkeys(wanted)
    known = set(names)
    if form := RowForm(known, {}):
        rows = [form(row) for row in rows]
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"X[{number}] has type {type(row).__name__}, but X[0] is a dict")
        names.update(dict.fromkeys(row))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"X has rows with the key {name!r}, but keys must be text")
    # What is not wanted is not read, whatever it is; but it has a name, for errors to tell.
    unread = [None] * len(rows)
    return {
        name: [row.get(name) for row in rows] if not known or name in known else unread
        for name in names
    }


def _check_lengths(X: Any) -> None:
    """Raise ValueError if X is a list of lists, and not all of them have the same length."""
    if not isinstance(X, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in X):
        return
    for number, row in enumerate(X):
        if len(row) != len(X[0]):
            raise ValueError(
                f"X[{number}] has {len(row)} elements, but X[0] has {len(X[0])}: if each row is a"
                " bag of words, pass dicts of lists, as in [{'words': ['a', 'b']}]"
            )


def _of_array(X: Any, positions: Sequence[str] | None) -> dict[str, Any]:
    from sklearn.utils import check_array

    check_unmasked("X", X)
    _check_lengths(X)
    checks = {"dtype": None, "ensure_all_finite": False, "estimator": "HashingEncoder"}
    array = check_array(X, **checks)
    if not hasattr(X, "dtype") and array.dtype.kind in "USO":  # numbers beside text stay numbers
        array = check_array(X, **{**checks, "dtype": object})
    width = array.shape[1]
    if positions is None:
        positions = [f"x{j}" for j in range(width)]
    elif width != len(positions):
        raise ValueError(
            f"X has {width} features, but HashingEncoder is expecting {len(positions)} features as"
            " input"
        )
    return {name: array[:, j] for j, name in enumerate(positions)}
