"""How the rows of a table are cut into shards: ranges, as even as can be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adagrad._arguments import check_integer


def starts(rows: int, shards: int) -> npt.NDArray[np.int64]:
    """Return where each shard begins, and after the last the number of rows.

    Parameters
    ----------
    rows : int
        From 1.
    shards : int
        From 1 to `rows`.

    Returns
    -------
    ndarray of int64, shape [shards + 1]
        ``rows * k // shards``: the sizes of any two shards differ by one at most.

    Raises
    ------
    TypeError, ValueError
        Where a number is none, or out of its range.
    """
    rows = check_integer("rows", rows, 1, 2**63 - 1)
    shards = check_integer("shards", shards, 1, 2**31 - 1)
    if shards > rows:
        raise ValueError(f"{shards} shards cannot share {rows} rows: each has one at least")
    # In Python's integers: the product may have more than 64 bits.
    return np.array([rows * k // shards for k in range(shards + 1)], np.int64)
