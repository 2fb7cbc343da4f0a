"""DataFrames and tables that a learner without an encoder gets.

It takes them as scikit-learn does, as a matrix of numbers. `validation` asks here whether that can
be meant.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from textwrap import shorten
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adagrad._text import printable

__all__ = ["check_array_of_numbers", "check_columns_of_numbers", "warn_of_integers"]

_Kind = Literal["integer", "number", "other"]
_ADVICE = "pass encoder=HashingEncoder(), which hashes columns of any type"
_PANDAS_KINDS: dict[str, _Kind] = {
    "b": "integer", "i": "integer", "u": "integer", "f": "number", "c": "number"
}  # fmt: skip
_PANDAS_OBJECTS: dict[str, _Kind] = {
    "boolean": "integer",
    "integer": "integer",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "complex": "number",
    "empty": "number",
}


def check_columns_of_numbers(X: Any) -> list[str] | None:
    """Return the names of the columns of X if all of them are integers.

    Returns
    -------
    list of str, or None
        None if some columns are not integers, or X is no DataFrame or table with names.

    Raises
    ------
    TypeError
        X holds columns in a form that is never a matrix: a dict, a stream, a lazy frame.
    ValueError
        Columns are not numbers.
    """
    columns = _columns(X)
    if columns is None:
        return None
    kinds = list(columns)
    others = [
        f"{name!r} ({shorten(printable(str(dtype)), 40)})"
        for name, dtype, kind in kinds
        if kind == "other"
    ]
    if others:
        more = f" and {len(others) - 3} others" if len(others) > 3 else ""
        raise ValueError(
            f"X has columns that are not numbers: {', '.join(others[:3])}{more}; {_ADVICE}"
        )
    named = all(isinstance(name, str) for name, _, _ in kinds)
    integers = named and all(kind == "integer" for _, _, kind in kinds)
    return [name for name, _, _ in kinds] if integers else None


def warn_of_integers(names: list[str], values: npt.NDArray[Any]) -> None:
    """Warn that columns of integers other than 0 and 1 are taken as amounts, and not as ids."""
    if ((values == 0) | (values == 1)).all():
        return
    some = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    warnings.warn(
        f"X has only columns of integers ({some}). Without an encoder they are taken as amounts,"
        " one param per column. If some are ids, pass"
        " encoder=HashingEncoder(), which tells ids from numbers; if not, convert them to float.",
        UserWarning,
        stacklevel=6,
    )


def check_array_of_numbers(X: Any) -> None:
    """Raise a ValueError if an array holds text or dates that scikit-learn would convert."""
    if not isinstance(X, np.ndarray) or X.dtype.kind in "buifc":
        return
    if X.dtype.kind != "O" or any(isinstance(value, (str, bytes)) for value in X.flat):
        raise ValueError(f"X is an array of {X.dtype}, not all of it numbers: {_ADVICE}") from None


def _columns(X: Any) -> Iterator[tuple[Any, Any, _Kind]] | None:
    """Yield name, type and kind of each column; None if X is no DataFrame or table."""
    if isinstance(X, np.ndarray) and X.ndim == 1 and len(X) and isinstance(X[0], Mapping):
        raise TypeError(
            f"X has rows in dicts, but a learner without an encoder takes a matrix: {_ADVICE}"
        )
    pandas, polars, arrow = (sys.modules.get(name) for name in ("pandas", "polars", "pyarrow"))
    if pandas is not None and isinstance(X, pandas.DataFrame):
        return _pandas_columns(X, pandas)
    if polars is not None and isinstance(X, polars.DataFrame):
        return _polars_columns(X)
    if arrow is not None and isinstance(X, (arrow.Table, arrow.RecordBatch)):
        return _arrow_columns(X, arrow.types)
    if (
        isinstance(X, Mapping)
        or (
            not hasattr(X, "__array__")
            and any(hasattr(X, f"__arrow_c_{kind}__") for kind in ("stream", "array"))
        )
        or (polars is not None and isinstance(X, polars.LazyFrame))
    ):
        raise TypeError(
            f"X has columns, in a {type(X).__name__}, but a learner without an encoder takes a"
            f" matrix: {_ADVICE}"
        )
    return None


def _pandas_columns(X: Any, pandas: Any) -> Iterator[tuple[Any, Any, _Kind]]:
    for at, (name, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
        kind = _PANDAS_KINDS.get(dtype.kind, "other")
        if dtype.kind == "O" and str(dtype) == "object":
            of_values = pandas.api.types.infer_dtype(X.iloc[:, at], skipna=True)
            kind = _PANDAS_OBJECTS.get(of_values, "other")
        yield name, dtype, kind


def _polars_columns(X: Any) -> Iterator[tuple[Any, Any, _Kind]]:
    for name, dtype in X.schema.items():
        integer = dtype.is_integer() or str(dtype) == "Boolean"
        yield name, dtype, "integer" if integer else "number" if dtype.is_numeric() else "other"


def _arrow_columns(X: Any, types: Any) -> Iterator[tuple[Any, Any, _Kind]]:
    for field in X.schema:
        integer = types.is_integer(field.type) or types.is_boolean(field.type)
        number = types.is_floating(field.type) or types.is_decimal(field.type)
        yield field.name, field.type, "integer" if integer else "number" if number else "other"
