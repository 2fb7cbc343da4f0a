"""Batches of sparse examples in the form that the learners visit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adagrad import _core

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["MAX_SLOTS", "REGIONS", "Examples", "region_size"]

REGIONS = 8
"""Into how many ranges the slots of a model are cut, whatever the number of threads."""

MAX_SLOTS = 1 << 32

MAX_VALUE = 2.0**48
"""Beyond it in size, sums of squares soon end at infinity in float32, and steps at 0."""

_UNIT = 16  # slots: a region is a multiple of two cache lines of params and accumulators

Slots = npt.NDArray[np.uint32]
Values = npt.NDArray[np.float32]
Fields = npt.NDArray[np.uint16]


def region_size(n_slots: int) -> int:
    """Return how many slots a region has: an eighth, rounded up to a multiple of 16."""
    share = -(-n_slots // REGIONS)
    return -(-share // _UNIT) * _UNIT


class Examples:
    """Sparse examples: each a list of slots with values, ordered by region.

    Made by `HashingEncoder.transform` or `from_csr`; the learners take it as ``X``. Slices of it
    (``examples[100:200]``) are views.

    Parameters
    ----------
    slots : ndarray of uint32, shape [entries]
        Coordinate of the model of each entry, in ``[0, n_slots)``. Those of one example lie
        together, ordered by region (``slot // region_size(n_slots)``), and within a region by
        appearance: this is the order in which they are added up and learned from.
    bounds : ndarray of uint32, shape [examples * 8 + 1] or [9]
        Entries of region ``r`` of example ``i`` are those from ``bounds[8 * i + r]`` to
        ``bounds[8 * i + r + 1]``. Where every example has the same number in each region, those of
        one example suffice: then `n_examples` is needed, and example ``i`` starts at entry
        ``i * bounds[8]``.
    n_slots : int
        Size of the model's table, from 1 to 2**32.
    n_examples : int, optional
        Needed where `bounds` are those of one example for all.
    values : ndarray of float32, shape [entries], optional
        Finite, and at most 2**48 in size; 1 for every entry where left out.
    fields : ndarray of uint16, shape [entries], optional
        Field of each entry, below `n_fields`; ``[bounds[8]]``, those of one example, where
        `bounds` are.
    n_fields : int, default 0
        Number of fields.

    Raises
    ------
    TypeError, ValueError
        Where an array has another dtype or shape than these, a value is not finite, or entries are
        out of range or out of order. O(entries).
    """

    __slots__ = ("bounds", "fields", "n_examples", "n_fields", "n_slots", "slots", "values")

    bounds: Slots
    fields: Fields | None
    n_examples: int
    n_fields: int
    n_slots: int
    slots: Slots
    values: Values | None

    def __init__(
        self,
        slots: Slots,
        bounds: Slots,
        n_slots: int,
        n_examples: int | None = None,
        *,
        values: Values | None = None,
        fields: Fields | None = None,
        n_fields: int = 0,
    ) -> None:
        if not 1 <= n_slots <= MAX_SLOTS:
            raise ValueError(f"n_slots must be from 1 to 2**32, got {n_slots}")
        if n_examples is None:
            n_examples = (len(bounds) - 1) // REGIONS
        _core.check_examples(slots, bounds, n_slots, n_examples, values, fields, n_fields)
        self._hold(bounds, fields, n_examples, n_fields, n_slots, slots, values)

    def _hold(self, *parts: Any) -> None:
        """Keep the parts, in the order of ``__slots__``; arrays as views that cannot be written.

        The kernels trust what was checked when the examples were made.
        """
        for name, part in zip(self.__slots__, parts, strict=True):
            if isinstance(part, np.ndarray):
                part = part.view()
                part.flags.writeable = False
            setattr(self, name, part)

    @classmethod
    def _of(cls, *parts: Any) -> Examples:
        """Return examples of parts that are known to fit, in the order of ``__slots__``."""
        self = cls.__new__(cls)
        self._hold(*parts)
        return self

    @classmethod
    def from_csr(cls, matrix: Any, *, n_slots: int | None = None) -> Examples:
        """Return the rows of a sparse matrix: column number = slot.

        Parameters
        ----------
        matrix : scipy.sparse.csr_matrix or csr_array, or what scipy converts to one
            Values are taken as float32.
        n_slots : int, optional
            By default the number of columns.

        Raises
        ------
        TypeError
            Where it is not a matrix of numbers.
        ValueError
            Where a value is not finite or is more than 2**48 in size, there are more than 2**32 - 1
            entries, or its arrays do not make a matrix.
        """
        import scipy.sparse

        if not scipy.sparse.issparse(matrix):
            matrix = np.asarray(matrix)
            if matrix.ndim != 2 or matrix.dtype.kind not in "buif":
                raise TypeError(
                    "X must be Examples, a sparse matrix or a 2-D array of numbers, got"
                    f" dtype {matrix.dtype}, shape {matrix.shape}"
                )
            if matrix.dtype == np.float16:  # which scipy has not
                matrix = matrix.astype(np.float32)
        csr = scipy.sparse.csr_matrix(matrix)
        if csr.dtype.kind not in "buif":
            raise TypeError(f"X must be a matrix of real numbers, got dtype {csr.dtype}")
        n_slots = csr.shape[1] if n_slots is None else n_slots
        if csr.nnz > 0xFFFFFFFF:
            raise ValueError(f"one batch holds fewer than 2**32 entries, got {csr.nnz}: slice it")
        room, n = len(csr.indices), int(csr.indptr[-1])
        if csr.indptr[0] != 0 or n > room or (np.diff(csr.indptr) < 0).any():
            raise ValueError(f"indptr of X must ascend from 0 to at most {room}, its entries")
        with np.errstate(over="ignore"):
            values = csr.data[:n].astype(np.float32)
        large = ~(np.abs(values) <= MAX_VALUE)
        if large.any():
            entry = int(np.flatnonzero(large)[0])
            row = int(np.searchsorted(csr.indptr, entry, side="right")) - 1
            what = "is more than 2**48 in size: scale it"
            if not np.isfinite(values[entry]):
                what = "is not finite in float32"
            raise ValueError(f"X[{row}, {csr.indices[entry]}] = {csr.data[entry]} {what}")
        slots = csr.indices[:n].astype(np.uint32)
        bounds = _core.arrange(
            csr.indptr.astype(np.uint32), slots, values, region_size(max(n_slots, 1))
        )
        return cls(
            slots, bounds, n_slots, csr.shape[0], values=None if (values == 1).all() else values
        )

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """Return the examples as a SciPy matrix of float32: slot = column number."""
        import scipy.sparse

        values = np.ones(len(self.slots), np.float32) if self.values is None else self.values
        indptr = self.indptr
        narrow = self.n_slots <= 2**31 and len(self.slots) < 2**31
        index = np.int32 if narrow else np.int64
        return scipy.sparse.csr_matrix(
            (values, self.slots.astype(index), indptr.astype(index)), shape=self.shape
        )

    @property
    def is_fixed(self) -> bool:
        """Whether `bounds` are those of one example, for all."""
        return len(self.bounds) == REGIONS + 1

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Where each example starts in `slots`, and the end: shape [examples + 1]."""
        if self.is_fixed:
            return np.arange(self.n_examples + 1, dtype=np.int64) * int(self.bounds[-1])
        return self.bounds[::REGIONS].astype(np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Examples and slots, as of a matrix."""
        return self.n_examples, self.n_slots

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = (self.slots, self.values, self.bounds, self.fields)
        return sum(a.nbytes for a in arrays if a is not None)

    def __len__(self) -> int:
        return self.n_examples

    def __repr__(self) -> str:
        fields = f", {self.n_fields} fields" if self.n_fields else ""
        return (
            f"<Examples: {self.n_examples} of {len(self.slots)} entries"
            f" in {self.n_slots} slots{fields}>"
        )

    def __getitem__(self, key: Any) -> Examples:
        """Return consecutive examples as views, or those that an array picks as copies."""
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn indexes x[key, ...]
        if not isinstance(key, slice):
            picked = np.asarray(key)
            if picked.dtype == bool and picked.shape != (self.n_examples,):
                raise IndexError(
                    f"a mask has shape {picked.shape}, but there are {self.n_examples} examples"
                )
            return self.take(np.flatnonzero(picked) if picked.dtype == bool else picked)
        start, stop, step = key.indices(self.n_examples)
        if step != 1:
            raise ValueError("a slice of Examples has step 1; take() picks any")
        stop = max(start, stop)
        if self.is_fixed:
            width = int(self.bounds[-1])
            begin, end, bounds = start * width, stop * width, self.bounds
        else:
            bounds = self.bounds[start * REGIONS : stop * REGIONS + 1]
            begin, end = int(bounds[0]), int(bounds[-1])
            bounds = bounds - bounds[0] if begin else bounds
        values = None if self.values is None else self.values[begin:end]
        per_entry = self.fields is not None and not self.is_fixed
        fields = self.fields[begin:end] if per_entry else self.fields  # type: ignore[index]
        return self._of(
            bounds, fields, stop - start, self.n_fields, self.n_slots, self.slots[begin:end], values
        )

    def take(self, order: npt.NDArray[np.integer[Any]]) -> Examples:
        """Return copies of the examples at these positions, in this order.

        Parameters
        ----------
        order : ndarray of integers, shape [m]
            In ``[0, len(self))``.
        """
        order = np.asarray(order)
        if len(order) and order.dtype.kind not in "iu":
            raise TypeError(f"order must be integers, got {order.dtype}")
        order = order.astype(np.int64)
        if len(order) and not 0 <= int(order.min()) <= int(order.max()) < self.n_examples:
            raise IndexError(f"order must be in [0, {self.n_examples})")
        if self.is_fixed:
            width = int(self.bounds[-1])
            pick = (order[:, None] * width + np.arange(width)).reshape(-1)
            bounds, fields = self.bounds, self.fields
        else:
            indptr = self.indptr
            lengths = np.diff(indptr)[order]
            ends = np.cumsum(lengths)
            pick = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(
                indptr[order] - (ends - lengths), lengths
            )
            runs = np.diff(self.bounds.astype(np.int64)).reshape(-1, REGIONS)[order]
            bounds = np.concatenate([[0], np.cumsum(runs)]).astype(np.uint32)
            fields = None if self.fields is None else self.fields[pick]
        values = None if self.values is None else self.values[pick]
        return self._of(
            bounds, fields, len(order), self.n_fields, self.n_slots, self.slots[pick], values
        )

    def folded(self, n_slots: int) -> Examples:
        """Return the examples in fewer slots, some of which meet; regions stay what they were.

        Parameters
        ----------
        n_slots : int
            Of the result, from 1.
        """
        size, smaller = region_size(self.n_slots), n_slots // REGIONS
        if n_slots >= self.n_slots or smaller % _UNIT:
            return self
        region, place = np.divmod(self.slots, np.uint32(size))
        slots = region * np.uint32(smaller) + place % np.uint32(smaller)
        return self._of(
            self.bounds, self.fields, self.n_examples, self.n_fields, n_slots, slots, self.values
        )


def concatenate(parts: Sequence[Examples]) -> Examples:
    """Return the examples of several batches of one encoder or matrix as one batch."""
    if not parts:
        raise ValueError("parts are empty")
    first = parts[0]
    for part in parts:
        if (part.n_slots, part.n_fields) != (first.n_slots, first.n_fields):
            raise ValueError(
                f"a batch has {part.n_slots} slots and {part.n_fields} fields, but the first"
                f" {first.n_slots} and {first.n_fields}"
            )
    if len(parts) == 1:
        return first
    has_values = any(part.values is not None for part in parts)
    values = (
        np.concatenate(
            [np.ones(len(p.slots), np.float32) if p.values is None else p.values for p in parts]
        )
        if has_values
        else None
    )
    n_examples = sum(part.n_examples for part in parts)
    if all(p.is_fixed and np.array_equal(p.bounds, first.bounds) for p in parts):
        bounds, fields = first.bounds, first.fields
    else:
        runs = [_runs(part) for part in parts]
        bounds = np.concatenate([[0], np.cumsum(np.concatenate(runs))]).astype(np.uint32)
        all_fields = [_entry_fields(part) for part in parts]
        fields = None if all_fields[0] is None else np.concatenate(all_fields)  # type: ignore[arg-type]
    slots = np.concatenate([part.slots for part in parts])
    return Examples._of(bounds, fields, n_examples, first.n_fields, first.n_slots, slots, values)


def _runs(part: Examples) -> npt.NDArray[np.int64]:
    bounds = part.bounds.astype(np.int64)
    runs = bounds[1:] - bounds[:-1]
    return np.tile(runs, part.n_examples) if part.is_fixed else runs


def _entry_fields(part: Examples) -> Fields | None:
    if part.fields is None or not part.is_fixed:
        return part.fields
    return np.tile(part.fields, part.n_examples)
