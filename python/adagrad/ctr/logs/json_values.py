"""The values in lines of JSON as columns.

The reader in `jsonl` uses this module: for the sample that decides what the columns are, and for
blocks with a line that pyarrow does not read. Nothing here knows blocks or files.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa

from adagrad.ctr.logs.json_lines import shown
from adagrad.ctr.logs.rows import Fault
from adagrad.ctr.logs.types import EXACT
from adagrad.ctr.logs.values import (
    NOT_EXACT,
    fault_of_value,
    inferred_types,
    parsed_texts,
    read_as,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

__all__ = ["MAP", "Column", "columns_of", "raw_type", "unknown_keys", "values_of"]

MAP = pa.map_(pa.string(), pa.float32())
"""Type of an object of numbers whose keys are categories."""

LARGEST = 2**63
MOST_PARTS = 4  # of a name that is divided in every way
LONG = 10**15  # integers of so many digits are ids in a column of floats
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]")

Path = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A column of a file of JSON objects.

    Attributes
    ----------
    name : str
        The keys on the way to its values, with dots between them.
    paths : tuple of tuple of str
        These keys; several if the sample does not say where they are divided.
    kind : pyarrow.DataType or None
        What the sample has: int64, float64, bool, string, timestamp, a list of these, `MAP`, or
        null if there is no value. None: values that cannot be encoded.
    has_ids : bool
        Whether the column is text because its numbers are too long for a type of numbers.
    """

    name: str
    paths: tuple[Path, ...]
    kind: pa.DataType | None
    has_ids: bool = False


def unknown_keys(
    row: dict[str, Any], columns: Iterable[Column], others: Collection[str]
) -> list[str]:
    """Return the names of the values of a row that belong to none of these columns.

    Parameters
    ----------
    row : dict
        From `parse_line`.
    columns : iterable of Column
        All columns of the file.
    others : collection of str
        Names that are left out.
    """
    paths, records = _places(tuple(columns))
    return [name for name in _names(row, paths, records, ()) if name not in others]


@functools.lru_cache(8)
def _places(columns: tuple[Column, ...]) -> tuple[frozenset[Path], frozenset[Path]]:
    paths = frozenset(path for column in columns for path in column.paths)
    return paths, frozenset(path[:end] for path in paths for end in range(1, len(path)))


def _names(
    row: dict[str, Any], paths: Collection[Path], records: Collection[Path], above: Path
) -> Iterator[str]:
    for key, value in row.items():
        path = (*above, key)
        if path in paths:
            continue
        if path in records and (value is None or isinstance(value, dict)):
            yield from _names(value or {}, paths, records, path)
        else:
            yield ".".join(path)


# -- the sample -----------------------------------------------------------------------------------


def columns_of(rows: Sequence[dict[str, Any]], wanted: Collection[str]) -> list[Column]:
    """Return the columns of some rows, in the order of their first appearance.

    An object is a record, with a column for each of its keys, if every row has the same keys, or if
    some value is not a number; else it is a map of numbers.

    Parameters
    ----------
    rows : sequence of dict
        From `parse_line`.
    wanted : collection of str
        Names that are asked for. An object some of whose columns are wanted is a record, and one
        that is wanted itself is a map. Names that no row has are columns without values.
    """
    found = [*_columns(rows, (), wanted)]
    known = {column.name for column in found}
    return found + [Column(name, _divided(name), pa.null()) for name in wanted if name not in known]


def _columns(
    rows: Sequence[dict[str, Any]], above: Path, wanted: Collection[str]
) -> Iterator[Column]:
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            there = values.setdefault(key, [])
            if value is not None:
                there.append(value)
    for key, there in values.items():
        path = (*above, key)
        name = ".".join(path)
        objects = [value for value in there if isinstance(value, dict)]
        if objects and isinstance(there[0], dict) and not _is_map(name, objects, wanted):
            yield from _columns(objects, path, wanted)
        else:
            kind = _kind(there)
            has_ids = kind == pa.string() and not isinstance(there[0], str)
            if kind == pa.string() and all(isinstance(x, str) and MOMENT.match(x) for x in there):
                kind = read_as(inferred_types([pa.table({key: pa.array(there)})])[key])
            yield Column(name, (path,), kind, has_ids)


def _is_map(name: str, objects: Sequence[dict[str, Any]], wanted: Collection[str]) -> bool:
    if name in wanted:
        return True
    if any(other.startswith(f"{name}.") for other in wanted):
        return False
    if len({frozenset(row) for row in objects}) == 1 and objects[0]:
        return False
    return all(value is None or _is_number(value) for row in objects for value in row.values())


def _divided(name: str) -> tuple[Path, ...]:
    """Return the ways to divide a name into keys."""
    parts = name.split(".")
    if len(parts) > MOST_PARTS:
        return ((name,), tuple(parts))
    ways: list[Path] = []
    for cuts in range(1 << (len(parts) - 1)):
        keys = [parts[0]]
        for at, part in enumerate(parts[1:]):
            if cuts >> at & 1:
                keys.append(part)
            else:
                keys[-1] += "." + part
        ways.append(tuple(keys))
    return tuple(ways)


