"""Table files: reading, atomic replacement and sparse creation; `mapping` maps them.

The format is safetensors. The safetensors package cannot map a file for writing, nor stream, pad,
sync and rename one, so this module does.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Callable, Iterable
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adagrad._atomic import StrPath, explained, new_file, replacing, resolved, sync_folder
from adagrad.tables.header import Header, TableFileError, data_bytes
from adagrad.tables.header import encode as _encode
from adagrad.tables.header import parse as _parse

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
    need_locks()
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


def open_regular(path: StrPath, mode: str) -> FileIO:
    """Open a file, but no pipe or device."""
    path = Path(path)
    if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        # Checked before opening, because opening a pipe waits for its other end. FileIO refuses
        # a directory.
        raise TableFileError(f"{path} is not a regular file")
    return FileIO(path, mode)


def need_locks() -> None:
    """Raise NotImplementedError on a system without POSIX locks."""
    if sys.platform == "win32":
        raise NotImplementedError(
            "mapped tables need POSIX file locks, which Windows does not have: keep the table in"
            " memory, and use Table.save and Table.load, or Table.open(path, mode='r') to read"
        )
