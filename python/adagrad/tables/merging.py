"""Merging of tables that were trained separately from the same start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from adagrad.tables.stored import StoredTable

T = TypeVar("T", bound=StoredTable)


def largest(dtype: np.dtype[Any]) -> float:
    """Return the largest finite value of a dtype."""
    if dtype.name != "bfloat16":
        return float(np.finfo(dtype).max)
    return float(np.finfo(np.float32).max)


def merge(tables: Sequence[T], weights: str) -> T:
    """Return a new table; see `adagrad.Table.merge` for what it holds."""
    if not tables:
        raise ValueError("tables is empty")
    if weights not in ("state", "equal"):
        raise ValueError(f"weights must be 'state' or 'equal', got {weights!r}")
    for i, table in enumerate(tables):
        if table._layout != tables[0]._layout or table.rule != tables[0].rule:
            raise ValueError(f"tables[{i}] has another layout or rule than tables[0]")
    merged = tables[0].copy()
    if len(tables) == 1:
        return merged
    merged.steps = sum(t.steps for t in tables)
    merged.skipped = sum(t.skipped for t in tables)
    merged.decays = sum(t.decays for t in tables)
    # Rounded as it is stored, so that the accumulators of an untouched row have not grown.
    start = np.array(merged.rule.initial_accumulator).astype(merged.state.dtype).astype(np.float64)
    of_rows = merged._layout.state == "row" and merged.dim != 1
    # Mapped tables that are only read may share a file.
    held = [t._view(t.dim, t.state_dtype, write=False) for t in tables]
    given = [t._view(0, t.dtype, write=False) for t in tables]
    block = max(1, (1 << 16) // merged.dim)
    for begin in range(0, merged.rows, block):
        part = slice(begin, begin + block)
        states = np.array([state[part] for state in held], dtype=np.float64)
        params = np.array([w[part] for w in given], dtype=np.float64)
        # An accumulator may have decayed below its start.
        gathered = np.maximum(states - start, 0.0)
        total = gathered.sum(axis=0)
        most = largest(merged.state.dtype)
        if not (total + start <= most).all():
            raise OverflowError(
                f"the summed accumulators are not finite or exceed {most:g}, the largest value of"
                f" {merged.state_dtype}"
            )
        # A mean of differences from the first table: rounding changes no param on which all agree.
        shares, divisor = gathered, total
        if weights == "equal":
            shares, divisor = np.ones_like(gathered), np.full_like(total, len(tables))
        silent = divisor == 0.0
        shares = np.where(silent, 1.0, shares)
        divisor = np.where(silent, float(len(tables)), divisor)
        if of_rows:
            shares, divisor = shares[..., None], divisor[..., None]
        mean = params[0] + ((shares * (params - params[0])).sum(axis=0) / divisor)
        alone = (shares == divisor).argmax(axis=0)
        only = np.take_along_axis(params, np.broadcast_to(alone, mean.shape)[None], axis=0)[0]
        mean = np.where((shares == divisor).any(axis=0), only, mean)
        merged.weights[part] = mean
        merged.state[part] = np.where(total > 0.0, total + start, states.max(axis=0))
    return merged
