"""The rows of a batch as an Arrow table, and their labels.

Apart from `_dataset`, so that workers do not spend a second on importing `ray.data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["joined_blocks", "labels_of"]

Floats = npt.NDArray[np.float32]


def joined_blocks(blocks: Sequence[Any], cuts: Sequence[tuple[int, int]]) -> pa.Table:
    """Return the rows of a batch as one table.

    Parameters
    ----------
    blocks : sequence of pyarrow.Table or pandas.DataFrame
    cuts : sequence of (int, int)
        First row of each block, and one past its last row.
    """
    tables = []
    for block, (first, last) in zip(blocks, cuts, strict=True):
        if not isinstance(block, pa.Table):
            block = pa.Table.from_pandas(block, preserve_index=False)
        tables.append(block.slice(first, last - first))
    return pa.concat_tables(tables)


def labels_of(table: pa.Table, label: str) -> Floats:
    """Return the labels of rows as 0 and 1.

    Raises
    ------
    ValueError
        If the column does not exist, or a label is not one of 0/1, -1/+1, false/true.
    """
    expected = "labels must be 0/1, -1/+1 or false/true"
    if label not in table.column_names:
        raise ValueError(
            f"the dataset has no column {label!r}; its columns are {table.column_names}"
        )
    column = table.column(label)
    if column.null_count:
        at = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise ValueError(f"column {label!r} is null in row {at} of a batch; {expected}")
    given = column.to_numpy()
    if given.dtype.kind not in "biuf":
        raise ValueError(f"column {label!r} has type {column.type}; {expected}")
    positive = given == 1
    wrong = ~(positive | (given == 0) | (given == -1))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"column {label!r} is {column[at].as_py()!r} in row {at} of a batch; {expected}"
        )
    labels: Floats = positive.astype(np.float32)
    return labels
