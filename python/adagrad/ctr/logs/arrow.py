"""Logs in columns: Parquet files, and Arrow files and streams.

pyarrow reads them; this module selects columns and converts them to the types of the log.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from adagrad._arrow import opaque, type_name, without
from adagrad._text import one_line, shortened
from adagrad.ctr.logs.memory import checked
from adagrad.ctr.logs.pages import PlainPages, Unusual, row_groups
from adagrad.ctr.logs.request import distinct_names
from adagrad.ctr.logs.rows import Fault, LogError
from adagrad.ctr.logs.types import CannotConvert, convert, has_single_values, readable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Any

    from adagrad.ctr.logs.pages import Place
    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.rows import ParsedRows
    from adagrad.ctr.logs.sources import Source

__all__ = ["ColumnReader", "parquet_rows"]

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
            schema = open_(source, request)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # of a column's name
            self.close()
            reason = f"not a readable {source.format} file: {one_line(error)}"
            raise LogError(self._path, 1, reason) from None
        self._all_names = schema.names
        self.header = request.header
        selected = request.select(self._path, schema.names)
        fields = dict(zip(distinct_names(schema.names), schema, strict=True))
        for name in selected:
            unclear = opaque(fields[name].type, fields[name].metadata)
            if unclear is not None:
                reason = f"column {name!r} has the extension type {unclear}, whose storage does"
                raise LogError(self._path, 1, f"{reason} not say what its values are: ignore it")
            kind = fields[name].type
            if name in request.targets and not has_single_values(kind):
                what = "0 or 1, -1 or +1" if name == request.label else "a number"
                reason = f"column {name!r} is {type_name(kind)}, not {what}"
                raise LogError(self._path, 1, reason)
            if pa.types.is_union(kind):
                reason = f"column {name!r} is {type_name(kind)}, which cannot be encoded: ignore it"
                raise LogError(self._path, 1, reason)
        self.names = [name for name in selected if name not in request.targets]
        self.types = {name: readable(fields[name].type) for name in self.names}

    def _open_parquet(self, source: Source, request: Request) -> pa.Schema:
        if source.pipe is not None:
            raise OSError("Parquet cannot be read from a pipe")
        self._raw = source.open()
        # With pre-buffering, pyarrow would keep in memory every part of the file that it has read.
        options: dict[str, Any] = {
            "pre_buffer": False,
            "page_checksum_verification": True,
            # Each element takes a byte at least, and pyarrow makes room for as many as are claimed.
            "thrift_container_size_limit": min(max(self._size, 1), 1_000_000),
        }
        file = parquet.ParquetFile(self._raw, **options)
        features = request.features()
        wanted = None if features is None else {*features, *request.targets}
        schema = file.schema_arrow
        groups = row_groups(self._raw)
        first = groups[0][1] if groups and request.is_first else None
        encoded = _dictionary_columns(file, schema, wanted, first)
        total = max(file.metadata.num_rows, 1)

        def batches(schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
            wanted = _original(self._all_names, schema.names)
            dictionaries = [
                original
                for field, original in zip(schema, wanted, strict=True)
                if original in encoded and pa.types.is_dictionary(field.type)
            ]
            names = list(dict.fromkeys(wanted))
            file = parquet.ParquetFile(self._raw, read_dictionary=dictionaries, **options)
            done = 0
            for batch in self._in_groups(file, groups, names, rows):
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

    def _in_groups(
        self,
        file: parquet.ParquetFile,
        groups: list[tuple[int, list[Place]]],
        names: list[str],
        rows: int,
    ) -> Iterator[pa.RecordBatch]:
        """Read the row groups one by one, each by the fast path as far as it can.

        pyarrow takes a column whose pages are damaged for one that has ended, so rows are counted.
        """
        plain = PlainPages.for_columns(file, groups, names)
        options = {"batch_size": max(rows, READ), "columns": names, "use_threads": False}
        if plain is None:
            yield from _counted(file.iter_batches(**options), sum(rows for rows, _ in groups))
            return
        for group, (total, _) in enumerate(groups):
            given = 0
            try:
                for batch in plain.batches(self._raw, group, rows):
                    given += batch.num_rows
                    yield batch
            except Unusual:
                for batch in _counted(file.iter_batches(row_groups=[group], **options), total):
                    known = min(given, batch.num_rows)
                    given -= known
                    if known < batch.num_rows:
                        yield batch.slice(known)

    def _open_arrow(self, source: Source, request: Request) -> pa.Schema:
        if source.pipe is None:
            with source.open() as start:
                is_file = start.read(len(FILE_MAGIC)) == FILE_MAGIC
            # Not mapped: a file that is cut short under a mapping kills the process.
            self._raw = source.open()
            reader = pa.ipc.open_file(self._raw) if is_file else pa.ipc.open_stream(self._raw)
        else:
            is_file = False
            self._raw = source.open()
            if self._raw.peek().startswith(FILE_MAGIC):
                raise OSError("an Arrow file cannot be read from a pipe: write a stream instead")
            # pyarrow takes a short read, which is common in pipes, for the end.
            whole_reads = io.BufferedReader(self._raw)
            reader = pa.ipc.open_stream(pa.PythonFile(whole_reads, "r"))

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

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return nothing: the file has types."""
        return []

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
                raise LogError(self._path, row, f"the file is damaged: {one_line(error)}") from None
            if batch is None:
                return
            if batch.num_rows:
                if row == 1:
                    at = _positions(self._all_names, batch.schema.names, request.schema.names)
                rows = checked(batch.select(at), self._path, row)
                self._convert(rows, request, request.schema)
                yield rows
            row += batch.num_rows

    def _convert(self, rows: ParsedRows, request: Request, schema: pa.Schema) -> None:
        """Convert the columns to the types of the log; values that do not fit are faults."""
        columns, lines = rows.table.columns, rows.lines
        misfits: set[int] = set()
        for position, (wanted, column) in enumerate(zip(schema, columns, strict=True)):
            if wanted.name in request.targets:
                continue
            try:
                columns[position] = convert(column, wanted.type)
            except CannotConvert as error:
                for at in error.rows:
                    reason = (
                        f"column {wanted.name!r}: {_shown(column[at])} ({type_name(column.type)}) "
                        f"cannot be read as {type_name(wanted.type)}{request.way_out(wanted.name)}"
                    )
                    rows.faults.setdefault(int(lines[at]), Fault("another type", reason))
                misfits.update(error.rows)
                good = np.ones(len(column), np.bool_)
                good[error.rows] = False
                # A null stands in until the row is taken out.
                column = pc.if_else(pa.array(good), column, pa.scalar(None, column.type))
                columns[position] = convert(column, wanted.type)
        fields = [
            pa.field(field.name, column.type) for field, column in zip(schema, columns, strict=True)
        ]
        rows.table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        if misfits:
            rows.table = without(rows.table, misfits)
            rows.lines = np.delete(lines, list(misfits))

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, estimated from the rows."""
        return int(self._done * self._size)

    def close(self) -> None:
        """Close the file."""
        if self._raw is not None:
            self._raw.close()


def parquet_rows(source: Source) -> int:
    """Return the number of rows that a Parquet file claims to have."""
    with source.open() as raw:
        rows: int = parquet.read_metadata(raw).num_rows
        return rows


def _dictionary_columns(
    file: parquet.ParquetFile,
    schema: pa.Schema,
    wanted: Collection[str | None] | None,
    first: list[Place] | None,
) -> set[str]:
    """Return the string columns to read as dictionaries, which are hashed once per distinct value.

    Those are the columns that the writer of the first file dictionary-encoded, as the places of the
    columns of its `first` row group say. Any other file, and one without rows, can be read in the
    same way.
    """
    kinds = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
    texts = {
        field.name
        for field in schema
        if field.type in kinds and (wanted is None or field.name in wanted)
    }
    if first is None:
        return texts
    paths = [file.schema.column(index).path for index in range(len(file.schema))]
    return {
        path
        for path, place in zip(paths, first, strict=False)
        if path in texts and place.has_dictionary
    }


def _counted(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches; OSError if they do not have so many rows in all."""
    found = 0
    for batch in batches:
        found += batch.num_rows
        yield batch
    if found != rows:
        raise OSError(f"it claims {rows} rows, but has {found}")


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
    return shortened(repr(value.as_py()), LONGEST_SHOWN)
