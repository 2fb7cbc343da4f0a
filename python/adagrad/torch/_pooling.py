"""The autograd function of `TableEmbeddingBag`: pools in the forward pass, steps in the backward.

Takes bags that `TableEmbeddingBag` has checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

import adagrad._core as _core
from adagrad.tables.table import Array, Mode, Table

__all__ = ["pool"]


class _Pool(torch.autograd.Function):
    """`Table.pool`, whose backward pass is `Table.step_pooled`."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: torch.Tensor,
        rows: torch.Tensor,
        offsets: torch.Tensor,
        weights: torch.Tensor | None,
        tables: tuple[Table, ...],
        mode: Mode,
    ) -> torch.Tensor:
        ctx.tables, ctx.mode = tables, mode
        out, used = [], []
        for table, bags in zip(tables, _split(len(tables), rows, offsets, weights), strict=True):
            pooled = table.pool(bags.rows, bags.offsets, mode, bags.weights)
            out.append(torch.from_numpy(pooled.reshape(-1, table.dim)))
            if ctx.needs_input_grad[3]:
                # A copy, because another backward pass may step the table before this one.
                used.append(torch.from_numpy(table.gather(bags.rows).reshape(-1, table.dim)))
        ctx.save_for_backward(rows, offsets, weights, *used)
        return out[0] if len(out) == 1 else torch.cat(out, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, offsets, weights, *used = ctx.saved_tensors
        tables: tuple[Table, ...] = ctx.tables
        bags = _split(len(tables), rows, offsets, weights)
        parts = _columns(tables, g)
        if len(tables) > 1:
            _check_step(tables, bags, parts, ctx.mode)
        for_weights = None
        if ctx.needs_input_grad[3]:
            by_table = map(_differentiate_weights, used, bags, map(torch.from_numpy, parts))
            for_weights = torch.cat(list(by_table))
        if ctx.needs_input_grad[0]:
            for table, (ids, starts, factors), part in zip(tables, bags, parts, strict=True):
                of_bags = part.reshape(-1) if table.dim == 1 else part
                table.step_pooled(ids, starts, of_bags, ctx.mode, factors)
        return None, None, None, for_weights, None, None


pool: Callable[..., torch.Tensor] = _Pool.apply


class _Bags(NamedTuple):
    """The bags of one table, as arguments of `Table.pool`."""

    rows: Array
    offsets: Array
    weights: Array | None


def _split(
    tables: int, rows: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor | None
) -> list[_Bags]:
    """Divide bags evenly among tables."""
    ids, starts = rows.contiguous().numpy(), offsets.contiguous().numpy()
    factors = None if weights is None else weights.detach().contiguous().numpy(force=True)
    if tables == 1:
        return [_Bags(ids, starts, factors)]
    bags, parts = len(starts) // tables, []
    for t in range(tables):
        own = starts[t * bags : (t + 1) * bags + 1]
        part = slice(int(own[0]), int(own[-1]))
        parts.append(_Bags(ids[part], own - own[0], None if factors is None else factors[part]))
    return parts


def _columns(tables: Sequence[Table], g: torch.Tensor) -> list[Array]:
    """Return the columns of a gradient for each table; copies, if there is more than one table."""
    if len(tables) == 1:
        return [g.contiguous().numpy(force=True)]
    parts = torch.split(g, [table.dim for table in tables], 1)
    return [part.clone(memory_format=torch.contiguous_format).numpy(force=True) for part in parts]


def _check_step(
    tables: Sequence[Table], bags: Sequence[_Bags], parts: Sequence[Array], mode: Mode
) -> None:
    """Raise what the step of any table would raise, before the first table has changed."""
    column = 0
    for t, (table, own, g) in enumerate(zip(tables, bags, parts, strict=True)):
        table._writeable()
        rule = table.rule
        w, s = np.empty(0, g.dtype), np.empty(0, g.dtype)
        rate = rule.lr_at(table.steps + 1)
        try:
            _core.step_rows(w, g.reshape(-1)[:0], s, own.rows[:0], rule._compiled, rate)
        except ValueError as error:
            raise ValueError(f"tables[{t}]: {error}") from None
        if rule.on_nonfinite == "raise":
            _check_finite(f"tables[{t}]", own, g, column, mode, rule.duplicates == "sum")
        column += table.dim


def _check_finite(name: str, bags: _Bags, g: Array, column: int, mode: Mode, sums: bool) -> None:
    """Raise if a gradient of a table, which begins at a column of the output, is not finite."""
    why = "is not finite, and on_nonfinite is 'raise'"
    bad = ~np.isfinite(g)
    if bad.any():
        b, j = np.argwhere(bad)[0]
        raise ValueError(f"the gradient [{b}, {column + j}] = {g[b, j]} of {name} {why}")
    sizes = np.diff(bags.offsets)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        each = g / sizes[:, None].astype(g.dtype) if mode == "mean" else g
        each = each.repeat(sizes, 0)
        if bags.weights is not None:
            each *= bags.weights[:, None]
            bad = ~np.isfinite(each).all(1)
            if bad.any():
                i = bad.argmax()
                raise ValueError(
                    f"the gradient of row {bags.rows[i]} of {name} times its weight"
                    f" {bags.weights[i]} {why}"
                )
    if sums:
        rows, totals = _core.coalesce(bags.rows, each)
        bad = ~np.isfinite(totals).all(1)
        if bad.any():
            row = rows[bad.argmax()]
            raise ValueError(f"the sum of the gradients of row {row} of {name} {why}")


def _differentiate_weights(rows: torch.Tensor, bags: _Bags, g: torch.Tensor) -> torch.Tensor:
    """Return the gradient of each weight: its row times the gradient of its bag."""
    sizes = torch.from_numpy(np.diff(bags.offsets))
    products: torch.Tensor = torch.linalg.vecdot(rows, g.repeat_interleave(sizes, 0))
    return products
