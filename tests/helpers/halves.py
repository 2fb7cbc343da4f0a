"""The two 16-bit dtypes, and the values that are hard to convert to and from them."""

from __future__ import annotations

import functools

import numpy as np

from checks import Array, need_packages

need_packages("ml_dtypes")

import ml_dtypes

HALVES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}


def all_patterns(half: str) -> Array:
    return np.arange(1 << 16, dtype=np.uint16).view(HALVES[half])


@functools.cache
def hard_floats() -> Array:
    """Floats around every 16-bit value and halfway to the next, subnormals, infinities, NaN."""
    rng = np.random.default_rng(17)
    centers = []
    with np.errstate(all="ignore"):
        for half in HALVES:
            x = np.sort(all_patterns(half).astype("f4"))  # NaN last
            centers += [x, (x[1:] / 2 + x[:-1] / 2)[np.isfinite(x[1:])]]
    bits = np.concatenate(centers).view("u4")[:, None] + np.arange(-2, 3, dtype="i4").view("u4")
    anything = rng.integers(0, 1 << 32, 100_000, dtype="u4")
    special = np.array([0, 1, 2**-126, 2**-25, 65519.99, 65520, 3.4e38, np.inf, np.nan], "f4")
    special = np.concatenate([special, -special]).view("u4")
    return np.concatenate([bits.ravel(), anything, special]).view("f4")
