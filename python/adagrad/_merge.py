"""Merging tables that were trained apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adagrad.table import Table


def largest(dtype: np.dtype[Any]) -> float:
    if dtype.name != "bfloat16":
        return float(np.finfo(dtype).max)
    return float(np.finfo(np.float32).max)


def merge(tables: Sequence[Table], weights: str) -> Table:
    """See `Table.merge`."""
    tables = list(tables)
    if not tables:
        raise ValueError("tables is empty")
    if weights not in ("state", "equal"):
        raise ValueError(f"weights must be 'state' or 'equal', got {weights!r}")
    for i, table in enumerate(tables):
        if not isinstance(table, Table):
            raise TypeError(f"tables[{i}] must be a Table, got {table!r}")
        if table._layout != tables[0]._layout or table.rule != tables[0].rule:
            raise ValueError(f"tables[{i}] has another layout or rule than tables[0]")
    merged = tables[0].copy()
    if len(tables) == 1:
        return merged
    merged.steps = sum(t.steps for t in tables)
    merged.skipped = sum(t.skipped for t in tables)
    merged.decays = sum(t.decays for t in tables)
    # As it is stored, so that a row that nobody touched has gathered nothing.
    start = np.array(merged.rule.initial_accumulator).astype(merged.state.dtype).astype(np.float64)
    of_rows = merged._layout.state == "row" and merged.dim != 1
    block = max(1, (1 << 16) // merged.dim)
    for begin in range(0, merged.rows, block):
        part = slice(begin, begin + block)
        gathered = [t.state[part].astype(np.float64) - start for t in tables]
        params = [t.weights[part].astype(np.float64) for t in tables]
        total = np.sum(gathered, axis=0)
        mean = np.sum(params, axis=0) / len(tables)
        if weights == "state":
            shares = [x[:, None] if of_rows else x for x in gathered]
            by_state = np.sum([x * w for x, w in zip(shares, params, strict=True)], axis=0)
            divisor = total[:, None] if of_rows else total
            with np.errstate(divide="ignore", invalid="ignore"):
                mean = np.where(divisor > 0, by_state / divisor, mean)
        most = largest(merged.state.dtype)
        if (total + start > most).any():
            raise OverflowError(
                f"what the tables have gathered is more than {most:g}, the most that accumulators"
                f" of {merged.state_dtype} hold"
            )
        merged.weights[part] = mean
        merged.state[part] = total + start
    return merged
