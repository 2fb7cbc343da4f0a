"""Logs in JSON lines: one object per line, whose keys are the columns.

pyarrow parses each block. It does not say which line it rejects, takes several objects in a line,
and passes over empty lines; so the lines are counted, and a block that does not add up is parsed
line by line, in `json_lines`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from adagrad._text import typed
from adagrad.ctr.logs.blocks import Block, is_utf8, read_blocks
from adagrad.ctr.logs.json_lines import parse_line
from adagrad.ctr.logs.json_values import (
    MAP,
    Column,
    columns_of,
    raw_type,
    text_of,
    unknown_keys,
    value_at,
    values_of,
)
from adagrad.ctr.logs.labels import RAW_TEXT
from adagrad.ctr.logs.reader import LATER_SAMPLE, SAMPLE
from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows, check_width
from adagrad.ctr.logs.types import CannotConvert, convert
from adagrad.ctr.logs.values import may_be_rounded, parsed_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["JsonReader"]

# Brackets in a line that pyarrow surely reads: it recurs into values whose type it infers.
MOST_BRACKETS = 512
ARRAY = "this is a JSON array instead of an object per line: convert it with jq -c '.[]'"


class JsonReader:
    """The `Reader` of files with a JSON object per line."""

    def __init__(self, source: Source, request: Request) -> None:
        self._path = source.path
        self._size = source.size
        self.header = request.header
        self.names: list[str] | None = None
        self.types: dict[str, pa.DataType] | None = None
        self._raw = source.open()
        try:
            self._blocks = read_blocks(source, self._raw)
            self._first = next(self._blocks, None)
            if self._first is not None:
                self._open(self._first, request)
        except BaseException:
            self._raw.close()
            raise

    def _open(self, block: Block, request: Request) -> None:
        """Find the columns in the first lines."""
        block = self._first = block.without_mark()
        data = bytes(block.data[: SAMPLE if request.is_first else LATER_SAMPLE])
        lines = data.split(b"\n")
        if len(data) < len(block.data) and len(lines) > 1:
            lines.pop()  # it is cut
        if data.lstrip()[:1] == b"[":
            raise LogError(self._path, 1, ARRAY)
        parsed = [parse_line(line) for line in lines]
        rows = [row for row in parsed if isinstance(row, dict)]
        if not rows and isinstance(parsed[0], Fault) and request.columns is None:
            raise LogError(self._path, 1, parsed[0].reason)
        wanted = dict.fromkeys((*(request.features() or ()), *sorted(request.ignore)))
        left_out = {*request.in_path, request.label}
        wanted = {name: None for name in wanted if name not in left_out}
        columns = columns_of(rows, wanted)
        self._columns = {column.name: column for column in columns}
        if len(self._columns) < len(columns):
            twice = next(x.name for x in columns if self._columns[x.name] is not x)
            reason = f"a key {twice!r} and a key in an object mean the same column: rename one"
            raise LogError(self._path, 1, reason)
        selected = request.select(self._path, list(self._columns))
        check_width(self._path, len(rows), len(selected))
        for name in selected:
            if self._columns[name].kind is None:
                reason = f"column {name!r} has lists of objects or lists, which cannot be encoded"
                raise LogError(self._path, 1, f"{reason}: ignore it")
        if request.label in self._columns:
            kind = self._columns[request.label].kind
            if pa.types.is_nested(kind):
                raise LogError(self._path, 1, f"column {request.label!r} is {kind}, not 0 or 1")
        self.names = [name for name in selected if name != request.label]
        self.types = {name: self._columns[name].kind for name in self.names}

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return nothing: the file has types."""
        return []

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        if self._first is None:
            return
        assert request.schema is not None
        self._request = request
        self._schema = pa.schema(
            field.with_type(RAW_TEXT) if field.name == request.label else field
            for field in request.schema
        )
        for field in self._schema:
            empty = Column(field.name, ((field.name,),), pa.null())
            self._columns.setdefault(field.name, empty)
        self._others = {*request.ignore, *request.unread, *request.in_path}
        self._fast = _FastColumns.for_schema(self._schema, self._columns, request, self._others)
        for block in itertools.chain([self._first], self._blocks):
            table = self._fast.parse(block) if self._fast is not None else None
            if table is None:
                yield self._parse_lines(block)
            else:
                yield ParsedRows(table, np.arange(block.first, block.first + block.count))

    def _parse_lines(self, block: Block) -> ParsedRows:
        """Parse a block line by line."""
        request, faults = self._request, {}
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        for number, line in enumerate(bytes(block.data).split(b"\n")[:-1], block.first):
            found = parse_line(line)
            if isinstance(found, dict):
                new = self._new_keys(found)
                if not new:
                    rows.append(found)
                    numbers.append(number)
                    continue
                found = _new_key(new[0], self._columns)
            faults[number] = found
        columns = []
        for field in self._schema:
            paths = self._columns[field.name].paths
            values = [_first_value(row, paths) for row in rows]
            if field.name == request.label:
                values = [_label(value) for value in values]
            column, misfits = values_of(
                values,
                field.name,
                field.type,
                any_text=takes_any_text(request, self._columns[field.name]),
                way_out=request.way_out(field.name),
            )
            for position, fault in misfits.items():
                faults.setdefault(numbers[position], fault)
            columns.append(column)
        table = pa.table(columns, schema=self._schema)
        lines = np.array(numbers, np.int64)
        good = ~np.isin(lines, list(faults))
        if not good.all():
            table, lines = table.filter(pa.array(good)), lines[good]
        return ParsedRows(table, lines, faults)

    def _new_keys(self, row: dict[str, Any]) -> list[str]:
        if not self._request.takes_all:
            return []
        return unknown_keys(row, self._columns.values(), self._others)

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        if self._raw.closed and self._size is not None:
            return self._size
        return int(self._raw.tell())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def takes_any_text(request: Request, column: Column) -> bool:
    """Return whether numbers are texts in a column of text: the caller said that it is text."""
    name = column.name
    given = name in request.text or name in request.types or name in request.keep
    return given or column.has_ids or name == request.label


