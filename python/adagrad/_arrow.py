"""What must hold before a value of a foreign Arrow array is read: intact memory, a known type.

Logs in columns and the hashing encoder, through which all such arrays enter, ask this module. A
function of pyarrow that computes something may crash on memory that `damage` has not seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adagrad._text import one_line, shortened

__all__ = ["as_list", "damage", "opaque", "type_name", "without"]

# Extension types whose storage says what the values are.
_CLEAR = {
    "arrow.bool8",
    "arrow.fixed_shape_tensor",
    "arrow.json",
    "arrow.uuid",
    "arrow.variable_shape_tensor",
}
_TEXTS = (pa.string(), pa.large_string(), pa.string_view())
_OFFSETS = {pa.string(): np.int32, pa.large_string(): np.int64}
_FIRST_NOT_ASCII = 0x80
_VIEWS = (pa.string_view(), pa.binary_view())
_NAME = b"ARROW:extension:name"
_DEPTH = 32


def type_name(kind: pa.DataType) -> str:
    """Return the name of a type for an error message; that of a struct may be long."""
    return shortened(one_line(kind), 100)


def damage(column: pa.Array | pa.ChunkedArray, *, full: bool = True) -> str | None:
    """Return what is wrong with the memory of a column, in one line; None if nothing is.

    Parameters
    ----------
    column : pyarrow.Array or pyarrow.ChunkedArray
    full : bool
        Whether to look at every offset, index and text, and not only at the sizes of buffers.
    """
    try:
        column.validate()
        if not full:
            return None
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            if not _is_simple(chunk):
                chunk.validate(full=True)
                if _has_views(chunk.type):
                    _check_missing_views(chunk)
    except pa.ArrowException as error:
        return one_line(error)
    return None


def _is_simple(array: pa.Array) -> bool:
    """Return whether a quick look proves an array valid, if its buffers have the right sizes.

    It does for numbers, ASCII texts and their dictionaries, six times as fast as pyarrow.
    """
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return True
    if len(array) == 0:
        return False
    if isinstance(array, pa.DictionaryArray):
        indices = _numbers(array.indices, kind.index_type.to_pandas_dtype(), len(array))
        in_range = indices.min() >= 0 and indices.max() < len(array.dictionary)
        return bool(in_range) and _is_simple(array.dictionary)
    if kind not in _OFFSETS:
        return False
    offsets = _numbers(array, _OFFSETS[kind], len(array) + 1)
    if array.buffers()[2] is None or not (offsets[:-1] <= offsets[1:]).all():
        return False
    text = np.frombuffer(array.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return bool(text.max(initial=0) < _FIRST_NOT_ASCII)


def _numbers(array: pa.Array, dtype: Any, count: int) -> npt.NDArray[Any]:
    begin = array.offset * np.dtype(dtype).itemsize
    return np.frombuffer(array.buffers()[1], dtype, count, begin)


def _has_views(kind: pa.DataType) -> bool:
    """Return whether a type holds texts that are views."""
    for _ in range(_DEPTH):
        if kind in _VIEWS:
            return True
        inner = getattr(kind, "storage_type", None) or getattr(kind, "value_type", None)
        if inner is None:
            return False
        kind = inner
    return False


def _check_missing_views(array: pa.Array) -> None:
    """Validate the views of missing values, which pyarrow 26 adds up but does not validate."""
    if array.type in _VIEWS:
        if array.null_count:
            buffers = [None, *array.buffers()[1:]]
            all_views = pa.Array.from_buffers(
                pa.binary_view(), len(array), buffers, null_count=0, offset=array.offset
            )
            all_views.validate(full=True)
    elif isinstance(array, pa.ExtensionArray):
        _check_missing_views(array.storage)
    elif isinstance(array, pa.DictionaryArray):
        _check_missing_views(array.dictionary)
    elif hasattr(array, "values"):
        _check_missing_views(array.values)


def opaque(kind: pa.DataType, metadata: Mapping[bytes, bytes] | None = None) -> str | None:
    """Return the name of an extension type whose storage does not say what the values are.

    Such a type may occur within a list or a dictionary. An extension type that stores text is
    clear.

    Parameters
    ----------
    kind : pyarrow.DataType
    metadata : mapping of bytes to bytes, optional
        Metadata of the field, which names an extension type that pyarrow does not know.

    Returns
    -------
    name : str or None
        None if the values mean what their type says.
    """
    for _ in range(_DEPTH):
        name = (metadata or {}).get(_NAME, b"").decode("utf-8", "replace")
        metadata = None
        if isinstance(kind, pa.BaseExtensionType):
            name = kind.extension_name
            text, kind = str(kind), kind.storage_type
            if name == "arrow.opaque":
                name = text
        if name and name not in _CLEAR and kind not in _TEXTS:
            return name
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            metadata = kind.value_field.metadata
        kind = getattr(kind, "value_type", None)
        if kind is None:
            return None
    return None


def as_list(maps: pa.MapArray, entries: pa.Array) -> pa.ListArray:
    """Return one array of the entries of maps, such as all keys, as a list for each map."""
    return pa.Array.from_buffers(
        pa.list_(entries.type),
        len(maps),
        maps.buffers()[:2],
        offset=maps.offset,
        children=[entries],
    )


def without(table: pa.Table, rows: Collection[int]) -> pa.Table:
    """Return a table without the rows at some positions."""
    good = np.ones(len(table), np.bool_)
    good[list(rows)] = False
    try:
        return table.filter(pa.array(good))
    except pa.ArrowNotImplementedError:  # of views and run ends
        edges = np.flatnonzero(np.diff(good.astype(np.int8), prepend=0, append=0))
        parts = [table.slice(0, 0)]
        parts += [table.slice(begin, end - begin) for begin, end in edges.reshape(-1, 2).tolist()]
        return pa.concat_tables(parts)
