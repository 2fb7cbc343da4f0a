"""Bags that are reduced to maxima, which torch finds, and the gradients of their ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import adagrad._core as _core
from adagrad.tables.table import Array, Table
from adagrad.torch._bags import Bags, by_table

__all__ = ["maxima", "of_each_id"]


def maxima(bags: Bags, tables: Sequence[Table]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the maxima, those of the tables side by side, and which id of its table has each."""
    _core.check_bags([table._core for table in tables], bags.rows, bags.offsets)
    values, winners = [], []
    for table, own in zip(tables, by_table(len(tables), bags), strict=True):
        rows = torch.from_numpy(table.gather(own.rows).reshape(-1, table.dim))
        ids = torch.arange(len(rows), device="cpu")
        offsets = torch.from_numpy(own.offsets.astype(np.int64))
        found = torch.embedding_bag(rows, ids, offsets, mode=2, include_last_offset=True)
        values.append(found[0])
        winners.append(found[3])
    return torch.cat(values, 1), winners


def of_each_id(
    bags: Bags, tables: Sequence[Table], winners: Sequence[torch.Tensor], g: torch.Tensor
) -> tuple[Bags, Array]:
    """Return a bag for each id, and its gradient: that of the maxima it has, and 0 elsewhere.

    Every table gets as many bags as the one with the most ids; those beyond its ids are empty.
    """
    parts = by_table(len(tables), bags)
    most = max(len(own.rows) for own in parts)
    of_ids = torch.zeros(most, g.shape[1], dtype=g.dtype, device="cpu")
    dims = [table.dim for table in tables]
    starts, first = [], 0
    for own, won, of_bags, to in zip(
        parts, winners, g.split(dims, 1), of_ids.split(dims, 1), strict=True
    ):
        has_ids = torch.from_numpy(np.diff(own.offsets) > 0)
        to.scatter_(0, won[has_ids], of_bags[has_ids])
        starts.append(first + np.minimum(np.arange(most), len(own.rows)))
        first += len(own.rows)
    return Bags(bags.rows, np.concatenate([*starts, [first]]), None), of_ids.numpy()
