"""A hash of the examples that a training has learned, by which it recognizes them when it resumes.

It depends on the examples alone: not on the format of the log, nor on where files, blocks and
batches are cut. What comes after the last example learned may have changed: a broken row that was
repaired, rows that were added.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples, concatenate

__all__ = ["Digest", "hash_of"]

CELL = 65_536
"""Examples hashed at once, which is also the usual size of a batch."""

Part = tuple[Examples, npt.NDArray[np.float32]]


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
        self._held: list[Part] = []
        self._room = CELL

    def add(self, x: Examples, y: npt.NDArray[np.float32], known: int | None = None) -> None:
        """Add examples and their labels. The arrays must not change.

        Parameters
        ----------
        x, y
            The examples.
        known : int, optional
            What `hash_of` has returned for them.
        """
        self.rows += len(x)
        while len(x) >= self._room:
            if known is None or self._held or len(x) > CELL:
                known = _hash([*self._held, (x[: self._room], y[: self._room])])
            self._chain = _core.xxh64(np.uint64(known).tobytes(), self._chain)
            x, y, known = x[self._room :], y[self._room :], None
            self._held, self._room = [], CELL
        if len(x):
            self._held.append((x, y))
            self._room -= len(x)

    def text(self) -> str:
        """Return the hash of all examples so far, in hexadecimal."""
        if not self._held:
            return f"{self._chain:016x}"
        return f"{_core.xxh64(np.uint64(_hash(self._held)).tobytes(), self._chain):016x}"


def hash_of(x: Examples, y: npt.NDArray[np.float32]) -> int | None:
    """Return what `Digest.add` needs of a batch, if it has the usual size.

    The thread that encodes calls this, while the examples are in the cache.
    """
    return _hash([(x, y)]) if len(x) == CELL else None


def _hash(parts: list[Part]) -> int:
    """Return the XXH64 of the slots, values, lengths and labels of consecutive examples."""
    x = concatenate([part for part, _ in parts])
    arrays = [x.slots, np.concatenate([y for _, y in parts])]
    if x.values is not None and (x.values != 1).any():
        arrays.append(x.values)
    if not x.is_fixed:
        lengths = np.diff(x.indptr)
        if len(lengths) and (lengths != lengths[0]).any():
            arrays.append(lengths)
    found = 0
    for array in arrays:
        found = _core.xxh64(np.ascontiguousarray(array), found)
    return found
