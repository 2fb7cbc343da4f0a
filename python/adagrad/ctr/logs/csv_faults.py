"""The broken lines of a CSV or TSV block that pyarrow rejects as a whole.

pyarrow reports neither the line nor the reason. Each line is judged by itself, so the result does
not depend on where blocks begin and end, and each column is judged at once, so a block costs the
same whether one of its lines is broken or all are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from adagrad._text import counted
from adagrad.ctr.logs.blocks import is_utf8
from adagrad.ctr.logs.rows import Fault
from adagrad.ctr.logs.values import unreadable, unreadable_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    class Convert(Protocol):
        """Parses lines of a delimited file; see `adagrad.ctr.logs.csv`."""

        def __call__(
            self, data: bytes, types: dict[str, pa.DataType], block_size: int, /
        ) -> tuple[pa.Table, list[tuple[int, int]]]:
            """Return the rows, and row and number of columns of each line of another width."""


__all__ = ["EMPTY", "OPEN_QUOTE", "RETURN", "LineFaults", "split_line", "wrong_width"]

EMPTY = Fault("empty line", "the line is empty")
RETURN = Fault("carriage return", "a carriage return within the line")
OPEN_QUOTE = Fault("open quote", "a quote is not closed within the line")
_QUOTED = re.compile(r'[^"]*(?:""[^"]*)*')


def wrong_width(found: int, expected: int) -> Fault:
    """Return the fault of a line with another number of columns."""
    return Fault("number of columns", f"{counted(found, 'column')} instead of {expected}")


def split_line(text: str, delimiter: str, *, quoted: bool) -> tuple[list[str], bool]:
    """Return the cells of a line, and whether it leaves a quote open; as pyarrow reads it."""
    if not quoted or '"' not in text:
        return text.split(delimiter), False
    cells: list[str] = []
    at = 0
    while True:
        value = ""
        if text.startswith('"', at):
            inner = _QUOTED.match(text, at + 1)
            assert inner is not None  # it matches an empty text
            value, at = inner[0].replace('""', '"'), inner.end() + 1
            if at > len(text):
                return [*cells, value], True
        end = text.find(delimiter, at)
        if end < 0:
            return [*cells, value + text[at:]], False
        cells.append(value + text[at:end])
        at = end + 1


class LineFaults:
    """Finds the broken lines of blocks.

    Parameters
    ----------
    names : sequence of str
        All columns of a line.
    types : mapping of str to pyarrow.DataType
        Types of the columns that are read.
    delimiter : str
        One ASCII character.
    quoted : bool
        Whether quotes have a meaning.
    convert : callable
        Parses lines with pyarrow.
    way_out : callable
        Returns what to do about a value that does not fit the type of a column.
    """

    def __init__(
        self,
        names: Sequence[str],
        types: Mapping[str, pa.DataType],
        delimiter: str,
        *,
        quoted: bool,
        convert: Convert,
        way_out: Callable[[str], str],
    ) -> None:
        self._width = len(names)
        self._types = types
        self._read = [k for k, name in enumerate(names) if name in types]
        self._delimiter, self._quoted = delimiter, quoted
        self._convert, self._way_out = convert, way_out

    def find(self, lines: Sequence[bytes]) -> dict[int, Fault]:
        """Return the positions of the broken lines, which have no line ends, and their faults."""
        faults = {}
        for k, line in enumerate(lines):
            fault = self._of_line(line)
            if fault is not None:
                faults[k] = fault
        kept = [k for k in range(len(lines)) if k not in faults]
        if not kept:
            return faults
        data = b"".join(lines[k] + b"\n" for k in kept)
        as_text = {name: pa.string() for name in self._types}
        table, rejected = self._convert(data, as_text, len(data) + 2)
        faults |= {kept[row]: wrong_width(found, self._width) for row, found in rejected}
        kept = [k for k in kept if k not in faults]
        for name, kind in self._types.items():
            if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
                continue
            texts = table.column(name)
            for row in unreadable(texts, kind).tolist():
                value = texts[row].as_py()
                fault = unreadable_fault(name, value, kind, self._way_out(name))
                faults.setdefault(kept[row], fault)
        return faults

    def whole_lines(self, data: bytes) -> bytes:
        """Return the lines whose bytes are in order, whatever their width and their values."""
        lines = data.split(b"\n")[:-1]
        return b"".join(line + b"\n" for line in lines if self._of_line(line) is None)

    def _of_line(self, line: bytes) -> Fault | None:
        """Return what is wrong with the bytes of a line, whatever its columns mean."""
        if b"\r" in line:
            line = line[:-1] if line.endswith(b"\r") else line
            if b"\r" in line and line.strip(b"\r"):
                return RETURN
        if not line.strip(b"\r"):
            return EMPTY
        if not line.isascii():
            fault = self._not_utf8(line)
            if fault is not None:
                return fault
        if self._quoted and b'"' in line and self._split(line)[1]:
            return OPEN_QUOTE
        return None

    def _not_utf8(self, line: bytes) -> Fault | None:
        """Return the fault of a line whose width or whose cells to be read are unknown."""
        try:
            line.decode()
        except UnicodeDecodeError as error:
            cells, _ = self._split(line)
            if len(cells) == self._width and all(
                is_utf8(cells[k].encode("latin-1")) for k in self._read
            ):
                return None
            return Fault("not UTF-8", f"byte {error.start + 1} of the line is not UTF-8")
        return None

    def _split(self, line: bytes) -> tuple[list[str], bool]:
        return split_line(line.decode("latin-1"), self._delimiter, quoted=self._quoted)
