"""Arrays that end where readable memory ends: a load past the end kills the process."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from adagrad.ctr import Examples
from adagrad.ctr.encoding.matrix_rows import MatrixRows

Array = npt.NDArray[Any]


def guarded(array: Array) -> Array:
    """Return a copy of the array with a page behind it that nobody may touch."""
    protect = getattr(ctypes.CDLL(None), "mprotect", None)
    if protect is None:
        pytest.skip("this system has no mprotect")
    pages = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if protect(ctypes.c_void_p(address + pages), ctypes.c_size_t(mmap.PAGESIZE), 0) != 0:
        pytest.skip("this system protects no page")
    copy: Array = np.ndarray(array.shape, array.dtype, memory, pages - array.nbytes)
    copy[...] = array
    return copy


def guarded_rows(x: MatrixRows) -> MatrixRows:
    """Return the rows with a guard behind each array."""
    values = None if x.values is None else guarded(x.values)
    return MatrixRows(guarded(x.starts), guarded(x.slots), values, x.n_slots, x.threads)


def guarded_examples(x: Examples) -> Examples:
    """Return the examples with a guard behind each array."""
    values, fields = (None if a is None else guarded(a) for a in (x.values, x.fields))
    return Examples(
        guarded(x.slots),
        guarded(x.bounds),
        x.n_slots,
        x.n_examples,
        values=values,
        fields=fields,
        n_fields=x.n_fields,
    )
