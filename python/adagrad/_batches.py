"""Arrow record batches of equal size from tables of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

__all__ = ["rechunk"]

LARGEST = 2**31 - 1  # bytes of text that one Arrow array can hold
# A batch that ends at a multiple of this does not change the bits of a model.
ROUND = 64


def rechunk(tables: Iterable[pa.Table], rows: int, start: int = 0) -> Iterator[pa.RecordBatch]:
    """Cut a stream of tables into batches of exactly ``rows`` rows; the last one may be shorter.

    A batch that lies within one chunk of a table is a slice of it; others are copied once.
    If the stream raises, the rows before the error are given out first.

    Parameters
    ----------
    tables : iterable of pyarrow.Table
        All with one schema.
    rows : int
        Rows of a batch, at least 1.
    start : int
        How many rows to drop first.
    """
    held: list[pa.RecordBatch] = []
    count = 0
    error = None
    parts = _parts(tables)
    while True:
        try:
            part = next(parts, None)
        except Exception as broken:
            error, part = broken, None
        if part is None:
            break
        dropped = min(start, part.num_rows)
        start -= dropped
        part = part.slice(dropped)
        while count + part.num_rows >= rows:
            taken = rows - count
            yield from _joined([*held, part.slice(0, taken)])
            held, count, part = [], 0, part.slice(taken)
        if part.num_rows:
            held.append(part)
            count += part.num_rows
    if held:
        yield from _joined(held)
    if error is not None:
        raise error


def _parts(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from table.to_batches()


def _joined(parts: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put a batch together, or several where a column is too large for one array."""
    parts = [part for part in parts if part.num_rows] or parts[:1]
    if len(parts) == 1:
        yield parts[0]
        return
    table = pa.Table.from_batches(parts)
    if table.num_rows > ROUND and max(column.nbytes for column in table.columns) > LARGEST:
        half = max(table.num_rows // 2 // ROUND, 1) * ROUND
        yield from _joined(table.slice(0, half).to_batches())
        yield from _joined(table.slice(half).to_batches())
    else:
        yield from table.combine_chunks().to_batches()
