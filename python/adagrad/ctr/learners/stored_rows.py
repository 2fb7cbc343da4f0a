"""The rows of a model in a file: all of them, or those of the slots that learning has touched.

An untouched row has the bits of a new model's: zeros, starts of accumulators, and factors that are
drawn again from the seed and the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from io import FileIO

import numpy as np
import numpy.typing as npt

from adagrad.tables import files
from adagrad.tables.tensors import StrPath, TableFileError

__all__ = ["differing", "fill_rows", "read_slots", "row_parts", "row_slices"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]

_CHUNK = 1 << 20  # bytes


def differing(rows: Mapping[str, Floats], new: Callable[[str, int, int], Floats]) -> Slots:
    """Return the slots whose rows do not have the bits of new ones, ascending.

    Parameters
    ----------
    rows : dict of str to ndarray of float32, shape [n_slots, c]
        The state of each slot.
    new : callable
        ``new(name, first, last)`` returns the rows [first, last) of a new model, or one row if they
        are all alike.
    """
    n_slots = len(next(iter(rows.values())))
    found = []
    for part in row_slices(n_slots, sum(4 * array.shape[1] for array in rows.values())):
        differs = np.zeros(part.stop - part.start, np.bool_)
        for name, array in rows.items():
            bits = np.uint32 if array.shape[1] % 2 else np.uint64
            unequal = array[part].view(bits) != new(name, part.start, part.stop).view(bits)
            differs |= unequal[:, 0] if unequal.shape[1] == 1 else unequal.any(axis=1)
        found.append((np.flatnonzero(differs) + part.start).astype(np.uint32))
    return np.concatenate(found)


def row_parts(rows: Floats, slots: Slots | None) -> Iterator[Floats]:
    """Yield the rows of some slots, or all of them, in parts."""
    if slots is None and rows.flags.c_contiguous:
        yield rows
        return
    for part in row_slices(len(rows) if slots is None else len(slots), 4 * rows.shape[1]):
        yield rows[part if slots is None else slots[part]]


def fill_rows(
    path: StrPath, file: FileIO, rows: Floats, slots: Slots | None, *, finite: bool = False
) -> None:
    """Read the rows of some slots, or all of them, from the position of a file.

    Raises
    ------
    TableFileError
        The file ends before, or a number is not finite and `finite` says that all are.
    """
    if slots is None and rows.flags.c_contiguous and not finite:
        files.fill(path, file, _bytes(rows))
        return
    for part in row_slices(len(rows) if slots is None else len(slots), 4 * rows.shape[1]):
        some = np.empty((part.stop - part.start, rows.shape[1]), np.float32)
        files.fill(path, file, _bytes(some))
        if finite and not np.isfinite(some).all():
            raise TableFileError(f"{path} is corrupted: the state of a slot is not finite")
        rows[part if slots is None else slots[part]] = some


def read_slots(path: StrPath, file: FileIO, count: int, n_slots: int) -> Slots:
    """Read a list of slots from the position of a file.

    Raises
    ------
    TableFileError
        They are not ascending, not below `n_slots` or not fewer, or the file ends before.
    """
    if count >= n_slots:
        raise TableFileError(
            f"{path} is corrupted: it lists {count} slots, expected fewer than {n_slots}"
        )
    slots = np.empty(count, np.uint32)
    files.fill(path, file, slots.view(np.uint8).data)
    if count and slots[-1] >= n_slots:
        raise TableFileError(
            f"{path} is corrupted: its last slot is {slots[-1]}, expected one below {n_slots}"
        )
    if not (unordered := slots[1:] <= slots[:-1]).any():
        return slots
    at = int(np.argmax(unordered))
    raise TableFileError(
        f"{path} is corrupted: its slots must ascend, but slot {slots[at]} comes before"
        f" {slots[at + 1]}"
    )


def row_slices(count: int, row_bytes: int) -> Iterator[slice]:
    """Return slices of so many rows, each of a size that stays in the cache."""
    step = max(1, _CHUNK // row_bytes)
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def _bytes(array: Floats) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
