"""Columns of a log that are in the paths of its files: ``log/country=de/part-0.parquet``.

Spark, Hive, DuckDB and polars write such folders. A partition is a column as if it were written in
each row of the file: of integers if all its values in the log are, else of text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from adagrad.ctr.logs.rows import LogError, ParsedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from adagrad.ctr.logs.reader import Reader
    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["PartitionedReader", "check_same_partitions", "partition_types", "partitions_in"]

NULL = "__HIVE_DEFAULT_PARTITION__"
INTEGER = re.compile(r"-?[0-9]{1,18}")

Partitions = tuple[tuple[str, str | None], ...]


def partitions_in(path: str, folder: str | None = None) -> Partitions:
    """Return the names and values in the folders of a path.

    Parameters
    ----------
    path : str
        Absolute path of a file, with slashes.
    folder : str, optional
        The folder in whose search the file was found. All folders named ``name=value`` below it
        count, and those without another folder between them and the file.
    """
    parents = PurePosixPath(path).parts[:-1]
    inside = 0 if folder is None else len(parents) - len(PurePosixPath(folder).parts)
    found: dict[str, str | None] = {}
    for depth, part in enumerate(reversed(parents)):
        name, is_partition, value = part.partition("=")
        if is_partition and name:
            text = unquote(value)
            found.setdefault(unquote(name), None if text in ("", NULL) else text)
        elif depth >= inside:
            break
    return tuple(reversed(found.items()))


def partition_types(sources: Iterable[Source]) -> dict[str, pa.DataType]:
    """Return the type of each partition of a log: int64 if all its values are, else text."""
    values: dict[str, set[str]] = {}
    for source in sources:
        for name, value in source.partitions:
            values.setdefault(name, set()).update({value} if value is not None else ())
    return {
        name: pa.int64() if texts and all(map(INTEGER.fullmatch, texts)) else pa.string()
        for name, texts in values.items()
    }


def check_same_partitions(sources: Sequence[Source], schema: pa.Schema) -> None:
    """Refuse a file with a partition that the columns of the log do not have.

    Raises
    ------
    LogError
        The first file of the log has no such column.
    """
    for source in sources:
        for name, _ in source.partitions:
            if name not in schema.names:
                raise LogError(
                    sources[0].path,
                    1,
                    f"no column {name!r}, which {source.path} has in its path: every file of a log"
                    " needs the same name=value folders",
                )


class PartitionedReader:
    """The `Reader` of a file with partitions in its path, on top of the reader of its format."""

    def __init__(
        self, source: Source, request: Request, open_reader: Callable[[Source, Request], Reader]
    ) -> None:
        self._source = source
        values = dict(source.partitions)
        names, label = request.features(), request.label
        if names is not None:
            values = {name: values[name] for name in (label, *names) if name in values}
        self._inner = open_reader(source, replace(request, in_path=tuple(values)))
        schema = request.schema
        fields = {field.name: field for field in self._inner.schema}
        for name in values:
            kind = request.partition_types[name]
            if schema is not None and name in schema.names:  # the label may be missing
                kind = schema.field(name).type
            fields[name] = pa.field(name, kind)
        if label is not None:
            fields.pop(label, None)
            fields = {label: pa.field(label, pa.float32())} | fields
        if names is not None:
            order = names if label is None else (label, *names)
            fields = {name: fields[name] for name in order}
        self.schema = pa.schema(fields.values())
        self.request = replace(self._inner.request, schema=self.schema, in_path=())
        self._constants = {
            name: self._constant(name, value, pa.string() if name == label else fields[name].type)
            for name, value in values.items()
        }

    def _constant(self, name: str, value: str | None, kind: pa.DataType) -> pa.Scalar:
        """Return the value of a column in all rows, as a text file with this value has it."""
        is_dictionary = pa.types.is_dictionary(kind)
        try:
            return pa.scalar(value, pa.string()).cast(kind.value_type if is_dictionary else kind)
        except pa.ArrowException:
            self._inner.close()
            reason = f"column {name!r}: {value!r} in the path cannot be read as {kind}"
            raise LogError(self._source.path, 1, reason) from None

    def read(self) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        for rows in self._inner.read():
            columns = []
            for field in self.schema:
                if field.name in self._constants:
                    column = pa.repeat(self._constants[field.name], len(rows.lines))
                    is_dictionary = pa.types.is_dictionary(field.type)
                    columns.append(column.dictionary_encode() if is_dictionary else column)
                else:
                    columns.append(rows.table.column(field.name))
            table = pa.table(columns, names=self.schema.names)
            yield ParsedRows(table, rows.lines, rows.faults)

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        return self._inner.bytes_read()

    def close(self) -> None:
        """Close the file."""
        self._inner.close()
