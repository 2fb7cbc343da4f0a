"""Columns from any source, converted to the types that the compiled encoder reads.

`HashingEncoder` calls this module. pyarrow does the conversions; no value becomes a Python object.
Foreign memory is checked here: in full before pyarrow computes with it, and otherwise for the sizes
of its buffers, which the compiled encoder cannot see; it checks the rest while it reads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "encoding columns requires pyarrow: pip install 'adagrad[ctr]'"
    ) from error

from adagrad._arrow import damage, opaque, type_name
from adagrad._iso_texts import iso_texts
from adagrad._separators import LISTS, split
from adagrad._text import one_line
from adagrad.ctr.encoding.arrays import array_of, mixture, refuse_objects, with_clear_values
from adagrad.ctr.encoding.fields import CALENDAR, derived
from adagrad.ctr.encoding.moments import calendar_columns
from adagrad.ctr.encoding.rows import columns_of

__all__ = [
    "default_kind",
    "encodable",
    "is_number_type",
    "open_columns",
    "read_all",
    "renamed",
    "with_lists",
]

ISO_TEXT = pa.dictionary(pa.int32(), pa.string())
"""Type as which dates and times are hashed: ISO texts, each distinct one once."""

# The types of most columns. The compiled encoder reads them without conversion.
_NUMBERS = {pa.int32(), pa.int64(), pa.float32(), pa.float64()}
_CATEGORIES = {*_NUMBERS, pa.string(), pa.dictionary(pa.int32(), pa.string())}
_DEPTH = 8  # of lists, dictionaries, runs and extension types within each other


def open_columns(
    X: Any, *, positions: Sequence[str] | None = None, wanted: Iterable[str] = ()
) -> pa.RecordBatchReader:
    """Return a reader of the columns of X; if X is a reader, X itself.

    Parameters
    ----------
    X : object
        What `HashingEncoder.transform` takes.
    positions, wanted
        Names for arrays and for dicts, as for `columns_of`.

    Raises
    ------
    TypeError, ValueError
        X does not hold columns, or a value of a dict is not an array of one type.
    """
    if isinstance(X, pa.RecordBatchReader):
        return X
    pandas = sys.modules.get("pandas")
    columns = columns_of(X, positions, wanted)
    X = X if columns is None else columns
    if isinstance(X, Mapping):
        X = _of_mapping(X)
    elif pandas is not None and isinstance(X, pandas.DataFrame):
        X = _of_pandas(X, pandas)
    # The memory of these can be checked: buffers that come through a capsule have no size.
    if isinstance(X, pa.Table):
        return X.to_reader()
    if isinstance(X, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(X.schema, [X])
    if isinstance(X, (pa.Array, pa.ChunkedArray)) and not pa.types.is_struct(X.type):
        raise ValueError(f"X is one column, a {type(X).__name__}: name it, as in {{'name': X}}")
    if type(X).__name__ == "LazyFrame":  # whose schema is costly
        raise TypeError("X is a LazyFrame, which has no rows yet: pass X.collect()")
    refuse_objects(X)
    try:
        if hasattr(X, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(X)
        if hasattr(X, "__arrow_c_array__"):
            batch = pa.record_batch(X)
            return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except pa.ArrowException as error:
        raise TypeError(f"X cannot be read as Arrow columns: {one_line(error)}") from None
    raise TypeError(
        "X must be columns: a pyarrow Table, RecordBatch or RecordBatchReader, a DataFrame of"
        " pandas or polars, anything else with Arrow's PyCapsule interface, a dict of arrays, an"
        f" array of shape [n, columns], or a list of dicts; got {type(X).__name__}"
    )


def renamed(reader: pa.RecordBatchReader, names: list[str]) -> pa.RecordBatchReader:
    """Return a reader of the same columns under other names."""
    fields = [field.with_name(name) for field, name in zip(reader.schema, names, strict=True)]
    schema = pa.schema(fields)
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in reader)
    return pa.RecordBatchReader.from_batches(schema, batches)


def read_all(reader: pa.RecordBatchReader) -> pa.Table:
    """Read a reader to its end; raise ValueError if that fails."""
    try:
        return reader.read_all()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"X cannot be read: {one_line(error)}") from None


def with_lists(table: pa.Table, separators: Mapping[str, str]) -> pa.Table:
    """Return a table whose columns of texts with a separator are split at it.

    Raises
    ------
    ValueError
        The memory of such a column is damaged.
    """
    for at, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if name in separators and kind in (pa.string(), pa.large_string(), pa.string_view()):
            if (problem := damage(column, full=True)) is not None:
                raise ValueError(f"X[{name!r}] has damaged memory: {problem}")
            chunks = [split(chunk, separators[name]) for chunk in column.chunks]
            table = table.set_column(at, name, pa.chunked_array(chunks, LISTS))
    return table


def _of_mapping(X: Mapping[str, Any]) -> pa.Table:
    columns = {name: array_of(name, values) for name, values in X.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"X has columns of different lengths: {lengths}")
    return pa.table(columns)


def _of_pandas(X: Any, pandas: Any) -> pa.Table:
    # The capsule interface would turn an index that is not a range into another column.
    for position, dtype in enumerate(X.dtypes):
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            name, values = X.columns[position], X.iloc[:, position].to_numpy()
            try:
                clear = with_clear_values(values)
            except TypeError as error:
                raise TypeError(
                    f"X[{name!r}] cannot be converted to an Arrow array: {error}"
                ) from None
            if clear is not values:
                if isinstance(clear, pa.Array):
                    clear = pandas.array(clear, dtype=pandas.ArrowDtype(clear.type))
                X = X.copy(deep=False)
                X.isetitem(position, clear)
    try:
        return pa.Table.from_pandas(X, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        for name, column in X.items():
            if why := mixture(column.to_numpy()):
                raise TypeError(
                    f"X[{name!r}] cannot be converted to an Arrow array: {why}"
                ) from None
        raise TypeError(f"X cannot be converted to Arrow: {one_line(error)}") from None


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names)


def _is_date_or_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_map(kind: pa.DataType) -> bool:
    """Return whether values are maps, or lists of keys with values, as polars has them."""
    if pa.types.is_map(kind):
        return True
    if not (_is_list(kind) and pa.types.is_struct(kind.value_type)):
        return False
    return [field.name for field in kind.value_type] == ["key", "value"]


def _key_and_item(kind: pa.DataType) -> tuple[pa.DataType, pa.DataType]:
    if pa.types.is_map(kind):
        return kind.key_type, kind.item_type
    return kind.value_type[0].type, kind.value_type[1].type


def default_kind(kind: pa.DataType, numeric: str) -> str | None:
    """Return the default kind of a field of this type; None for a column of nulls."""
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.bool8":
            return "categorical"
        return default_kind(kind.storage_type, numeric)
    if pa.types.is_run_end_encoded(kind):
        return default_kind(kind.value_type, numeric)
    if pa.types.is_null(kind):
        return None
    is_number = _is_number(kind) or pa.types.is_decimal(kind) or pa.types.is_duration(kind)
    return numeric if is_number else "categorical"


def is_number_type(kind: pa.DataType) -> bool:
    """Return whether values are integers or floats, plain, in runs or in an extension type."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name != "arrow.bool8" and is_number_type(kind.storage_type)
    if pa.types.is_run_end_encoded(kind):
        return is_number_type(kind.value_type)
    return _is_number(kind) and not pa.types.is_null(kind)


