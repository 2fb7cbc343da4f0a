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
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

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

    Raises
    ------
    ValueError
        The name of such a folder is not UTF-8.
    """
    parents = PurePosixPath(path).parts[:-1]
    inside = 0 if folder is None else len(parents) - len(PurePosixPath(folder).parts)
    found: dict[str, str | None] = {}
    for depth, part in enumerate(reversed(parents)):
        name, is_partition, value = part.partition("=")
        if is_partition and name:
            text = unquote(value)
            try:
                part.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{path}: the folder {part!r} is not UTF-8") from None
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


def check_same_partitions(sources: Sequence[Source], request: Request) -> None:
    """Refuse a file with a partition that the columns of the log do not have.

    Raises
    ------
    LogError
        The first file of the log has no such column.
    """
    assert request.schema is not None
    known = {*request.schema.names, *request.ignore}
    for source in sources:
        for name, _ in source.partitions:
            if name not in known:
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
        self._path = source.path
        values = {name: x for name, x in source.partitions if name not in request.ignore}
        wanted = request.features()
        if wanted is not None:
            values = {name: values[name] for name in (*request.targets, *wanted) if name in values}
        self._values = values
        in_path = tuple(name for name, _ in source.partitions)
        self._inner = open_reader(source, replace(request, in_path=in_path))
        self.header = self._inner.header
        self.names: list[str] | None = None
        self.types: dict[str, pa.DataType] | None = None
        if self._inner.names is not None:
            self.names = [
                *self._inner.names,
                *(name for name in values if name not in request.targets),
            ]
            if wanted is not None:
                self.names = list(wanted)
        if self._inner.types is not None:
            own = {name: request.types[name] for name in values if name not in request.targets}
            self.types = {**self._inner.types, **own}

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return the texts of columns in the first `size` bytes."""
        inner = self._inner.sample([name for name in names if name not in self._values], size)
        return [
            pa.table(
                {
                    name: pa.repeat(pa.scalar(self._values[name], pa.string()), table.num_rows)
                    if name in self._values
                    else table.column(name)
                    for name in names
                }
            )
            for table in inner
        ]

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        schema = request.schema
        assert schema is not None
        constants = {
            field.name: self._constant(field, request.targets)
            for field in schema
            if field.name in self._values
        }
        others = pa.schema(field for field in schema if field.name not in constants)
        for rows in self._inner.read(replace(request, schema=others)):
            columns = []
            for field in schema:
                if field.name in constants:
                    column = pa.repeat(constants[field.name], len(rows.lines))
                    is_dictionary = pa.types.is_dictionary(field.type)
                    columns.append(column.dictionary_encode() if is_dictionary else column)
                else:
                    columns.append(rows.table.column(field.name))
            yield ParsedRows(pa.table(columns, names=schema.names), rows.lines, rows.faults)

    def _constant(self, field: pa.Field, targets: Collection[str]) -> pa.Scalar:
        """Return the value of a column in all rows, as a text file with this value has it."""
        kind = pa.string() if field.name in targets else field.type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        value = self._values[field.name]
        try:
            return pa.scalar(value, pa.string()).cast(kind)
        except pa.ArrowException:
            reason = f"column {field.name!r}: {value!r} in the path cannot be read as {kind}"
            raise LogError(self._path, 1, reason) from None

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        return self._inner.bytes_read()

    def close(self) -> None:
        """Close the file."""
        self._inner.close()
