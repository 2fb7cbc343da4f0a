"""Logs in columns: Parquet files, and Arrow files and streams.

pyarrow reads them; this module selects columns and converts them to the types of the log.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from adagrad.ctr.logs.request import distinct_names
from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows
from adagrad.ctr.logs.types import CannotConvert, convert, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["ColumnReader"]

FILE_MAGIC = b"ARROW1"
# Rows of Parquet decoded at once. Each time, pyarrow assembles the dictionaries again.
READ = 1 << 17
LONGEST_SHOWN = 50


class ColumnReader:
    """The `Reader` of Parquet files, and of Arrow files and streams (IPC, Feather version 2)."""

    def __init__(self, source: Source, request: Request) -> None:
        self._path = source.path
        self._size = source.size or 0
        self._done = 0.0
        self._raw: Any = None
        try:
            open_ = self._open_parquet if source.format == "parquet" else self._open_arrow
            schema = open_(source)
        except (OSError, pa.ArrowException) as error:
            self.close()
            raise LogError(self._path, 1, f"not a readable {source.format} file: {error}") from None
        self._all_names = schema.names
        self.header = request.header
        selected = request.select(self._path, schema.names)
        kinds = dict(zip(distinct_names(schema.names), schema.types, strict=True))
        self.names = [name for name in selected if name != request.label]
        self.types = {name: readable(kinds[name]) for name in self.names}

    def _open_parquet(self, source: Source) -> pa.Schema:
        if source.pipe is not None:
            raise OSError("Parquet cannot be read from a pipe")
        self._raw = pa.OSFile(source.path)
        # With pre-buffering, pyarrow would keep in memory every part of the file that it has read.
        file = parquet.ParquetFile(self._raw, pre_buffer=False)
        total = max(file.metadata.num_rows, 1)
        schema = file.schema_arrow
        encoded = _dictionary_columns(file, schema)

        def batches(schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
            wanted = _original(self._all_names, schema.names)
            dictionaries = [
                original
                for field, original in zip(schema, wanted, strict=True)
                if original in encoded and pa.types.is_dictionary(field.type)
            ]
            done = 0
            for batch in parquet.ParquetFile(
                self._raw, read_dictionary=dictionaries, pre_buffer=False
            ).iter_batches(max(rows, READ), columns=list(dict.fromkeys(wanted)), use_threads=False):
                done += batch.num_rows
                self._done = done / total
                yield batch

        self._batches = batches
        return pa.schema(
            field.with_type(pa.dictionary(pa.int32(), field.type))
            if field.name in encoded
            else field
            for field in schema
        )

    def _open_arrow(self, source: Source) -> pa.Schema:
        if source.pipe is None:
            with Path(source.path).open("rb") as start:
                is_file = start.read(len(FILE_MAGIC)) == FILE_MAGIC
            self._raw = pa.memory_map(source.path)
            reader = pa.ipc.open_file(self._raw) if is_file else pa.ipc.open_stream(self._raw)
        else:
            is_file = False
            self._raw = source.open()
            reader = pa.ipc.open_stream(pa.PythonFile(self._raw, "r"))

        def batches(schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
            if is_file:
                for index in range(reader.num_record_batches):
                    self._done = (index + 1) / reader.num_record_batches
                    yield reader.get_batch(index)
            else:
                for batch in reader:
                    self._done = self._raw.tell() / max(self._size, 1)
                    yield batch

        self._batches = batches
        return reader.schema

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        assert request.schema is not None
        row = 1
        batches = self._batches(request.schema, request.rows)
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                if getattr(self._raw, "cancelled", False):
                    return
                raise LogError(self._path, row, f"the file is damaged: {error}") from None
            if batch is None:
                return
            yield self._convert(batch, row, request, request.schema)
            row += batch.num_rows

    def _convert(
        self, batch: pa.RecordBatch, row: int, request: Request, schema: pa.Schema
    ) -> ParsedRows:
        """Select the columns and convert them to the types of the log."""
        if row == 1:
            self._positions = _positions(self._all_names, batch.schema.names, schema.names)
        columns = [pa.chunked_array([batch.column(at)]) for at in self._positions]
        lines = np.arange(row, row + batch.num_rows)
        faults: dict[int, Fault] = {}
        for position, wanted in enumerate(schema):
            column = columns[position]
            if wanted.name == request.label:
                continue
            try:
                columns[position] = convert(column, wanted.type)
            except CannotConvert as error:
                for at in error.rows:
                    reason = (
                        f"column {wanted.name!r}: {_shown(column[at])} ({column.type}) cannot be "
                        f"read as {wanted.type}{request.way_out(wanted.name)}"
                    )
                    faults.setdefault(row + at, Fault("another type", reason))
                good = np.ones(len(column), np.bool_)
                good[error.rows] = False
                # A null stands in until the row is taken out.
                column = pc.if_else(pa.array(good), column, pa.scalar(None, column.type))
                columns[position] = convert(column, wanted.type)
        fields = [
            pa.field(field.name, column.type) for field, column in zip(schema, columns, strict=True)
        ]
        table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        if faults:
            good = ~np.isin(lines, list(faults))
            table, lines = table.filter(pa.array(good)), lines[good]
        return ParsedRows(table, lines, faults)

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, estimated from the rows."""
        return int(self._done * self._size)

    def close(self) -> None:
        """Close the file."""
        if self._raw is not None:
            self._raw.close()


def _dictionary_columns(file: parquet.ParquetFile, schema: pa.Schema) -> set[str]:
    """Return the string columns that the writer of a Parquet file dictionary-encoded.

    Read as dictionaries, they are hashed once per distinct value. A file without rows does not
    hinder the others from being read so.
    """
    kinds = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
    texts = {field.name for field in schema if field.type in kinds}
    if not texts or not file.metadata.num_row_groups:
        return texts
    group = file.metadata.row_group(0)
    columns = map(group.column, range(group.num_columns))
    return {
        column.path_in_schema
        for column in columns
        if column.has_dictionary_page and column.path_in_schema in texts
    }


def _original(names: list[str], wanted: Iterable[str]) -> list[str]:
    """Return the names in the file of columns that are wanted by their distinct names."""
    original = dict(zip(distinct_names(names), names, strict=True))
    return [original[name] for name in wanted]


def _positions(names: list[str], found: list[str], wanted: Iterable[str]) -> list[int]:
    """Return where the wanted columns lie in batches that may have fewer columns than the file.

    A batch has all columns of a name or none, in the order of the file.
    """
    places = defaultdict(list)
    for position, name in enumerate(found):
        places[name].append(position)
    seen: Counter[str] = Counter()
    where = {}
    for distinct, name in zip(distinct_names(names), names, strict=True):
        if name in places:
            where[distinct] = places[name][seen[name]]
            seen[name] += 1
    return [where[name] for name in wanted]


def _shown(value: pa.Scalar) -> str:
    text = repr(value.as_py())
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
