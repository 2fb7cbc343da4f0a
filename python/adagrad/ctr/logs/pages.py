"""The fast path for Parquet: columns of numbers and texts, which the compiled module decodes.

Pages of plain values and of indices into a dictionary become Arrow columns that equal pyarrow's in
half of its time. Whatever else a file may hold, and every page that does not add up, is `Unusual`:
the reader in `arrow` gives its row group to pyarrow, which reads it or says what is wrong.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

import adagrad._core as _core

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from pyarrow import parquet

__all__ = ["Place", "PlainPages", "Unusual", "row_groups"]

KINDS = {
    ("INT32", pa.int32()): "words32",
    ("FLOAT", pa.float32()): "words32",
    ("INT64", pa.int64()): "words64",
    ("DOUBLE", pa.float64()): "words64",
    ("BYTE_ARRAY", pa.string()): "texts",
}
CATEGORIES = pa.dictionary(pa.int32(), pa.string())
CODECS = {0: None, 1: "snappy", 2: "gzip", 6: "zstd"}
# Page types and encodings of the format.
DATA, DICTIONARY, DATA_2 = 0, 2, 3
PLAIN, OLD_INDICES, RUNS, INDICES = 0, 2, 3, 8
# Rows that are decoded at once; a batch of the log, or several.
ROWS = 1 << 16


TAIL = 8  # bytes after the footer: its length and four letters


class Unusual(Exception):
    """A row group has what only pyarrow reads."""


class _Header(NamedTuple):
    """What `_core.page_header` returns."""

    type: int
    size: int
    compressed: int
    uncompressed: int
    values: int
    encoding: int
    level_encoding: int
    level_bytes: int
    repetition_bytes: int
    is_compressed: bool
    checksum: int | None


class Place(NamedTuple):
    """Where a column of a row group lies in its file, as `_core.page_chunks` returns it."""

    codec: int
    values: int
    size: int
    data_at: int
    dictionary_at: int
    is_elsewhere: bool

    @property
    def has_dictionary(self) -> bool:
        """Whether the values begin with a dictionary."""
        return self.dictionary_at >= 0


def row_groups(raw: Any) -> list[tuple[int, list[Place]]]:
    """Return the rows of each row group of a Parquet file, and the places of its columns.

    pyarrow has the same, but ends the process where it shows damaged metadata of a column.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    end = raw.size()
    tail = raw.read_at(TAIL, max(0, end - TAIL))
    length = int.from_bytes(tail[:4], "little")
    if length + TAIL > end:
        return []
    footer = raw.read_at(length, end - TAIL - length)
    return [
        (rows, [Place(*place) for place in places])
        for rows, places in _core.page_chunks(footer) or []
    ]


@dataclass(frozen=True)
class _Column:
    """A column of a file: its place, the Arrow field to make, and what decodes its pages."""

    index: int
    field: pa.Field
    kind: str
    nullable: bool
    reader: _core.PageReader


