"""Parquet files read with and without the fast path, which must agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from adagrad.ctr.logs import LogError, open_log
from adagrad.ctr.logs.pages import PlainPages


def plain(table: pa.Table) -> pa.Table:
    """Return a table with values instead of indices into dictionaries."""
    kinds = [getattr(kind, "value_type", kind) for kind in table.schema.types]
    return table.cast(pa.schema(zip(table.column_names, kinds, strict=True))).combine_chunks()


def outcome(path: Path, label: str | None = None) -> tuple[list[dict[str, Any]], LogError | None]:
    """Return the rows of a log, 64 at a time, and the error that ends it."""
    batches: list[dict[str, Any]] = []
    try:
        with open_log(path, label=label, rows=64) as log:
            batches += (values(batch) for batch in log)
    except LogError as error:
        return batches, error
    return batches, None


def values(batch: pa.RecordBatch) -> dict[str, Any]:
    """Return the values of each column."""
    return {
        name: (column.dictionary_decode() if hasattr(column, "indices") else column).to_pylist()
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def differences(path: Path) -> list[str]:
    """Return how the fast path and pyarrow read a file differently.

    Of several mistakes in a file, the two may meet different ones first. The fast path also reads
    what pyarrow does not, or mixes up: a dictionary that repeats a value, and what is beside a
    damaged histogram.
    """
    found, error = outcome(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainPages, "for_columns", lambda *_: None)
        expected, wanted = outcome(path)
    if error is None and "histogram size mismatch" in str(wanted):
        return []
    if error is None and repr(rows_of(found)) != repr(rows_of(expected)):
        file = parquet.ParquetFile(path)
        expected, wanted = [values(batch) for batch in file.iter_batches(64)], None
    wrong = []
    if (error is None) != (wanted is None):
        wrong.append(f"{error} instead of {wanted}")
    found, expected = rows_of(found), rows_of(expected)
    shared = None if error is None else min(len(found), len(expected))
    if repr(found[:shared]) != repr(expected[:shared]):
        wrong.append(f"rows differ: {found[:shared]} instead of {expected[:shared]}"[:2000])
    return wrong


def rows_of(batches: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the rows of batches, which the two divide differently."""
    return [row for batch in batches for row in zip(*batch.values(), strict=True)]
