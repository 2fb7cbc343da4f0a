"""Rows of a sparse matrix as it is given: what the learners take without a copy.

`Examples` are sorted by region and own their memory. Rows are neither: they are checked in one
compiled pass, and sorted when a part of them is learned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad._arguments import check_integer
from adagrad.ctr.encoding import matrices
from adagrad.ctr.encoding.examples import MAX_SLOTS, MAX_VALUE, Examples

__all__ = ["MatrixRows", "count_entries", "examples_of"]

Array = npt.NDArray[Any]

_INDICES = frozenset(map(np.dtype, ("int32", "int64", "uint32", "uint64")))
_FLOATS = frozenset(map(np.dtype, ("float32", "float64")))
_MAX_ENTRIES = 0xFFFFFFFF


class MatrixRows:
    """Rows of a matrix in CSR, of which every entry is right.

    They share the memory of the matrix, which must not change while they are in use.

    Parameters
    ----------
    starts : ndarray of uint32, shape [n + 1]
        Row ``i`` has the entries ``starts[i]:starts[i + 1]``, in any order.
    slots : ndarray of 32 or 64-bit integers, shape [entries]
        In ``[0, n_slots)``.
    values : ndarray of float32 or float64, shape [entries], or None
        Finite in float32, and of at most :math:`2^{48}` in magnitude. None if all are 1 in float32.
    n_slots : int
        From 1 to :math:`2^{32}`.
    threads : int, default 0
        The most threads that make examples of them; 0 means `adagrad.get_num_threads()`.
    n_fields : int, default 0
        `n_slots` if the column of an entry is its field, too; 0 if entries have no fields.
    """

    __slots__ = ("n_fields", "n_slots", "slots", "starts", "threads", "values")

    def __init__(
        self,
        starts: Array,
        slots: Array,
        values: Array | None,
        n_slots: int,
        threads: int = 0,
        n_fields: int = 0,
    ) -> None:
        self.starts, self.slots, self.values, self.n_slots = starts, slots, values, n_slots
        self.threads, self.n_fields = threads, n_fields

    @classmethod
    def of(cls, csr: Any, n_slots: int | None = None, threads: int = 0) -> MatrixRows:
        """Return the rows of a matrix in CSR, of real numbers.

        Parameters
        ----------
        csr : scipy.sparse matrix or array
            With the properties that `matrices.checked_csr` ensures.
        n_slots : int, optional
            Number of slots of the model. By default the number of columns.
        threads : int, default 0
            The most threads to use; 0 means `adagrad.get_num_threads()`.

        Raises
        ------
        TypeError, ValueError, IndexError
            As of `Examples.from_csr`.
        """
        found = cls.if_right(csr, n_slots, threads)
        return cls._checked(csr, n_slots, threads) if found is None else found

    @classmethod
    def if_right(cls, csr: Any, n_slots: int | None = None, threads: int = 0) -> MatrixRows | None:
        """Return the rows of a matrix in CSR if all of it is right, after one pass over it.

        Returns
        -------
        MatrixRows or None
            None if anything is wrong, or so unusual that it must be converted first. It is for
            others to find out what, and to raise.
        """
        rows, columns = csr.shape
        if n_slots is None:
            n_slots = columns
        arrays = csr.indices, csr.indptr, csr.data
        if any(type(a) not in (np.ndarray, np.memmap) or a.ndim != 1 for a in arrays):
            return None
        indices, indptr, data = arrays
        if not {indices.dtype, indptr.dtype} <= _INDICES or data.dtype.kind not in "buif":
            return None
        if data.dtype.kind != "f":
            data = data.astype(np.float64)
        if data.dtype not in _FLOATS or type(n_slots) is not int or not columns:
            return None
        if not columns <= n_slots <= MAX_SLOTS or len(indptr) != rows + 1:
            return None
        n = int(indptr[-1])
        if indptr[0] != 0 or not 0 <= n <= min(len(indices), len(data), _MAX_ENTRIES):
            return None
        if (indptr[1:] < indptr[:-1]).any():
            return None
        indices, data = (np.require(a[:n], requirements=["C", "A"]) for a in (indices, data))
        ones = _core.check_entries(indices, data, columns, threads)
        if ones is None:
            return None
        return cls(indptr.astype(np.uint32), indices, None if ones else data, n_slots, threads)

    @classmethod
    def _checked(cls, csr: Any, n_slots: int | None, threads: int) -> MatrixRows:
        """Return what `of` returns, or find out why it cannot."""
        if csr.dtype.kind not in "buif":
            raise TypeError(f"X must be a matrix of real numbers, got dtype {csr.dtype}")
        columns = csr.shape[1]
        n_slots = check_integer("n_slots", columns if n_slots is None else n_slots, 1, MAX_SLOTS)
        if n_slots < columns:
            matrices.check_columns(csr, n_slots, "the model")
        n = int(csr.indptr[-1])
        if n > _MAX_ENTRIES:
            raise ValueError(f"X has {n} entries, but a batch holds at most 2**32 - 1")
        with np.errstate(over="ignore"):
            values = csr.data[:n].astype(np.float32)
        if not np.abs(values).max(initial=0) <= MAX_VALUE:  # also if there is a NaN
            entry = int(np.flatnonzero(~(np.abs(values) <= MAX_VALUE))[0])
            row = int(np.searchsorted(csr.indptr, entry, side="right")) - 1
            what = "is more than 2**48 in size: scale it"
            if not np.isfinite(values[entry]):
                what = "is not finite in float32"
            raise ValueError(f"X[{row}, {csr.indices[entry]}] = {csr.data[entry]} {what}")
        slots, starts = csr.indices[:n].astype(np.uint32), csr.indptr.astype(np.uint32)
        return cls(starts, slots, None if (values == 1).all() else values, n_slots, threads)

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Start of each row in `slots`, and the end of the last one."""
        return self.starts.astype(np.int64)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, part: slice) -> MatrixRows:
        """Return consecutive rows, as views."""
        start, stop, _ = part.indices(len(self))
        return self._with(self.starts[start : max(start, stop) + 1], self.n_fields)

    def with_fields(self) -> MatrixRows:
        """Return the same rows, where the column of an entry is its field, too."""
        return self._with(self.starts, self.n_slots)

    def _with(self, starts: Array, n_fields: int) -> MatrixRows:
        return MatrixRows(starts, self.slots, self.values, self.n_slots, self.threads, n_fields)

    def take(self, order: npt.NDArray[np.integer[Any]]) -> Examples:
        """Return the rows at these positions as examples, in this order."""
        rows = np.ascontiguousarray(order, np.int64)
        slots, values, bounds = _core.arrange(self, rows, False, self.threads)
        assert slots is not None  # nothing is shared
        return self._made(len(order), slots, values, bounds)

    def examples(self, *, copy: bool = False) -> Examples:
        """Return the rows as examples, whose entries are sorted by region.

        Parameters
        ----------
        copy : bool, default False
            Whether not to share the memory of entries that are sorted already.
        """
        slots, values = self.slots, self.values
        shared = not copy and slots.itemsize == 4 and (values is None or values.itemsize == 4)
        arranged, arranged_values, bounds = _core.arrange(self, None, shared, self.threads)
        if arranged is not None:
            return self._made(len(self), arranged, arranged_values, bounds)
        part = slice(int(self.starts[0]), int(self.starts[-1]))
        own = None if values is None else values[part]
        return self._made(len(self), slots[part].view(np.uint32), own, bounds)

    def _made(self, n: int, slots: Array, values: Array | None, bounds: Array) -> Examples:
        fields = slots.astype(np.uint16) if self.n_fields else None
        return Examples._of(bounds, fields, n, self.n_fields, self.n_slots, slots, values)


def examples_of(x: Examples | MatrixRows) -> Examples:
    """Return examples as they are, or made of rows."""
    return x if isinstance(x, Examples) else x.examples()


def count_entries(x: Examples | MatrixRows) -> int:
    """Return the number of entries of all examples."""
    return len(x.slots) if isinstance(x, Examples) else int(x.starts[-1]) - int(x.starts[0])
