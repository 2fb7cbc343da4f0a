"""The autograd function of `TableEmbeddingBag`: pools in the forward pass, steps in the backward.

Takes bags that `TableEmbeddingBag` has checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import torch

import adagrad._core as _core
from adagrad.tables.table import Array, Mode, Table
from adagrad.torch._table_weight import TableWeight

__all__ = ["Bags", "differentiable_pool", "pool"]


class Bags(NamedTuple):
    """The bags of one or several tables, those of the first table first."""

    rows: Array
    offsets: Array  # with the number of rows at the end
    weights: Array | None


class _Pool(torch.autograd.Function):
    """The forward pass pools, and the backward pass takes a step of each table.

    The first two tensors are those that the bags are views of: torch raises an error if they change
    before the backward pass. The last are the weights of the tables, or none if nothing is to be
    stepped: they ask autograd for a backward pass, and those that require a gradient are stepped.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        offsets: torch.Tensor | None,
        weights: torch.Tensor | None,
        bags: Bags,
        tables: tuple[Table, ...],
        mode: Mode,
        *params: TableWeight,
    ) -> torch.Tensor:
        ctx.bags, ctx.tables, ctx.mode, ctx.params = bags, tables, mode, params
        out = pool(bags, tables, mode)
        used = []
        if ctx.needs_input_grad[2]:
            # Copies, because another backward pass may step the tables before this one.
            for table, own in zip(tables, _by_table(len(tables), bags), strict=True):
                used.append(torch.from_numpy(table.gather(own.rows).reshape(-1, table.dim)))
        ctx.save_for_backward(rows, offsets, weights, *used)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        _, _, _, *used = ctx.saved_tensors
        tables: tuple[Table, ...] = ctx.tables
        for_weights = None
        if ctx.needs_input_grad[2]:
            bags = _by_table(len(tables), ctx.bags)
            parts = torch.split(g, [table.dim for table in tables], 1)
            for_weights = torch.cat(list(map(_differentiate_weights, used, bags, parts)))
        trains = ctx.needs_input_grad[6:]
        if any(trains):
            stepped = _only(trains, tables, ctx.bags, g.contiguous().numpy(force=True))
            _step(*stepped, ctx.mode)
            # Autograd does not see writes through NumPy.
            torch.autograd.graph.increment_version(list(compress(ctx.params, trains)))
        return (None, None, for_weights, *([None] * (3 + len(trains))))


differentiable_pool: Callable[..., torch.Tensor] = _Pool.apply


def pool(bags: Bags, tables: Sequence[Table], mode: Mode) -> torch.Tensor:
    """Return the results of all bags, those of the tables side by side."""
    for table in tables:
        table._alive()
    cores = [table._core for table in tables]
    return torch.from_numpy(_core.pool_tables(cores, *bags[:2], mode == "mean", bags.weights, 0))


def _step(tables: Sequence[Table], bags: Bags, g: Array, mode: Mode) -> None:
    """Take one step of each table: all of them, or an error and none."""
    for table in tables:
        table._writeable()
    if len(tables) > 1 and any(table.rule.on_nonfinite == "raise" for table in tables):
        column = 0
        for t, (table, own) in enumerate(zip(tables, _by_table(len(tables), bags), strict=True)):
            if table.rule.on_nonfinite == "raise":
                part = g[:, column : column + table.dim]
                sums = table.rule.duplicates == "sum"
                _check_finite(f"tables[{t}]", own, part, column, mode, sums)
            column += table.dim
    steps = []
    for table in tables:
        rule, t = table.rule, table.steps + 1
        steps.append((rule._compiled, rule.lr_at(t), table.seed, t))
    cores = [table._core for table in tables]
    skipped = _core.step_tables(cores, *bags[:2], g, mode == "mean", bags.weights, steps, 0)
    for table, n in zip(tables, skipped, strict=True):
        table._count(n)


def _only(
    kept: Sequence[bool], tables: tuple[Table, ...], bags: Bags, g: Array
) -> tuple[Sequence[Table], Bags, Array]:
    """Return some of the tables, with their bags and the gradients of these."""
    if all(kept):
        return tables, bags, g
    parts = list(compress(_by_table(len(tables), bags), kept))
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


def _by_table(tables: int, bags: Bags) -> list[Bags]:
    """Return the bags of each table."""
    rows, offsets, weights = bags
    count, parts = len(offsets) // tables, []
    for t in range(tables):
        own = offsets[t * count : (t + 1) * count + 1]
        part = slice(int(own[0]), int(own[-1]))
        parts.append(Bags(rows[part], own - own[0], None if weights is None else weights[part]))
    return parts


def _check_finite(name: str, bags: Bags, g: Array, column: int, mode: Mode, sums: bool) -> None:
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


def _differentiate_weights(rows: torch.Tensor, bags: Bags, g: torch.Tensor) -> torch.Tensor:
    """Return the gradient of each weight: its row times the gradient of its bag."""
    sizes = torch.from_numpy(np.diff(bags.offsets))
    products: torch.Tensor = torch.linalg.vecdot(rows, g.repeat_interleave(sizes, 0))
    return products
