"""A hash of the examples that a training has learned, by which it recognizes them when it resumes.

It depends on the examples alone: not on the format of the log, nor on where files, blocks and
batches are cut. What comes after the last example learned may have changed: a broken row that was
repaired, rows that were added.
"""

from __future__ import annotations

import numpy as np

import adagrad._core as _core
from adagrad.ctr.encoding.matrix_rows import examples_of
from adagrad.ctr.learners.labeled import LabeledExamples, joined

__all__ = ["Digest", "hash_of"]

CELL = 65_536
"""Examples hashed at once, which is also the usual size of a batch."""


class Digest:
    """A running hash of labeled examples.

    Attributes
    ----------
    rows : int
        Number of examples added.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._chain = 0
        self._held: list[LabeledExamples] = []
        self._room = CELL

    def add(self, batch: LabeledExamples, known: int | None = None) -> None:
        """Add examples, whose arrays must not change.

        Parameters
        ----------
        batch : LabeledExamples
        known : int, optional
            What `hash_of` has returned for them.
        """
        self.rows += len(batch)
        while len(batch) >= self._room:
            if known is None or self._held or len(batch) > CELL:
                known = _hash([*self._held, batch[: self._room]])
            self._chain = _core.xxh64(np.uint64(known).tobytes(), self._chain)
            batch, known = batch[self._room :], None
            self._held, self._room = [], CELL
        if len(batch):
            self._held.append(batch)
            self._room -= len(batch)

    def text(self) -> str:
        """Return the hash of all examples so far, in hexadecimal."""
        if not self._held:
            return f"{self._chain:016x}"
        return f"{_core.xxh64(np.uint64(_hash(self._held)).tobytes(), self._chain):016x}"


def hash_of(batch: LabeledExamples) -> int | None:
    """Return what `Digest.add` needs of a batch, if it has the usual size.

    The thread that encodes calls this, while the examples are in the cache.
    """
    return _hash([batch]) if len(batch) == CELL else None


def _hash(parts: list[LabeledExamples]) -> int:
    """Return the XXH64 of consecutive examples: slots, labels, values, lengths, weights."""
    batch = joined(parts)
    x = examples_of(batch.x)
    arrays = [x.slots, batch.y]
    if x.values is not None and (x.values != 1).any():
        arrays.append(x.values)
    if not x.is_fixed:
        lengths = np.diff(x.indptr)
        if len(lengths) and (lengths != lengths[0]).any():
            arrays.append(lengths)
    if batch.weights is not None:
        arrays.append(batch.weights)
    found = 0
    for array in arrays:
        found = _core.xxh64(np.ascontiguousarray(array), found)
    return found
