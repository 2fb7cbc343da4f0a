"""Logs in CSV and TSV: one row per line, with delimited columns.

Each block takes the fastest of three ways that works: the compiled module splits simple lines (see
`fast_csv`); pyarrow parses all others; and if pyarrow rejects a value, which it does without giving
the line, `parse_block` searches for the line.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from adagrad.ctr.logs.blocks import Block, is_utf8, parse_block, read_blocks
from adagrad.ctr.logs.csv_faults import (
    EMPTY,
    OPEN_QUOTE,
    RETURN,
    LineFaults,
    split_line,
    wrong_width,
)
from adagrad.ctr.logs.fast_csv import SimpleLines
from adagrad.ctr.logs.labels import RAW_TEXT
from adagrad.ctr.logs.mistakes import other_delimiter
from adagrad.ctr.logs.rows import EmptyFile, Fault, LogError, ParsedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["DelimitedReader"]

# pyarrow splits its input into pieces of this size, which should stay in the cache. The types of
# columns are inferred from a piece of the same size.
PARSED = 1 << 20
BOM = b"\xef\xbb\xbf"
DELIMITERS = {"csv": ",", "tsv": "\t"}


class DelimitedReader:
    """The `Reader` of CSV and TSV files."""

    def __init__(self, source: Source, request: Request) -> None:
        self._source = source
        self._raw = source.open()
        try:
            self._blocks = read_blocks(source, self._raw)
            self._first = self._open(request)
        except BaseException:
            self._raw.close()
            raise

    def _open(self, request: Request) -> Block | None:
        """Read the header and decide the types; return the first block, without the header."""
        block = next(self._blocks, None)
        if block is not None and block.data[:3] == BOM:  # elsewhere, it is part of a value
            block = replace(block, data=block.data[3:])
        line = b"" if block is None else bytes(block.data[: _end(block.data)])
        self._delimiter = (
            request.delimiter
            or DELIMITERS.get(self._source.format or "")
            or ("\t" if b"\t" in line else ",")
        )
        self._quoted = self._delimiter != "\t"
        header = request.header
        fields = self._fields(line, is_row=isinstance(header, tuple))
        if header is None:
            header = _is_header(request, fields)
        if block is None and (request.header in (None, True) or request.schema is None):
            raise EmptyFile(self._source.path)
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
        doubt = other_delimiter(fields, self._delimiter)
        known = {*self._names} >= {*(request.features() or ())} and request.label is None
        if doubt and (len(self._names) > 1 or not known):
            raise LogError(self._source.path, 1, doubt)
        guessed = header is False and request.header is None
        self._selected = request.select(self._source.path, self._names, fields if guessed else ())
        self._label = request.label
        self._types = self._decide(block, request)
        self._faults = self._line_faults(self._types)
        self.schema = pa.schema(
            (name, pa.float32() if name == self._label else self._types[name])
            for name in self._selected
        )
        self.request = replace(request, schema=self.schema, header=header)
        return block

    def _fields(self, line: bytes, *, is_row: bool) -> list[str]:
        """Return the fields of the first line; a broken row has none, and is judged later."""
        try:
            return self._split_header(line)
        except LogError:
            if is_row:
                return []
            raise

    def _split_header(self, line: bytes) -> list[str]:
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise LogError(self._source.path, 1, f"byte {error.start + 1} is not UTF-8") from None
        if "\r" in text:
            raise LogError(self._source.path, 1, RETURN.reason)
        cells, is_open = split_line(text, self._delimiter, quoted=self._quoted)
        if is_open:
            raise LogError(self._source.path, 1, OPEN_QUOTE.reason)
        return cells

    def _line_faults(self, types: dict[str, pa.DataType]) -> LineFaults:
        return LineFaults(
            self._names, types, self._delimiter, quoted=self._quoted, convert=self._convert
        )

    def _decide(self, block: Block, request: Request) -> dict[str, pa.DataType]:
        """Choose the types of the selected columns from the first block."""
        label = {} if self._label is None else {self._label: RAW_TEXT}
        if request.schema is not None:
            known = [name for name in self._selected if name not in label]
            return {name: request.schema.field(name).type for name in known} | label
        numeric = request.numeric
        for name in sorted(numeric or ()):
            if name not in self._selected:
                raise LogError(self._source.path, 1, f"no column {name!r}, which numeric names")
        data = bytes(block.data[: _end(block.data, PARSED)])
        data = self._line_faults(dict.fromkeys(self._selected, pa.string())).whole_lines(data)
        types = self._infer(data, request.numeric) if data else {}
        if numeric is not None:
            types = {
                name: types.get(name, pa.float64()) if name in numeric else pa.string()
                for name in self._selected
            }
        return dict.fromkeys(self._selected, pa.string()) | types | label

    def _infer(self, data: bytes, numeric: frozenset[str] | None) -> dict[str, pa.DataType]:
        """Return the types of the columns that are not strings."""
        types = {}
        all_binary = dict.fromkeys(self._selected, pa.binary())
        inferred, _ = self._convert(data, None, len(data) + 1)
        texts, _ = self._convert(data, all_binary, len(data) + 1)
        for name in self._selected:
            kind = inferred.schema.field(name).type
            is_number = kind == pa.int64() or (
                kind == pa.float64() and (numeric is not None or not _has_ids(texts.column(name)))
            )
            if is_number or (numeric is None and pa.types.is_boolean(kind)):
                types[name] = kind
            elif numeric is None and pa.types.is_timestamp(kind):
                # Fractions of seconds may occur later in the file.
                types[name] = pa.timestamp("us" if kind.unit == "s" else "ns", kind.tz)
        return types

    def read(self) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        if self._first is None:
            return
        blocks = itertools.chain([self._first], self._blocks)
        simple = SimpleLines.for_columns(self._names, self._selected, self._types, self._delimiter)
        if simple is None:
            yield from map(self._parse_any, blocks)
            return
        batch = self.request.rows
        for block in blocks:
            # Rows are taken where a batch ends, so that no batch is joined from parts.
            for part in block.split(batch - simple.rows):
                if simple.add(part):
                    if simple.rows >= batch:
                        yield simple.take()
                    continue
                if simple.rows:
                    yield simple.take()
                yield self._parse_any(part)
        if simple.rows:
            yield simple.take()

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        # A decompressor at its end has closed the file, perhaps before its last rows were taken.
        if self._raw.closed and self._source.size is not None:
            return self._source.size
        return int(self._raw.tell())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _convert(
        self, data: Any, types: dict[str, pa.DataType] | None, block_size: int
    ) -> tuple[pa.Table, list[tuple[int, int]]]:
        """Parse lines with pyarrow.

        Returns
        -------
        table : pyarrow.Table
            Types are inferred if `types` is None.
        rejected : list of (int, int)
            Row, from 0, and number of columns of each line with a wrong number of columns.
        """
        rejected: list[tuple[int, int]] = []
        if data[:3] == BOM:  # pyarrow would drop one
            data = BOM + data
            block_size += 3

        def note(row: Any) -> str:
            rejected.append((row.number - 1, row.actual_columns))
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
        return table, rejected

    def _parse_any(self, block: Block) -> ParsedRows:
        raw = pa.schema((name, self._types[name]) for name in self._selected)
        return parse_block(block, self._parse, self._faults.find, raw)

    def _parse(self, block: Block) -> ParsedRows | None:
        """Parse lines; return None if a value cannot be read or a line is not one row."""
        data, first, count = bytes(block.data), block.first, block.count
        if not block.judged and (block.has_lone_returns() or not is_utf8(data)):
            return None
        # An additional empty line disappears if the last line leaves a quote open.
        guard = int(self._quoted)
        try:
            table, rejected = self._convert(
                b"".join((data, b"\n")) if guard else data,
                self._types,
                len(data) + 2 if block.judged else PARSED,
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows + len(rejected) != count + guard:
            return None
        table = table.slice(0, table.num_rows - guard)
        faults = {first + row: wrong_width(columns, len(self._names)) for row, columns in rejected}
        if all(column.null_count for column in table.columns):  # otherwise no line is empty
            table = self._without_empty(table, block, faults)
        numbers = np.arange(first, first + count)
        if faults:
            numbers = numbers[~np.isin(numbers, list(faults))]
        return ParsedRows(table, numbers, faults)

    def _without_empty(self, table: pa.Table, block: Block, faults: dict[int, Fault]) -> pa.Table:
        """Drop the rows of nulls that pyarrow makes of empty lines, and note their faults."""
        texts = bytes(block.data).split(b"\n")[:-1]
        empty = [text in (b"", b"\r") for text in texts]
        kept = [not gone for row, gone in enumerate(empty) if block.first + row not in faults]
        faults |= {block.first + row: EMPTY for row, gone in enumerate(empty) if gone}
        return table.filter(pa.array(kept, pa.bool_()))


def _is_header(request: Request, fields: list[str]) -> bool:
    """Return whether the first line contains a requested name; the others may be misspelled."""
    label = () if request.label is None else (request.label,)
    names = {*label, *(request.features() or ())}.difference(request.in_path)
    return not names or not names.isdisjoint(fields)


def _end(data: memoryview | bytes, start: int = 0) -> int:
    """Return the end of the line that contains the byte ``start``."""
    size = 1 << 12
    while start < len(data):
        found = bytes(data[start : start + size]).find(b"\n")
        if found >= 0:
            return start + found + 1
        size *= 2
    return len(data)


def _has_ids(texts: pa.ChunkedArray) -> bool:
    """Return whether a column has integers that float64 cannot distinguish, as ids often are."""
    found = pc.match_substring_regex(texts, r"^\s*[+-]?\d{16,}\s*$")
    return bool(pc.any(found).as_py())
