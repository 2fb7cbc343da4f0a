"""Weights of examples in a log, and the rates at which negatives were kept.

All formats use this module, so that a weight means the same in each. A weight becomes float32, as
`sample_weight` of the estimators does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from adagrad.ctr.logs.rows import Fault
from adagrad.ctr.logs.types import is_number

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MOST", "parse_rates", "parse_weights"]

MOST = 2.0**48
"""The largest weight: squares of its gradients still add up in float32."""

Doubles = npt.NDArray[np.float64]
Faults = dict[int, Fault]


def parse_weights(column: pa.ChunkedArray) -> tuple[pa.Array, Faults]:
    """Parse the weights of examples, in any type and spelling.

    Returns
    -------
    weights : pyarrow.Array of float32
        From 0 to :math:`2^{48}`; NaN for rows with a fault.
    faults : dict of int to Fault
        Positions of the rows whose weight is missing, negative, too large or not a number.
    """
    numbers = _numbers(column)
    wrong = ~((numbers >= 0) & (numbers <= MOST))
    return _with_faults(column, numbers, wrong, _wrong_weight)


def parse_rates(
    column: pa.ChunkedArray, negative: npt.NDArray[np.bool_]
) -> tuple[pa.Array, Faults]:
    """Parse the rates at which negatives were kept.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Rates in any type and spelling. That of a positive may be missing.
    negative : ndarray of bool, shape [n]
        Which rows are negatives.

    Returns
    -------
    rates : pyarrow.Array of float32
        Above 0 and at most 1; 1 where a positive has none; NaN for rows with a fault.
    faults : dict of int to Fault
        Positions of the rows whose rate is missing, out of range or not a number.
    """
    numbers = _numbers(column)
    wrong = ~((numbers >= 1 / MOST) & (numbers <= 1))
    if wrong.any():
        missing = np.array([_is_missing(column[row].as_py()) for row in np.flatnonzero(wrong)])
        unneeded = np.flatnonzero(wrong)[missing & ~negative[wrong]]
        numbers[unneeded], wrong[unneeded] = 1.0, False
    return _with_faults(column, numbers, wrong, _wrong_rate)


def _with_faults(
    column: pa.ChunkedArray,
    numbers: Doubles,
    wrong: npt.NDArray[np.bool_],
    fault: Callable[[object], Fault],
) -> tuple[pa.Array, Faults]:
    numbers[wrong] = np.nan
    faults = {row: fault(column[row].as_py()) for row in np.flatnonzero(wrong).tolist()}
    return pa.array(numbers.astype(np.float32), from_pandas=False), faults


def _wrong_weight(value: object) -> Fault:
    if _is_missing(value):
        return Fault("missing weight", "the weight is missing")
    return Fault("bad weight", f"the weight is {value!r:.100}, not a number from 0 to 2**48")


def _wrong_rate(value: object) -> Fault:
    if _is_missing(value):
        return Fault("missing rate", "the rate of a negative is missing")
    what = "a rate from 2**-48 to 1" if 0 < _number(value) < 1 else "above 0 and at most 1"
    return Fault("bad rate", f"the rate of negatives is {value!r:.100}, not {what}")


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, (str, bytes)) and not value.strip())


def _numbers(column: pa.ChunkedArray) -> Doubles:
    """Return a column as numbers; NaN for what is missing or no number. O(distinct texts)."""
    values = column.combine_chunks()
    if is_number(values.type):
        return np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False))
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = values.dictionary
    try:
        numbers = pc.cast(distinct, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        numbers = np.array([*map(_number, distinct.to_pylist())], np.float64)
    codes = values.indices
    if codes.null_count:
        codes = codes.fill_null(len(distinct))
    found: Doubles = np.append(numbers, np.nan)[codes.to_numpy()]
    return found


def _number(value: object) -> float:
    """Return a value as a number, or NaN if it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str) and "_" in value:  # float("1_0") would be a number
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
