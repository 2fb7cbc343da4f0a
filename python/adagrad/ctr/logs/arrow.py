"""Logs in columns: Parquet files, and Arrow files and streams.

pyarrow reads them; this module selects columns and unifies their types.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet

from adagrad._arrow import one_line, opaque
from adagrad.ctr.logs.memory import checked
from adagrad.ctr.logs.rows import LogError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.rows import ParsedRows
    from adagrad.ctr.logs.sources import Source

__all__ = ["ColumnReader"]

FILE_MAGIC = b"ARROW1"
# Rows of Parquet decoded at once. Each time, pyarrow assembles the dictionaries again.
READ = 1 << 17


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
        except (OSError, pa.ArrowException) as error:
            self.close()
            reason = f"not a readable {source.format} file: {one_line(error)}"
            raise LogError(self._path, 1, reason) from None
        self._selected = request.select(self._path, schema.names)
        for name in self._selected:
            field = schema.field(name)
            unclear = opaque(field.type, field.metadata)
            if unclear is not None:
                reason = f"column {name!r} has the extension type {unclear}, whose storage does"
                raise LogError(self._path, 1, f"{reason} not say what its values are: ignore it")
        if request.schema is None:
            types = {name: schema.field(name).type for name in self._selected}
        else:
            types = {name: request.schema.field(name).type for name in request.features() or ()}
        self.schema = pa.schema(
            (name, pa.float32() if name == request.label else types[name])
            for name in self._selected
        )
        self._label = request.label
        self.request = replace(request, schema=self.schema)

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
        wanted = None if features is None else {*features, request.label}
        encoded = _dictionary_columns(file, wanted)
        if encoded:
            file = parquet.ParquetFile(self._raw, read_dictionary=encoded, **options)
        total = max(file.metadata.num_rows, 1)

        def batches() -> Iterator[pa.RecordBatch]:
            rows = 0
            for batch in file.iter_batches(
                max(request.rows, READ),
                columns=list(dict.fromkeys(self._selected)),
                use_threads=False,
            ):
                rows += batch.num_rows
                self._done = rows / total
                yield batch

        self._batches = batches()
        return file.schema_arrow

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
            reader = pa.ipc.open_stream(pa.PythonFile(self._raw, "r"))

        def batches() -> Iterator[pa.RecordBatch]:
            if is_file:
                for index in range(reader.num_record_batches):
                    self._done = (index + 1) / reader.num_record_batches
                    yield reader.get_batch(index)
            else:
                for batch in reader:
                    self._done = self._raw.tell() / max(self._size, 1)
                    yield batch

        self._batches = batches()
        return reader.schema

    def read(self) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        row = 1
        while True:
            try:
                batch = next(self._batches, None)
            except (OSError, pa.ArrowException) as error:
                if getattr(self._raw, "cancelled", False):
                    return
                raise LogError(self._path, row, f"the file is damaged: {one_line(error)}") from None
            if batch is None:
                return
            if batch.num_rows:
                rows = checked(batch.select(self._selected), self._path, row)
                rows.table = self._cast(rows.table, row)
                yield rows
            row += batch.num_rows

    def _cast(self, table: pa.Table, row: int) -> pa.Table:
        """Cast the columns to the types of the first file of the log."""
        for position, wanted in enumerate(self.schema):
            column = table.column(position)
            if wanted.name == self._label or column.type == wanted.type:
                continue
            try:
                if pa.types.is_dictionary(wanted.type) and not pa.types.is_dictionary(column.type):
                    column = column.dictionary_encode()
                column = column.cast(wanted.type)
            except pa.ArrowException as error:
                raise LogError(
                    self._path,
                    row,
                    f"column {wanted.name!r} is {column.type}, "
                    f"but {wanted.type} in the first file: {error}",
                ) from None
            table = table.set_column(position, wanted, column)
        return table

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, estimated from the rows."""
        return int(self._done * self._size)

    def close(self) -> None:
        """Close the file."""
        if self._raw is not None:
            self._raw.close()


def _dictionary_columns(
    file: parquet.ParquetFile, wanted: Collection[str | None] | None
) -> list[str]:
    """Return the string columns that the writer of a Parquet file dictionary-encoded.

    Read as dictionaries, they are hashed once per distinct value.

    Raises
    ------
    OSError, pyarrow.ArrowException
        A column is damaged.
    """
    kinds = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
    texts = {
        field.name
        for field in file.schema_arrow
        if field.type in kinds and (wanted is None or field.name in wanted)
    }
    if not file.metadata.num_row_groups or not texts:
        return []
    # Damaged metadata of a column is an error of a reader; pyarrow 26 aborts where it shows it.
    next(file.iter_batches(1, row_groups=[0], columns=list(texts), use_threads=False), None)
    group = file.metadata.row_group(0)
    paths = [file.schema.column(index).path for index in range(len(file.schema))]
    return [
        path
        for index, path in enumerate(paths)
        if path in texts and group.column(index).has_dictionary_page
    ]
