"""The bags of one call of `TableEmbeddingBag`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import torch

from adagrad.tables.table import Array, Table

__all__ = ["Bags", "by_table", "frequencies", "only", "unnest"]


class Bags(NamedTuple):
    """The bags of one or several tables, those of the first table first."""

    rows: Array
    offsets: Array  # with the number of rows at the end
    weights: Array | None


def by_table(tables: int, bags: Bags) -> list[Bags]:
    """Return the bags of each table."""
    rows, offsets, weights = bags
    count, parts = len(offsets) // tables, []
    for t in range(tables):
        own = offsets[t * count : (t + 1) * count + 1]
        part = slice(int(own[0]), int(own[-1]))
        parts.append(Bags(rows[part], own - own[0], None if weights is None else weights[part]))
    return parts


def only(
    kept: Sequence[bool], tables: tuple[Table, ...], bags: Bags, g: Array
) -> tuple[Sequence[Table], Bags, Array]:
    """Return some of the tables, with their bags and the gradients of these."""
    parts = list(compress(by_table(len(tables), bags), kept))
    ends = np.cumsum([0, *(len(part.rows) for part in parts)])
    offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
    weights = None
    if bags.weights is not None:
        weights = np.concatenate([part.weights for part in parts if part.weights is not None])
    own = Bags(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([*offsets, ends[-1:]]),
        weights,
    )
    columns = np.repeat(kept, [table.dim for table in tables])
    return list(compress(tables, kept)), own, g[:, columns].copy()


def unnest(
    input: torch.Tensor, offsets: torch.Tensor | None, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return the values of a nested tensor, where each bag begins and the last ends, and weights.

    Other values than the layout are not checked.
    """
    if offsets is not None:
        raise ValueError("offsets must be None if input is nested")
    if input.layout is not torch.jagged or input.ndim != 2:
        raise ValueError(
            "a nested input must have layout=torch.jagged and two dimensions, got layout"
            f" {input.layout} and {input.ndim} dimensions"
        )
    if input.lengths() is not None:
        raise ValueError("the nested input has gaps between its bags: call input.contiguous()")
    if weights is not None:
        # Two nested tensors have equal shapes only if they share their offsets.
        if not weights.is_nested or weights.shape != input.shape:
            raise ValueError(
                "per_sample_weights must be nested as input is: make them by"
                " torch.nested.nested_tensor_from_jagged(values, input.offsets())"
            )
        weights = weights.values()
    return input.values(), input.offsets(), weights


def frequencies(tables: int, bags: Bags) -> Array:
    """Return how often each id occurs among the ids of its table."""
    counts = [np.zeros(0, np.int64)]
    for own in by_table(tables, bags):
        _, where, count = np.unique(own.rows, return_inverse=True, return_counts=True)
        counts.append(count[where])
    return np.concatenate(counts)
