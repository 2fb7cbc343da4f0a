"""The params of tables as tensors: tables made from them, and `max_norm`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import adagrad._core as _core
from adagrad.rule import Rule
from adagrad.tables.table import Table
from adagrad.torch._bags import Bags, by_table
from adagrad.torch._table_weight import TableWeight, dtype_name, weight_of

__all__ = ["renormalize", "table_of"]


def table_of(params: torch.Tensor, rule: Rule | None) -> Table:
    """Return a table in memory with a copy of these params."""
    if params.ndim != 2:
        raise ValueError(f"embeddings must have two dimensions, got shape {tuple(params.shape)}")
    rows, dim = params.shape
    table = Table(rows, dim, rule, dtype_name(params.dtype))
    weight_of(table).detach().copy_(params)
    return table


def renormalize(
    bags: Bags, weights: Sequence[TableWeight], max_norm: float, norm_type: float
) -> None:
    """Scale the rows that are used and longer than `max_norm`, as torch does: all, or none.

    Raises IndexError if an id is out of range, and ValueError if a table must not be written.
    """
    tables = [weight.table for weight in weights]
    for table in tables:
        table._writeable()
    _core.check_bags([table._core for table in tables], bags.rows, bags.offsets)
    used = []
    for table, own in zip(tables, by_table(len(tables), bags), strict=True):
        ids = torch.from_numpy(np.unique(own.rows))
        if len(ids) and not 0 <= int(ids[0]) <= int(ids[-1]) < table.rows:
            raise IndexError(f"an id is out of range for {table.rows} rows")
        used.append(ids)
    for weight, ids in zip(weights, used, strict=True):
        torch.embedding_renorm_(weight.detach(), ids, max_norm, norm_type)
