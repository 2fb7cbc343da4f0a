"""The fast path for CSV and TSV: simple lines, which the compiled module splits.

A line is simple if it is not empty, is UTF-8, has the right number of columns, no quotes (unless
quotes have no meaning), integers of at most 18 digits, and other numbers of at most 15 digits
without an exponent. On such lines the result equals pyarrow's. The reader in `csv` gives all other
lines to pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

import adagrad._core as _core
from adagrad.ctr.logs.blocks import is_utf8
from adagrad.ctr.logs.labels import RAW_TEXT
from adagrad.ctr.logs.rows import ParsedRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adagrad.ctr.logs.blocks import Block

__all__ = ["SimpleLines"]

KINDS = {pa.string(): "text", RAW_TEXT: "text", pa.int64(): "integer", pa.float64(): "real"}


class SimpleLines:
    """A buffer of rows split from simple lines.

    Attributes
    ----------
    rows : int
        Number of rows in the buffer.
    """

    def __init__(self, splitter: _core.LineSplitter, schema: pa.Schema) -> None:
        self._splitter = splitter
        self._schema = schema
        self._first = 1
        self.rows = 0

    @classmethod
    def for_columns(
        cls,
        names: Sequence[str],
        selected: Sequence[str],
        types: Mapping[str, pa.DataType],
        delimiter: str,
    ) -> SimpleLines | None:
        """Return an empty buffer for these columns; None if their types have no fast path.

        Parameters
        ----------
        names : sequence of str
            All columns of a line.
        selected : sequence of str
            The columns to keep.
        types : dict of str to pyarrow.DataType
            Types of the selected columns.
        delimiter : str
            One character.
        """
        if not delimiter.isascii() or not all(types[name] in KINDS for name in selected):
            return None
        positions = {name: position for position, name in enumerate(names)}
        columns = [(positions[name], KINDS[types[name]]) for name in selected]
        splitter = _core.LineSplitter(len(names), delimiter, delimiter != "\t", columns)
        return cls(splitter, pa.schema((name, types[name]) for name in selected))

    def add(self, block: Block) -> bool:
        """Append the rows of a block; if a line is not simple, return False and append none."""
        if block.has_lone_returns() or not is_utf8(block.data):
            return False
        if not self._splitter.add(block.data, block.count):
            return False
        if not self.rows:
            self._first = block.first
        self.rows += block.count
        return True

    def take(self) -> ParsedRows:
        """Return the rows and empty the buffer."""
        arrays = []
        for field, buffers in zip(self._schema, self._splitter.take(), strict=True):
            array = pa.Array.from_buffers(
                pa.string() if field.type == RAW_TEXT else field.type,
                self.rows,
                [None if buffer is None else pa.py_buffer(buffer) for buffer in buffers],
            )
            arrays.append(array.dictionary_encode() if field.type == RAW_TEXT else array)
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        lines = np.arange(self._first, self._first + self.rows)
        self.rows = 0
        return ParsedRows(table, lines)
