"""Damaged inputs for the fuzz tests, and how many of them a run tries.

Each fuzz test tries a few hundred inputs by default. ``ADAGRAD_FUZZ=100000`` asks for more, and
``ADAGRAD_FUZZ_SEED`` for others than those of seed 0. A failure names the seed of the one input,
which belongs in the test's list of seeds that once failed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
)


def seeds(by_default: int, known: Sequence[int] = ()) -> list[int]:
    """Return the seeds to try: first those that once failed, then as many as the run asks for."""
    count = int(os.environ.get("ADAGRAD_FUZZ", by_default))
    first = int(os.environ.get("ADAGRAD_FUZZ_SEED", 0)) << 32
    return [*known, *range(first, first + count)]


def damaged(data: bytes, seed: int) -> bytes:
    """Return a copy of a file with one to four random faults.

    A fault flips a bit, overwrites a byte or an integer, zeroes or removes or repeats a range, or
    ends the file early. Half of all faults lie in the first or last kilobyte, where formats keep
    their metadata.
    """
    rng = np.random.default_rng(seed)
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not out:
            break
        _damage(out, _place(len(out), rng), rng)
    return bytes(out)


def _place(size: int, rng: np.random.Generator) -> int:
    near = int(rng.integers(0, min(size, 1024)))
    return int(rng.choice([near, size - 1 - near, *rng.integers(0, size, 2)]))


def _damage(out: bytearray, at: int, rng: np.random.Generator) -> None:
    width = int(rng.choice([1, 2, 4, 8]))
    length = min(int(rng.integers(1, 65)), len(out) - at)
    fault = rng.integers(0, 8)
    if fault <= 1:
        out[at] ^= 1 << int(rng.integers(0, 8))
    elif fault == 2:
        out[at] = int(rng.integers(0, 256))
    elif fault <= 4 and at + width <= len(out):
        number = int(rng.choice(_NUMBERS)) & ((1 << 8 * width) - 1)
        out[at : at + width] = number.to_bytes(width, "little")
    elif fault == 5:
        out[at : at + length] = bytes(length)
    elif fault == 6:
        out[at : at + length] = b"" if rng.random() < 0.5 else 2 * out[at : at + length]
    else:
        del out[at:]
