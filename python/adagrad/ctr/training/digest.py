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

__all__ = ["Digest"]

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
        self._held: list[tuple[Examples, npt.NDArray[np.float32]]] = []
        self._room = CELL

    def add(self, x: Examples, y: npt.NDArray[np.float32]) -> None:
        """Add examples and their labels. The arrays must not change."""
        self.rows += len(x)
        while len(x) >= self._room:
            self._chain = _hash(self._chain, [*self._held, (x[: self._room], y[: self._room])])
            x, y = x[self._room :], y[self._room :]
            self._held, self._room = [], CELL
        if len(x):
            self._held.append((x, y))
            self._room -= len(x)

    def text(self) -> str:
        """Return the hash of all examples so far, in hexadecimal."""
        return f"{_hash(self._chain, self._held) if self._held else self._chain:016x}"


def _hash(seed: int, parts: list[tuple[Examples, npt.NDArray[np.float32]]]) -> int:
    """Return the XXH64 of the slots, values, lengths and labels of consecutive examples."""
    x = concatenate([part for part, _ in parts])
    arrays = [x.slots, np.concatenate([y for _, y in parts])]
    if x.values is not None and (x.values != 1).any():
        arrays.append(x.values)
    lengths = np.diff(x.indptr)
    if len(lengths) and (lengths != lengths[0]).any():
        arrays.append(lengths)
    for array in arrays:
        seed = _core.xxh64(np.ascontiguousarray(array), seed)
    return seed
