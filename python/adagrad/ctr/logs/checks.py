"""The checks that a parsed row must pass, whatever format it comes from.

`Log` applies them to the rows of every reader. Parsing belongs in the readers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adagrad._arrow import as_list, without
from adagrad.ctr.logs.rows import Fault, LogError
from adagrad.ctr.logs.weights import parse_rates, parse_weights

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from adagrad.ctr.logs.labels import Labels
    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.rows import ParsedRows

__all__ = ["check_rows"]


def check_rows(
    parsed: Iterable[ParsedRows],
    path: str,
    request: Request,
    labels: Labels,
    skipped: Counter[str] | None,
) -> Iterator[pa.Table]:
    """Convert labels to 0 and 1, weights and rates to float32, and leave out what is not learned.

    Every broken row is skipped or reported, and a row of weight 0 is left out as if it were absent.

    Parameters
    ----------
    parsed : iterable of ParsedRows
        The rows of one file, in order.
    path : str
        Path of the file, for the error message.
    request : Request
        Which columns are the label, the weight and the rate of negatives.
    labels : Labels
        What the values of the label mean.
    skipped : collections.Counter, optional
        Counts the broken rows that are left out, by kind. If None, the first broken row raises.

    Yields
    ------
    pyarrow.Table
        Rows without faults.

    Raises
    ------
    LogError
        A row is broken and `skipped` is None. The rows before it are yielded first.
    """
    for rows in parsed:
        faults = dict(rows.faults)
        table, found = _with_targets(rows.table, request, labels)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name not in request.targets:
                found = _not_finite(name, column) | found  # the first fault of a row counts
        for row, fault in found.items():
            faults.setdefault(int(rows.lines[row]), fault)
        if not faults:
            yield _weighty(table, request.weight)
        elif skipped is not None and not any(fault.stops for fault in faults.values()):
            skipped.update(fault.kind for fault in faults.values())
            yield _weighty(without(table, found), request.weight)
        else:
            line = min(faults)
            if skipped is not None:
                line = min(line for line, fault in faults.items() if fault.stops)
                table = without(table, found)
                rows.lines = np.delete(rows.lines, list(found))
            before = table.slice(0, int(np.searchsorted(rows.lines, line)))
            yield _weighty(before, request.weight)
            fault = faults[line]
            raise LogError(path, line, fault.reason, fault.label, fault.stops)


def _values_of_maps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return maps as the lists of their values."""
    lists = [as_list(chunk, chunk.items) for chunk in column.chunks]
    return pa.chunked_array(lists, pa.list_(column.type.item_type))


def _with_targets(
    table: pa.Table, request: Request, labels: Labels
) -> tuple[pa.Table, dict[int, Fault]]:
    """Return a table whose targets are parsed, and the first fault of each row that has one."""
    found: dict[int, Fault] = {}

    def replaced(name: str, values: pa.Array) -> pa.Table:
        position = table.schema.get_field_index(name)
        return table.set_column(position, pa.field(name, pa.float32()), values)

    if request.label is not None:
        values, found = labels.parse(table.column(request.label))
        table = replaced(request.label, values)
    if request.weight is not None:
        values, faults = parse_weights(table.column(request.weight))
        table, found = replaced(request.weight, values), faults | found
    if request.negative_rate is not None:
        negative = table.column(request.label).to_numpy() == 0
        values, faults = parse_rates(table.column(request.negative_rate), negative)
        table, found = replaced(request.negative_rate, values), faults | found
    return table, found


def _weighty(table: pa.Table, weight: str | None) -> pa.Table:
    """Return a table without the rows of weight 0."""
    if weight is None:
        return table
    empty = np.flatnonzero(table.column(weight).to_numpy() == 0)
    return without(table, empty.tolist()) if len(empty) else table


def _not_finite(name: str, column: pa.ChunkedArray) -> dict[int, Fault]:
    """Return the rows with NaN or an infinity, of a column of floats or of lists of floats."""
    if pa.types.is_map(column.type):
        column = _values_of_maps(column)
    nested = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not pa.types.is_floating(column.type.value_type if nested else column.type):
        return {}
    values = pc.list_flatten(column) if nested else column
    if not pa.types.is_float16(values.type) and math.isfinite(pc.sum(values).as_py() or 0.0):
        return {}  # one call for each column, of which there may be many
    broken = pc.invert(pc.is_finite(values))
    if not pc.any(broken).as_py():
        return {}
    where = np.flatnonzero(broken.fill_null(False).to_numpy())
    rows = pc.list_parent_indices(column).to_numpy()[where] if nested else where
    faults: dict[int, Fault] = {}
    for row, entry in zip(rows.tolist(), where.tolist(), strict=True):
        if row not in faults:
            reason = f"column {name!r}: {values[entry].as_py()} is not finite"
            faults[row] = Fault("not finite", reason)
    return faults
