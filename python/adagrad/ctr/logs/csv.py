"""Logs in CSV and TSV: one row per line, with delimited columns.

Each block takes the fastest of three ways that works: the compiled module splits simple lines (see
`fast_csv`); pyarrow parses all others; and if pyarrow rejects a value, which it does without giving
the line, `parse_block` searches for the line.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from adagrad.ctr.logs.blocks import Block, is_utf8, parse_block, read_blocks
from adagrad.ctr.logs.content import LOOKS, looks_like, not_read
from adagrad.ctr.logs.csv_faults import (
    EMPTY,
    OPEN_QUOTE,
    RETURN,
    LineFaults,
    split_line,
    wrong_width,
)
from adagrad.ctr.logs.fast_csv import SimpleLines
from adagrad.ctr.logs.json_lines import parse_line
from adagrad.ctr.logs.labels import RAW_TEXT, label_number
from adagrad.ctr.logs.mistakes import other_delimiter
from adagrad.ctr.logs.request import distinct_names
from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows
from adagrad.ctr.logs.types import whole_numbers
from adagrad.ctr.logs.values import may_be_rounded, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["DelimitedReader"]

# pyarrow splits its input into pieces of this size, which should stay in the cache. The types of
# columns are inferred from a piece of the same size.
PARSED = 1 << 20
BOM = b"\xef\xbb\xbf"
JOINED = 1 << 24
DELIMITERS = {"csv": ",", "tsv": "\t"}
HEX = re.compile(rb"0[xX]")


class DelimitedReader:
    """The `Reader` of CSV and TSV files, which have no types."""

    types = None

    def __init__(self, source: Source, request: Request) -> None:
        self._source, self._request = source, request
        self._raw = source.open()
        try:
            self._blocks = read_blocks(source, self._raw)
            self._first = self._open(request)
        except BaseException:
            self._raw.close()
            raise

    def _open(self, request: Request) -> Block | None:
        """Read the header; return the first block, without the header."""
        block = next(self._blocks, None)
        if block is not None:
            block = block.without_mark()  # elsewhere, a mark is part of a value
        line = b"" if block is None else bytes(block.data[: _end(block.data)])
        self._delimiter = (
            request.delimiter
            or DELIMITERS.get(self._source.format or "")
            or ("\t" if b"\t" in line else ",")
        )
        self._quoted = self._delimiter != "\t"
        self.header = request.header
        self.names: list[str] | None = None
        if block is None:
            return None
        fields = self._fields(line, is_row=isinstance(request.header, tuple))
        self.header = _is_header(request, fields) if request.header is None else request.header
        guessed = self.header is False and request.header is None
        if self.header is True:
            found = fields
            block = block.without_first(len(line))
        elif self.header is False:
            found = [f"c{column}" for column in range(len(fields))]
        else:
            found = list(self.header)
        looks = looks_like(fields[0]) if guessed and len(fields) == 1 else None
        if line.startswith(b'{"') and isinstance(parse_line(line), dict):
            looks = "jsonl"
        doubt = LOOKS.get(looks or "") or other_delimiter(fields, self._delimiter)
        known = {*found} >= {*(request.features() or ())} and request.label is None
        if doubt and (len(found) > 1 or not known):
            raise LogError(self._source.path, 1, doubt)
        selected = request.select(self._source.path, found, fields if guessed else ())
        self._names = distinct_names(found)
        self.names = [name for name in selected if name not in request.targets]
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
        if b"\0" in line:
            reason = not_read(line) or "not a text file: its first line contains NUL"
            raise LogError(self._source.path, 1, f"this is {reason}")
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
            self._names,
            types,
            self._delimiter,
            quoted=self._quoted,
            convert=self._convert,
            way_out=self._request.way_out,
        )

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return the texts of columns in the first `size` bytes, without lines that are broken."""
        if self._first is None:
            return []
        self._first = self._at_least(self._first, size // 2)
        data = bytes(self._first.data[: _end(self._first.data, size)])
        kinds = dict.fromkeys(names, pa.string())
        data = self._line_faults(kinds).whole_lines(data)
        if not data:
            return []
        return [self._split(data, kinds, len(data) + 1)[0]]

    def _at_least(self, block: Block, size: int) -> Block:
        """Return a block and those after it up to a size; a pipe may have no more for now."""
        while len(block.data) < size and self._source.pipe is None:
            block = replace(block, data=bytes(block.data))
            try:
                following = next(self._blocks, None)
            except LogError as error:  # the rows before the damage come first
                self._blocks = _raise(error)
                break
            if following is None:
                break
            block = _join([block, following])
        return block

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        if self._first is None:
            return
        assert request.schema is not None
        self._request = request
        self._types = {
            field.name: RAW_TEXT if field.name in request.targets else field.type
            for field in request.schema
        }
        self._faults = self._line_faults(self._types)
        blocks = _joined(itertools.chain([self._first], self._blocks))
        simple = SimpleLines.for_columns(
            self._names, list(self._types), self._types, self._delimiter
        )
        if simple is None:
            yield from map(self._parse_any, blocks)
            return
        batch = request.rows
        for block in blocks:
            # Rows are taken where a batch ends, so that no batch is joined from parts.
            for part in block.split(batch - simple.rows):
                if simple.add(part):
                    if simple.rows >= batch or part.pauses:
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
        self, data: Any, types: dict[str, pa.DataType], block_size: int
    ) -> tuple[pa.Table, list[tuple[int, int]]]:
        """Parse lines with pyarrow, as `_split`; integers may be spelled as floats, not in hex."""
        integers = {name: pa.string() for name in types if pa.types.is_integer(types[name])}
        if not (integers and HEX.search(data)):
            try:
                return self._split(data, types, block_size)
            except pa.ArrowInvalid:
                if not integers:
                    raise
        table, rejected = self._split(data, types | integers, block_size)
        columns = [
            whole_numbers(column, types[name]) if name in integers else column
            for name, column in zip(types, table.columns, strict=True)
        ]
        return pa.table(columns, names=list(types)), rejected

    def _split(
        self, data: Any, types: dict[str, pa.DataType], block_size: int
    ) -> tuple[pa.Table, list[tuple[int, int]]]:
        """Parse lines with pyarrow.

        Returns
        -------
        table : pyarrow.Table
            The columns of `types`.
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
                include_columns=list(types),
                column_types=types,
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        return table, rejected

    def _parse_any(self, block: Block) -> ParsedRows:
        raw = pa.schema(self._types.items())
        return parse_block(block, self._parse, self._faults.find, raw)

    def _parse(self, block: Block) -> ParsedRows | None:
        """Parse lines; return None if a value cannot be read or a line is not one row."""
        data, first, count = bytes(block.data), block.first, block.count
        if not block.judged and (block.has_lone_returns() or not is_utf8(data)):
            return None
        # An additional empty line disappears if the last line leaves a quote open.
        guard = int(self._quoted)
        guarded = b"".join((data, b"\n")) if guard else data
        size = PARSED if count > 1 and not (block.is_wide() or block.judged) else len(data) + 2
        try:
            table, rejected = self._convert(guarded, self._types, size)
        except pa.ArrowInvalid:
            return None
        if table.num_rows + len(rejected) != count + guard or self._rounds(table, guarded, size):
            return None
        table = table.slice(0, table.num_rows - guard)
        faults = {first + row: wrong_width(columns, len(self._names)) for row, columns in rejected}
        if table.column(0).null_count and all(column.null_count for column in table.columns):
            table = self._without_empty(table, block, faults)
        numbers = np.arange(first, first + count)
        if faults:
            numbers = numbers[~np.isin(numbers, list(faults))]
        return ParsedRows(table, numbers, faults)

    def _rounds(self, table: pa.Table, data: bytes, block_size: int) -> bool:
        """Return whether a column of floats has an integer that was rounded."""
        doubtful = [name for name in table.column_names if may_be_rounded(table.column(name))]
        if not doubtful:
            return False
        texts, _ = self._split(data, dict.fromkeys(doubtful, pa.string()), block_size)
        return any(len(unreadable(texts.column(name), pa.float64())) for name in doubtful)

    def _without_empty(self, table: pa.Table, block: Block, faults: dict[int, Fault]) -> pa.Table:
        """Drop the rows of nulls that pyarrow makes of empty lines, and note their faults."""
        texts = bytes(block.data).split(b"\n")[:-1]
        empty = [text in (b"", b"\r") for text in texts]
        kept = [not gone for row, gone in enumerate(empty) if block.first + row not in faults]
        faults |= {block.first + row: EMPTY for row, gone in enumerate(empty) if gone}
        return table.filter(pa.array(kept, pa.bool_()))


def _is_header(request: Request, fields: list[str]) -> bool:
    """Return whether the first line contains a requested name; the others may be misspelled.

    Columns without a name, and of one name, are requested by position. Then the line is a header if
    it has no value in their place.
    """
    names = {*request.targets, *(request.features() or ())}.difference(request.in_path)
    if not names or not names.isdisjoint(fields):
        return True
    cells = dict(zip(distinct_names(fields), fields, strict=True))

    def has_no_value(name: str) -> bool:
        cell = cells.get(name)
        return cell == "" or (
            cell is not None and name == request.label and math.isnan(label_number(cell))
        )

    return all(map(has_no_value, names))


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """Join blocks of long lines, because each call of pyarrow costs as much as some rows do."""
    held: list[Block] = []
    for block in blocks:
        if not held and not block.is_wide():
            yield block
            continue
        held.append(replace(block, data=bytes(block.data)))
        if block.pauses or sum(len(part.data) for part in held) >= JOINED:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _raise(error: LogError) -> Iterator[Block]:
    raise error
    yield


def _join(parts: list[Block]) -> Block:
    return Block(
        b"".join(part.data for part in parts),
        parts[0].first,
        sum(part.count for part in parts),
        any(part.returns for part in parts),
        pauses=parts[-1].pauses,
    )


def _end(data: memoryview | bytes, start: int = 0) -> int:
    """Return the end of the line that contains the byte ``start``."""
    size = 1 << 12
    while start < len(data):
        found = bytes(data[start : start + size]).find(b"\n")
        if found >= 0:
            return start + found + 1
        size *= 2
    return len(data)
