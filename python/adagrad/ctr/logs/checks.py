"""What a row of a log must be.

Called by every reader of :mod:`adagrad.ctr.logs`. Formats do not belong here.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Fault", "LogError", "Piece", "Request", "checked", "nearest"]


class LogError(ValueError):
    """A log cannot be read on: a broken row, or a broken file.

    Attributes
    ----------
    path : str
        The file, ``"-"`` for the standard input.
    line : int
        The line, from 1 and with the header counted; in Parquet and Arrow files, the row, from 1.
    reason : str
        What is wrong there.
    label : object
        The label, where it is that and readable, but neither 0 or 1 nor -1 or +1; else None.
    """

    def __init__(self, path: str, line: int, reason: str, label: object = None) -> None:
        super().__init__(path, line, reason, label)
        self.path = path
        self.line = line
        self.reason = reason
        self.label = label

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.reason}"


class Fault(NamedTuple):
    """Why a row is left out: a kind to count by, the words for a person, a label that is none."""

    kind: str
    reason: str
    label: object = None


@dataclass(frozen=True)
class Request:
    """What of a log is wanted, and how its files are to be read.

    The attributes are parameters of :func:`adagrad.ctr.logs.open_log`. ``schema`` is None for the
    first file of a log only: what that file turns out to have is asked of all others.
    """

    label: str | None
    columns: tuple[str, ...] | None
    numeric: frozenset[str] | None
    schema: pa.Schema | None
    delimiter: str | None
    header: bool | tuple[str, ...] | None
    rows: int

    def features(self) -> tuple[str, ...] | None:
        """Return the names of the features, where they are asked for."""
        if self.schema is not None:
            return tuple(name for name in self.schema.names if name != self.label)
        return self.columns

    def select(self, path: str, names: list[str], first_line: Sequence[str] = ()) -> list[str]:
        """Return the columns to read of those a file has, the label first.

        Parameters
        ----------
        path : str
            Of the file, for messages.
        names : list of str
            Its columns.
        first_line : sequence of str, optional
            What stands in the first line of a file that seems to have no header.

        Raises
        ------
        LogError
            A name is missing, or there twice.
        """
        wanted = self.features()
        if wanted is None:
            wanted = tuple(name for name in names if name != self.label)
        wanted = wanted if self.label is None else (self.label, *wanted)
        for name in wanted:
            if names.count(name) != 1:
                there = "no column" if name not in names else f"{names.count(name)} columns"
                reason = f"{there} {name!r}; the columns are {_listed(names)}"
                if first_line:
                    reason += f", as the first line, {_listed(first_line)}, has no such name"
                raise LogError(path, 1, reason + nearest(name, [*names, *first_line]))
        return list(wanted)


def nearest(name: str, names: Sequence[str]) -> str:
    """Return what may have been meant, as the end of a message."""
    alike = [] if name in names else difflib.get_close_matches(name, names, 1)
    return f"; did you mean {alike[0]!r}?" if alike else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:50]) + (", ..." if len(names) > 50 else "")


@dataclass
class Piece:
    """Some rows of one file, as a reader found them.

    Attributes
    ----------
    table : pyarrow.Table
        The rows that could be parsed, with the columns of the log; the label is still raw.
    lines : numpy.ndarray of int64, shape [table.num_rows]
        The line of each row, increasing.
    faults : dict of int to Fault
        The lines that are no row of the table, and why.
    """

    table: pa.Table
    lines: NDArray[np.int64]
    faults: dict[int, Fault] = field(default_factory=dict)


def checked(
    pieces: Iterable[Piece], path: str, label: str | None, skipped: Counter[str] | None
) -> Iterator[pa.Table]:
    """Turn labels into 0 and 1 and deal with every broken row.

    Parameters
    ----------
    pieces : iterable of Piece
        The rows of one file, in order.
    path : str
        Its name, for the error.
    label : str, optional
        The column that becomes float32 0 or 1.
    skipped : collections.Counter, optional
        Where to count broken rows, by kind. None: the first one raises, after the rows above it.

    Raises
    ------
    LogError
        A broken row, and ``skipped`` is None.
    """
    for piece in pieces:
        table, faults = piece.table, dict(piece.faults)
        good = np.ones(table.num_rows, np.bool_)
        if label is not None:
            position = table.schema.get_field_index(label)
            labels, found = _labels(table.column(position))
            table = table.set_column(position, pa.field(label, pa.float32()), labels)
            _leave_out(found, piece.lines, good, faults)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name != label:
                _leave_out(_not_finite(name, column), piece.lines, good, faults)
        if not faults:
            yield table
        elif skipped is not None:
            skipped.update(fault.kind for fault in faults.values())
            yield table.filter(pa.array(good))
        else:
            line = min(faults)
            yield table.slice(0, int(np.searchsorted(piece.lines, line)))
            raise LogError(path, line, faults[line].reason, faults[line].label)


def _leave_out(
    found: dict[int, Fault],
    lines: NDArray[np.int64],
    good: NDArray[np.bool_],
    faults: dict[int, Fault],
) -> None:
    for row, fault in found.items():
        good[row] = False
        faults.setdefault(int(lines[row]), fault)


def _labels(column: pa.ChunkedArray) -> tuple[pa.Array, dict[int, Fault]]:
    """Read 0 and 1, -1 and 1, or false and true; each distinct value is looked at once."""
    values = column.combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = values.dictionary.to_pylist()
    meaning = np.array([_label(value) for value in distinct] + [math.nan], np.float32)
    codes = values.indices
    if codes.null_count:
        codes = codes.fill_null(len(distinct))
    codes = codes.to_numpy()
    labels = meaning[codes]
    faults = {}
    for row in np.flatnonzero(np.isnan(labels)).tolist():
        value = None if codes[row] == len(distinct) else distinct[codes[row]]
        if value is None or value == "":
            faults[row] = Fault("missing label", "the label is missing")
        else:
            reason = f"the label is {value!r}, not 0 or 1, -1 or +1"
            faults[row] = Fault("bad label", reason, value)
    return pa.array(labels), faults


def _label(value: object) -> float:
    """Return 0 or 1, or NaN for what is no label."""
    words = {"false": 0.0, "true": 1.0}
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip().lower()
        if text in words:
            return words[text]
        value = math.nan if "_" in text else text
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
    return {-1.0: 0.0, 0.0: 0.0, 1.0: 1.0}.get(number, math.nan)


def _not_finite(name: str, column: pa.ChunkedArray) -> dict[int, Fault]:
    """Find NaN and infinities in a column of floats, or of lists of them."""
    nested = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not pa.types.is_floating(column.type.value_type if nested else column.type):
        return {}
    values = pc.list_flatten(column) if nested else column
    broken = pc.invert(pc.is_finite(values))
    if not pc.any(broken).as_py():
        return {}
    where = np.flatnonzero(broken.fill_null(False).to_numpy())
    rows = pc.list_parent_indices(column).to_numpy()[where] if nested else where
    return {
        int(row): Fault("not finite", f"column {name!r} has {values[int(entry)].as_py()}")
        for row, entry in zip(rows[::-1], where[::-1], strict=True)  # the first of a row is told
    }
