"""A table file in memory: shared by all who read it, and reserved for one who writes to it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import mmap
import os
import sys
import weakref
from io import FileIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from adagrad._atomic import in_use, try_lock
from adagrad.tables.files import need_locks, open_regular
from adagrad.tables.header import COUNTERS, DIGITS, Header, TableFileError, encode, parse
from adagrad.tables.tensors import StrPath

if sys.platform != "win32":
    import fcntl

Bytes = npt.NDArray[np.uint8]
FileMode = Literal["r", "r+"]
# Python has the name since 3.13. Other systems than Linux commit no memory in advance.
_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0


class Mapping:
    """A whole file mapped into memory.

    Any number of mappings, of this process and others, share a file until one reserves it for
    writing, which needs that no other has it. What is written to `data` is on disk after `flush`,
    or when the kernel writes it back. If the disk is full when a page of a sparse file is first
    written, or if a page is read that the file no longer has, the process ends with SIGBUS, as for
    any mapped file; `check` finds a file that was cut short, before that.

    Parameters
    ----------
    path : str or PathLike
        A file written by `create`, `save` or an earlier mapping.
    mode : {"r", "r+"}, default "r+"
        "r" maps the file for reading only, and needs no permission to write it.
    reserved : bool, default False
        Whether to reserve the file at once.

    Attributes
    ----------
    header : Header
        With the counters of the last `flush`.
    data : ndarray of uint8
        The data, writeable once the file is reserved.

    Raises
    ------
    BlockingIOError
        If another mapping has reserved the file; with `reserved`, if any other mapping has it or
        it is being saved.
    TableFileError
        As for `read_header`, or if the header is not laid out as `save` writes it.
    OSError
        If the file cannot be read or, for "r+", written.

    Notes
    -----
    Without `close`, the file stays locked as long as the mapping or a view of `data` exists, even
    in a forked process.
    """

    header: Header

    def __init__(self, path: StrPath, mode: FileMode = "r+", *, reserved: bool = False) -> None:
        self._path = str(Path(path).absolute())
        self.mode = mode
        self._process = os.getpid()
        self._file = _open_locked(path, mode, reserved)
        try:
            self.header, head = parse(path, self._file)
            if head != encode(self.header.metadata, self.header.dtype, self.header.shape):
                raise TableFileError(
                    f"{path} cannot be mapped: adagrad did not write its header, and could not"
                    " overwrite it in place; load the table and save it again"
                )
            access = mmap.ACCESS_READ if mode == "r" else mmap.ACCESS_WRITE
            self._mapped: mmap.mmap | None = mmap.mmap(self._file.fileno(), 0, access=access)
        except BaseException:
            self._file.close()
            raise
        # Rows are read at random, so that read-ahead would load pages in vain.
        with contextlib.suppress(AttributeError, OSError):
            self._mapped.madvise(mmap.MADV_RANDOM)
        self._data = np.frombuffer(self._mapped, np.uint8, offset=self.header.start)
        self._size = len(self._mapped)
        self._reserved = reserved
        self._data.flags.writeable = reserved
        # Views keep the lock: the mmap has its own descriptor of the open file.
        self._close_file = weakref.finalize(self, self._file.close)

    @property
    def is_ours(self) -> bool:
        """Whether this process made the mapping, rather than its parent before a fork."""
        return os.getpid() == self._process

    @property
    def data(self) -> Bytes:
        """The mapped bytes of the tensor."""
        self._open_map()
        return self._data

    def private(self) -> Bytes:
        """Return the bytes of the tensor in a map of their own, whose changes stay out of the file.

        Pages that are not changed are shared with all who map the file.
        """
        self._open_map()
        if sys.platform == "win32":
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        else:
            # Changes of the whole file need not fit into memory and swap: few pages will change.
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", _MAP_NORESERVE)
            mapped = mmap.mmap(self._file.fileno(), 0, flags)
        return np.frombuffer(mapped, np.uint8, offset=self.header.start)

    def check(self) -> None:
        """Raise TableFileError if the file was cut short, so that reading would end the process.

        Another process may still do that between the check and the reading.
        """
        size = self._open_map().size()  # that of the file
        if size < self._size:
            raise TableFileError(
                f"{self._path} was cut short while it was mapped: it has {size} bytes, its header"
                f" says {self._size}"
            )

    def reserve(self) -> None:
        """Lock the file against all other mappings and saves, and make `data` writeable.

        Raises
        ------
        ValueError
            If the mode is "r".
        BlockingIOError
            If another mapping has the file.
        OSError
            If the file was replaced or changed since it was mapped: what this mapping wrote would
            be lost, or would destroy the other changes.
        """
        if self._reserved:
            return
        self._open_map()
        if self.mode == "r" or sys.platform == "win32":
            raise ValueError(
                f"{self._path} was opened with mode='r', which only reads: open it with mode='r+'"
                " to change the table"
            )
        file = self._file.fileno()
        if not _is_at(file, self._path):
            raise self._stale("was replaced")
        if not try_lock(file, fcntl.LOCK_EX):
            error = in_use(
                self._path,
                file,
                "mapped by another table, so that this one cannot change it (mode='r' only reads)",
            )
            # The system gave up the shared lock in vain. If another mapping reserves the file right
            # now, this one stays without a lock, and finds the changes below.
            try_lock(file, fcntl.LOCK_SH)
            raise error
        self._file.seek(0)
        if parse(self._path, self._file)[0] != self.header:
            fcntl.flock(file, fcntl.LOCK_SH)
            raise self._stale("was changed by another process")
        self._reserved = self._data.flags.writeable = True

    def _stale(self, how: str) -> OSError:
        text = f"the file {how} since it was opened: open it again to change the table"
        return OSError(errno.ESTALE, text, self._path)

    def flush(self, *values: int) -> None:
        """Write the data to disk, and then the counters, which therefore never run ahead.

        Parameters
        ----------
        *values : int
            New values, in the order of `COUNTERS`. Counters without a value keep theirs.

        Raises
        ------
        OSError
            If the disk fails, or as for `reserve` if a counter has changed.
        RuntimeError
            In a forked child, which shares the data with its parent but not the counters.
        """
        mapped = self._open_map()
        if not self.is_ours:
            raise RuntimeError(
                "a forked process cannot flush a mapped table: flush it in the one that mapped it"
            )
        counters = {name: f"{n:0{DIGITS}}" for name, n in zip(COUNTERS, values, strict=False)}
        header = dataclasses.replace(self.header, metadata={**self.header.metadata, **counters})
        if not self._reserved and header == self.header:
            return  # nothing was written
        self.reserve()
        mapped.flush()
        os.pwrite(self._file.fileno(), encode(header.metadata, header.dtype, header.shape), 0)
        os.fsync(self._file)
        self.header = header

    def close(self) -> None:
        """Release `data` and the lock, without a `flush`.

        Views of `data` stay valid and still write to the file, which another mapping may then have.
        The memory is unmapped with the last view.
        """
        if self._mapped is None:
            return
        self._mapped = None
        self._data = np.empty(0, np.uint8)
        # Unlock explicitly, because views keep a descriptor. A forked child shares the lock of its
        # parent and must not release it.
        if self.is_ours and sys.platform != "win32":
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._file, fcntl.LOCK_UN)
        self._close_file()

    def _open_map(self) -> mmap.mmap:
        if self._mapped is None:
            raise ValueError(f"the mapping of {self._path} is closed")
        return self._mapped


def _open_locked(path: StrPath, mode: FileMode, reserved: bool) -> FileIO:
    """Open a file, locked against mappings that would reserve it; reserved, against all others."""
    if mode == "r+":
        need_locks()
    while True:
        file = open_regular(path, "rb" if mode == "r" else "r+b")
        try:
            if not _lock(file.fileno(), mode, reserved):
                how = "mapped by another table, or being saved"
                if not reserved:
                    how = "mapped by another table that may change it"
                raise in_use(path, file.fileno(), how)
            if _is_at(file.fileno(), path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # a save replaced it after it was opened


def _lock(file: int, mode: FileMode, reserved: bool) -> bool:
    if sys.platform == "win32":  # nothing is mapped for writing
        return True
    try:
        return try_lock(file, fcntl.LOCK_EX if reserved else fcntl.LOCK_SH)
    except OSError:
        if mode == "r":  # the file system has no locks, so nothing is mapped for writing
            return True
        raise


def _is_at(file: int, path: StrPath) -> bool:
    """Return whether an open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(file), Path(path).stat())
    except FileNotFoundError:
        return False
