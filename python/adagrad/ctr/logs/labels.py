"""Labels of clicks: the values that mean 0 and 1, and the faults of all others.

All formats use this module, so that a label means the same in each. Only the 1 of a log is
ambiguous: beside 0 or -1 it is the positive label, beside 2 the negative one. The first rows of a
log decide, whatever its files and blocks are, and a later label that contradicts them stops the
reading. `adagrad.datasets` has the same rule for a file in memory; the estimators take any two
classes, as scikit-learn does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adagrad.ctr.logs.rows import Fault, LogError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from adagrad.ctr.logs.rows import ParsedRows, Part

__all__ = ["MISSING", "RAW_TEXT", "WINDOW", "Labels", "label_number", "settled", "wrong_label"]

RAW_TEXT = pa.dictionary(pa.int32(), pa.string())
"""Type as which text formats read the label: each distinct spelling is parsed once."""

MISSING = Fault("missing label", "the label is missing")

WINDOW = 65_536
"""Rows, broken ones included, that decide what the labels of a log mean."""

ZERO_AND_ONE = {-1.0: 0.0, 0.0: 0.0, 1.0: 1.0}
ONE_AND_TWO = {1.0: 0.0, 2.0: 1.0}
WORDS = {"false": 0.0, "true": 1.0}


def wrong_label(shown: str, value: object = None) -> Fault:
    """Return the fault of a label that is neither 0 nor 1."""
    return Fault("bad label", f"the label is {shown}, not 0 or 1, -1 or +1, false or true", value)


@dataclass
class Labels:
    """What the labels of a log mean. The first `WINDOW` rows that `watch` sees decide.

    Attributes
    ----------
    is_decided : bool
        Whether the meaning is known.
    are_one_and_two : bool
        Whether 2 is the positive label and 1 the negative one.
    has_zero : bool
        Whether a row before had the label 0 or -1, so that 1 is surely the positive one.
    """

    is_decided: bool = False
    are_one_and_two: bool = False
    has_zero: bool = False
    _has_one: bool = False
    _has_two: bool = False
    _rows: int = 0
    _has_one_before: bool = False  # in the rows that were parsed

    def watch(self, rows: ParsedRows, label: str, *, skip_bad: bool) -> bool:
        """Look at the next rows, up to a broken one; return whether the meaning is now known."""
        broken = np.array(sorted(rows.faults), np.int64)
        seen = len(rows.lines)
        if skip_bad:
            places = np.arange(seen) + np.searchsorted(broken, rows.lines)
            seen = int(np.searchsorted(places, WINDOW - self._rows))
        elif len(broken):
            seen = int(np.searchsorted(rows.lines, broken[0]))
        seen = min(seen, WINDOW - self._rows)
        numbers = _numbers(rows.table.column(label).slice(0, seen)).of_rows()
        self._rows += len(rows.lines) + len(broken)
        self._has_one |= bool((numbers == 1).any())
        self._has_two |= bool((numbers == 2).any())
        self.has_zero |= bool(np.isin(numbers, (-1, 0)).any())
        if self.has_zero or self._rows >= WINDOW:
            self.decide()
        return self.is_decided

    def decide(self) -> None:
        """Settle the meaning with the rows seen so far."""
        self.are_one_and_two = self._has_one and self._has_two and not self.has_zero
        self.is_decided = True

    def parse(self, column: pa.ChunkedArray) -> tuple[pa.Array, dict[int, Fault]]:
        """Parse labels in any type and spelling.

        Returns
        -------
        labels : pyarrow.Array of float32
            0 or 1; NaN for rows with a fault.
        faults : dict of int to Fault
            Positions of the rows whose label is missing or means neither.
        """
        found = _numbers(column)
        of = ONE_AND_TWO if self.are_one_and_two else ZERO_AND_ONE
        meaning = [of.get(number, math.nan) for number in found.distinct.tolist()]
        labels = np.array(meaning, np.float32)[found.codes]
        bad = np.flatnonzero(np.isnan(labels))
        faults = {row: self._fault(found.value(row)) for row in bad.tolist()}
        numbers = found.of_rows()[bad]
        if self.are_one_and_two:
            for row in bad[np.isin(numbers, (-1, 0))].tolist():
                faults[row] = _contradiction(found.value(row))
        elif not self.has_zero:
            zero, one = _first(labels == 0), -1 if self._has_one_before else _first(labels == 1)
            self.has_zero = zero < len(labels)
            self._has_one_before = one < len(labels)
            doubtful = bad[(numbers == 2) & (bad > one) & (bad < zero)]
            faults |= dict.fromkeys(doubtful.tolist(), ONLY_ONES)
        return pa.array(labels), faults

    def _fault(self, value: object) -> Fault:
        if value is None or value == "":
            return MISSING
        if self.are_one_and_two:
            return Fault(
                "bad label", f"the label is {value!r}, not 1 or 2, as the others are", value
            )
        return wrong_label(repr(value), value)


def settled(
    parts: Iterator[Part], label: str, labels: Labels, *, skip_bad: bool
) -> Generator[Part, None, None]:
    """Hold the first rows of a log back until the meaning of its labels is known.

    Without `skip_bad`, a broken row ends the wait.
    """
    held: list[Part] = []
    error = None
    try:
        for part in parts:
            held.append(part)
            if part.rows is not None and (
                labels.watch(part.rows, label, skip_bad=skip_bad)
                or (part.rows.faults and not skip_bad)
            ):
                break
    except LogError as raised:
        error = raised
    if not labels.is_decided:
        labels.decide()
    yield from held
    if error is not None:
        raise error
    yield from parts


def _first(mask: npt.NDArray[np.bool_]) -> int:
    """Return the position of the first True; the length if there is none."""
    return int(mask.argmax()) if mask.any() else len(mask)


ONLY_ONES = Fault(
    "bad label",
    "the label is 2, but all labels before it are 1, which was taken for a click: give a log whose"
    f" first {WINDOW:,} rows have both labels, or write 0 and 1",
    2,
    stops=True,
)


def _contradiction(value: object) -> Fault:
    return Fault(
        "bad label",
        f"the label is {value!r}, but the labels before it are 1 and 2: write 0 and 1",
        value,
        stops=True,
    )


@dataclass
class _Numbers:
    """A column of labels as numbers, each distinct value parsed once."""

    values: list[object]
    distinct: npt.NDArray[np.float64]  # NaN for what is no number, and at the end for null
    codes: npt.NDArray[np.int32]

    def of_rows(self) -> npt.NDArray[np.float64]:
        return self.distinct[self.codes]

    def value(self, row: int) -> object:
        return self.values[self.codes[row]]


def _numbers(column: pa.ChunkedArray) -> _Numbers:
    values = column.combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = values.dictionary.to_pylist()
    codes = values.indices
    if codes.null_count:
        codes = codes.fill_null(len(distinct))
    numbers = np.array([*map(label_number, distinct), math.nan])
    return _Numbers([*distinct, None], numbers, codes.to_numpy())


def label_number(value: object) -> float:
    """Return a label as a number, or NaN if it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip().lower()
        if text in WORDS:
            return WORDS[text]
        value = math.nan if "_" in text else text  # float("1_0") would be a number
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
