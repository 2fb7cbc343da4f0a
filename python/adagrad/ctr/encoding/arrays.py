"""Values of Python, NumPy, pandas and polars as Arrow arrays, where pyarrow would change a value.

pyarrow converts everything else. `columns` calls this module.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from numbers import Number
from typing import Any

import numpy as np
import pyarrow as pa

from adagrad._text import one_line

__all__ = ["array_of", "mixture", "refuse_objects", "with_clear_values"]

_ARROW_UNITS = ("s", "ms", "us", "ns")
_MOMENTS = (np.datetime64, np.timedelta64)
_LISTS, _SETS = {list, tuple}, {set, frozenset}
_NESTED = (list, tuple, np.ndarray)


def array_of(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    """Return the values of one column as an Arrow array.

    Raises
    ------
    TypeError
        The values are not an array of one type that Arrow has.
    """
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise TypeError(
            f"X[{name!r}] must be an array or a list, got {values!r}; if X is one row, pass [X]"
        )
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if str(getattr(values, "dtype", "")) == "Object":
        _refuse(name)
    try:
        if hasattr(values, "__arrow_c_stream__"):
            return pa.chunked_array(values)
        values = with_clear_values(values)
        if isinstance(values, pa.Array):
            return values
        if isinstance(values, np.ndarray):
            values = np.require(values, requirements="A")
        return pa.array(values, from_pandas=True)  # NaN in an object array is a missing value
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        why = mixture(values) or one_line(error)
        raise TypeError(f"X[{name!r}] cannot be converted to an Arrow array: {why}") from None


def mixture(values: Any) -> str | None:
    """Return what a column mixes that Arrow does not, and the way out; None if it is not that."""
    if not isinstance(values, (list, tuple)) and getattr(values, "dtype", "") != np.dtype(object):
        return None
    items = (item for value in values for item in (value if type(value) in _LISTS else [value]))
    found = sorted({_word_for(type(item)) for item in items} - {""})
    if len(found) < 2:
        return None
    return f"it mixes {' and '.join(found)}: make all of its values text, or all of them numbers"


def _word_for(kind: type) -> str:
    if issubclass(kind, (bool, np.bool_)):
        return "bools"
    return "text" if issubclass(kind, str) else "numbers" if issubclass(kind, Number) else ""


def refuse_objects(X: Any) -> None:
    """Raise TypeError if a frame has a column of Python objects: Arrow gets their addresses."""
    schema = getattr(X, "schema", None)  # of polars, or of narwhals
    if isinstance(schema, Mapping):
        for name, kind in schema.items():
            if str(kind) == "Object":
                _refuse(name)


def _refuse(name: str) -> None:
    raise TypeError(
        f"X[{name!r}] has type Object, whose values are addresses of Python objects: cast it to"
        " text or numbers"
    )


def with_clear_values(values: Any) -> Any:
    """Return values that pyarrow converts as they are, or raise TypeError if their types clash.

    pyarrow ignores the multiple of a unit such as ``datetime64[10s]``, drops the time of a datetime
    beside a date, and takes a moment without a time zone beside one with a zone as UTC.
    """
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return _in_unit_of_arrow(np.asanyarray(values))
    if not isinstance(values, (list, tuple)) and getattr(dtype, "kind", "") != "O":
        return values
    types = {type(value) for value in values}
    if not types.isdisjoint(_SETS):  # the order of text in a set changes from run to run
        values = [_sorted(value) if type(value) in _SETS else value for value in values]
    if any(issubclass(kind, Mapping) for kind in types):
        return _maps(values)
    if types.isdisjoint(_MOMENTS):
        _check_types(types, values)
        return values
    kinds = types & set(_MOMENTS)
    others = types - {*kinds, type(None)}
    if len(kinds) > 1 or others:
        clash = sorted(kind.__name__ for kind in kinds | others)
        raise TypeError(f"its values have the types {', '.join(clash)}")
    code = "M8" if np.datetime64 in kinds else "m8"
    return _in_unit_of_arrow(np.array(list(values), dtype=code))


def _maps(values: Iterable[Any]) -> pa.MapArray:
    """Return dicts as maps; pyarrow would make a struct with a field for each key of any."""
    keys: list[Any] = []
    items: list[Any] = []
    ends: list[int | None] = []
    for value in values:
        missing = value is None or (isinstance(value, float) and value != value)
        if not missing and not isinstance(value, Mapping):
            raise TypeError(f"it mixes dicts and {type(value).__name__}")
        ends.append(None if missing else len(keys))
        if not missing:
            keys += value.keys()
            items += value.values()
    for item in items:
        if not (item is None or isinstance(item, (Number, np.bool_))):
            raise TypeError(f"a dict has the value {item!r}, which is not a number")
    if why := mixture(keys):
        raise TypeError(f"of the keys of its dicts, {why}")
    numbers = pa.array([None if item is None else float(item) for item in items], pa.float64())
    names = pa.array(keys) if keys else pa.array([], pa.string())  # or empty dicts have no type
    return pa.MapArray.from_arrays(pa.array([*ends, len(keys)], pa.int32()), names, numbers)


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (value is None, value))


def _check_types(types: set[type], values: Iterable[Any]) -> None:
    if any(issubclass(kind, _NESTED) for kind in types):
        for value in values:
            if isinstance(value, _NESTED) and _has_multiple(value):
                raise TypeError("a list has moments in a unit that Arrow lacks")
    moments = {kind for kind in types if issubclass(kind, datetime.datetime)}
    if not moments:
        return
    if any(issubclass(kind, datetime.date) for kind in types - moments):
        raise TypeError("its values are dates and datetimes; make all of them datetimes")
    aware = {value.tzinfo is not None for value in values if type(value) in moments}
    if len(aware) > 1:
        raise TypeError("its values are datetimes with and without a time zone")


def _has_multiple(values: Any) -> bool:
    """Return whether any moment in a list has a unit that pyarrow would misread or reject."""
    dtype = getattr(values, "dtype", None)
    if dtype is None or dtype.kind == "O":
        return any(
            _has_multiple(value) for value in values if isinstance(value, (*_NESTED, *_MOMENTS))
        )
    if dtype.kind not in "mM":
        return False
    unit, multiple = np.datetime_data(dtype)
    return multiple != 1 or unit not in (*_ARROW_UNITS, "D")


def _in_unit_of_arrow(moments: Any) -> Any:
    """Return moments or durations in a unit that Arrow has, as exact as before."""
    unit, _ = np.datetime_data(moments.dtype)
    code = moments.dtype.kind
    if unit == "generic":  # NaT alone has no unit
        unit = "s"
    elif unit in ("ps", "fs", "as"):
        unit = "ns"
    elif unit in ("Y", "M", "W", "D"):
        if code == "m" and unit in ("Y", "M"):
            raise TypeError(f"a duration in units of {moments.dtype} has no fixed length")
        unit = "D" if code == "M" else "s"
    elif unit not in _ARROW_UNITS:
        unit = "s"
    with np.errstate(over="ignore"):
        out = moments.astype(f"{code}8[{unit}]", copy=False)
        same = out.astype(moments.dtype, copy=False) == moments
        if unit == "D":
            same &= out == out.astype(np.int64).astype(np.int32).astype("M8[D]")
    # NaT differs from itself. What overflows comes back as another moment.
    lost = ~(same | np.isnat(moments))
    if lost.any():
        raise TypeError(f"{moments[lost][0]!r} does not fit Arrow's type for {out.dtype}")
    return out
