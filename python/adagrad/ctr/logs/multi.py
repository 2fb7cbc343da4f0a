"""Columns of text that hold several values: ``Action|Comedy`` becomes a list of two texts.

The reader of each file reads such a column as text, and the `Reader` here splits it. A column that
is a list already, as Parquet, Arrow and JSON have them, stays one, so that a log may have both.

The separators belong to the fields of a schema, as metadata. So a model, which keeps the schema of
its features, splits every later log alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from adagrad._separators import LISTS, split
from adagrad.ctr.logs.rows import ParsedRows
from adagrad.ctr.logs.types import is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from adagrad.ctr.logs.reader import Reader
    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["LISTS", "SplittingReader", "separators_in", "with_separators"]

KEY = b"adagrad.separator"


def separators_in(schema: pa.Schema) -> dict[str, str]:
    """Return the separator of each column of a schema that has one."""
    return {
        field.name: field.metadata[KEY].decode()
        for field in schema
        if field.metadata and KEY in field.metadata
    }


def with_separators(schema: pa.Schema, separators: Mapping[str, str]) -> pa.Schema:
    """Return a schema whose fields know their separators."""
    return pa.schema(
        field.with_metadata({KEY: separators[field.name].encode()})
        if field.name in separators
        else field
        for field in schema
    )


class SplittingReader:
    """The `Reader` of a file with columns to split, on top of the reader of its format."""

    def __init__(
        self, source: Source, request: Request, open_reader: Callable[[Source, Request], Reader]
    ) -> None:
        self._separators = request.multi
        # Text of CSV has no null, so that an empty field is a text without values.
        self._has_nulls = source.format in ("parquet", "arrow", "jsonl")
        self._inner = open_reader(source, self._as_text(request))
        self.header = self._inner.header
        self.names = self._inner.names
        self._inner_types = self._inner.types or {}
        self.types: dict[str, pa.DataType] | None = None
        if self._inner.types is not None:
            mine = dict.fromkeys(set(self._separators).intersection(self._inner_types), LISTS)
            self.types = {**self._inner_types, **mine}

    def _as_text(self, request: Request) -> Request:
        types = {name: kind for name, kind in request.types.items() if name not in request.multi}
        return replace(request, multi={}, types=types, text=request.text.union(request.multi))

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return the texts of columns in the first `size` bytes."""
        return self._inner.sample(names, size)

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        schema = request.schema
        assert schema is not None
        split = {field.name for field in schema if field.name in self._separators}
        inner = [
            pa.field(field.name, self._read_as(field.name)) if field.name in split else field
            for field in schema
        ]
        for rows in self._inner.read(replace(self._as_text(request), schema=pa.schema(inner))):
            columns = [
                self._split(name, column) if name in split else column
                for name, column in zip(rows.table.column_names, rows.table.columns, strict=True)
            ]
            table = pa.table(columns, names=rows.table.column_names)
            yield ParsedRows(table, rows.lines, rows.faults)

    def _read_as(self, name: str) -> pa.DataType:
        kind = self._inner_types.get(name, pa.string())
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return LISTS
        is_dictionary = pa.types.is_dictionary(kind) and is_text(kind)
        return pa.dictionary(pa.int32(), pa.string()) if is_dictionary else pa.string()

    def _split(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        chunks = [
            chunk
            if chunk.type == LISTS
            else _lists(chunk, self._separators[name], has_nulls=self._has_nulls)
            for chunk in column.chunks
        ]
        return pa.chunked_array(chunks, LISTS)

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        return self._inner.bytes_read()

    def close(self) -> None:
        """Close the file."""
        self._inner.close()


def _lists(texts: pa.Array, separator: str, *, has_nulls: bool) -> pa.Array:
    """Split texts; a null is an empty list, unless the format has nulls."""
    found = split(texts, separator)
    if has_nulls or not found.null_count:
        return found
    return pc.coalesce(found, pa.scalar([], LISTS))
