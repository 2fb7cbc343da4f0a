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

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from adagrad.ctr.logs.labels import Labels
    from adagrad.ctr.logs.rows import ParsedRows

__all__ = ["check_rows"]


def check_rows(
    parsed: Iterable[ParsedRows],
    path: str,
    label: str | None,
    labels: Labels,
    skipped: Counter[str] | None,
) -> Iterator[pa.Table]:
    """Convert labels to 0 and 1, and skip or report every broken row.

    Parameters
    ----------
    parsed : iterable of ParsedRows
        The rows of one file, in order.
    path : str
        Path of the file, for the error message.
    label : str, optional
        The column that becomes float32 0 or 1.
    labels : Labels
        What its values mean.
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
        table, faults = rows.table, dict(rows.faults)
        found: dict[int, Fault] = {}
        if label is not None:
            position = table.schema.get_field_index(label)
            values, found = labels.parse(table.column(position))
            table = table.set_column(position, pa.field(label, pa.float32()), values)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name != label:
                found = _not_finite(name, column) | found  # the first fault of a row counts
        for row, fault in found.items():
            faults.setdefault(int(rows.lines[row]), fault)
        if not faults:
            yield table
        elif skipped is not None and not any(fault.stops for fault in faults.values()):
            skipped.update(fault.kind for fault in faults.values())
            yield without(table, found)
        else:
            line = min(faults)
            if skipped is not None:
                line = min(line for line, fault in faults.items() if fault.stops)
                table = without(table, found)
                rows.lines = np.delete(rows.lines, list(found))
            yield table.slice(0, int(np.searchsorted(rows.lines, line)))
            raise LogError(path, line, faults[line].reason, faults[line].label)


def _values_of_maps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return maps as the lists of their values."""
    lists = [as_list(chunk, chunk.items) for chunk in column.chunks]
    return pa.chunked_array(lists, pa.list_(column.type.item_type))


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