def _is_measure(kind: pa.DataType) -> bool:
    """Return whether the values of a map may have this type: they are numbers."""
    return _is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)


def _target(kind: pa.DataType, as_number: bool) -> pa.DataType | None:
    """Return the type to which values are cast before hashing; None if they cannot be encoded."""
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
    if _is_date_or_time(kind):
        return ISO_TEXT
    return pa.string() if pa.types.is_decimal(kind) else None


def _is_read(kind: pa.DataType, as_number: bool) -> bool:
    """Return whether the compiled encoder reads this type without conversion."""
    if kind in (_NUMBERS if as_number else _CATEGORIES):
        return True
    if pa.types.is_map(kind):
        return kind.key_type in _CATEGORIES and kind.item_type in _NUMBERS
    if not as_number and pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(_target(kind, as_number) == kind)


def _leaf(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values in lists, dictionaries, runs and extension types."""
    for _ in range(_DEPTH):
        inner = getattr(kind, "storage_type", None) or getattr(kind, "value_type", None)
        if inner is None:
            return kind
        kind = inner
    return kind


def encodable(
    table: pa.Table, kinds: Mapping[str, str | None], *, checked: bool = False
) -> pa.Table:
    """Return the columns of the fields, with the types that the compiled encoder reads.

    Parameters
    ----------
    table : pyarrow.Table
        At least the columns of `kinds`.
    kinds : dict of str to str or None
        Kind of each column. One of moments has three fields; see `derived`.
    checked : bool
        Check all memory in full, texts included, because more than the compiled encoder reads it.

    Raises
    ------
    TypeError
        A column has a type that its kind cannot encode.
    ValueError
        The memory of a column is damaged, or a field of numbers has a text that is not a number.
    """
    columns = []
    for name, kind in kinds.items():
        column = table.column(name)
        if any(len(chunk) == 0 for chunk in column.chunks):
            # Empty slices of string views fail the validation of pyarrow 26.
            column = pa.chunked_array([chunk for chunk in column.chunks if len(chunk)], column.type)
        as_number = kind in ("log2-bins", "value")
        is_read = _is_read(column.type, as_number)
        _refuse_type(name, table.schema.field(name), is_read)
        problem = damage(column, full=checked or not is_read or kind == CALENDAR)
        if problem is not None:
            raise ValueError(f"X[{name!r}] has damaged memory: {problem}")
        try:
            if kind == CALENDAR:
                columns += calendar_columns(name, _unwrap(column, False))
            else:
                columns.append(_convert(name, column, kind or "", as_number))
        except pa.ArrowException as error:
            raise TypeError(
                f"X[{name!r}] has type {type_name(column.type)}, which cannot be encoded:"
                f" {one_line(error)}"
            ) from None
    return pa.table(columns, names=list(derived(kinds)))


def _refuse_type(name: str, field: pa.Field, is_read: bool) -> None:
    """Raise TypeError if a column has a type that cannot be encoded."""
    is_map = _is_map(field.type)
    key, item = _key_and_item(field.type) if is_map else (field.type, None)
    unclear = opaque(key, None if is_map else field.metadata)
    if unclear is not None:
        raise TypeError(
            f"X[{name!r}] has the extension type {unclear}, whose storage does not say what its"
            " values are: cast it to text or numbers"
        )
    if not is_read and (
        _target(_leaf(key), False) is None or not (item is None or _is_measure(item))
    ):
        raise TypeError(f"X[{name!r}] has type {type_name(field.type)}, which cannot be encoded")


def _convert(name: str, column: pa.ChunkedArray, kind: str, as_number: bool) -> pa.ChunkedArray:
    if column.type in (_NUMBERS if as_number else _CATEGORIES):
        return column
    if _is_map(column.type):
        return _convert_maps(name, column, kind)
    column = _unwrap(column, as_number)
    found = column.type
    item = found.value_type if _is_list(found) else found
    if kind == "value" and item is not found:
        raise TypeError(
            f"X[{name!r}] has type {type_name(found)}, but kind 'value' needs one number per row"
        )
    if pa.types.is_dictionary(item):
        return column
    target = _target(item, as_number)
    if target is None:
        what = "is not a number" if as_number else "cannot be encoded"
        raise TypeError(f"X[{name!r}] has type {type_name(found)}, which {what}")
    if item == target:
        return column
    if target == ISO_TEXT:
        if item is found:
            return _map_chunks(column, ISO_TEXT, iso_texts)
        return _map_chunks(column, pa.large_list(ISO_TEXT), lambda x: _in_order(x, iso_texts))
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


def _convert_maps(name: str, column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Return maps whose keys and values have types that the compiled encoder reads."""
    if kind not in ("", "categorical"):
        raise TypeError(
            f"X[{name!r}] has type {type_name(column.type)}, whose keys are categories with"
            f" values: it cannot have the kind {kind!r}"
        )
    if _is_read(column.type, False):
        return column
    if not pa.types.is_map(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    chunks = []
    for chunk in column.chunks:
        is_map = pa.types.is_map(chunk.type)
        keys, items = (chunk.keys, chunk.items) if is_map else chunk.values.flatten()
        keys = _convert(name, pa.chunked_array([keys]), "categorical", False)
        items = _convert(name, pa.chunked_array([items]), "", True)
        if pa.types.is_string_view(keys.type) or pa.types.is_binary_view(keys.type):
            keys = keys.cast(pa.large_binary())
        chunks.append(_with_entries(chunk, keys.combine_chunks(), items.combine_chunks()))
    return pa.chunked_array(chunks) if chunks else column.cast(pa.map_(pa.string(), pa.float32()))


def _with_entries(chunk: pa.Array, keys: pa.Array, items: pa.Array) -> pa.MapArray:
    """Return maps with the offsets of others."""
    validity, offsets = chunk.buffers()[:2]
    kind = pa.map_(keys.type, items.type)
    fields = [pa.field("key", keys.type, nullable=False), pa.field("value", items.type)]
    entries = pa.StructArray.from_arrays([keys, items], fields=fields)
    return pa.Array.from_buffers(
        kind, len(chunk), [validity, offsets], offset=chunk.offset, children=[entries]
    )


def _unwrap(column: pa.ChunkedArray, as_number: bool) -> pa.ChunkedArray:
    """Return the column without extension types, run ends, list views and useless dictionaries."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = _map_chunks(column, kind.storage_type, lambda chunk: chunk.storage)
        is_bool = kind.extension_name == "arrow.bool8"
        return column.cast(pa.bool_()) if is_bool else _unwrap(column, as_number)
    if pa.types.is_run_end_encoded(kind):
        return _unwrap(_map_chunks(column, kind.value_type, pc.run_end_decode), as_number)
    if pa.types.is_dictionary(kind):
        value = kind.value_type
        if isinstance(value, pa.BaseExtensionType):
            inner = pa.dictionary(kind.index_type, value.storage_type)
            return _unwrap(_map_chunks(column, inner, _without_extension), as_number)
        if as_number or _target(value, False) != value:
            return _unwrap(column.cast(value), as_number)
    if pa.types.is_fixed_size_list(kind):
        return _unwrap(column.cast(pa.list_(kind.value_type)), as_number)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _unwrap(_map_chunks(column, pa.large_list(kind.value_type), _in_order), as_number)
    if _is_list(kind) and pa.types.is_dictionary(kind.value_type):
        value = kind.value_type.value_type
        if as_number or _target(value, False) != value:
            return column.cast(pa.large_list(value))
    return column


def _without_extension(chunk: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.storage)


def _map_chunks(
    column: pa.ChunkedArray, kind: pa.DataType, f: Callable[[pa.Array], pa.Array]
) -> pa.ChunkedArray:
    return pa.chunked_array([f(chunk) for chunk in column.chunks], kind)


def _in_order(
    views: pa.Array, of_items: Callable[[pa.Array], pa.Array] = lambda items: items
) -> pa.Array:
    """Return lists or list views as large lists; pyarrow 26 miscasts views that overlap."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(views), 0), np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    missing = views.is_null() if views.null_count else None
    return pa.LargeListArray.from_arrays(offsets, of_items(pc.list_flatten(views)), mask=missing)


def _first_row_that_fails(column: pa.ChunkedArray, target: pa.DataType) -> int:
    good, bad = 0, len(column)  # the rows before `good` can be cast; those before `bad` cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            column.slice(good, middle - good).cast(target)
            good = middle
        except pa.ArrowException:
            bad = middle
    return good
