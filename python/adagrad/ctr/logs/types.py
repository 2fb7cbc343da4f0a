"""One type for a column of all files of a log, and the conversion of values to it.

`unify` is the table of rules: which types mean the same, and which type holds the values of both.
`survey` applies it to the files of a log, and the readers convert what they read. No file is read
here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adagrad._iso_texts import iso_texts

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EXACT",
    "CannotConvert",
    "as_text",
    "convert",
    "failing",
    "has_single_values",
    "is_number",
    "is_text",
    "plain",
    "unify",
    "whole_numbers",
]

CODES = pa.int32()
EXACT = 2.0**53  # float64 cannot tell larger integers apart
UNITS = ("s", "ms", "us", "ns")

# The families of types. Types of one family mean the same, as far as a value fits.
FAMILIES: dict[str, tuple[str, ...]] = {
    "null": ("null",),
    "bool": ("boolean",),
    "integer": ("integer",),
    "float": ("floating",),
    "decimal": ("decimal",),
    "text": ("string", "large_string", "string_view"),
    "bytes": ("binary", "large_binary", "binary_view", "fixed_size_binary"),
    "date": ("date",),
    "timestamp": ("timestamp",),
    "time": ("time",),
    "duration": ("duration",),
    "dictionary": ("dictionary",),
    "list": ("list", "large_list", "fixed_size_list"),
    "map": ("map",),
}


@functools.lru_cache(1024)
def _family(kind: pa.DataType) -> str:
    """Return the family of a type; "other" for types that mean only themselves."""
    for family, names in FAMILIES.items():
        if any(getattr(pa.types, f"is_{name}")(kind) for name in names):
            return family
    return "other"


def is_number(kind: pa.DataType) -> bool:
    """Return whether values are integers or floats."""
    return _family(kind) in ("integer", "float")


def is_text(kind: pa.DataType) -> bool:
    """Return whether values are texts, encoded as a dictionary or not."""
    return _family(plain(kind)) == "text"


def has_single_values(kind: pa.DataType) -> bool:
    """Return whether values are numbers, texts or the like, encoded as a dictionary or not."""
    return _family(plain(kind)) not in ("dictionary", "list", "map", "other")


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary, and any other type unchanged."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def readable(kind: pa.DataType) -> pa.DataType:
    """Return the type with which a column is read; pyarrow cannot filter views of texts."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, readable(kind.value_type), kind.ordered)
    views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return views.get(kind, kind)


