"""From logs to examples: what stands between a log and a learner, in a thread of its own.

Called by training and by the commands that score a log. Reading is done in the thread of the log,
encoding in one here, so that both overlap with whatever the caller does with the examples.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adagrad import _core
from adagrad._hashing import hash_ids
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.logs.log import Log, Position, open_log
from adagrad.ctr.logs.prefetch import Prefetcher

if TYPE_CHECKING:
    from adagrad.ctr.learners.estimator import ClickLearner

__all__ = [
    "Encoded",
    "SlotEncoder",
    "encoded",
    "encoder_of",
    "identity",
    "is_libsvm",
    "open_again",
    "portable",
]

Floats = npt.NDArray[np.float32]

IDS, VALUES = "ids", "values"

_END = 1 << 16


class Encoder(Protocol):
    """What turns columns into examples: a `HashingEncoder` or a `SlotEncoder`."""

    def transform(self, X: Any) -> Examples: ...


class SlotEncoder:
    """Encode libsvm logs: an id is its slot where it fits in the table, and is hashed where not.

    Parameters
    ----------
    n_slots : int
        Size of the table, a power of two. An id of `n_slots` or more goes to slot
        ``(id * 0x9E3779B97F4A7C15 mod 2**64) >> (64 - log2(n_slots))``.
    """

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots

    def transform(self, X: pa.RecordBatch | pa.Table) -> Examples:
        """Encode the columns ``ids`` and ``values``, lists of int64 and float32. O(entries)."""
        import scipy.sparse

        ids, values = X.column(IDS), X.column(VALUES)
        if isinstance(X, pa.Table):
            ids, values = ids.combine_chunks(), values.combine_chunks()
        offsets = ids.offsets.to_numpy()
        slots = self.slots(ids.flatten().to_numpy())
        matrix = scipy.sparse.csr_matrix(
            (values.flatten().to_numpy(), slots, offsets - offsets[0]),
            shape=(len(X), self.n_slots),
        )
        return Examples.from_csr(matrix)

    def slots(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the slot of each id."""
        return np.where(ids < self.n_slots, ids, hash_ids(ids, self.n_slots.bit_length() - 1))


class Encoded(NamedTuple):
    """A batch of a log, ready to be learned from or scored.

    Attributes
    ----------
    x : Examples
        The rows.
    y : ndarray of float32, shape [n], or None
        0 or 1; None where the log was opened without a label.
    batch : pyarrow.RecordBatch
        The rows as they were read.
    position : Position
        Of the log, after these rows.
    skipped : dict of str to int
        Broken rows left out so far, by kind.
    """

    x: Examples
    y: Floats | None
    batch: pa.RecordBatch
    position: Position
    skipped: dict[str, int]


def encoded(log: Log, encoder: Encoder, start: int = 0) -> Generator[Encoded, None, None]:
    """Read and encode a log from its row `start` on, a few batches ahead of who takes them.

    Parameters
    ----------
    log : Log
        Its pass under way, if any, ends.
    encoder : HashingEncoder or SlotEncoder
        With the fields to take; others of the log are ignored.
    start : int, default 0
        Rows to pass over.

    Raises
    ------
    LogError
        A broken row or file, after the rows before it.
    """

    def batches() -> Generator[Encoded, None, None]:
        for batch in log.batches(start):
            y = None if log.label is None else batch.column(log.label).to_numpy()
            yield Encoded(encoder.transform(batch), y, batch, log.position, log.skipped)

    prefetcher = Prefetcher(batches())
    try:
        yield from prefetcher
    finally:
        prefetcher.cancel()
        log.close()  # wakes the thread where it waits for a pipe
        prefetcher.join()


def is_libsvm(schema: pa.Schema, label: str | None) -> bool:
    """Whether a log has the columns that `open_log` gives to libsvm files, and no others."""
    types = {field.name: field.type for field in schema if field.name != label}
    return types == {IDS: pa.list_(pa.int64()), VALUES: pa.list_(pa.float32())}


def portable(schema: pa.Schema, others: Sequence[str]) -> pa.Schema:
    """Return all columns but some with the types that files of any format can be read as."""
    return pa.schema(
        (field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        for field in schema
        if field.name not in others
    )


def open_again(
    paths: Sequence[str | os.PathLike[str]],
    features: pa.Schema,
    *,
    label: str | None,
    keep: Sequence[str] = (),
    skip_bad: bool = False,
    **how: Any,
) -> Log:
    """Open a log of the columns that a model was trained on, in any format.

    Parameters
    ----------
    paths
        As for `open_log`.
    features : pyarrow.Schema
        From `portable`.
    label : str or None
        None where there is none to read.
    keep : sequence of str, default ()
        Further columns to read.
    skip_bad : bool, default False
        As for `open_log`.
    **how
        Its ``format``, ``delimiter`` and ``header``.
    """
    extra = [name for name in keep if name not in features.names]
    fields = [*features, *(pa.field(name, pa.string()) for name in extra)]
    if label is not None:
        fields.insert(0, pa.field(label, pa.float32()))
    log = open_log(paths, label=label, schema=pa.schema(fields), skip_bad=skip_bad, **how)
    is_columns = log.sources[0].format in ("parquet", "arrow")
    if not is_columns or "-" in paths:
        return log
    log.close()  # columns bring their own types: dictionaries stay dictionaries, and are faster
    columns = [*features.names, *extra]
    return open_log(paths, label=label, columns=columns, skip_bad=skip_bad, **how)


def identity(log: Log) -> list[list[Any]]:
    """Return name, size, and XXH64 of both ends of each file of a log, by which it is known again.

    The ends are 64 KiB each; what lies between is not looked at. The standard input has neither.
    """
    return [
        ["-", None, None] if path == "-" else [Path(path).name, *_size_and_ends(Path(path))]
        for path in log.paths
    ]


def _size_and_ends(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        ends = file.read(_END)
        file.seek(max(len(ends), size - _END))
        return size, f"{_core.xxh64(ends + file.read(_END)):016x}"


def encoder_of(estimator: ClickLearner) -> Encoder:
    """Return what encodes logs for an estimator."""
    if estimator.encoder is not None:
        encoder: Encoder = estimator.encoder
        return encoder
    return SlotEncoder(estimator._model.settings.n_slots)
