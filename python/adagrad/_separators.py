"""Texts that hold several values, and are split at a separator: ``Action|Comedy``.

Readers of logs split whole columns, and encoders split what a model gets from elsewhere. What lies
between two separators in a row is not a value.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["LISTS", "split"]

LISTS = pa.list_(pa.string())
"""Type of a column that has been split."""


def split(texts: pa.Array, separator: str) -> pa.Array:
    """Return the texts of an array, or of a dictionary of texts, as lists; null stays null."""
    if pa.types.is_dictionary(texts.type):
        return split(texts.dictionary, separator).take(texts.indices)
    if texts.type != pa.string():
        texts = texts.cast(pa.string())
    lists = pc.split_pattern(texts, separator)
    values = lists.flatten()
    is_value = pc.not_equal(values, "")
    counts = pc.list_value_length(lists).fill_null(0).to_numpy()
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    kept = np.concatenate([[0], np.cumsum(is_value.to_numpy(zero_copy_only=False))])
    offsets = pa.array(kept[starts], pa.int32())
    mask = lists.is_null() if lists.null_count else None
    found = pa.ListArray.from_arrays(offsets, values.filter(is_value), mask=mask)
    return found.cast(LISTS)
