"""From a log to encoded batches, read and encoded ahead of the caller.

Called by training and by the commands that score a log. One thread reads the log and another
encodes it, so that both overlap with what the caller does with the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# The thread that reads uses them. If they were imported there, Ctrl-C in an import of the main
# thread could leave that thread waiting for the lock of imports, and the main thread for it.
import adagrad.ctr.encoding.columns
import adagrad.ctr.encoding.deciding  # noqa: F401
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.logs.log import Log, Position
from adagrad.ctr.logs.prefetch import Prefetcher
from adagrad.ctr.training.encoders import Encoder

__all__ = ["Encoded", "encoded"]


class Encoded(NamedTuple):
    """A batch of a log, ready to be learned from or scored.

    Attributes
    ----------
    x : Examples
        The encoded rows.
    y : ndarray of float32, shape [n], or None
        Labels, 0 or 1; None if the log was opened without a label.
    batch : pyarrow.RecordBatch
        The rows as read.
    position : Position
        Position in the log after these rows.
    skipped : dict of str to int
        Broken rows skipped so far, by kind.
    hash : int or None
        What the caller wanted to compute of `x` and `y` in the thread that encodes.
    """

    x: Examples
    y: npt.NDArray[np.float32] | None
    batch: pa.RecordBatch
    position: Position
    skipped: dict[str, int]
    hash: int | None = None

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """`y`, of a log that has a label."""
        assert self.y is not None
        return self.y

    def before(self, rows: int) -> Encoded:
        """Return the first rows of the batch."""
        position = replace(self.position, rows=self.position.rows - len(self.x) + rows)
        y = None if self.y is None else self.y[:rows]
        return Encoded(self.x[:rows], y, self.batch.slice(0, rows), position, self.skipped)

    def after(self, rows: int) -> Encoded:
        """Return the batch without its first rows."""
        y = None if self.y is None else self.y[rows:]
        return Encoded(self.x[rows:], y, self.batch.slice(rows), self.position, self.skipped)


def encoded(
    log: Log,
    encoder: Encoder,
    start: int = 0,
    hash_of: Callable[[Examples, npt.NDArray[np.float32]], int | None] | None = None,
) -> Generator[Encoded, None, None]:
    """Read and encode a log, a few batches ahead of the consumer.

    Parameters
    ----------
    log : Log
        A pass that is under way ends; a new one begins.
    encoder : HashingEncoder or SlotEncoder
        Encodes its own fields; other columns of the log are ignored.
    start : int, default 0
        First row to yield; the rows before it are skipped.
    hash_of : callable, optional
        Computes `Encoded.hash` from the examples and the labels of a batch.

    Yields
    ------
    Encoded
        One batch of rows.

    Raises
    ------
    LogError
        A row or file is broken. The rows before it have been yielded.
    """

    def batches() -> Generator[Encoded, None, None]:
        for batch in log.batches(start):
            y = None if log.label is None else batch.column(log.label).to_numpy()
            x = encoder.transform(batch)
            found = None if hash_of is None or y is None else hash_of(x, y)
            yield Encoded(x, y, batch, log.position, log.skipped, found)

    prefetcher = Prefetcher(batches())
    try:
        yield from prefetcher
    finally:
        prefetcher.cancel()
        log.close()  # wakes a thread that waits for a pipe
        prefetcher.join()
