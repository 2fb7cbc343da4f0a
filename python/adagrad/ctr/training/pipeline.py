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
from adagrad.ctr.encoding.matrix_rows import examples_of
from adagrad.ctr.learners.labeled import LabeledExamples, joined
from adagrad.ctr.logs.log import Log, Position
from adagrad.ctr.logs.prefetch import Prefetcher
from adagrad.ctr.training.encoders import Encoder

__all__ = ["Encoded", "HashOf", "encoded"]


Floats = npt.NDArray[np.float32]
HashOf = Callable[[LabeledExamples], int | None]


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
        What the caller wanted to compute of the examples in the thread that encodes.
    weights : ndarray of float32, shape [n], or None
        Weights above 0, if the log was opened with a column of weights, or of rates of negatives.
    """

    x: Examples
    y: Floats | None
    batch: pa.RecordBatch
    position: Position
    skipped: dict[str, int]
    hash: int | None = None
    weights: Floats | None = None

    def labeled(self, of_classes: tuple[float, float] | None = None) -> LabeledExamples:
        """Return the examples of a log that has a label.

        Parameters
        ----------
        of_classes : tuple of float, optional
            Factors of the weights of negatives and of positives.
        """
        assert self.y is not None
        examples = LabeledExamples(self.x, self.y, self.weights)
        return examples if of_classes is None else examples.weighted(of_classes)

    def before(self, rows: int) -> Encoded:
        """Return the first rows of the batch."""
        position = replace(self.position, rows=self.position.rows - len(self.x) + rows)
        y = None if self.y is None else self.y[:rows]
        weights = None if self.weights is None else self.weights[:rows]
        some = self.batch.slice(0, rows)
        return Encoded(self.x[:rows], y, some, position, self.skipped, weights=weights)

    def joined(self, other: Encoded) -> Encoded:
        """Return a labeled batch with the one that follows; `batch` is that of the other one."""
        both = joined([self.labeled(), other.labeled()])
        x, y, weights = examples_of(both.x), both.y, both.weights
        return Encoded(x, y, other.batch, other.position, other.skipped, weights=weights)

    def after(self, rows: int) -> Encoded:
        """Return the batch without its first rows."""
        y = None if self.y is None else self.y[rows:]
        weights = None if self.weights is None else self.weights[rows:]
        some = self.batch.slice(rows)
        return Encoded(self.x[rows:], y, some, self.position, self.skipped, weights=weights)


def encoded(
    log: Log,
    encoder: Encoder,
    start: int = 0,
    hash_of: HashOf | None = None,
    negative_rate: float = 1.0,
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
        Computes `Encoded.hash` from the examples of a batch, if the log has a label.
    negative_rate : float, default 1.0
        The weights are those at which negatives count as if they had been kept at this rate, if
        the log was opened with a column of the rates at which they were.

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
            weights = _weights(batch, log, negative_rate)
            x = encoder.transform(batch)
            found = Encoded(x, y, batch, log.position, log.skipped, weights=weights)
            if hash_of is not None and y is not None:
                found = found._replace(hash=hash_of(found.labeled()))
            yield found

    prefetcher = Prefetcher(batches())
    try:
        yield from prefetcher
    finally:
        prefetcher.cancel()
        log.close()  # wakes a thread that waits for a pipe
        prefetcher.join()


def _weights(batch: pa.RecordBatch, log: Log, negative_rate: float) -> Floats | None:
    """Return the weights of a batch; None if the log was opened without columns for them."""
    weights = None
    if log.weight is not None:
        weights = np.asarray(batch.column(log.weight).to_numpy(), np.float32)
    if log.negative_rate is None:
        return weights
    negative = batch.column(log.label).to_numpy() == 0
    rates = batch.column(log.negative_rate).to_numpy()
    factors: Floats = np.where(negative, np.float32(negative_rate) / rates, np.float32(1))
    return factors if weights is None else factors * weights
