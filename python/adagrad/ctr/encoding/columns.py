"""Columns of any source and type as those that the compiled encoder reads.

Called by `HashingEncoder`. Conversions are pyarrow's; nothing becomes a Python object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "columns are read through pyarrow, which is not here: pip install 'adagrad[ctr]'"
    ) from error

__all__ = ["default_kind", "encodable", "open_columns"]

MOMENT = pa.dictionary(pa.int32(), pa.string())
"""What dates and times are hashed as: their texts, each distinct one once."""


# What most columns are, which the compiled encoder reads as they are.
_NUMBERS = {pa.int32(), pa.int64(), pa.float32(), pa.float64()}
_CATEGORIES = {*_NUMBERS, pa.string(), pa.dictionary(pa.int32(), pa.string())}


def open_columns(X: Any) -> pa.RecordBatchReader:
    """Return a reader of the columns of X; of a reader, itself."""
    if isinstance(X, pa.RecordBatchReader):
        return X
    pandas = sys.modules.get("pandas")
    if isinstance(X, Mapping):
        X = pa.table({name: _array(name, values) for name, values in X.items()})
    elif pandas is not None and isinstance(X, pandas.DataFrame):
        # Through the capsule interface an index that is not a range would be one more column.
        X = pa.Table.from_pandas(X, preserve_index=False)
    if hasattr(X, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(X)
    if hasattr(X, "__arrow_c_array__"):
        batch = pa.record_batch(X)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    raise TypeError(
        "X must be columns: a pyarrow Table, RecordBatch or RecordBatchReader, a DataFrame of"
        " pandas or polars, anything else with Arrow's PyCapsule interface, or a dict of arrays;"
        f" got {type(X).__name__}"
    )


def _array(name: str, values: Any) -> Any:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise TypeError(f"X[{name!r}] must be an array or a list, got {values!r}")
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    try:
        if hasattr(values, "__arrow_c_stream__"):
            return pa.chunked_array(values)
        return pa.array(values, from_pandas=True)  # NaN among objects is a missing value
    except (pa.ArrowException, TypeError) as error:
        raise TypeError(f"X[{name!r}] is no column of one type: {error}") from None


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def default_kind(kind: pa.DataType, numeric: str) -> str | None:
    """Return the kind of a field of this type; None where nothing is known of the type."""
    if isinstance(kind, pa.BaseExtensionType):
        return default_kind(kind.storage_type, numeric)
    if pa.types.is_run_end_encoded(kind):
        return default_kind(kind.value_type, numeric)
    if pa.types.is_null(kind):
        return None
    is_number = _is_number(kind) or pa.types.is_decimal(kind) or pa.types.is_duration(kind)
    return numeric if is_number else "categorical"


def _target(kind: pa.DataType, as_number: bool) -> pa.DataType | None:
    """Return the type that a value is cast to before it is hashed, None where there is none."""
    if _is_number(kind):
        return kind
    if pa.types.is_duration(kind):
        return pa.int64()
    if as_number:
        if pa.types.is_boolean(kind):
            return pa.uint8()
        return pa.float64() if _is_bytes(kind) or pa.types.is_decimal(kind) else None
    if pa.types.is_boolean(kind) or _is_bytes(kind):
        return kind
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if _is_moment(kind):
        return MOMENT
    return pa.string() if pa.types.is_decimal(kind) else None


def encodable(table: pa.Table, kinds: Mapping[str, str | None]) -> pa.Table:
    """Return the columns of fields with the types that the compiled encoder reads.

    Parameters
    ----------
    table : pyarrow.Table
    kinds : dict of str
        Kind of each field.

    Raises
    ------
    TypeError
        Where a type cannot be encoded as the kind asks.
    ValueError
        Where a text is no number, and is to be one.
    """
    columns = [_convert(name, table.column(name), kind or "") for name, kind in kinds.items()]
    return pa.table(columns, names=list(kinds))


def _convert(name: str, column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    as_number = kind in ("log2-bins", "value")
    if any(len(chunk) == 0 for chunk in column.chunks):
        # Slices of no rows of string views fail pyarrow 26's own validation.
        column = pa.chunked_array([chunk for chunk in column.chunks if len(chunk)], column.type)
    if column.type in (_NUMBERS if as_number else _CATEGORIES):
        return column
    column = _plain(column, as_number)
    found = column.type
    item = found.value_type if _is_list(found) else found
    if kind == "value" and item is not found:
        raise TypeError(f"X[{name!r}] is {found}, but a 'value' is one number a row")
    if pa.types.is_dictionary(item):
        return column
    target = _target(item, as_number)
    if target is None:
        what = "is no number" if as_number else "is not encoded"
        raise TypeError(f"X[{name!r}] is {found}, which {what}")
    if item == target:
        return column
    if target == MOMENT:
        if item is found:
            return _map(column, MOMENT, _texts_of_moments)
        return _map(column, pa.large_list(MOMENT), lambda x: _in_order(x, _texts_of_moments))
    if item is not found:
        target = pa.large_list(target)
    if as_number and _is_bytes(found):
        column = column.cast(pa.large_string())
        column = pc.if_else(pc.equal(column, ""), None, column)
    try:
        return column.cast(target)
    except pa.ArrowException:
        row = _first_row_that_fails(column, target)
        value = column[row].as_py()
        raise ValueError(f"X[{name!r}][{row}] = {value!r} cannot be read as {target}") from None


def _plain(column: pa.ChunkedArray, as_number: bool) -> pa.ChunkedArray:
    """Return the column without the wrappings of its values that are not encoded as such."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(_map(column, kind.storage_type, lambda chunk: chunk.storage), as_number)
    if pa.types.is_run_end_encoded(kind):
        return _plain(_map(column, kind.value_type, pc.run_end_decode), as_number)
    if pa.types.is_dictionary(kind):
        value = kind.value_type
        if as_number or _target(value, False) != value:
            return _plain(column.cast(value), as_number)
    if pa.types.is_fixed_size_list(kind):
        return _plain(column.cast(pa.list_(kind.value_type)), as_number)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _plain(_map(column, pa.large_list(kind.value_type), _in_order), as_number)
    if _is_list(kind) and pa.types.is_dictionary(kind.value_type):
        value = kind.value_type.value_type
        if as_number or _target(value, False) != value:
            return column.cast(pa.large_list(value))
    return column