def _new_key(name: str, columns: Iterable[str]) -> Fault:
    if any(other.startswith(f"{name}.") for other in columns):
        return Fault("another type", f"the key {name!r} has no object, as it has in other rows")
    reason = f"the key {name!r} is not in the first MiB, which decides the columns"
    way = f"leave it out by --ignore {typed([name])}, or name all columns by --columns"
    return Fault("new key", f"{reason}: {way}")


def _first_value(row: dict[str, Any], paths: Sequence[tuple[str, ...]]) -> Any:
    return next((x for path in paths if (x := value_at(row, path)) is not None), None)


def _label(value: Any) -> str | None:
    """Return a label as text, as `labels` understands it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return text_of(value) if isinstance(value, (int, float)) else str(value)


class _FastColumns:
    """Parses blocks with pyarrow, all of whose lines it surely understands as they are meant."""

    def __init__(
        self,
        schema: pa.Schema,
        raw: dict[str, list[tuple[tuple[str, ...], pa.DataType]]],
        explicit: pa.Schema,
        left_out: set[str] | None,
    ) -> None:
        self._schema, self._raw, self._explicit = schema, raw, explicit
        self._left_out = left_out
        unexpected = "ignore" if left_out is None else "infer" if left_out else "error"
        self._options = arrow_json.ParseOptions(
            explicit_schema=explicit,
            newlines_in_values=False,
            unexpected_field_behavior=unexpected,
        )

    @classmethod
    def for_schema(
        cls,
        schema: pa.Schema,
        columns: dict[str, Column],
        request: Request,
        others: set[str],
    ) -> _FastColumns | None:
        """Return the columns; None if one of them has no fast path."""
        raw: dict[str, list[tuple[tuple[str, ...], pa.DataType]]] = {}
        tree: dict[str, Any] = {}
        for field in schema:
            column = columns[field.name]
            kind = field.type
            if kind == MAP or column.kind in (None, MAP):
                return None
            found = raw_type(column, kind, any_text=takes_any_text(request, column))
            raw[field.name] = [(path, found) for path in column.paths]
            for path in column.paths:
                node = tree
                for key in path[:-1]:
                    node = node.setdefault(key, {})
                    if not isinstance(node, dict):
                        return None
                if node.setdefault(path[-1], found) is not found:
                    return None
        left_out = None
        if request.takes_all:
            left_out = {*others, *columns}.difference(raw)
        return cls(schema, raw, pa.schema(_fields(tree)), left_out)

    def parse(self, block: Block) -> pa.Table | None:
        """Return the rows of a block; None if a line is broken or may be misunderstood."""
        data = bytes(block.data)
        if block.returns:
            data = data.replace(b"\r\n", b"\n")
        # An object in each line, and each line an object: a line break within one never has braces
        # on both sides.
        is_framed = data.startswith(b"{") and data.endswith(b"}\n")
        if not is_framed or data.count(b"}\n{") != block.count - 1 or not is_utf8(data):
            return None
        if self._left_out and _has_deep_line(data, block.count):
            return None
        try:
            table = arrow_json.read_json(
                pa.BufferReader(data),
                arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
                self._options,
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return None
        if table.num_rows != block.count or self._has_new(table.schema):
            return None
        columns = []
        for field in self._schema:
            column = self._converted(field, table)
            if column is None:
                return None
            columns.append(column)
        return pa.table(columns, schema=self._schema)

    def _has_new(self, schema: pa.Schema) -> bool:
        """Return whether pyarrow found a column that is neither known nor left out."""
        if not self._left_out:
            return False
        names = {name for field in schema for name in _leaves(field, self._explicit)}
        return not names <= {*self._raw, *self._left_out}

    def _converted(self, field: pa.Field, table: pa.Table) -> pa.ChunkedArray | None:
        parts = [_at(table, path) for path, _ in self._raw[field.name]]
        column = parts[0] if len(parts) == 1 else pc.coalesce(*parts)
        if may_be_rounded(column) or _has_rounded_entries(column):
            return None
        if field.type == RAW_TEXT:
            return _as_label(column)
        try:
            if pa.types.is_string(column.type) and not _is_text(field.type):
                return pa.chunked_array([parsed_texts(column.combine_chunks(), field.type)])
            return convert(column, field.type)
        except (CannotConvert, pa.ArrowException):
            return None


def _fields(tree: dict[str, Any]) -> list[pa.Field]:
    return [
        pa.field(key, pa.struct(_fields(node)) if isinstance(node, dict) else node)
        for key, node in tree.items()
    ]


def _leaves(field: pa.Field, known: pa.Schema) -> Iterator[str]:
    """Return the names of the columns in a field that pyarrow found."""
    at = known.get_field_index(field.name)
    if at < 0 or not pa.types.is_struct(known.field(at).type):
        yield field.name
        return
    inner = pa.schema([*known.field(at).type])
    for child in field.type:
        for name in _leaves(child, inner):
            yield f"{field.name}.{name}"


def _at(table: pa.Table, path: Sequence[str]) -> pa.ChunkedArray:
    column = table.column(path[0])
    return pc.struct_field(column, list(path[1:])) if len(path) > 1 else column


def _as_label(column: pa.ChunkedArray) -> pa.ChunkedArray:
    codes = column.combine_chunks().dictionary_encode()
    texts = codes.dictionary.cast(pa.string())
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes.indices, texts)])


def _has_rounded_entries(column: pa.ChunkedArray) -> bool:
    return pa.types.is_list(column.type) and may_be_rounded(pc.list_flatten(column))


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def _has_deep_line(data: bytes, count: int) -> bool:
    """Return whether a line has so many brackets that pyarrow might exhaust the stack."""
    if data.count(b"{") + data.count(b"[") < count + MOST_BRACKETS:
        return False
    return any(line.count(b"{") + line.count(b"[") > MOST_BRACKETS for line in data.split(b"\n"))
