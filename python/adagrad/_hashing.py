"""Multiplicative hashing of integer ids.

`adagrad.datasets` and the encoder of libsvm logs share this function, because a model trained on
the rows of one must find the same weights through the other. Strings are hashed elsewhere, by
`adagrad.ctr.HashingEncoder`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["hash_ids"]

# 2**64 divided by the golden ratio, rounded to an odd number.
MULTIPLIER = 0x9E3779B97F4A7C15


def hash_ids(ids: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """Hash ids to ``(id * 0x9E3779B97F4A7C15 mod 2**64) >> (64 - bits)``.

    This is Knuth's multiplicative hash (The Art of Computer Programming, volume 3, section 6.4).
    It sends neighboring ids, the common case in libsvm files, far apart. The top bits are the
    ones it mixes best.

    Parameters
    ----------
    ids : ndarray of int64
        Not negative.
    bits : int
        From 1 to 63.

    Returns
    -------
    ndarray of int64
        In ``[0, 2**bits)``, with the shape of `ids`.
    """
    mixed = ids.astype(np.uint64) * np.uint64(MULTIPLIER)
    hashed: npt.NDArray[np.int64] = (mixed >> np.uint64(64 - bits)).astype(np.int64)
    return hashed