def _map(
    column: pa.ChunkedArray, kind: pa.DataType, f: Callable[[pa.Array], pa.Array]
) -> pa.ChunkedArray:
    return pa.chunked_array([f(chunk) for chunk in column.chunks], kind)


def _texts_of_moments(moments: pa.Array) -> pa.Array:
    """Return dates and times as text that is the same for every unit, each distinct one made once.

    A fraction of a second has no zeros at its end, a timestamp of midnight is a date, and one with
    a time zone is in UTC, with a Z.
    """
    kind = moments.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        moments = moments.cast(pa.timestamp(kind.unit, "UTC"))
    codes = moments.dictionary_encode()
    texts = codes.dictionary.cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"(\.\d*[1-9])0+(Z?)$", r"\1\2")
    texts = pc.replace_substring_regex(texts, r"\.0+(Z?)$", r"\1")
    texts = pc.replace_substring_regex(texts, r" 00:00:00$", "")
    return pa.DictionaryArray.from_arrays(codes.indices, texts)


def _in_order(
    views: pa.Array, of_items: Callable[[pa.Array], pa.Array] = lambda items: items
) -> pa.Array:
    """Return lists, of list views too (which pyarrow 26 casts wrongly where they overlap)."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(views), 0), np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    missing = views.is_null() if views.null_count else None
    return pa.LargeListArray.from_arrays(offsets, of_items(pc.list_flatten(views)), mask=missing)


def _first_row_that_fails(column: pa.ChunkedArray, target: pa.DataType) -> int:
    good, bad = 0, len(column)  # rows before `good` can be cast, those before `bad` cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column.slice(good, middle - good).cast(target)
            good = middle
        except pa.ArrowException:
            bad = middle
    return good
