"""Labels of clicks: the values that mean 0 and 1, and the faults of all others.

All formats use this module, so that a label means the same in each. Two other places accept other
labels on purpose: `adagrad.datasets` also takes 1 and 2, because it sees all labels of a file at
once; the estimators take any two classes, as scikit-learn does.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from adagrad.ctr.logs.rows import Fault

__all__ = ["MISSING", "RAW_TEXT", "parse_labels", "wrong_label"]

RAW_TEXT = pa.dictionary(pa.int32(), pa.string())
"""Type as which text formats read the label: each distinct spelling is parsed once."""

MISSING = Fault("missing label", "the label is missing")

MEANING = {-1.0: 0.0, 0.0: 0.0, 1.0: 1.0}
WORDS = {"false": 0.0, "true": 1.0}


def wrong_label(shown: str, value: object = None) -> Fault:
    """Return the fault of a label that is neither 0 nor 1."""
    return Fault("bad label", f"the label is {shown}, not 0 or 1, -1 or +1", value)


def parse_labels(column: pa.ChunkedArray) -> tuple[pa.Array, dict[int, Fault]]:
    """Parse 0 and 1, -1 and +1, or false and true, in any type and spelling.

    Returns
    -------
    labels : pyarrow.Array of float32
        0 or 1; NaN for rows with a fault.
    faults : dict of int to Fault
        Positions of the rows whose label is missing or means neither.
    """
    values = column.combine_chunks()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = values.dictionary.to_pylist()
    meaning = np.array([_parse(value) for value in distinct] + [math.nan], np.float32)
    codes = values.indices
    if codes.null_count:
        codes = codes.fill_null(len(distinct))
    codes = codes.to_numpy()
    labels = meaning[codes]
    faults = {}
    for row in np.flatnonzero(np.isnan(labels)).tolist():
        value = None if codes[row] == len(distinct) else distinct[codes[row]]
        is_missing = value is None or value == ""
        faults[row] = MISSING if is_missing else wrong_label(repr(value), value)
    return pa.array(labels), faults


def _parse(value: object) -> float:
    """Return 0 or 1, or NaN for any other value."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip().lower()
        if text in WORDS:
            return WORDS[text]
        value = math.nan if "_" in text else text  # float("1_0") would be a number
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
    return MEANING.get(number, math.nan)