def _kind(values: Sequence[Any]) -> pa.DataType | None:
    """Return the type of the values of a column, of which the first one decides what it is."""
    if not values:
        return pa.null()
    first = values[0]
    if isinstance(first, dict):
        return MAP
    if isinstance(first, list):
        entries = [x for value in values if isinstance(value, list) for x in value if x is not None]
        if entries and isinstance(entries[0], (dict, list)):
            return None
        kind = _kind(entries)
        return None if kind is None else pa.list_(kind)
    if isinstance(first, bool):
        return pa.bool_()
    if isinstance(first, str):
        return pa.string()
    numbers = [value for value in values if _is_number(value)]
    whole = [value for value in numbers if isinstance(value, int)]
    if len(whole) == len(numbers):
        fits = all(-LARGEST <= value < LARGEST for value in whole)
        return pa.int64() if fits else pa.string()  # ids
    return pa.string() if any(abs(value) >= LONG for value in whole) else pa.float64()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# -- columns --------------------------------------------------------------------------------------


def value_at(row: dict[str, Any], path: Path) -> Any:
    """Return the value at the end of a path; None if there is none."""
    value: Any = row
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def raw_type(column: Column, kind: pa.DataType, *, any_text: bool) -> pa.DataType:
    """Return the type as which pyarrow parses a column that becomes another type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_list(kind):
        inner = (
            column.kind.value_type
            if column.kind is not None and _is_list(column.kind)
            else pa.null()
        )
        entries = Column(column.name, (), inner)
        return pa.list_(raw_type(entries, kind.value_type, any_text=any_text))
    if _is_text(kind):
        if any_text and column.kind in (pa.int64(), pa.float64(), pa.bool_()):
            return column.kind
        return pa.string()
    if pa.types.is_integer(kind):
        return pa.uint64() if kind == pa.uint64() else pa.int64()
    if pa.types.is_floating(kind):
        return pa.float32() if kind == pa.float32() else pa.float64()
    return pa.bool_() if pa.types.is_boolean(kind) else pa.string()


def values_of(
    values: Sequence[Any], name: str, kind: pa.DataType, *, any_text: bool, way_out: str
) -> tuple[pa.Array, dict[int, Fault]]:
    """Return JSON values as a column, with nulls for those that do not fit its type.

    Parameters
    ----------
    values : sequence
        What the decoder gives; None for a missing value.
    name : str
        Name of the column, for messages.
    kind : pyarrow.DataType
        The type.
    any_text : bool
        Whether numbers and bools are texts, too, where `kind` is text.
    way_out : str
        What to do about a value that does not fit.

    Returns
    -------
    column : pyarrow.Array
    faults : dict of int to Fault
        By position.
    """
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    fit = _fitter(plain, any_text=any_text)
    found: list[Any] = []
    faults: dict[int, Fault] = {}
    for position, value in enumerate(values):
        try:
            found.append(None if value is None else fit(value))
        except ValueError as error:
            found.append(None)
            reason = str(error) or None
            helps = way_out if isinstance(value, list) or not pa.types.is_nested(plain) else ""
            faults[position] = fault_of_value(name, shown(value), plain, helps, reason)
    if _is_written(plain):
        texts = pa.chunked_array([pa.array(found, pa.string())])
        for position in unreadable(texts, plain).tolist():
            faults[position] = fault_of_value(name, shown(found[position]), plain, way_out)
            found[position] = None
        column = parsed_texts(pa.array(found, pa.string()), plain)
    else:
        column = pa.array(found, plain)
    return (column.dictionary_encode() if plain != kind else column), faults


def _fitter(kind: pa.DataType, *, any_text: bool) -> Callable[[Any], Any]:
    """Return a function of a JSON value that raises ValueError if it does not fit a type."""
    if _is_list(kind):
        return functools.partial(_list, fit=_fitter(kind.value_type, any_text=any_text))
    if pa.types.is_integer(kind):
        low, high = np.iinfo(kind.to_pandas_dtype()).min, np.iinfo(kind.to_pandas_dtype()).max
        return functools.partial(_integer, low=int(low), high=int(high))
    if pa.types.is_floating(kind):
        return _exact if kind == pa.float64() else _float
    if pa.types.is_boolean(kind):
        return _bool
    if _is_text(kind):
        return text_of if any_text else _text
    if kind == MAP:
        return _map
    return _text_or_number if _is_written(kind) else _nothing


def _list(value: Any, fit: Callable[[Any], Any]) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError
    return [None if entry is None else fit(entry) for entry in value]


def _integer(value: Any, low: int, high: int) -> int:
    if not _is_number(value) or (isinstance(value, float) and not abs(value) < EXACT):
        raise ValueError
    if int(value) != value or not low <= value <= high:
        raise ValueError
    return int(value)


def _exact(value: Any) -> float:
    number = _float(value)
    if number != value:
        raise ValueError(NOT_EXACT)
    return number


def _float(value: Any) -> float:
    if not _is_number(value):
        raise ValueError
    try:
        return float(value)
    except OverflowError:
        raise ValueError from None


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair") from None
    return value


def text_of(value: Any) -> str:
    """Return the text of a number, a bool or a text, as the encoder hashes it."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError("is not finite")
        whole = value.is_integer() and abs(value) < LARGEST
        return str(int(value) if whole else value)
    return str(value) if isinstance(value, int) else _text(value)


def _text_or_number(value: Any) -> str:
    return str(value) if _is_number(value) else _text(value)


def _map(value: Any) -> list[tuple[str, float]]:
    if not isinstance(value, dict):
        raise ValueError
    return [(_text(key), _float(entry)) for key, entry in value.items() if entry is not None]


def _nothing(value: Any) -> NoReturn:
    raise ValueError


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_written(kind: pa.DataType) -> bool:
    """Return whether JSON has values of a type as texts: moments, dates, times, decimals."""
    return bool(pa.types.is_temporal(kind) or pa.types.is_decimal(kind))
