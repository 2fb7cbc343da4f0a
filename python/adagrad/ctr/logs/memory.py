"""The check of rows that come as Arrow memory, before anything computes with them.

The reader in `arrow` calls it for every batch. Text formats need no check: our own code builds
their memory.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from adagrad._arrow import damage, without
from adagrad.ctr.logs.blocks import is_utf8
from adagrad.ctr.logs.rows import Fault, LogError, ParsedRows

__all__ = ["checked"]

_BYTES = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


def checked(batch: pa.RecordBatch, path: str, row: int) -> ParsedRows:
    """Return the rows of a batch, without those with text that is not UTF-8: these have faults.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
    path : str
        Path of the file, for the error message.
    row : int
        Number of the first row in the file.

    Raises
    ------
    LogError
        The memory of a column is damaged.
    """
    columns: list[pa.Array] = []
    faults: dict[int, Fault] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        problem = damage(column)
        if problem is not None:
            column, wrong = _without_bad_text(column)
            if damage(column) is not None:
                reason = f"column {name!r}: the memory is damaged: {problem}"
                raise LogError(path, row, reason)
            for k in wrong:
                reason = f"column {name!r}: the text is not UTF-8"
                faults.setdefault(row + k, Fault("not UTF-8", reason))
        columns.append(column)
    table = pa.Table.from_arrays(columns, schema=batch.schema)
    lines = np.arange(row, row + batch.num_rows)
    if not faults:
        return ParsedRows(table, lines)
    bad = [line - row for line in faults]
    return ParsedRows(without(table, bad), np.delete(lines, bad), faults)


def _without_bad_text(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Return a column of text with null for what is not UTF-8, and the positions of its values.

    A column that is damaged in another way, or has another type, stays as it is.
    """
    is_dictionary = pa.types.is_dictionary(column.type)
    texts = column.dictionary if is_dictionary else column
    if texts.type not in _BYTES:
        return column, []
    values = texts.view(_BYTES[texts.type])
    if damage(values) is not None:
        return column, []
    known = values.to_pylist()
    wrong = [k for k, value in enumerate(known) if value is not None and not is_utf8(value)]
    for k in wrong:
        known[k] = None
    texts = pa.array(known, values.type).view(texts.type)
    if not is_dictionary:
        return texts, wrong
    if damage(column.indices) is not None:
        return column, []
    rows = np.flatnonzero(np.isin(column.indices.to_numpy(zero_copy_only=False), wrong))
    return pa.DictionaryArray.from_arrays(
        column.indices, texts, ordered=column.type.ordered, safe=False
    ), rows.tolist()
