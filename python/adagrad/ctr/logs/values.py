"""Which texts of a column cannot be read as its type, all found at once.

A parser such as pyarrow's stops at the first text that it rejects. The readers of text formats ask
here for the others. Nothing here knows lines or files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from adagrad._arrow import type_name
from adagrad.ctr.logs.rows import Fault
from adagrad.ctr.logs.types import failing, is_number, is_text, whole_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "fault_of_value",
    "inferred_types",
    "may_be_rounded",
    "parsed_texts",
    "read_as",
    "unreadable",
    "unreadable_fault",
]

SHOWN = 100  # characters of a value in a message
NOT_EXACT = "is an integer that double cannot hold exactly"

# What pyarrow surely reads, and all that it may read. Texts between the two are tried.
INTEGER = r"^[ \t]*-?[0-9]+[ \t]*$"
REAL = (
    r"^[ \t]*[-+]?([0-9]+\.?[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?"
    r"|[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN](\([0-9a-zA-Z_]*\))?)[ \t]*$"
)
PLAIN_REAL = r"^[ \t]*-?[0-9]{1,15}(\.[0-9]{1,15})?[ \t]*$"
BOOL = r"^(0|1|true|True|TRUE|false|False|FALSE)$"
TIME = r"^[-0-9:.,TZ+/ ]+$"

EXACT = 2**53  # float64 holds every integer up to this one
LONG_INTEGER = r"\s*[+-]?\d{16,}\s*"
"""Texts that may be integers which float64 cannot distinguish."""

# What makes a column text that is numbers to pyarrow: integers that float64 cannot distinguish,
# and hexadecimal ones. Both are ids.
IDS = {pa.float64(): LONG_INTEGER, pa.int64(): r"\s*0[xX][0-9a-fA-F]+\s*"}


def may_be_rounded(column: pa.ChunkedArray) -> bool:
    """Return whether a column of float64 has a number that may be a rounded integer."""
    if column.type != pa.float64():
        return False
    low, high = pc.min_max(column).as_py().values()
    return low is not None and max(-low, high) >= EXACT


def unreadable(texts: pa.ChunkedArray, kind: pa.DataType) -> NDArray[np.int64]:
    """Return the positions of the texts that cannot be read as a type. Nulls can.

    Parameters
    ----------
    texts : pyarrow.ChunkedArray of strings
        The column as it is written.
    kind : pyarrow.DataType
        The type.
    """
    column = texts.combine_chunks().dictionary_encode()
    values = column.dictionary
    surely, maybe = _patterns(kind)
    possible = pc.match_substring_regex(values, maybe).to_numpy(zero_copy_only=False)
    bad = ~possible
    if surely is not None:
        possible &= ~pc.match_substring_regex(values, surely).to_numpy(zero_copy_only=False)
    uncertain = np.flatnonzero(possible)
    doubtful = values.take(pa.array(uncertain))
    wrong = failing(
        len(uncertain), lambda low, high: _reads(doubtful.slice(low, high - low).to_pylist(), kind)
    )
    bad[uncertain[wrong]] = True
    if kind == pa.float64():
        bad |= _rounded(values)
    if not bad.any():
        return np.arange(0)
    codes = column.indices.fill_null(len(values)).to_numpy()
    return np.flatnonzero(np.append(bad, False)[codes])


def unreadable_fault(name: str, value: str, kind: pa.DataType, way_out: str) -> Fault:
    """Return the fault of a row with such a text."""
    if kind == pa.float64() and _rounded(pa.array([value])).any():
        return fault_of_value(name, value.strip(), kind, way_out, NOT_EXACT)
    shown = repr(value[:SHOWN]) + ("..." if len(value) > SHOWN else "")
    return fault_of_value(name, shown, kind, way_out)


def fault_of_value(
    name: str, shown: str, kind: pa.DataType, way_out: str, reason: str | None = None
) -> Fault:
    """Return the fault of a row whose value does not fit the type of its column.

    Parameters
    ----------
    name : str
        Name of the column.
    shown : str
        The value, as a message shows it.
    kind : pyarrow.DataType
        The type.
    way_out : str
        What to do about it.
    reason : str, optional
        What to say of the value; by default, that it cannot be read as the type.
    """
    number = is_number(kind)
    text = "text" if is_text(kind) else type_name(kind)
    if reason is None:
        example = _example(kind)
        reason = f"cannot be read as {text}" + (f", which looks like {example}" if example else "")
    what = "number" if number else text.partition("[")[0].partition("<")[0]
    return Fault(
        "another type" if is_text(kind) or pa.types.is_nested(kind) else f"not a {what}",
        f"column {name!r}: {shown} {reason}{way_out}",
    )


def parsed_texts(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Parse texts as a CSV file has them; null remains null.

    Raises
    ------
    pyarrow.ArrowInvalid
        A text cannot be read as the type.
    """
    codes = texts.dictionary_encode()
    return _parsed(codes.dictionary.to_pylist(), kind).take(codes.indices)


