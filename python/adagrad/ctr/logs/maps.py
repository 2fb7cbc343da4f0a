"""Text formats whose lines name a column for each of their entries: a column is a map.

`vw` and `libffm` say how they differ. The compiled module parses them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

import adagrad._core as _core
from adagrad.ctr.logs.blocks import Block, is_utf8, read_blocks
from adagrad.ctr.logs.content import HEAD, LOOKS, looks_like
from adagrad.ctr.logs.labels import MISSING
from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows, check_width
from adagrad.ctr.logs.types import CannotConvert, convert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["BAR", "MapReader"]

BAR = "|"
"""Name of the column of a namespace without a name, and what comes before a name that is taken."""

LATER_SAMPLE = 1 << 16
PART = 1 << 14  # bytes of a sample at once
MOST_BYTES = 1 << 26  # of text to collect: what an offset holds is 32 times as much
NOT_UTF8 = Fault("not UTF-8", "the line is not UTF-8")


class MapReader:
    """The `Reader` of a format of maps.

    The columns are the label (float64 or null) and one of maps for each name in the first block of
    the file. An entry that a line lacks is not in its map.
    """

    FORMAT: ClassVar[str]
    KEY: ClassVar[pa.DataType]
    OWN: ClassVar[dict[str, pa.DataType]] = {}
    """Columns of single values that a line has beside the label and its maps."""

    def __init__(self, source: Source, request: Request) -> None:
        self._path = source.path
        self._raw = source.open()
        self._blocks = read_blocks(source, self._raw)
        self._reserved = {*request.targets, *self.OWN}
        for role, name in (("weight", request.weight), ("rate", request.negative_rate)):
            if name is not None and name not in self.OWN:
                raise LogError(source.path, 1, self._no_column(name, role))
        self.header = request.header
        self.names: list[str] | None = None
        self.types: dict[str, pa.DataType] | None = None
        self._first = self._first_block()
        if self._first is None:
            return
        self._check_first(bytes(self._first.data[:HEAD]))
        wanted = request.features()
        if wanted is None:
            wanted = (*self._found(self._first, request), *request.keep)
            wanted = tuple(name for name in wanted if name not in request.ignore)
        self.names = [name for name in wanted if name not in request.in_path]
        self.types = {name: self._type(name) for name in self.names}

    def _type(self, name: str) -> pa.DataType:
        return self.OWN.get(name, pa.map_(self.KEY, pa.float32()))

    def _no_column(self, name: str, role: str) -> str:
        return f"a {self.FORMAT} file has no column {name!r} for a {role}: use another format"

    def _first_block(self) -> Block | None:
        block = next(self._blocks, None)
        return None if block is None else block.without_mark()

    def _found(self, block: Block, request: Request) -> list[str]:
        """Return the columns in the first block of a file."""
        data = bytes(block.data)
        if not request.is_first:
            data = data[: data.rfind(b"\n", 0, LATER_SAMPLE) + 1 or len(data)]
        lines, bad = _of_utf8(data)
        names: dict[bytes, None] = {}
        fault: LogError | None = None  # why there is no column
        begin = count = 0
        while begin < len(lines):
            # In parts, because each name takes memory in every row of one.
            end = lines.find(b"\n", begin + PART) + 1 or len(lines)
            part = lines[begin:end]
            splitter = _core.SparseSplitter(self.FORMAT, [], [], "add", False)
            for row, kind, *at in splitter.add(part):
                if fault is None:
                    text = part[slice(*at)][:100].decode("utf-8", "backslashreplace")
                    number = block.first + count + row
                    fault = LogError(self._path, number, self._fault(kind, text).reason)
            names |= dict.fromkeys(splitter.names)
            begin, count = end, count + part.count(b"\n")
            check_width(self._path, count, len(names))
        if request.is_first and fault is not None and not (names or bad):
            raise fault
        return [self._column(name.decode()) for name in names]

    def _column(self, name: str) -> str:
        return BAR + name if name in self._reserved else name

    def _check_first(self, head: bytes) -> None:
        """Refuse a file in a format that looks similar, as every line of it would be broken."""
        lines = enumerate(head.split(b"\n"), start=1)
        number, line = next(((k, x) for k, x in lines if x.strip()), (1, b""))
        found = looks_like(line.decode("utf-8", "replace"))
        if found not in (None, self.FORMAT):
            raise LogError(self._path, number, LOOKS[found])

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return nothing: the file has types."""
        return []

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""
        assert request.schema is not None
        own = {*request.targets, *self.OWN}
        features = [name for name in request.schema.names if name not in own]
        splitter = _core.SparseSplitter(
            self.FORMAT,
            [name.removeprefix(BAR) or BAR for name in features],
            [name.removeprefix(BAR) or BAR for name in request.ignore],
            "fault" if request.takes_all else "pass",
            request.label is not None,
        )
        numbers: list[NDArray[np.int64]] = []
        faults: dict[int, Fault] = {}
        size = 0

        def taken() -> ParsedRows:
            table = self._table(splitter.take(), features, request.schema)
            lines = np.concatenate(numbers)
            rows = self._converted(ParsedRows(table, lines, dict(faults)), request)
            numbers.clear()
            faults.clear()
            return rows

        for block in self._all_blocks():
            for part in block.split(request.rows - splitter.rows):
                numbers.append(self._add(part, splitter, faults))
                size += len(part.data)
                # The batches of a log are cut at this row, and what ends there need not be joined.
                if splitter.rows >= request.rows or size > MOST_BYTES or part.pauses:
                    yield taken()
                    size = 0
        if numbers:
            yield taken()

    def _all_blocks(self) -> Iterator[Block]:
        first, self._first = self._first, None
        if first is not None:
            yield first
        yield from self._blocks

    def _add(
        self, block: Block, splitter: _core.SparseSplitter, faults: dict[int, Fault]
    ) -> NDArray[np.int64]:
        """Collect the rows of a block; return the numbers of their lines."""
        data, bad = (block.data, []) if is_utf8(block.data) else _of_utf8(bytes(block.data))
        numbers = np.delete(np.arange(block.first, block.first + block.count), bad)
        faults |= {block.first + row: NOT_UTF8 for row in bad}
        broken = splitter.add(data) if len(numbers) else []
        for row, kind, begin, end in broken:
            text = bytes(data[begin:end])[:100].decode("utf-8", "backslashreplace")
            faults[int(numbers[row])] = self._fault(kind, text)
        return np.delete(numbers, [row for row, *_ in broken])

    def _table(
        self, found: Mapping[str, Any], features: Sequence[str], schema: pa.Schema
    ) -> pa.Table:
        """Return collected rows, with the columns of a schema, but the types of this format."""
        maps = {
            name: _maps(self.KEY, ends, keys, values)
            for name, (ends, keys, values) in zip(features, found["columns"], strict=True)
        }
        columns = []
        for name in schema.names:
            if name in maps:
                columns.append(maps[name])
            elif name in self.OWN:
                columns.append(self._own(name, found))
            else:
                columns.append(pa.array(found["labels"], mask=np.isnan(found["labels"])))
        return pa.table(columns, schema.names)

    def _converted(self, rows: ParsedRows, request: Request) -> ParsedRows:
        """Return rows with the types of the log, which may be those of a model."""
        schema = request.schema
        assert schema is not None
        table = rows.table
        for position, field in enumerate(schema):
            column = table.column(position)
            if field.name not in request.targets and column.type != field.type:
                try:
                    column = convert(column, field.type)
                except CannotConvert as error:
                    kind = f"column {field.name!r} cannot be read as {field.type}"
                    number = int(rows.lines[error.rows[0]])
                    raise LogError(self._path, number, kind) from None
                table = table.set_column(position, field, column)
        return replace(rows, table=table)

    def _own(self, name: str, found: Mapping[str, Any]) -> pa.Array:
        """Return a column of `OWN`."""
        raise NotImplementedError

    def _fault(self, kind: str, text: str) -> Fault:
        """Return the fault of a line, given what the compiled module calls it and where it is."""
        if kind == "empty line":
            return Fault(kind, "the line is empty")
        if kind == "carriage return":
            return Fault(kind, "a carriage return is not at the end of the line")
        if kind == "not finite":
            return Fault(kind, f"{text!r} is not finite")
        if kind == "too large":
            return Fault("bad entry", f"{text!r} is more than 2**48 in magnitude: scale the values")
        if kind == "missing label":
            return MISSING
        return Fault("bad entry", f"{text!r} cannot be read")

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""
        return int(self._raw.tell())

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def _of_utf8(data: bytes) -> tuple[bytes, list[int]]:
    """Return the lines that are UTF-8, and the positions of the others."""
    lines = data.split(b"\n")[:-1]
    bad = [row for row, line in enumerate(lines) if not is_utf8(line)]
    return b"".join(line + b"\n" for line in lines if is_utf8(line)), bad


def _maps(key: pa.DataType, ends: Any, keys: list[Any], values: Any) -> pa.Array:
    """Return maps of the arrays of their entries, without copies."""
    buffers = [pa.py_buffer(buffer) for buffer in keys]
    entries = pa.StructArray.from_arrays(
        [
            pa.Array.from_buffers(key, len(values), [None, *buffers]),
            pa.Array.from_buffers(pa.float32(), len(values), [None, pa.py_buffer(values)]),
        ],
        fields=[pa.field("key", key, nullable=False), pa.field("value", pa.float32())],
    )
    kind, offsets = pa.map_(key, pa.float32()), pa.py_buffer(ends)
    return pa.Array.from_buffers(kind, len(ends) - 1, [None, offsets], children=[entries])
