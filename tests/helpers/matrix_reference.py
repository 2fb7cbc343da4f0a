"""The reference of examples made of the rows of a matrix, in NumPy, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from adagrad.ctr.encoding.examples import REGIONS, region_size

Array = npt.NDArray[Any]
F = np.float32


def arranged(matrix: Any, n_slots: int, order: Iterable[int] | None = None) -> tuple[Array, ...]:
    """Slots, values and bounds of rows whose entries are sorted by region, in a stable way."""
    order = range(matrix.shape[0]) if order is None else order
    slots, values, counts = [np.empty(0, np.uint32)], [np.empty(0, F)], [0]
    for i in order:
        part = slice(int(matrix.indptr[i]), int(matrix.indptr[i + 1]))
        columns = matrix.indices[part].astype(np.uint64)
        region = columns // region_size(n_slots)
        by_region = np.argsort(region, kind="stable")
        slots.append(columns[by_region].astype(np.uint32))
        values.append(matrix.data[part].astype(F)[by_region])
        counts.extend(np.bincount(region.astype(np.int64), minlength=REGIONS))
    bounds = np.cumsum(counts).astype(np.uint32)
    return np.concatenate(slots), np.concatenate(values), bounds


def margins(matrix: Any, n_slots: int, weights: Array, bias: float) -> Array:
    """The margins of a linear model by the documented order of additions."""
    slots, values, bounds = arranged(matrix, n_slots)
    found = np.zeros(matrix.shape[0], F)
    for i in range(len(found)):
        margin = F(0)
        for r in range(REGIONS):
            total = F(0)
            for k in range(int(bounds[REGIONS * i + r]), int(bounds[REGIONS * i + r + 1])):
                total = total + weights[slots[k]] * values[k]
            margin = margin + (total + F(bias) if r == REGIONS - 1 else total)
        found[i] = margin
    return found
