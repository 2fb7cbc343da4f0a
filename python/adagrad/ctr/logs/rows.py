"""What passes between the reader of a format and the rest: rows, faults and errors.

Every reader of `adagrad.ctr.logs` uses these types. Code that judges rows belongs in `checks`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from adagrad._text import printable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Fault", "LogError", "ParsedRows", "Part", "check_width"]


MOST_CELLS = 1 << 25  # rows times columns of the lines that decide the columns


class LogError(ValueError):
    """A log is broken: one of its rows or files cannot be read.

    Attributes
    ----------
    path : str
        The file; ``"-"`` for the standard input.
    line : int
        The line, from 1, including the header; in Parquet and Arrow files the row, from 1.
    reason : str
        What is wrong there.
    label : object
        If the label is at fault, its value; None if it is missing or something else is at fault.
    stops : bool
        Whether the row stops the reading even if broken rows are skipped.
    """

    def __init__(
        self, path: str, line: int, reason: str, label: object = None, stops: bool = False
    ) -> None:
        super().__init__(path, line, reason, label, stops)
        self.path = path
        self.line = line
        self.reason = reason
        self.label = label
        self.stops = stops

    def __str__(self) -> str:
        return printable(f"{self.path}, line {self.line}: {self.reason}")


def check_width(path: str, lines: int, columns: int) -> None:
    """Refuse a log whose first lines name so many columns that its batches would be mostly empty.

    A column takes memory in every row: a name that differs from line to line, such as that of a
    user, would need that of the lines times the lines.

    Raises
    ------
    LogError
        There are more than `MOST_CELLS` rows times columns.
    """
    if lines * columns > MOST_CELLS:
        few = f"the first {lines:,} lines have {columns:,} columns, most of which they lack"
        raise LogError(path, 1, f"{few}: name those to take by --columns")


class Fault(NamedTuple):
    """Why a row is broken.

    Attributes
    ----------
    kind : str
        Key under which `Log.skipped` counts it.
    reason : str
        Text of the error message.
    label : object
        The label, if that is what is wrong and it is not missing.
    stops : bool
        Whether the row stops the reading even if broken rows are skipped, as others may have been
        misunderstood.
    """

    kind: str
    reason: str
    label: object = None
    stops: bool = False


@dataclass
class ParsedRows:
    """Consecutive rows of one file, as its reader parsed them.

    Attributes
    ----------
    table : pyarrow.Table
        The rows that could be parsed, with the columns of the log. The label is still raw.
    lines : numpy.ndarray of int64, shape [table.num_rows]
        Line number of each row, increasing.
    faults : dict of int to Fault
        Line numbers without a row in the table, and why.
    """

    table: pa.Table
    lines: NDArray[np.int64]
    faults: dict[int, Fault] = field(default_factory=dict)


class Part(NamedTuple):
    """The next rows of a log, which one of its files holds.

    Attributes
    ----------
    path : str
        The file.
    bytes_read : int
        Bytes read so far, of all files.
    rows : ParsedRows or None
        None at the end of the file.
    has_paused : bool
        Whether the rows must not wait for others, as the writer of a live pipe has paused.
    """

    path: str
    bytes_read: int
    rows: ParsedRows | None
    has_paused: bool = False
