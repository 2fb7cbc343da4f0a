"""Even ranges of rows for shards, and the parts of a call that belong to each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_integer


def starts(rows: int, shards: int) -> npt.NDArray[np.int64]:
    """Return the first row of each shard, followed by the number of rows.

    Parameters
    ----------
    rows : int
        At least 1.
    shards : int
        From 1 to `rows`.

    Returns
    -------
    ndarray of int64, shape [shards + 1]
        ``rows * k // shards``: the sizes of two shards differ by at most one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer, or is out of range.
    """
    rows = check_integer("rows", rows, 1, 2**63 - 1)
    shards = check_integer("shards", shards, 1, 2**31 - 1)
    if shards > rows:
        raise ValueError(f"shards must be at most the number of rows, {rows}, got {shards}")
    # With Python's integers, because the product may exceed 64 bits.
    return np.array([rows * k // shards for k in range(shards + 1)], np.int64)


class Part(NamedTuple):
    """The ids of a call that belong to one shard.

    Attributes
    ----------
    shard : int
    positions : ndarray of int64, shape [m]
        Their positions in the call, ascending.
    ids : ndarray, shape [m]
        The ids as the shard counts them, from 0.
    """

    shard: int
    positions: npt.NDArray[np.int64]
    ids: npt.NDArray[Any]


def dealt(
    rows: npt.NDArray[Any], firsts: npt.NDArray[np.int64], *, every: bool = False
) -> list[Part]:
    """Return the part of each shard that has any of the ids; of all shards with `every`.

    Parameters
    ----------
    rows : ndarray of int32, int64, uint32 or uint64, shape [n]
    firsts : ndarray of int64
        From `starts`.

    Raises
    ------
    IndexError, TypeError, ValueError
        If an id is out of range, or `rows` is not such an array.
    """
    order, bounds = _core.bucket(rows, firsts)
    parts = []
    for shard in range(len(firsts) - 1):
        positions = order[bounds[shard] : bounds[shard + 1]]
        ids = rows[positions]
        if len(ids):  # else the first row may exceed the dtype
            ids -= ids.dtype.type(firsts[shard])
        if every or len(ids):
            parts.append(Part(shard, positions, ids))
    return parts
