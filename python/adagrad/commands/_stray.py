"""Columns of text that are numbers but for a few values, which made them text."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["StrayTexts"]

MOSTLY = 0.9
"""A column of text is doubted where at least this share of its values are numbers."""

WATCHED = 1 << 19
"""Rows that are looked at: the first MiB, which decides the types, has no more lines than these."""

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


@dataclass
class _Column:
    values: int = 0
    numbers: int = 0
    first: tuple[int, str] | None = None  # row, counted from 1, and value of the first text


class StrayTexts:
    """Watch the text columns of a log for values that do not look like the others.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the log, CSV or TSV, whose first MiB has decided the types.
    apart : collection of str or None
        Columns to leave alone.
    """

    def __init__(self, schema: pa.Schema, apart: Collection[str | None]) -> None:
        self._columns = {
            field.name: _Column()
            for field in schema
            if pa.types.is_string(field.type) and field.name not in apart
        }
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows. O(values), of columns that may still be stray."""
        if self._rows >= WATCHED:
            return
        for name, column in list(self._columns.items()):
            texts = batch.column(name)
            is_number = pc.match_substring_regex(texts, _NUMBER)
            column.values += len(texts) - texts.null_count
            column.numbers += pc.sum(is_number).as_py() or 0
            at = -1 if column.first else pc.index(is_number, False).as_py()
            if at >= 0:
                column.first = (self._rows + at + 1, texts[at].as_py())
            if column.numbers < MOSTLY * column.values:
                del self._columns[name]
        self._rows += len(batch)

    def found(self) -> list[str]:
        """Return a line about each column that is text because of a few values."""
        return [
            f"column {name!r} was read as text, though {column.numbers:,} of its first"
            f" {column.values:,} values are numbers: row {column.first[0]:,} has"
            f" {column.first[1][:50]!r}"
            for name, column in self._columns.items()
            if column.first is not None
        ]
