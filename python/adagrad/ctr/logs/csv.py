"""Logs with a row a line and delimited columns: CSV and TSV.

Called by :mod:`adagrad.ctr.logs`. Plain lines are split by the compiled module; pyarrow parses
blocks with anything else in them, and what it refuses is looked at a third time here, because it
does not tell the line.
"""

from __future__ import annotations

import csv
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from adagrad.ctr.logs.blocks import LONGEST_LINE, Lines, blocks, parsed
from adagrad.ctr.logs.checks import Fault, LogError, Piece
from adagrad.ctr.logs.fast_csv import LABEL, Plain, is_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adagrad.ctr.logs.checks import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["DelimitedReader"]

# pyarrow is fastest on pieces that stay in the cache; what it is called with is longer, because
# a call costs as much as a thousand rows.
PARSED = 1 << 20
BOM = b"\xef\xbb\xbf"
DELIMITERS = {"csv": ",", "tsv": "\t"}


class DelimitedReader:
    """One CSV or TSV file.

    Attributes
    ----------
    schema : pyarrow.Schema
        The columns that are read, the label first and as float32.
    request : Request
        How to read the other files of the log.
    """

    def __init__(self, source: Source, request: Request) -> None:
        self._source = source
        self._raw = source.open()
        try:
            self._blocks = blocks(source, self._raw)
            self._first = self._open(request)
        except BaseException:
            self._raw.close()
            raise

    def _open(self, request: Request) -> Lines | None:
        """Read the header and decide the types; return the first block without the header."""
        block = next(self._blocks, None)
        if block is not None and block.data[:3] == BOM:  # elsewhere it is part of a value
            block = replace(block, data=block.data[3:])
        line = b"" if block is None else bytes(block.data[: _end(block.data)])
        self._delimiter = (
            request.delimiter
            or DELIMITERS.get(self._source.format or "")
            or ("\t" if b"\t" in line else ",")
        )
        self._quoted = self._delimiter != "\t"
        fields = self._fields(line)
        header = _is_header(request, fields) if request.header is None else request.header
        if block is None and (header is True or request.schema is None):
            raise LogError(self._source.path, 1, "the file is empty")
        if header is True:
            self._names = fields
            block = block and block.without_first(len(line))
        elif header is False:
            self._names = [f"c{column}" for column in range(len(fields))]
        else:
            self._names = list(header)
        if block is None:
            self.schema, self.request = request.schema, request
            return None
        guessed = header is False and request.header is None
        self._selected = request.select(self._source.path, self._names, fields if guessed else ())
        self._label = request.label
        self._types = self._decide(block, request)
        self.schema = pa.schema(
            (name, pa.float32() if name == self._label else self._types[name])
            for name in self._selected
        )
        self.request = replace(request, schema=self.schema, header=header)
        return block

    def _fields(self, line: bytes) -> list[str]:
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise LogError(self._source.path, 1, f"byte {error.start + 1} is not UTF-8") from None
        if self._quoted and "\r" in text:
            raise LogError(self._source.path, 1, "a carriage return within the line")
        return self._cells(text)

    def _cells(self, text: str) -> list[str]:
        if not self._quoted:
            return text.split("\t")
        limit = csv.field_size_limit(LONGEST_LINE)
        try:
            return next(csv.reader([text.rstrip("\r")], delimiter=self._delimiter), [""])
        finally:
            csv.field_size_limit(limit)

    def _decide(self, block: Lines, request: Request) -> dict[str, pa.DataType]:
        """Choose the types of the columns that are read, from the first block."""
        label = {} if self._label is None else {self._label: LABEL}
        if request.schema is not None:
            known = [name for name in self._selected if name not in label]
            return {name: request.schema.field(name).type for name in known} | label
        numeric = request.numeric
        for name in sorted(numeric or ()):
            if name not in self._selected:
                raise LogError(self._source.path, 1, f"no column {name!r}, which numeric names")
        data = bytes(block.data[: _end(block.data, PARSED)])
        unreadable = set(self._unreadable(data))
        if unreadable:
            lines = data.split(b"\n")
            data = b"\n".join(line for k, line in enumerate(lines) if k not in unreadable)
        types = {name: pa.string() for name in self._selected}
        if data:
            inferred, _ = self._convert(data, None, len(data) + 1)
            texts, _ = self._convert(data, dict.fromkeys(types, pa.binary()), len(data) + 1)
            for name in self._selected:
                kind = inferred.schema.field(name).type
                number = kind == pa.int64() or (
                    kind == pa.float64() and (numeric is not None or not _long(texts.column(name)))
                )
                if number or (numeric is None and pa.types.is_boolean(kind)):
                    types[name] = kind
                elif numeric is None and pa.types.is_timestamp(kind):  # whole seconds may end
                    types[name] = pa.timestamp("us" if kind.unit == "s" else "ns", kind.tz)
        if numeric is not None:
            types = {
                name: (kind if kind != pa.string() else pa.float64())
                if name in numeric
                else pa.string()
                for name, kind in types.items()
            }
        return types | label

    def pieces(self) -> Iterator[Piece]:
        """Read the file from where it was opened, once."""
        if self._first is None:
            return
        plain = Plain.of(self._names, self._selected, self._types, self._delimiter)
        for block in itertools.chain([self._first], self._blocks):
            # A piece ends where a batch does, so that no batch is put together from pieces.
            for lines in (block,) if plain is None else block.cut(self.request.rows - plain.rows):
                if plain is None or not plain.add(lines):
                    if plain is not None and plain.rows:
                        yield plain.take()
                    yield self._piece(lines)
                elif plain.rows >= self.request.rows:
                    yield plain.take()
        if plain is not None and plain.rows:
            yield plain.take()

    def bytes_read(self) -> int:
        """Return how far the file has been read, in bytes on disk."""
        # A decompressor that came to the end has closed it; its last rows may be yet to be taken.
        if self._raw.closed and self._source.size is not None:
            return self._source.size
        return int(self._raw.tell())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _convert(
        self, data: Any, types: dict[str, pa.DataType] | None, block_size: int
    ) -> tuple[pa.Table, list[tuple[int, int]]]:
        """Let pyarrow parse lines; return the table and (row from 0, columns) of refused ones."""
        refused: list[tuple[int, int]] = []
        if data[:3] == BOM:  # pyarrow would drop it
            data = BOM + data
            block_size += 3

        def note(row: Any) -> str:
            refused.append((row.number - 1, row.actual_columns))
            return "skip"

        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, column_names=self._names, block_size=block_size
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char='"' if self._quoted else False,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=self._selected,
                column_types=types,
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        return table, refused

    def _piece(self, block: Lines) -> Piece:
        raw = pa.schema((name, self._types[name]) for name in self._selected)
        return parsed(block, self._parse, self._why, raw)

    def _parse(self, lines: Lines) -> Piece | None:
        """Parse lines; None if a value is refused or some line is not one row."""
        data, first, count = bytes(lines.data), lines.first, lines.count
        if lines.has_lone_returns() or next(self._unreadable(data), None) is not None:
            return None
        # The empty line at the end shows whether the last line leaves a quote open.
        guard = int(self._quoted)
        try:
            table, refused = self._convert(
                b"".join((data, b"\n")) if guard else data,
                self._types,
                PARSED if count > 1 else len(data) + 2,
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows + len(refused) != count + guard:
            return None
        table = table.slice(0, table.num_rows - guard)
        expected = len(self._names)
        faults = {
            first + row: Fault("number of columns", f"{columns} columns instead of {expected}")
            for row, columns in refused
        }
        if all(column.null_count for column in table.columns):  # else no line is empty
            table = self._without_empty(table, lines, faults)
        numbers = np.arange(first, first + count)
        return Piece(table, numbers[~np.isin(numbers, list(faults))] if faults else numbers, faults)

    def _unreadable(self, data: bytes) -> Iterator[int]:
        """Give the numbers, from 0, of lines that pyarrow would fail to tell us about.

        It refuses those of another width by their text, which must be UTF-8.
        """
        if is_utf8(data):
            return
        for k, line in enumerate(data.split(b"\n")):
            if not is_utf8(line) and len(self._cells(line.decode("latin-1"))) != len(self._names):
                yield k

    def _without_empty(self, table: pa.Table, lines: Lines, faults: dict[int, Fault]) -> pa.Table:
        """Drop the rows of nulls that pyarrow makes of empty lines."""
        texts = bytes(lines.data).split(b"\n")[:-1]
        empty = [text in (b"", b"\r") for text in texts]
        rows = [not gone for row, gone in enumerate(empty) if lines.first + row not in faults]
        faults |= {
            lines.first + row: Fault("empty line", "the line is empty")
            for row, gone in enumerate(empty)
            if gone
        }
        return table.filter(pa.array(rows, pa.bool_()))

    def _why(self, line: bytes) -> Fault:
        """Say why a line was refused."""
        if b"\r" in line.rstrip(b"\r\n"):
            return Fault("carriage return", "a carriage return within the line")
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return Fault("not UTF-8", f"byte {error.start + 1} of the line is not UTF-8")
        size = len(line) + 2
        texts, refused = self._convert(line + b"\n", dict.fromkeys(self._names, pa.string()), size)
        if texts.num_rows + len(refused) == 1:
            return Fault("open quote", "a quote is not closed within the line")
        for name, kind in self._types.items():
            try:
                self._convert(line, dict.fromkeys(self._names, pa.string()) | {name: kind}, size)
            except pa.ArrowInvalid:
                value = texts.column(name)[0].as_py()
                is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
                what = "number" if is_number else str(kind).partition("[")[0]
                return Fault(f"not a {what}", f"column {name!r}: {value!r} is no {kind}")
        raise AssertionError(line)


def _is_header(request: Request, fields: list[str]) -> bool:
    """Whether the first line has a name that is asked for: others may be mistaken."""
    label = () if request.label is None else (request.label,)
    names = {*label, *(request.features() or ())}
    return not names or not names.isdisjoint(fields)


def _end(data: memoryview | bytes, start: int = 0) -> int:
    """Return where the line ends that has the byte ``start``."""
    size = 1 << 12
    while start < len(data):
        found = bytes(data[start : start + size]).find(b"\n")
        if found >= 0:
            return start + found + 1
        size *= 2
    return len(data)


def _long(texts: pa.ChunkedArray) -> bool:
    """Whether a column has integers that float64 cannot tell apart: ids, not numbers."""
    found = pc.match_substring_regex(texts, r"^\s*[+-]?\d{16,}\s*$")
    return bool(pc.any(found).as_py())
