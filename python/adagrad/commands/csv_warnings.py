"""Doubts about how a CSV or TSV log was understood: numbers taken for names or for text.

The first MiB of such a log decides the types of its columns. One value that is not a number, such
as "?" for a missing one, makes a column text and each of its numbers a category. That would change
the verdict of ``adagrad diagnose`` without a word.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NearlyNumericColumns", "is_number", "numeric_names"]

MOSTLY = 0.9
"""A text column is suspicious if at least this share of its values are numbers."""

WATCHED = 1 << 19
"""Rows to look at. The first MiB, which decides the types, has no more lines than that."""

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


def is_number(value: object) -> bool:
    """Return whether a label or a name reads as a finite number."""
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def numeric_names(names: Sequence[str]) -> str | None:
    """Return a warning if names of columns are numbers: the log may have no header."""
    odd = [name for name in names if is_number(name)]
    if not odd:
        return None
    shown = ", ".join(odd[:5]) + (", ..." if odd[5:] else "")
    return (
        f"the first line is taken as the names of the columns, but some are numbers ({shown});"
        " if the file has no header, give --names"
    )


@dataclass
class _Counts:
    values: int = 0
    numbers: int = 0
    first_text: tuple[int, str] | None = None  # row, counted from 1, and value


class NearlyNumericColumns:
    """Find the text columns of a log that hold numbers but for a few values.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns of a CSV or TSV log.
    leave_out : collection of str or None
        Columns to leave out, such as those declared categorical.
    """

    def __init__(self, schema: pa.Schema, leave_out: Collection[str | None]) -> None:
        self._columns = {
            field.name: _Counts()
            for field in schema
            if pa.types.is_string(field.type) and field.name not in leave_out
        }
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows. O(values of the columns that are still suspicious)."""
        if self._rows >= WATCHED:
            return
        for name, column in list(self._columns.items()):
            texts = batch.column(name)
            numeric = pc.match_substring_regex(texts, _NUMBER)
            column.values += len(texts) - texts.null_count
            column.numbers += pc.sum(numeric).as_py() or 0
            at = -1 if column.first_text else pc.index(numeric, False).as_py()
            if at >= 0:
                column.first_text = (self._rows + at + 1, texts[at].as_py())
            if column.numbers < MOSTLY * column.values:
                del self._columns[name]
        self._rows += len(batch)

    def warnings(self) -> list[str]:
        """Return one line per column that is text because of a few values."""
        return [
            f"column {name!r} was read as text, though {column.numbers:,} of its first"
            f" {column.values:,} values are numbers: row {column.first_text[0]:,} has"
            f" {column.first_text[1][:50]!r}"
            for name, column in self._columns.items()
            if column.first_text is not None
        ]
