"""Plain lines of delimited columns: what the compiled module splits.

Called by the reader of CSV and TSV. Lines are plain where nothing about them is in doubt: no quotes
(unless they mean nothing), no empty line, as many columns as asked for, UTF-8, integers of up to 18
digits, and numbers of up to 15 digits without an exponent. Of others pyarrow makes what it makes.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from adagrad import _core
from adagrad.ctr.logs.checks import Piece

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adagrad.ctr.logs.blocks import Lines

__all__ = ["LABEL", "Plain", "is_utf8"]

LABEL = pa.dictionary(pa.int32(), pa.string())
FIRST_NOT_ASCII = 0x80
KINDS = {pa.string(): "text", LABEL: "text", pa.int64(): "integer", pa.float64(): "real"}


class Plain:
    """The rows of plain lines, until they are taken.

    Attributes
    ----------
    rows : int
        How many there are.
    """

    def __init__(self, splitter: _core.LineSplitter, schema: pa.Schema) -> None:
        self._splitter = splitter
        self._schema = schema
        self._first = 1
        self.rows = 0

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        selected: Sequence[str],
        types: Mapping[str, pa.DataType],
        delimiter: str,
    ) -> Plain | None:
        """Return what reads these columns of a line; None where there is no such thing."""
        if not delimiter.isascii() or not all(types[name] in KINDS for name in selected):
            return None
        columns = [(names.index(name), KINDS[types[name]]) for name in selected]
        splitter = _core.LineSplitter(len(names), delimiter, delimiter != "\t", columns)
        return cls(splitter, pa.schema((name, types[name]) for name in selected))

    def add(self, lines: Lines) -> bool:
        """Read the lines after those that are there; False, and none read, if some is not plain."""
        if lines.has_lone_returns() or not is_utf8(lines.data):
            return False
        if not self._splitter.add(lines.data, lines.count):
            return False
        if not self.rows:
            self._first = lines.first
        self.rows += lines.count
        return True

    def take(self) -> Piece:
        """Return the rows, and begin anew."""
        arrays = []
        for field, buffers in zip(self._schema, self._splitter.take(), strict=True):
            array = pa.Array.from_buffers(
                pa.string() if field.type == LABEL else field.type,
                self.rows,
                [None if buffer is None else pa.py_buffer(buffer) for buffer in buffers],
            )
            arrays.append(array.dictionary_encode() if field.type == LABEL else array)
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        lines = np.arange(self._first, self._first + self.rows)
        self.rows = 0
        return Piece(table, lines)


def is_utf8(data: bytes | memoryview) -> bool:
    """Whether bytes are UTF-8."""
    if np.frombuffer(data, np.uint8).max(initial=0) < FIRST_NOT_ASCII:
        return True
    try:
        codecs.utf_8_decode(data, "strict", True)
    except UnicodeDecodeError:
        return False
    return True
