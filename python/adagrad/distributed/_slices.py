"""Slices: tables of some of the rows of a larger table, with the bits that it has there."""

from __future__ import annotations

from adagrad._layout import check_integer
from adagrad.rule import AccumulatorShape, Rule
from adagrad.table import Init, Table


def make_slice(
    first: int,
    last: int,
    *,
    dim: int = 1,
    rule: Rule | None = None,
    dtype: str | None = None,
    state: AccumulatorShape | None = None,
    init: Init = "zeros",
    seed: int = 0,
    init_scale: float = 0.01,
    state_dtype: str | None = None,
) -> Table:
    """Return a new table of the rows [first, last) of a larger one.

    Parameters
    ----------
    first, last : int
        Row 0 of the result is row `first` of the larger table; its random numbers, of initial
        params and of stochastic rounding, are those of that row.
    dim, rule, dtype, state, init, seed, init_scale, state_dtype
        As for `adagrad.Table`.

    Returns
    -------
    Table
        Takes ids from 0. ``sequential`` and ``each`` round 16 bits by the position of an id in a
        call too, so a caller that splits a call has to say what that was.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As for `adagrad.Table`.
    """
    first = check_integer("first", first, 0, 2**63 - 2)
    last = check_integer("last", last, first + 1, 2**63 - 1)
    table = Table.__new__(Table)
    table._first_row = first
    Table.__init__(
        table,
        last - first,
        dim,
        rule,
        dtype,
        state,
        init,
        seed,
        init_scale=init_scale,
        state_dtype=state_dtype,
    )
    return table
