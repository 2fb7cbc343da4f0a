"""Whether integers are ids or numbers, judged from the first rows.

An id needs a slot of its own, and a number shares its bin with its neighbours. Nothing in the type
of a column says which it is, but its values do: the values of a count are about equally frequent
within a bin, while a few ids are frequent and most are rare. `HashingEncoder` states the rule.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adagrad.ctr.encoding.moments import looks_like_moments

__all__ = ["FEWEST", "LOOK", "Look", "look_at", "rows_to_look_at"]

LOOK = 65_536
"""Rows to look at: as many as decide what the labels of a log mean."""

CELLS = 1 << 23
"""Values to look at, in all columns: of a table with many columns, fewer rows are looked at."""

FEWEST = 50
"""Values that a column must have to be judged."""

LUMPY = 1.5
"""Values of ids agree at least this many times as often as values spread evenly over their bins.
The counts of seven logs lie between 1.0 and 1.4, and their ids between 1.6 and 17,000."""

LUMPY_TAIL, TAIL_ROWS = 8, 0.02
"""The same, if so few rows have values to compare: the tail of a steep count is not even."""

CLEARLY = 4
"""Ids that agree less often than this must not be rare in a log that has no more rows: they could
not be learned, and lumpy amounts, such as blood pressures and prices, have 2 to 4."""

OFTEN = 20
"""Occurrences of a value that is not rare."""

TAIL = 4
"""The largest count is at least this many times the median; codes, such as months, end before."""

CODES = 16
"""Most distinct values of a column whose gaps are examined."""

UNEVEN = 0.03
"""Distance (Kolmogorov-Smirnov) from evenly spread values within which values are random ids."""


class Look(NamedTuple):
    """What a column of integers looks like.

    Attributes
    ----------
    kind : {"ids", "codes", "number"}
        Ids and codes are categories. Codes are few, so that bins would hardly hurt them.
    why : str
        The reason, in words.
    moments : str or None
        How the integers seem to spell moments, if they do.
    """

    kind: Literal["ids", "codes", "number"]
    why: str
    moments: str | None = None

    @property
    def is_category(self) -> bool:
        """Whether each distinct value is a feature."""
        return self.kind in ("ids", "codes")


def rows_to_look_at(columns: int) -> int:
    """Return how many of the first rows to look at in a table with so many columns of numbers."""
    return max(LOOK >> 5, min(LOOK, CELLS // max(columns, 1)))


def look_at(column: pa.ChunkedArray, *, is_all: bool = False) -> Look | None:
    """Return what a column of numbers looks like; None if it does not hold integers.

    `is_all` says that no more rows follow.

    Floats are integers if all of them are whole and some are missing, because pandas has no other
    integers with missing values.
    """
    has_missing = column.null_count > 0
    # pyarrow ends the process where it drops the nulls of a column without chunks.
    values: npt.NDArray[Any] = column.combine_chunks().drop_null().to_numpy()
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        known = values[~np.isnan(values)]
        has_missing = has_missing or len(known) < len(values)
        if not has_missing or not len(known) or not (np.trunc(known) == known).all():
            return None
        values = known
    elif values.dtype.kind not in "iu":
        return None
    if len(values) < FEWEST:
        return Look("number", f"too few values to tell ids from numbers: {len(values)}")
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 1:
        return Look("codes", "one value", looks_like_moments(distinct))
    moments = looks_like_moments(distinct)
    if moments is not None and moments.startswith("Unix"):
        return Look("number", f"moments, as {moments}, do not return", moments)
    if len(distinct) == len(values) and (
        bool((values[1:] > values[:-1]).all()) or bool((values[1:] < values[:-1]).all())
    ):
        return Look("number", "rises or falls from row to row, as row numbers do")
    return _look(distinct, counts, is_all)._replace(moments=moments)


def _look(distinct: npt.NDArray[Any], counts: npt.NDArray[np.int64], is_all: bool) -> Look:
    numbers = distinct.astype(np.float64)
    n, d = int(counts.sum()), len(distinct)
    rows, agreeing, expected = _agreement(numbers, counts)
    most = expected * (LUMPY if rows >= TAIL_ROWS * n else LUMPY_TAIL)
    # Three standard deviations of a Poisson variable, so that a few equal values prove nothing.
    often, ratio = float(counts[counts >= OFTEN].sum()) / n, agreeing / max(expected, 1)
    is_lumpy = agreeing > most + 3 * np.sqrt(most) + 3
    if is_lumpy and (ratio >= CLEARLY or often >= 0.5 or not is_all):
        digits = 0 if ratio >= 10 else 1
        return Look("ids", f"equal values are {ratio:,.{digits}f} times as frequent as in counts")
    sizes = np.abs(numbers)
    order = np.argsort(sizes, kind="stable")
    median = sizes[order][np.searchsorted(np.cumsum(counts[order]), n / 2)]
    is_short = bool(sizes.max() < TAIL * max(median, 1.0))
    if often >= 0.95 and (is_short or (d <= CODES and _has_gap(numbers, counts))):
        return Look("codes", f"{d} value{'' if d == 1 else 's'}, hardly any of them rare")
    if d > CODES and _is_even(numbers, counts):
        return Look("ids", "spread evenly between the smallest and the largest value")
    if is_lumpy:
        return Look("number", "its values are too rare to be learned as ids")
    return Look("number", "values of about the same size are about equally frequent")


def _agreement(
    numbers: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> tuple[int, float, float]:
    """Return the number of rows, the pairs of equal values, and how many even bins would have.

    Only bins of at least four integers count: the slope of a steep distribution, such as 1000 ones,
    100 twos and 10 threes, makes the values of narrow bins unequal.
    """
    bins = numbers.view(np.uint64) >> np.uint64(51)  # as in the third rule of `HashingEncoder`
    wide = np.abs(numbers) >= 8
    if not wide.any():
        return 0, 0.0, 0.0
    numbers, counts, bins = numbers[wide], counts[wide].astype(np.float64), bins[wide]
    _, first, place = np.unique(bins, return_index=True, return_inverse=True)
    rows = np.bincount(place, counts)
    _, exponents = np.frexp(np.abs(numbers[first]))
    widths = np.ldexp(1.0, exponents - 2)  # of a bin within [2**(e-1), 2**e): half of it
    agreeing = float((counts * (counts - 1)).sum() / 2)
    return int(counts.sum()), agreeing, float((rows * (rows - 1) / widths).sum() / 2)


def _has_gap(numbers: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> bool:
    """Return whether a value is absent between two that are frequent."""
    gaps = np.diff(numbers)
    logs = np.log(counts.astype(np.float64))
    # What a distribution with a straight log would have at the value after the one before the gap.
    expected = np.exp(logs[:-1] + (logs[1:] - logs[:-1]) / gaps)
    return bool(((gaps > 1) & (expected >= OFTEN)).any())


def _is_even(numbers: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> bool:
    n = counts.sum()
    above = np.cumsum(counts) / n
    below = above - counts / n
    even = (numbers - numbers[0]) / (numbers[-1] - numbers[0])
    distance = max(np.abs(above - even).max(), np.abs(even - below).max())
    return bool(distance < UNEVEN + 1.63 / np.sqrt(n))  # 1.63: one in a hundred is farther
