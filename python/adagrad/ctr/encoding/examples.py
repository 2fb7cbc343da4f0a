"""Batches of sparse examples, in the layout that the compiled learners visit.

`HashingEncoder` and `Examples.from_csr` make them. Nothing here learns or knows columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import adagrad._core as _core

if TYPE_CHECKING:
    import scipy.sparse

    from adagrad.ctr.encoding.inputs import Matrix

__all__ = ["MAX_SLOTS", "REGIONS", "Examples", "check_unmasked", "region_size"]

REGIONS = 8
"""Number of ranges into which the slots of a model are divided, for any number of threads."""

MAX_SLOTS = 1 << 32

MAX_VALUE = 2.0**48
"""Largest magnitude of a value. Sums of larger squares soon overflow float32; steps are then 0."""

_UNIT = 16  # slots: params and accumulators of a region fill whole cache lines

Slots = npt.NDArray[np.uint32]
Values = npt.NDArray[np.float32]
Fields = npt.NDArray[np.uint16]


def region_size(n_slots: int) -> int:
    """Return the number of slots per region: an eighth of all, rounded up to a multiple of 16."""
    share = -(-n_slots // REGIONS)
    return -(-share // _UNIT) * _UNIT


class Examples:
    """Sparse examples: each is a list of slots with values, ordered by region.

    `HashingEncoder.transform` and `from_csr` make them, and the learners take them as ``X``. A
    slice such as ``examples[100:200]`` is a view. Construction checks all arrays, in time
    proportional to the number of entries.

    Parameters
    ----------
    slots : ndarray of uint32, shape [entries]
        The coordinate of the model that each entry refers to, in ``[0, n_slots)``. The entries of
        an example are contiguous and ordered by region (``slot // region_size(n_slots)``), and
        within a region by appearance. The learners visit and sum them in this order.
    bounds : ndarray of uint32, shape [examples * 8 + 1] or [9]
        Region ``r`` of example ``i`` has the entries ``bounds[8 * i + r]:bounds[8 * i + r + 1]``.
        If every example has the same number of entries in each region, the 9 bounds of one example
        are enough. Then `n_examples` is required, and example ``i`` starts at entry
        ``i * bounds[8]``.
    n_slots : int
        Number of slots of the model, from 1 to :math:`2^{32}`.
    n_examples : int, optional
        Number of examples; required if `bounds` are those of one example.
    values : ndarray of float32, shape [entries], optional
        Finite values of at most :math:`2^{48}` in magnitude. By default every value is 1.
    fields : ndarray of uint16, shape [entries] or [bounds[8]], optional
        Field of each entry, in ``[0, n_fields)``; if `bounds` are those of one example, so are the
        fields.
    n_fields : int, default 0
        Number of fields.

    Raises
    ------
    TypeError
        An array has another dtype.
    ValueError
        An array has another shape, a value is not finite or too large, or the entries are out of
        order.
    IndexError
        A slot is out of range.
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
        """Store the parts, in the order of ``__slots__``; arrays become read-only views.

        The kernels do not check again what was checked at construction.
        """
        for name, part in zip(self.__slots__, parts, strict=True):
            if isinstance(part, np.ndarray):
                part = part.view()
                part.flags.writeable = False
            setattr(self, name, part)

    @classmethod
    def _of(cls, *parts: Any) -> Examples:
        """Return examples made of valid parts, in the order of ``__slots__``, without checks."""
        self = cls.__new__(cls)
        self._hold(*parts)
        return self

    @classmethod
    def from_csr(cls, matrix: Matrix, *, n_slots: int | None = None) -> Examples:
        """Return the rows of a matrix as examples; the number of a column is its slot.

        Parameters
        ----------
        matrix : scipy.sparse matrix or array, or array-like, shape [examples, columns]
            Real numbers, which are converted to float32. It is not changed, and the examples do
            not share its memory.
        n_slots : int, optional
            Number of slots of the model. By default the number of columns.

        Raises
        ------
        TypeError
            `matrix` is not a two-dimensional matrix of real numbers, or its indices are not
            integers.
        ValueError
            A value is not finite in float32 or exceeds :math:`2^{48}` in magnitude, there are more
            than :math:`2^{32} - 1` entries, or the arrays of a sparse matrix do not fit together.
        IndexError
            An entry has a row or a column that the matrix does not have, or a column that is not
            below `n_slots`. Indices are checked before they are converted.
        """
        import scipy.sparse

        from adagrad.ctr.encoding import matrices
        from adagrad.ctr.encoding.matrix_rows import MatrixRows

        if scipy.sparse.issparse(matrix):
            csr = matrices.checked_csr(matrix)
        else:
            check_unmasked("X", matrix)
            matrix = np.asarray(matrix)
            if matrix.ndim != 2 or matrix.dtype.kind not in "buif":
                raise TypeError(
                    "X must be Examples, a sparse matrix or a 2-D array of numbers, got"
                    f" dtype {matrix.dtype}, shape {matrix.shape}"
                )
            if matrix.dtype == np.float16:  # not supported by scipy
                matrix = matrix.astype(np.float32)
            csr = scipy.sparse.csr_matrix(matrix)
        return MatrixRows.of(csr, n_slots).examples(copy=True)

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """Return the examples as a `scipy.sparse.csr_matrix` of float32, with a column per slot."""
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
        """Whether `bounds` are those of one example."""
        return len(self.bounds) == REGIONS + 1

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Start of each example in `slots`, and the end of the last one: shape [examples + 1]."""
        if self.is_fixed:
            return np.arange(self.n_examples + 1, dtype=np.int64) * int(self.bounds[-1])
        return self.bounds[::REGIONS].astype(np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of slots, like the shape of a matrix."""
        return self.n_examples, self.n_slots

    @property
    def ndim(self) -> int:
        """Number of axes, like that of a matrix: 2."""
        return 2

    @property
    def size(self) -> int:
        """Number of entries, like that of a sparse matrix."""
        return len(self.slots)

    def __array__(self, dtype: object = None, copy: object = None) -> npt.NDArray[Any]:
        """Raise TypeError: an array would have a column per slot, and gigabytes of zeros."""
        raise TypeError(
            "Examples are sparse, and only the learners of adagrad.ctr take them: give other"
            " estimators a matrix, of HashingEncoder(output='csr') or Examples.to_csr()"
        )

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
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
        """Return a slice as views, or the examples that positions or a mask select as copies."""
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
            raise ValueError(
                f"a slice of Examples must have step 1, got {step}; use take() instead"
            )
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
        """Return copies of the examples at the given positions, in that order.

        Parameters
        ----------
        order : ndarray of integers, shape [m]
            Positions in ``[0, len(self))``; they may repeat.

        Raises
        ------
        TypeError
            `order` is not an array of integers.
        IndexError
            A position is out of range.
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
            ranges = self.bounds[order[:, None] * REGIONS + np.arange(REGIONS + 1)].astype(np.int64)
            runs, starts = np.diff(ranges, axis=1), ranges[:, 0]
            lengths = ranges[:, -1] - starts
            ends = np.cumsum(lengths)
            pick = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(
                starts - (ends - lengths), lengths
            )
            bounds = np.concatenate([[0], np.cumsum(runs)]).astype(np.uint32)
            fields = None if self.fields is None else self.fields[pick]
        values = None if self.values is None else self.values[pick]
        return self._of(
            bounds, fields, len(order), self.n_fields, self.n_slots, self.slots[pick], values
        )


def check_unmasked(name: str, given: Any) -> None:
    """Raise a ValueError if values of an array are masked: the learners ignore masks."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.getmaskarray(given).any():
        first = np.argwhere(np.ma.getmaskarray(given))[0].tolist()
        at = ", ".join(map(str, first))
        raise ValueError(f"{name}[{at}] is masked: remove it or fill it")


def concatenate(parts: Sequence[Examples]) -> Examples:
    """Join batches from one encoder or matrix into one batch.

    Raises
    ------
    ValueError
        There are no parts, or they differ in their number of slots or fields.
    """
    if not parts:
        raise ValueError("parts is empty")
    first = parts[0]
    for part in parts:
        if (part.n_slots, part.n_fields) != (first.n_slots, first.n_fields):
            raise ValueError(
                f"a batch has {part.n_slots} slots and {part.n_fields} fields, but the first"
                f" has {first.n_slots} and {first.n_fields}"
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
