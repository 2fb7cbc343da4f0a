"""Table files: reading, atomic replacement, sparse creation, and writable mapping.

The format is safetensors. The safetensors package cannot map a file for writing, nor stream, pad,
sync and rename one, so this module does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import mmap
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterable
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adagrad._atomic import StrPath, explained, in_use, new_file, replacing, resolved, sync_folder
from adagrad._atomic import try_lock as _try_lock
from adagrad.tables.header import COUNTERS, DIGITS, Header, TableFileError, data_bytes
from adagrad.tables.header import encode as _encode
from adagrad.tables.header import parse as _parse

if sys.platform != "win32":
    import fcntl

Bytes = npt.NDArray[np.uint8]

_CHUNK = 16 << 20  # bytes per system call: Ctrl-C takes effect between two calls


def read_header(path: StrPath) -> Header:
    """Read and check the header of a file.

    Parameters
    ----------
    path : str or PathLike

    Returns
    -------
    Header

    Raises
    ------
    TableFileError
        If the file is of another format, newer, corrupted, or not as long as its header says.
    OSError
        If the file cannot be read.
    """
    with open_regular(path, "rb") as file:
        return _parse(path, file)[0]


def load_into(path: StrPath, header: Header, out: Bytes, skip: int = 0) -> None:
    """Read the data of a file, or a part of it, into memory.

    Parameters
    ----------
    path : str or PathLike
    header : Header
        From `read_header`.
    out : ndarray of uint8
        Of the length of the part.
    skip : int, default 0
        Number of bytes of the data before the part.

    Raises
    ------
    TableFileError
        If the file does not have this header, or no longer has it.
    OSError
        If the file cannot be read.
    """
    if skip + out.nbytes > header.nbytes:
        raise ValueError(
            f"out has {out.nbytes} bytes, but the data of {path} have {header.nbytes - skip} bytes"
            f" from byte {skip}"
        )
    with open_regular(path, "rb") as file:
        if _parse(path, file)[0] != header:
            raise TableFileError(f"{path} was replaced by another table while it was read")
        file.seek(header.start + skip)
        fill(path, file, out.data)


def fill(path: StrPath, file: FileIO, left: memoryview) -> None:
    """Read from the position of a file until a memory of bytes is full.

    Raises
    ------
    TableFileError
        If the file ends before.
    """
    while left:
        count = file.readinto(left[:_CHUNK])
        if not count:
            raise TableFileError(
                f"{path} was truncated while it was read: it has {file.tell()} bytes, its header"
                f" says {file.tell() + len(left)} or more"
            )
        left = left[count:]


def save(
    path: StrPath, metadata: dict[str, str], dtype: str, shape: tuple[int, int], data: Bytes
) -> None:
    """Write a file, or replace one atomically: a killed process leaves the old or the new file.

    Parameters
    ----------
    path : str or PathLike
        A symbolic link is followed. The new file has the permissions of the old one.
    metadata : dict of str
        The keys of `METADATA` except "format" and "format_version".
    dtype : str
        A key of `ITEM_BYTES`.
    shape : tuple of int
    data : ndarray of uint8
        Contiguous. It is streamed, not copied.

    Raises
    ------
    BlockingIOError
        If the file is mapped: replacing it would lose what the mapping writes.
    OSError
        If the file cannot be written. The old file is unchanged.
    """
    head = _encode(metadata, dtype, shape)
    if data.nbytes != data_bytes(dtype, shape):
        raise ValueError(f"data has {data.nbytes} bytes, which is not {dtype} of shape {shape}")
    replace(path, [memoryview(head), data.data], len(head) + data.nbytes)


def replace(path: StrPath, parts: Iterable[memoryview], size: int) -> None:
    """Write a file from parts of `size` bytes in total; see `save`."""
    with replacing(path, size) as file:
        for part in parts:
            file.write(part)


def create(
    path: StrPath,
    metadata: dict[str, str],
    dtype: str,
    shape: tuple[int, int],
    fill: Callable[[Bytes], None] | None = None,
) -> None:
    """Create a sparse file of zeros, which appears under its name when it is complete.

    Parameters
    ----------
    path : str or PathLike
    metadata, dtype, shape
        As for `save`.
    fill : callable, optional
        Called with the data before the file appears.

    Raises
    ------
    FileExistsError
        If the file exists.
    OSError
        If the file system refuses, for example because of the size.
    """
    _need_locks()
    head = _encode(metadata, dtype, shape)
    size = len(head) + data_bytes(dtype, shape)
    target = resolved(path)
    failure = f"could not create a file of {size} bytes"
    with explained(path, failure), new_file(target.parent) as new:
        new.file.write(head)
        try:
            os.ftruncate(new.file.fileno(), size)
        except OverflowError:  # too large for the system call
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG)) from None
        if fill is not None:
            mapped = mmap.mmap(new.file.fileno(), 0)
            fill(np.frombuffer(mapped, np.uint8, offset=len(head)))
            mapped.flush()
        os.fsync(new.file.fileno())
        new.link(target)
    sync_folder(target.parent)


class Mapping:
    """A whole file mapped for reading and writing, locked against any other mapping.

    Other processes see what is written to `data` at once. It is on disk after `flush`, or when the
    kernel writes it back. If the disk is full when a page of a sparse file is first written, the
    process ends with SIGBUS, as for any mapped file.

    Parameters
    ----------
    path : str or PathLike
        A file written by `create`, `save` or an earlier mapping.

    Attributes
    ----------
    header : Header
        With the counters of the last `flush`.
    data : ndarray of uint8
        The data, writeable.

    Raises
    ------
    BlockingIOError
        If another mapping, of this process or another, has the file, or it is being saved.
    TableFileError
        As for `read_header`, or if the header is not laid out as `save` writes it.
    OSError
        If the file cannot be read and written.

    Notes
    -----
    Without `close`, the file stays locked as long as the mapping or a view of `data` exists, even
    in a forked process.
    """

    header: Header

    def __init__(self, path: StrPath) -> None:
        self._path = path
        self._process = os.getpid()
        self._file = _open_alone(path)
        try:
            self.header, head = _parse(path, self._file)
            if head != _encode(self.header.metadata, self.header.dtype, self.header.shape):
                raise TableFileError(
                    f"{path} cannot be mapped: adagrad did not write its header, and could not"
                    " overwrite it in place; load the table and save it again"
                )
            self._mapped: mmap.mmap | None = mmap.mmap(self._file.fileno(), 0)
        except BaseException:
            self._file.close()
            raise
        # Rows are read at random, so that read-ahead would load pages in vain.
        with contextlib.suppress(AttributeError, OSError):
            self._mapped.madvise(mmap.MADV_RANDOM)
        self._data = np.frombuffer(self._mapped, np.uint8, offset=self.header.start)
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

    def flush(self, *values: int) -> None:
        """Write the data to disk, and then the counters, which therefore never run ahead.

        Parameters
        ----------
        *values : int
            New values, in the order of `COUNTERS`. Counters without a value keep theirs.

        Raises
        ------
        OSError
            If the disk fails.
        RuntimeError
            In a forked child, which shares the data with its parent but not the counters.
        """
        mapped = self._open_map()
        if not self.is_ours:
            raise RuntimeError(
                "a forked process cannot flush a mapped table: flush it in the one that mapped it"
            )
        mapped.flush()
        counters = {name: f"{n:0{DIGITS}}" for name, n in zip(COUNTERS, values, strict=False)}
        header = dataclasses.replace(self.header, metadata={**self.header.metadata, **counters})
        os.pwrite(self._file.fileno(), _encode(header.metadata, header.dtype, header.shape), 0)
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
        if self.is_ours:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._close_file()

    def _open_map(self) -> mmap.mmap:
        if self._mapped is None:
            raise ValueError(f"the mapping of {self._path} is closed")
        return self._mapped


def open_regular(path: StrPath, mode: str) -> FileIO:
    """Open a file, but no pipe or device."""
    path = Path(path)
    if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        # Checked before opening, because opening a pipe waits for its other end. FileIO refuses
        # a directory.
        raise TableFileError(f"{path} is not a regular file")
    return FileIO(path, mode)


def _open_alone(path: StrPath) -> FileIO:
    """Open a file for reading and writing, locked against other mappings and saves."""
    _need_locks()
    while True:
        file = open_regular(path, "r+b")
        try:
            if not _try_lock(file.fileno(), fcntl.LOCK_EX):
                raise in_use(path, file.fileno(), "mapped by another table, or being saved")
            if os.path.samestat(os.fstat(file.fileno()), Path(path).stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # a save replaced it after it was opened


def _need_locks() -> None:
    if sys.platform == "win32":
        raise NotImplementedError(
            "mapped tables need POSIX file locks, which Windows does not have: keep the table in"
            " memory, and use Table.save and Table.load"
        )
