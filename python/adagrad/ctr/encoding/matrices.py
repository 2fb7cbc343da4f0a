"""SciPy's sparse matrices, checked before any of their indices is converted.

SciPy checks few indices itself: with a wrong one its conversions write out of bounds, and a cast
turns 2**32 + 2 into 2. `Examples.from_csr` and the learners call this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

__all__ = ["check_columns", "checked_csr"]

Array = npt.NDArray[Any]


def checked_csr(matrix: Any) -> Any:
    """Return a sparse matrix or array of any format in CSR. Its entries keep their order.

    Parameters
    ----------
    matrix : scipy.sparse matrix or array
        It is not changed. The result may share its arrays.

    Raises
    ------
    TypeError
        Indices are not integers.
    ValueError
        There are not two axes, or arrays of the matrix do not fit together.
    IndexError
        An entry has a row or a column that the matrix does not have.
    """
    if matrix.ndim != 2:
        raise ValueError(f"X must have 2 axes, got a sparse array of shape {matrix.shape}")
    if matrix.format == "csr":
        return _checked_csr(matrix)
    rows, columns = matrix.shape
    if matrix.format == "csc":
        _check_compressed(matrix, columns, rows, ("column", "row"))
    elif matrix.format == "bsr":
        height, width = matrix.data.shape[1:]
        if rows % height or columns % width:
            raise ValueError(f"X of shape {matrix.shape} has no whole blocks of {height}x{width}")
        _check_compressed(
            matrix, rows // height, columns // width, ("row of blocks", "column of blocks")
        )
    else:
        if matrix.format == "lil":
            _check_lists(matrix)
        elif matrix.format == "dok":
            _check_pairs(matrix.keys(), matrix.shape)
        elif matrix.format == "dia":
            _check_diagonals(matrix)
        if matrix.format != "coo":
            matrix = matrix.tocoo()
        _check_coordinates(matrix)
    return matrix.tocsr()


def check_columns(csr: Any, columns: int, owner: str = "X") -> None:
    """Raise an IndexError if an entry of a CSR matrix lies in a column that is not below `columns`.

    Parameters
    ----------
    csr : scipy.sparse matrix or array
        In CSR, with a valid ``indptr``.
    columns : int
    owner : str, default "X"
        What has so many columns, for the message.
    """
    used = csr.indices[: int(csr.indptr[-1])]
    at = _first_beyond(used, columns)
    if at is not None:
        row = int(np.searchsorted(csr.indptr, at, side="right")) - 1
        raise IndexError(
            f"X.indices[{at}] = {used[at]}, in row {row}, is no column: {owner} has {columns}"
        )


def _checked_csr(matrix: Any) -> Any:
    rows, columns = matrix.shape
    _check_compressed(matrix, rows, columns, ("row", "column"))
    kinds = {(array.dtype.kind, array.dtype.isnative) for array in (matrix.indices, matrix.indptr)}
    if kinds == {("i", True)}:
        return matrix
    indices, indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return scipy.sparse.csr_matrix((matrix.data, indices, indptr), shape=matrix.shape)


def _check_compressed(matrix: Any, majors: int, minors: int, axes: tuple[str, str]) -> None:
    """Check the arrays of CSR, CSC or BSR.

    `majors` is the length of the axis that ``indptr`` divides, `minors` that of the other; `axes`
    are their names.
    """
    indices, indptr = np.asarray(matrix.indices), np.asarray(matrix.indptr)
    _check_integers("X.indices", indices)
    _check_integers("X.indptr", indptr)
    if len(indptr) != majors + 1:
        raise ValueError(f"X.indptr has {len(indptr)} elements; {majors + 1} are needed")
    room = min(len(indices), len(matrix.data))
    last = int(indptr[-1])
    if indptr[0] != 0 or last > room or (indptr[1:] < indptr[:-1]).any():
        falls = np.flatnonzero(indptr[1:] < indptr[:-1])
        at = 0 if indptr[0] != 0 else int(falls[0]) + 1 if len(falls) else majors
        raise ValueError(
            f"X.indptr must ascend from 0 to at most {room}, the number of entries, but"
            f" X.indptr[{at}] = {indptr[at]}"
        )
    used = indices[:last]
    wrong = _first_beyond(used, minors)
    if wrong is not None:
        major = int(np.searchsorted(indptr, wrong, side="right")) - 1
        raise IndexError(
            f"X.indices[{wrong}] = {used[wrong]}, in {axes[0]} {major}, is no {axes[1]}: X has"
            f" {minors}"
        )


def _check_coordinates(matrix: Any) -> None:
    length = len(matrix.data)
    for axis, (name, along) in enumerate(zip(("row", "col"), matrix.coords, strict=True)):
        along = np.asarray(along)
        _check_integers(f"X.{name}", along)
        if len(along) != length:
            raise ValueError(f"X.{name} has {len(along)} elements, but X.data has {length}")
        wrong = _first_beyond(along, matrix.shape[axis])
        if wrong is not None:
            raise IndexError(
                f"X.{name}[{wrong}] = {along[wrong]} is out of range for X of shape {matrix.shape}"
            )


def _check_lists(matrix: Any) -> None:
    rows, _ = matrix.shape
    if not len(matrix.rows) == len(matrix.data) == rows:
        raise ValueError(
            f"X has {rows} rows, but {len(matrix.rows)} in X.rows and {len(matrix.data)} in X.data"
        )
    for row, (columns, values) in enumerate(zip(matrix.rows, matrix.data, strict=True)):
        if len(columns) != len(values):
            raise ValueError(
                f"X.rows[{row}] has {len(columns)} columns, but X.data[{row}] {len(values)} values"
            )
        _check_pairs(((row, column) for column in columns), matrix.shape)


def _check_pairs(pairs: Iterable[tuple[Any, Any]], shape: tuple[int, int]) -> None:
    for row, column in pairs:
        if not (0 <= row < shape[0] and 0 <= column < shape[1]):
            raise IndexError(f"X[{row}, {column}] is out of range for X of shape {shape}")


def _check_diagonals(matrix: Any) -> None:
    rows, columns = matrix.shape
    offsets = np.asarray(matrix.offsets)
    _check_integers("X.offsets", offsets)
    if len(offsets) != len(matrix.data):
        raise ValueError(
            f"X.offsets has {len(offsets)} elements, but X.data {len(matrix.data)} diagonals"
        )
    for at, offset in enumerate(offsets.tolist()):
        if not -rows < offset < columns:
            raise IndexError(
                f"X.offsets[{at}] = {offset} is no diagonal of X of shape {matrix.shape}"
            )


def _check_integers(name: str, array: Array) -> None:
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 axis, got shape {array.shape}")


def _first_beyond(ids: Array, limit: int) -> int | None:
    """Return the position of the first id that is not in [0, limit)."""
    if not ids.dtype.isnative:
        ids = ids.astype(ids.dtype.newbyteorder("="))
    # As unsigned integers negative ids are large, so that one pass finds both. They are beyond the
    # largest id of their dtype, though not beyond every limit.
    limit = min(limit, int(np.iinfo(ids.dtype).max) + 1)
    ids = ids.view(f"u{ids.dtype.itemsize}")
    if not len(ids) or int(ids.max()) < limit:
        return None
    return int(np.flatnonzero(ids >= limit)[0])
