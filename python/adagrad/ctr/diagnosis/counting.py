"""Counts and squared values of the features of a stream, and an even sample of its rows.

Called by `diagnosis`. The memory of both does not depend on the length of the stream.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adagrad.ctr.diagnosis.occupancy import Estimate, Occupancy
from adagrad.ctr.encoding.examples import Examples, concatenate

__all__ = ["FeatureTable", "RowSample", "nonzero"]

Ids = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]

_FREE = -1
_CHUNK = 1 << 20  # entries at a time, which keeps temporary arrays small


def nonzero(x: Examples) -> tuple[Places, Ids, npt.NDArray[np.float32] | None]:
    """Return rows, slots and values of the entries that are not 0; no values if all are 1."""
    rows = np.repeat(np.arange(len(x)), np.diff(x.indptr))
    if x.values is None:
        return rows, x.slots, None
    there = np.flatnonzero(x.values)
    if len(there) == len(rows):
        return rows, x.slots, x.values
    return rows[there], x.slots[there], x.values[there]


class FeatureTable:
    """Number of occurrences of each feature, and the sum of its squared values.

    Parameters
    ----------
    bits : int
        The table has ``2**bits`` places of 16 bytes, or 24 if there are values other than 1.

    Attributes
    ----------
    counts : ndarray of int64, shape [2**bits]
        Occurrences in each place.

    Notes
    -----
    While at most half of the places are taken, linear probing gives each feature a place of its
    own, and everything is exact. After that, features that hash to the same place are counted
    together, and the numbers of features are estimated from the counts (`Occupancy`).
    """

    def __init__(self, bits: int) -> None:
        self.size = 1 << bits
        self.counts = np.zeros(self.size, np.int64)
        self._owner: npt.NDArray[np.int64] | None = np.full(self.size, _FREE)
        self._squares: npt.NDArray[np.float64] | None = None  # if None, all values are 1
        self._shift = np.uint32(32 - bits)
        self.largest_id = -1

    @property
    def is_exact(self) -> bool:
        """Whether every feature has a place of its own."""
        return self._owner is not None

    @property
    def squares(self) -> npt.NDArray[np.float64]:
        """Sum of the squared values in each place."""
        return self.counts.astype(np.float64) if self._squares is None else self._squares

    def add(self, ids: Ids, values: npt.NDArray[np.float32] | None) -> None:
        """Count entries, in amortized time O(entries)."""
        if len(ids):
            self.largest_id = max(self.largest_id, int(ids.max()))
        if values is not None and self._squares is None:
            self._squares = self.counts.astype(np.float64)
        step = min(_CHUNK, self.size // 4)
        for start in range(0, len(ids), step):
            part = slice(start, start + step)
            places = self.places(ids[part], claim=True)
            np.add.at(self.counts, places, 1)
            if self._squares is not None:
                square = 1.0 if values is None else values[part].astype(np.float64) ** 2
                np.add.at(self._squares, places, square)
            if self._owner is not None and 2 * np.count_nonzero(self.counts) > self.size:
                self._share()

    def places(self, ids: Ids, claim: bool = False) -> Places:
        """Return the place of each id. That of an unknown id is arbitrary.

        Parameters
        ----------
        ids : ndarray of uint32
        claim : bool, default False
            Whether unknown ids take free places.
        """
        places = self._home(ids)
        owner = self._owner
        if owner is None:
            return places
        wanted = ids.astype(np.int64)
        left = np.flatnonzero(owner[places] != wanted)
        while len(left):
            at, mine = places[left], wanted[left]
            free = owner[at] == _FREE
            if claim:  # if several ids want a place, one gets it and the others move on
                owner[at[free]] = mine[free]
                lost = owner[at] != mine
            else:
                lost = (owner[at] != mine) & ~free
            left = left[lost]
            places[left] = (at[lost] + 1) & (self.size - 1)
        return places

    def _home(self, ids: Ids) -> Places:
        """Hash ids to places by the finalizer of MurmurHash3, which is a bijection."""
        h = ids ^ (ids >> np.uint32(16))
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
        places: Places = (h >> self._shift).astype(np.int64)
        return places

    def _share(self) -> None:
        """Give up places of their own: move every feature to the place of its hash."""
        assert self._owner is not None
        used = np.flatnonzero(self.counts)
        homes = self._home(self._owner[used].astype(np.uint32))
        self._owner = None
        counts = np.zeros(self.size, np.int64)
        np.add.at(counts, homes, self.counts[used])
        self.counts = counts
        if self._squares is not None:
            squares = np.zeros(self.size)
            np.add.at(squares, homes, self._squares[used])
            self._squares = squares

    def features(self) -> Estimate:
        """Return the number of distinct features."""
        if self.is_exact:
            return Estimate(float(np.count_nonzero(self.counts)), 0.0)
        return self._occupancy(1).features()

    def share(self, most: int) -> Estimate:
        """Return the share of features that occur at most `most` times."""
        if self.is_exact:
            counts = self.counts[self.counts > 0]
            return Estimate(float((counts <= most).mean()), 0.0)
        return self._occupancy(most).share(most)

    def occurrences(self, most: int) -> Estimate:
        """Return the number of entries of features that occur at most `most` times."""
        if self.is_exact:
            return Estimate(float(self.counts[self.counts <= most].sum()), 0.0)
        return self._occupancy(most).occurrences(most)

    def _occupancy(self, most: int) -> Occupancy:
        return Occupancy(
            np.bincount(np.minimum(self.counts, most + 1), minlength=most + 2)[:-1], self.size
        )


class RowSample:
    """Every `stride`-th row of a stream; the stride doubles when the sample gets too large.

    Parameters
    ----------
    rows : int
        The sample has at most twice as many rows, and of a longer stream at least as many, unless
        `entries` allows fewer.
    entries : int
        The sample has at most this many entries, or a single row.
    """

    def __init__(self, rows: int, entries: int) -> None:
        self._most_rows, self._most_entries = 2 * rows, entries
        self._parts: list[Examples] = []
        self.seen = 0
        self.stride = 1

    def add(self, x: Examples) -> None:
        """Sample the next rows of the stream."""
        picked = np.arange(-self.seen % self.stride, len(x), self.stride)
        self.seen += len(x)
        if not len(picked):
            return
        self._parts.append(x.take(picked))
        while len(kept := self.examples()) > self._most_rows or (
            len(kept.slots) > self._most_entries and len(kept) > 1
        ):
            self.stride *= 2
            self._parts = [kept.take(np.arange(0, len(kept), 2))]

    def examples(self) -> Examples:
        """Return the rows of the sample."""
        self._parts = [concatenate(self._parts)]
        return self._parts[0]
