"""Arrays and row ids that every call refuses."""

from __future__ import annotations

import numpy as np


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


BAD_ROWS = {
    "negative": (np.array([1, 2, -1]), IndexError, r"rows\[2\] = -1 is out of range"),
    "negative int32": (np.array([-7, 2, 1], "i4"), IndexError, r"rows\[0\] = -7 is out"),
    "lowest int64": (np.array([0, -(2**63), 1]), IndexError, r"rows\[1\] = -9223372036854775808"),
    "too large": (np.array([1, 8, 9]), IndexError, r"rows\[1\] = 8 .* table of 8 rows"),
    "uint32": (np.array([1, 2**32 - 1, 3], "u4"), IndexError, r"rows\[1\] = 4294967295"),
    "uint64 past 2^63": (
        np.array([1, 2, 2**63 + 5], "u8"),
        IndexError,
        r"rows\[2\] = 9223372036854775813",
    ),
    "int16": (np.array([1, 2, 3], "i2"), TypeError, "int32, int64, uint32 or uint64"),
    "float": (np.array([1.0, 2.0, 3.0]), TypeError, "int32, int64, uint32 or uint64"),
    "bool": (np.array([True, False, True]), TypeError, "int32, int64, uint32 or uint64"),
    "byte-swapped": (np.array([1, 2, 3], ">i8"), TypeError, "native int32"),
    "2-D": (np.array([[1, 2, 3]]), ValueError, r"rows must have shape \[n\]"),
    "strided": (np.arange(6)[::2], ValueError, "rows must be C-contiguous"),
    "list": ([1, 2, 3], TypeError, "rows must be a numpy.ndarray, got list"),
    "wrong length": (np.array([1, 2]), ValueError, r"g has shape \(3,"),
}