def _rounded(texts: pa.Array) -> NDArray[np.bool_]:
    """Return which texts are integers that float64 would round to others, as ids would be."""
    rounded = pc.match_substring_regex(texts, f"^{LONG_INTEGER}$").fill_null(False)
    found = np.array(rounded.to_numpy(zero_copy_only=False), np.bool_)
    for row in np.flatnonzero(found).tolist():
        text = texts[row].as_py()
        found[row] = float(text) != int(text)
    return found


def _parsed(values: list[str], kind: pa.DataType) -> pa.Array:
    """Return texts as pyarrow reads them in a CSV file."""
    if not values:
        return pa.array([], kind)
    data = "".join('"' + value.replace('"', '""') + '"\n' for value in values).encode()
    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, column_names=["x"], block_size=len(data) + 1
        ),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types={"x": kind}, null_values=[]),
    )
    return table.column("x").combine_chunks()


def _reads(values: list[str], kind: pa.DataType) -> bool:
    """Return whether pyarrow reads all these texts as a type."""
    try:
        _parsed(values, kind)
    except pa.ArrowInvalid:
        return pa.types.is_integer(kind) and _are_whole(values, kind)
    return True


def _are_whole(values: list[str], kind: pa.DataType) -> bool:
    try:
        whole_numbers(pa.chunked_array([values], pa.string()), kind)
    except pa.ArrowInvalid:
        return False
    return True


def _patterns(kind: pa.DataType) -> tuple[str | None, str]:
    """Return what a value of a type surely looks like, and all that it may look like."""
    if kind == pa.int64():
        return r"^[ \t]*-?[0-9]{1,18}[ \t]*$", f"{INTEGER}|{REAL}"
    if pa.types.is_integer(kind):
        return None, f"{INTEGER}|{REAL}"
    if kind == pa.float64():
        return PLAIN_REAL, REAL
    if pa.types.is_floating(kind):
        return None, REAL
    if pa.types.is_boolean(kind):
        return BOOL, BOOL
    if pa.types.is_temporal(kind):
        return None, TIME
    return None, "^"


def _example(kind: pa.DataType) -> str | None:
    if pa.types.is_integer(kind):
        return "42"
    if pa.types.is_floating(kind):
        return "0.5"
    if pa.types.is_boolean(kind):
        return "true"
    if pa.types.is_timestamp(kind):
        return "2026-01-31T12:00:00" + ("Z" if kind.tz else "")
    return "2026-01-31" if pa.types.is_date(kind) else None


def inferred_types(samples: list[pa.Table]) -> dict[str, pa.DataType]:
    """Return the types of the values in samples, which have columns of texts."""
    if not samples:
        return {}
    texts = pa.concat_tables(samples)
    out = pa.BufferOutputStream()
    arrow_csv.write_csv(texts, out, arrow_csv.WriteOptions(include_header=False))
    data = out.getvalue()
    if not data.size:
        return {}
    found = arrow_csv.read_csv(
        pa.BufferReader(data),
        arrow_csv.ReadOptions(
            use_threads=False, column_names=texts.column_names, block_size=data.size + 1
        ),
        arrow_csv.ParseOptions(ignore_empty_lines=False),
        arrow_csv.ConvertOptions(strings_can_be_null=True, null_values=[""]),
    ).schema
    doubtful = {kind: ids for kind, ids in IDS.items() if re.search(f'"{ids}"'.encode(), data)}
    return {
        field.name: pa.string() if _has(field.name, texts, doubtful.get(field.type)) else field.type
        for field in found
    }


def _has(name: str, texts: pa.Table, pattern: str | None) -> bool:
    """Return whether a column has a text of a pattern, if there is one."""
    if pattern is None:
        return False
    return bool(pc.any(pc.match_substring_regex(texts.column(name), f"^{pattern}$")).as_py())


def read_as(sample: pa.DataType) -> pa.DataType:
    """Return the type that a column is read with, given the type of its sample."""
    if pa.types.is_timestamp(sample):
        # Fractions of seconds may occur later in the file.
        return pa.timestamp("us" if sample.unit == "s" else "ns", sample.tz)
    is_plain = is_number(sample) or pa.types.is_boolean(sample)
    return sample if is_plain else pa.string()