class PlainPages:
    """Some columns of a Parquet file, all of types with a fast path."""

    def __init__(self, groups: list[tuple[int, list[Place]]], columns: list[_Column]) -> None:
        self._groups = groups
        self._columns = columns
        self._schema = pa.schema(column.field for column in columns)

    @classmethod
    def for_columns(
        cls,
        file: parquet.ParquetFile,
        groups: list[tuple[int, list[Place]]],
        names: Collection[str],
    ) -> PlainPages | None:
        """Return the columns, in the order of the file; None if one of them has no fast path.

        Parameters
        ----------
        file : pyarrow.parquet.ParquetFile
            Opened with the texts that become dictionaries as such.
        groups : list of (int, list of Place)
            Its `row_groups`.
        names : collection of str
            The columns.
        """
        schema = file.schema_arrow
        if len(set(schema.names)) < len(schema) or len(schema) != len(file.schema):
            return None
        if len(groups) != file.num_row_groups:
            return None
        columns = []
        for index, field in enumerate(schema):
            if field.name not in names:
                continue
            column = file.schema.column(index)
            is_flat = column.path == field.name and column.max_repetition_level == 0
            kind = KINDS.get((column.physical_type, field.type))
            if field.type == CATEGORIES and column.physical_type == "BYTE_ARRAY":
                kind = "categories"
            if kind is None or not is_flat or column.max_definition_level > 1:
                return None
            nullable = column.max_definition_level == 1
            reader = _core.PageReader(kind, nullable)
            columns.append(_Column(index, field, kind, nullable, reader))
        return cls(groups, columns) if columns else None

    def batches(self, raw: Any, group: int, rows: int) -> Iterator[pa.RecordBatch]:
        """Decode a row group.

        Parameters
        ----------
        raw : pyarrow.NativeFile
            The file.
        group : int
            The row group.
        rows : int
            Rows of a batch of the log. Here, batches may be longer, and shorter where a column
            goes on without a dictionary.

        Raises
        ------
        Unusual
            The row group cannot be decoded, or only the rows that have been yielded.
        """
        total, places = self._groups[group]
        try:
            chunks = [_Chunk(raw, column, places[column.index], total) for column in self._columns]
            step = rows * max(1, ROWS // rows)
            cuts = {*range(step, total, step), total}
            at = 0
            for cut in sorted(cuts.union(*(chunk.turns for chunk in chunks))):
                arrays = [chunk.read(cut - at) for chunk in chunks]
                at = cut
                yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        except (OSError, IndexError, ValueError, MemoryError, pa.ArrowException) as error:
            raise Unusual from error


class _Chunk:
    """The pages of one column in a row group.

    Attributes
    ----------
    turns : set of int
        Rows at which indices end and plain values begin, or the other way round.
    """

    def __init__(self, raw: Any, column: _Column, place: Place, rows: int) -> None:
        self._column, self._reader = column, column.reader
        if place.codec not in CODECS or place.is_elsewhere or place.values != rows:
            raise Unusual
        self._codec = CODECS[place.codec]
        start = place.data_at
        if place.dictionary_at > 0:
            start = min(start, place.dictionary_at)
        if min(start, place.size) < 0 or start + place.size > raw.size():
            raise Unusual
        self._bytes = memoryview(raw.read_at(place.size, start))
        self._reader.begin()
        self._categories: pa.Array | None = None
        self._pages = iter(self._find_pages(rows))

    def _find_pages(self, rows: int) -> list[tuple[_Header, int]]:
        """Return the headers of all pages of data, and where their bodies begin."""
        pages: list[tuple[_Header, int]] = []
        self.turns: set[int] = set()
        at = row = 0
        before = None
        while row < rows:
            found = _core.page_header(self._bytes, at)
            if found is None:
                raise Unusual
            header = _Header(*found)
            body = at + header.size
            at = body + header.compressed
            if at > len(self._bytes):
                raise Unusual
            is_first = body == header.size
            if header.type == DICTIONARY and is_first and header.encoding in (PLAIN, OLD_INDICES):
                data = self._body(header, body)
                self._reader.set_dictionary(data, header.values)
                continue
            is_data = header.type == DATA_2 or (
                header.type == DATA and (header.level_encoding == RUNS or not self._column.nullable)
            )
            if not is_data or header.encoding not in (PLAIN, OLD_INDICES, INDICES):
                raise Unusual
            if header.values == 0:
                raise Unusual
            is_plain = header.encoding == PLAIN
            if before not in (None, is_plain):
                self.turns.add(row)
            before = is_plain
            pages.append((header, body))
            row += header.values
        if row != rows:
            raise Unusual
        return pages

    def _body(self, header: _Header, at: int) -> Any:
        """Return the bytes of a page, decompressed; of the second version, without the levels."""
        body = self._bytes[at : at + header.compressed]
        if header.checksum is not None and zlib.crc32(body) != header.checksum:
            raise Unusual
        size = header.uncompressed
        if header.type == DATA_2:
            levels = header.level_bytes
            if header.repetition_bytes or levels > min(size, len(body)):
                raise Unusual
            body, size = body[levels:], size - levels
        if self._codec is None or not header.is_compressed:
            if len(body) != size:
                raise Unusual
            return body
        return _decompressed(self._codec, body, size)

    def read(self, rows: int) -> pa.Array:
        """Return the values of the next rows, between two turns."""
        while rows:
            while not self._reader.left:
                header, at = next(self._pages)
                levels = None
                if header.type == DATA_2:
                    levels = self._bytes[at : at + header.level_bytes]
                is_plain = header.encoding == PLAIN
                self._reader.set_page(self._body(header, at), header.values, not is_plain, levels)
            count = min(rows, self._reader.left)
            self._reader.append(count)
            rows -= count
        return self._array(*self._reader.take())

    def _array(self, validity: Any, values: Any, *texts: Any) -> pa.Array:
        kind = self._column.field.type
        bitmap = None if validity is None else pa.py_buffer(validity)
        if self._column.kind == "texts":
            offsets, data = map(pa.py_buffer, (values, *texts))
            return pa.Array.from_buffers(kind, len(values) - 1, [bitmap, offsets, data])
        buffers = [bitmap, pa.py_buffer(values)]
        if self._column.kind != "categories":
            return pa.Array.from_buffers(kind, len(values), buffers)
        indices = pa.Array.from_buffers(pa.int32(), len(values), buffers)
        if texts:
            categories = _texts(*texts)
        else:
            categories = self._categories = self._categories or _texts(*self._reader.dictionary())
        return pa.DictionaryArray.from_arrays(indices, categories, safe=False)


def _texts(offsets: Any, data: Any) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


def _decompressed(codec: str, body: memoryview, size: int) -> Any:
    """Return what compressed bytes hold, which must be of this size."""
    if codec == "snappy":
        if _snappy_size(body) != size:
            raise Unusual
        return pa.decompress(body, size, codec)
    with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
        data = stream.read(size + 1)
    if len(data) != size:
        raise Unusual
    return data


def _snappy_size(body: memoryview) -> int:
    """Return the size that the first bytes claim, 7 bits each."""
    size = shift = 0
    for byte in body[:5]:
        size |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return size