def unify(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of two types; None if they mean different things.

    A type of no values agrees with every other. A dictionary remains one only if both types are
    dictionaries. A value that does not fit the result, such as an integer that float64 cannot hold,
    is a fault of its row.
    """
    if one == other:
        return one
    families = _family(one), _family(other)
    if "null" in families:
        return other if families[0] == "null" else one
    if "dictionary" in families:
        return _unify_dictionaries(one, other)
    rule = RULES.get(families) or RULES.get(families[::-1])
    return None if rule is None else rule(one, other)


def _unify_dictionaries(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kind = unify(plain(one), plain(other))
    if pa.types.is_dictionary(one) and pa.types.is_dictionary(other):
        return kind and pa.dictionary(CODES, kind)
    # Numbers in a dictionary are categories, and others are not.
    return kind if kind is not None and _family(kind) in ("text", "bytes") else None


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    unsigned = pa.types.is_unsigned_integer
    return pa.uint64() if unsigned(one) and unsigned(other) else pa.int64()


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    return one if one.bit_width > other.bit_width else other


def _text(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    large = pa.types.is_large_string(one) or pa.types.is_large_string(other)
    return pa.large_string() if large else pa.string()


def _decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the longer type; decimals of another scale have other texts: 1.5 and 1.50."""
    if one.scale != other.scale:
        return None
    return one if one.precision > other.precision else other


def _finer(one: pa.DataType, other: pa.DataType) -> str:
    unit: str = max(one.unit, other.unit, key=UNITS.index)
    return unit


def _timestamp(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    return pa.timestamp(_finer(one, other), one.tz) if one.tz == other.tz else None


def _date_and_timestamp(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the timestamp: a date is its midnight, if it has no time zone."""
    moment = one if pa.types.is_timestamp(one) else other
    return moment if moment.tz is None else None


def _time(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    unit = _finer(one, other)
    return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)


def _list(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kind = unify(one.value_type, other.value_type)
    return kind and pa.large_list(kind)


def _map(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    key, item = unify(one.key_type, other.key_type), unify(one.item_type, other.item_type)
    return key and item and pa.map_(key, item)


RULES: dict[tuple[str, str], Callable[[Any, Any], pa.DataType | None]] = {
    ("integer", "integer"): _integer,
    ("float", "float"): _wider,
    ("integer", "float"): lambda one, other: pa.float64(),
    ("decimal", "decimal"): _decimal,
    ("text", "text"): _text,
    ("bytes", "bytes"): lambda one, other: pa.large_binary(),
    ("text", "bytes"): lambda one, other: pa.large_binary(),
    ("date", "date"): lambda one, other: pa.date32(),
    ("date", "timestamp"): _date_and_timestamp,
    ("timestamp", "timestamp"): _timestamp,
    ("time", "time"): _time,
    ("list", "list"): _list,
    ("map", "map"): _map,
}


def as_text(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of the texts of a type; None if its values have none, such as lists."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(CODES, pa.string()) if as_text(kind.value_type) else None
    return None if _family(kind) in ("list", "map", "other") else pa.string()


class CannotConvert(ValueError):
    """Some values do not fit a type.

    Attributes
    ----------
    rows : list of int
        Their positions in the column.
    """

    def __init__(self, rows: list[int]) -> None:
        super().__init__(rows)
        self.rows = rows


def convert(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Convert a column to another type, without the loss of a value.

    Texts are those that the encoder hashes: 5 for 5.0, 1 for true, ISO dates.

    Raises
    ------
    CannotConvert
        A value does not fit the type.
    """
    if column.type == kind:
        return _without_null_entries(column)
    try:
        return pa.chunked_array([_converted(chunk, kind) for chunk in column.chunks], kind)
    except pa.ArrowException:
        raise CannotConvert(_rows_that_fail(column, kind)) from None


def _without_null_entries(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column whose dictionaries have no null, which pyarrow could not join."""
    if not pa.types.is_dictionary(column.type):
        return column
    chunks = [
        _encoded(chunk.dictionary.take(chunk.indices), column.type)
        if chunk.dictionary.null_count
        else chunk
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, column.type)


def _encoded(values: pa.Array, kind: pa.DataType) -> pa.DictionaryArray:
    """Return a dictionary of some values, without nulls."""
    codes = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        codes.indices.cast(kind.index_type), codes.dictionary, ordered=kind.ordered
    )


def _converted(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), kind)
    if pa.types.is_dictionary(kind):
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        entries = _converted(values.dictionary, kind.value_type)
        if entries.null_count or entries.type != values.type.value_type:
            return _encoded(entries.take(values.indices), kind)
        return pa.DictionaryArray.from_arrays(values.indices.cast(kind.index_type), entries)
    if pa.types.is_dictionary(values.type):
        return _converted(values.dictionary, kind).take(values.indices)
    if _family(kind) == "text":
        return _texts(values).cast(kind)
    return values.cast(kind)


def _texts(values: pa.Array) -> pa.Array:
    """Return the texts that the encoder hashes."""
    family = _family(values.type)
    if family == "bool":
        values = values.cast(pa.uint8())
    elif family == "duration":
        values = values.cast(pa.int64())
    elif family == "float":
        codes = values.dictionary_encode()
        return pa.array(_texts_of_floats(codes.dictionary), pa.string()).take(codes.indices)
    elif family in ("date", "time", "timestamp"):
        return iso_texts(values).cast(pa.string())
    return values if family == "text" else values.cast(pa.string())


def _texts_of_floats(values: pa.Array) -> list[str | None]:
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())
    if pc.any(pc.invert(pc.is_finite(values))).as_py():
        raise pa.ArrowInvalid("not finite")
    shortest = np.float32 if pa.types.is_float32(values.type) else float
    return [
        None
        if value is None
        else str(int(value))
        if value.is_integer() and abs(value) < 1 << 63
        else str(shortest(value))
        for value in values.to_pylist()
    ]


def _rows_that_fail(column: pa.ChunkedArray, kind: pa.DataType) -> list[int]:
    """Return the rows that cannot be converted."""

    def fits(low: int, high: int) -> bool:
        try:
            for chunk in column.slice(low, high - low).chunks:
                _converted(chunk, kind)
        except pa.ArrowException:
            return False
        return True

    return failing(len(column), fits)


def failing(count: int, fits: Callable[[int, int], bool]) -> list[int]:
    """Return which of `count` values fail, by bisection of the ranges that do not fit."""
    found, ranges = [], [(0, count)] if count else []
    while ranges:
        low, high = ranges.pop()
        if fits(low, high):
            continue
        if high - low == 1:
            found.append(low)
        else:
            middle = (low + high) // 2
            ranges += [(middle, high), (low, middle)]
    return found


def whole_numbers(texts: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Parse integers that may be spelled as floats, such as 5.0 and 5e0.

    Raises
    ------
    pyarrow.ArrowInvalid
        A text is not an integer, or is spelled as a float that may not be exact.
    """
    texts = pc.utf8_trim(texts, " \t")
    is_plain = pc.match_substring_regex(texts, r"^-?\d+$")
    floats = pc.if_else(is_plain, None, texts).cast(pa.float64())
    if pc.any(pc.greater_equal(pc.abs(floats), EXACT)).as_py():
        raise pa.ArrowInvalid("not exact")
    plain_ones = pc.if_else(is_plain, texts, None).cast(kind)
    return pc.coalesce(plain_ones, floats.cast(kind))
