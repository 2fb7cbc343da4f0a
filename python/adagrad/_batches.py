"""Arrow record batches of equal size from tables of any size.

Click logs and synthetic logs are cut into batches here. Nothing here knows their columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

__all__ = ["rechunk"]

LARGEST = 2**31 - 1  # bytes of text in one Arrow array
# Learners give the same bits for any cut of a log at multiples of this many rows.
ROUND = 64
# Stands in a stream of batches where those before it must not wait.
NOW = pa.record_batch([], names=[])


def rechunk(
    tables: Iterable[pa.Table | None], rows: int, start: int = 0
) -> Iterator[pa.RecordBatch]:
    """Cut a stream of tables into batches of exactly `rows` rows; the last one may be shorter.

    A batch that lies within one chunk of a table is a slice of it. Other batches are copied once.

    Parameters
    ----------
    tables : iterable of pyarrow.Table or None
        Tables with the same schema. After None, the rows before it are yielded at once.
    rows : int
        Rows per batch, at least 1.
    start : int
        Number of rows to drop at the beginning.

    Yields
    ------
    pyarrow.RecordBatch
        If `tables` raises, the rows before the error come first. Several batches take the place of
        one if a column does not fit into one Arrow array (2 GiB); all but the last have a multiple
        of 64 rows.
    """
    held: list[pa.RecordBatch] = []
    count = 0
    error = None
    parts = _parts(tables)
    while True:
        try:
            part = next(parts, None)
        except Exception as raised:
            error, part = raised, None
        if part is None:
            break
        if part is NOW:
            if held:
                yield from _join(held)
            held, count = [], 0
            continue
        dropped = min(start, part.num_rows)
        start -= dropped
        part = part.slice(dropped)
        while count + part.num_rows >= rows:
            taken = rows - count
            yield from _join([*held, part.slice(0, taken)])
            held, count, part = [], 0, part.slice(taken)
        if part.num_rows:
            held.append(part)
            count += part.num_rows
    if held:
        yield from _join(held)
    if error is not None:
        raise error


def _parts(tables: Iterable[pa.Table | None]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        if table is None:
            yield NOW
        else:
            yield from table.to_batches()


def _join(parts: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join record batches into one, or into several if a column is too large for one array."""
    parts = [part for part in parts if part.num_rows] or parts[:1]
    if len(parts) == 1:
        yield parts[0]
        return
    table = pa.Table.from_batches(parts)
    if table.num_rows > ROUND and max(column.nbytes for column in table.columns) > LARGEST:
        half = max(table.num_rows // 2 // ROUND, 1) * ROUND
        yield from _join(table.slice(0, half).to_batches())
        yield from _join(table.slice(half).to_batches())
    else:
        yield from table.combine_chunks().to_batches()
