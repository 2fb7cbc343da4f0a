"""Log files for the tests of adagrad.ctr.logs: written in any format, and read back."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from adagrad.ctr.logs import open_log

ROWS = 64


def made_up(rows: int = 1000, seed: int = 0) -> pa.Table:
    """Return random rows: texts, labels, integers with nulls, and floats."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "site": pa.array([f"säit{i}" for i in rng.integers(0, 9, rows)]),
            "click": pa.array(rng.integers(0, 2, rows)),
            "count": pa.array(rng.integers(0, 99, rows), mask=rng.random(rows) < 0.1),
            "price": pa.array(rng.random(rows)),
        }
    )


def write_csv(table, path, delimiter=","):
    """Write a table as CSV or TSV, compressed according to the suffix."""
    out = io.BytesIO()
    arrow_csv.write_csv(table, out, arrow_csv.WriteOptions(delimiter=delimiter))
    data = out.getvalue()
    if delimiter == "\t":
        data = data.replace(b'"', b"")
    path.write_bytes(compressed(data, path.suffix))


def compressed(data: bytes, suffix: str) -> bytes:
    """Compress bytes as files with this suffix are."""
    if suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    return {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(suffix, bytes)(
        data
    )


def read(paths, **options):
    """Return all rows of a log and the log, whose batches are checked."""
    with open_log(paths, **{"label": "click", "rows": ROWS} | options) as log:
        batches = list(log)
        assert all(batch.schema == log.schema for batch in batches)
        assert all(batch.num_rows == log.rows for batch in batches[:-1])
        return pa.Table.from_batches(batches, log.schema), log


def expected(table: pa.Table) -> pa.Table:
    """Return the table as a log with this content gives it."""
    label = table.column("click").cast(pa.float32())
    return table.drop_columns("click").add_column(0, "click", label)
