"""The autograd function of `TableEmbeddingBag`: pools in the forward pass, steps in the backward.

Takes bags that `TableEmbeddingBag` has checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

import adagrad._core as _core
from adagrad.tables.table import Array, Table
from adagrad.torch._bags import Bags, by_table, frequencies, only
from adagrad.torch._maxima import maxima, of_each_id
from adagrad.torch._options import Reduction
from adagrad.torch._table_weight import TableWeight

__all__ = ["Call", "differentiable_pool", "pool"]


_NOT_FINITE = "is not finite, and on_nonfinite is 'raise'"


class Call(NamedTuple):
    """What a forward pass has checked."""

    bags: Bags
    tables: tuple[Table, ...]
    how: Reduction
    stepped: list[TableWeight]  # the weights of the tables that a backward pass steps


class _Pool(torch.autograd.Function):
    """The forward pass pools, and the backward pass takes a step of each table.

    The first tensor asks autograd for a backward pass. The next two are those that the bags are
    views of: torch raises an error if they change before the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchor: torch.Tensor,
        rows: torch.Tensor,
        offsets: torch.Tensor | None,
        weights: torch.Tensor | None,
        call: Call,
    ) -> torch.Tensor:
        ctx.call = call
        bags, tables, how, _ = call
        out, used = pool(bags, tables, how)
        if ctx.needs_input_grad[3]:
            # Copies, because another backward pass may step the tables before this one.
            for table, own in zip(tables, by_table(len(tables), bags), strict=True):
                used.append(torch.from_numpy(table.gather(own.rows).reshape(-1, table.dim)))
        ctx.save_for_backward(rows, offsets, weights, *used)
        return out

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # Saves time where autograd is off already: without create_graph.
        return _backward_once(ctx, g) if torch.is_grad_enabled() else _backward(ctx, g)


def _backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    _, _, _, *saved = ctx.saved_tensors
    bags, tables, how, stepped = ctx.call
    for_weights = None
    if ctx.needs_input_grad[3]:
        parts = torch.split(g, [table.dim for table in tables], 1)
        own = by_table(len(tables), bags)
        for_weights = torch.cat(list(map(_differentiate_weights, saved, own, parts)))
    if stepped:
        # Without force, in half the time, where nothing has to be resolved.
        g = g.contiguous()
        array: Array = g.numpy(force=g.requires_grad or g.is_neg())
        part, winners = (tables, bags, array), saved
        if len(stepped) < len(tables):
            trains = [any(weight.table is table for weight in stepped) for table in tables]
            part, winners = only(trains, *part), list(compress(saved, trains))
        _step_pooled(*part, how, winners)
        # Autograd does not see writes through NumPy.
        increment_version(stepped)
    return None, None, None, for_weights, None


_backward_once: Callable[..., Any] = once_differentiable(_backward)
differentiable_pool: Callable[..., torch.Tensor] = _Pool.apply


def pool(
    bags: Bags, tables: Sequence[Table], how: Reduction
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the results of all bags, those of the tables side by side.

    Of maxima, return also which ids have them.
    """
    cores = []
    for table in tables:
        if table._memory is None or table._mapping is not None:  # saves a call for each table
            table._alive()
        cores.append(table._core)
    if how.mode == "max":
        return maxima(bags, tables)
    rows, offsets, weights = bags
    pooled = _core.pool_tables(cores, rows, offsets, how.mode == "mean", weights, 0)
    return torch.from_numpy(pooled), []


def _step_pooled(
    tables: Sequence[Table], bags: Bags, g: Array, how: Reduction, winners: list[torch.Tensor]
) -> None:
    """Take one step of each table, by the gradients of the results."""
    if how.mode == "max":
        _check_maxima(tables, g)
        bags, g = of_each_id(bags, tables, winners, torch.from_numpy(g))
    elif how.scale_grad_by_freq:
        bags = _by_frequency(tables, bags, g.dtype)
    _step(tables, bags, g, mean=how.mode == "mean")


def _by_frequency(tables: Sequence[Table], bags: Bags, dtype: np.dtype[Any]) -> Bags:
    """Return bags whose weights are divided by how often their ids occur in the call."""
    counts = frequencies(len(tables), bags).astype(dtype)
    return bags._replace(weights=(1 if bags.weights is None else bags.weights) / counts)


def _step(tables: Sequence[Table], bags: Bags, g: Array, *, mean: bool) -> None:
    """Take one step of each table: all of them, or an error and none."""
    cores, steps, checks = [], [], False
    for table in tables:
        if table._memory is None or table._mapping is not None:
            table._writeable()
        rule, t = table.rule, table.steps + 1
        cores.append(table._core)
        steps.append((rule._compiled, rule.lr_at(t), table.seed, t))
        checks |= rule.on_nonfinite == "raise"
    if checks and len(tables) > 1:
        column = 0
        for i, (table, own) in enumerate(zip(tables, by_table(len(tables), bags), strict=True)):
            if table.rule.on_nonfinite == "raise":
                part = g[:, column : column + table.dim]
                sums = table.rule.duplicates == "sum"
                _check_finite(f"tables[{i}]", own, part, column, mean=mean, sums=sums)
            column += table.dim
    rows, offsets, weights = bags
    skipped = _core.step_tables(cores, rows, offsets, g, mean, weights, steps, 0)
    for table, n in zip(tables, skipped, strict=True):
        table._count(n)


def _check_maxima(tables: Sequence[Table], g: Array) -> None:
    """Raise if a gradient must be finite and is not, while it is still that of a bag."""
    column = 0
    for t, table in enumerate(tables):
        if table.rule.on_nonfinite == "raise":
            _check_gradients(f"tables[{t}]", g[:, column : column + table.dim], column)
        column += table.dim


def _check_gradients(name: str, g: Array, column: int) -> None:
    bad = ~np.isfinite(g)
    if bad.any():
        b, j = np.argwhere(bad)[0]
        raise ValueError(f"the gradient [{b}, {column + j}] = {g[b, j]} of {name} {_NOT_FINITE}")


def _check_finite(name: str, bags: Bags, g: Array, column: int, *, mean: bool, sums: bool) -> None:
    """Raise if a gradient of a table, which begins at a column of the output, is not finite."""
    _check_gradients(name, g, column)
    sizes = np.diff(bags.offsets)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        each = g / sizes[:, None].astype(g.dtype) if mean else g
        each = each.repeat(sizes, 0)
        if bags.weights is not None:
            each *= bags.weights[:, None]
            bad = ~np.isfinite(each).all(1)
            if bad.any():
                i = bad.argmax()
                raise ValueError(
                    f"the gradient of row {bags.rows[i]} of {name} times its weight"
                    f" {bags.weights[i]} {_NOT_FINITE}"
                )
    if sums:
        rows, totals = _core.coalesce(bags.rows, each)
        bad = ~np.isfinite(totals).all(1)
        if bad.any():
            row = rows[bad.argmax()]
            raise ValueError(f"the sum of the gradients of row {row} of {name} {_NOT_FINITE}")


def _differentiate_weights(rows: torch.Tensor, bags: Bags, g: torch.Tensor) -> torch.Tensor:
    """Return the gradient of each weight: its row times the gradient of its bag."""
    sizes = torch.from_numpy(np.diff(bags.offsets))
    products: torch.Tensor = torch.linalg.vecdot(rows, g.repeat_interleave(sizes, 0))
    return products
