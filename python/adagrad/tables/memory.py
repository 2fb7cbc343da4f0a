"""Anonymous memory for tables: zeroed lazily, private, on huge pages if there are any."""

from __future__ import annotations

import contextlib
import mmap
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_HUGE = 2 << 20
_LINE = 64


def allocate(nbytes: int) -> Bytes:
    """Return zeroed memory. Pages that are never touched take no physical memory.

    Parameters
    ----------
    nbytes : int
        From 4 MiB, the memory starts at a multiple of 2 MiB and huge pages are requested, because
        TLB misses bound a step on random rows of a large table. Smaller memory starts at a cache
        line.

    Returns
    -------
    ndarray of uint8
        Of length `nbytes`. A forked process shares it copy-on-write.

    Raises
    ------
    MemoryError
        If the system refuses.
    """
    alignment = _HUGE if nbytes >= 2 * _HUGE else _LINE
    try:
        if sys.platform == "linux" and alignment == _HUGE:
            private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            mapped = mmap.mmap(-1, nbytes + alignment, flags=private)
            room = np.frombuffer(mapped, np.uint8)
            start = -room.ctypes.data % alignment
            with contextlib.suppress(OSError):  # the kernel has no huge pages
                # Without the tail, which would take a whole huge page.
                mapped.madvise(mmap.MADV_HUGEPAGE, start, nbytes - nbytes % alignment)
        else:
            room = np.zeros(nbytes + alignment, np.uint8)
            start = -room.ctypes.data % alignment
    except (MemoryError, OSError, OverflowError, ValueError) as error:
        size = f"{nbytes} bytes ({nbytes >> 30} GiB)"
        raise MemoryError(f"a table needs {size} of memory: {error}") from error
    return room[start : start + nbytes]


def pages(array: Bytes) -> Literal["huge", "ordinary"]:
    """Return what backs memory from `allocate`: the kernel may refuse huge pages.

    Parameters
    ----------
    array : ndarray of uint8

    Returns
    -------
    {"huge", "ordinary"}
        The kind of most touched pages or, if none is touched yet, the kind that the kernel says is
        eligible. "ordinary" if the system does not report it.
    """
    if array.nbytes < _HUGE:
        return "ordinary"
    first = array.ctypes.data
    resident = huge = eligible = 0
    inside = False
    with contextlib.suppress(OSError), Path("/proc/self/smaps").open() as maps:
        for line in maps:
            name, *values = line.split()
            if not name.endswith(":"):  # the addresses of the next mapping
                begin, end = (int(address, 16) for address in name.split("-"))
                inside = begin < first + array.nbytes and first < end
            elif not inside:
                continue
            elif name == "Rss:":
                resident += int(values[0])
            elif name == "AnonHugePages:":
                huge += int(values[0])
            elif name == "THPeligible:":
                eligible |= int(values[0])
    return "huge" if 2 * huge > resident or (resident == 0 and eligible) else "ordinary"
