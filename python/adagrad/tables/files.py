"""Files of tables: one tensor in the safetensors format, whose metadata say what it means.

Written by hand, as the safetensors package can neither map a file writably, nor stream, pad, sync
and rename one.
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
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adagrad.tables.header import COUNTERS, DIGITS, Header, TableFileError, data_bytes
from adagrad.tables.header import encode as _encode
from adagrad.tables.header import parse as _parse

if sys.platform != "win32":
    import fcntl

Bytes = npt.NDArray[np.uint8]
StrPath = str | os.PathLike[str]

_CHUNK = 16 << 20  # bytes a system call: an interrupt is answered between two of them
_TEMPORARY = ".adagrad-{}.tmp"


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
        Where the file is foreign, newer, corrupted, or not as long as its header says.
    OSError
        Where it cannot be read.
    """
    with _open(path, "rb") as file:
        return _parse(path, file)[0]


def load_into(path: StrPath, header: Header, out: Bytes, skip: int = 0) -> None:
    """Read the data of a file, or a part of them, into memory.

    Parameters
    ----------
    path : str or PathLike
    header : Header
        From `read_header`.
    out : ndarray of uint8
        As long as the part.
    skip : int, default 0
        Bytes of the data before the part.

    Raises
    ------
    TableFileError
        Where the file is not, or no longer, the one of the header.
    OSError
        Where it cannot be read.
    """
    if skip + out.nbytes > header.nbytes:
        raise ValueError(
            f"out has {out.nbytes} bytes, but the data of {path} only {header.nbytes - skip} from"
            f" byte {skip} on"
        )
    with _open(path, "rb") as file:
        if _parse(path, file)[0] != header:
            raise TableFileError(f"{path} was replaced by another table while it was read")
        file.seek(header.start + skip)
        left = out.data
        while left:
            count = file.readinto(left[:_CHUNK])
            if not count:
                end = header.start + skip + out.nbytes
                raise TableFileError(
                    f"{path} was truncated while it was read: it has {end - len(left)} bytes, its"
                    f" header promises {header.start + header.nbytes}"
                )
            left = left[count:]


def save(
    path: StrPath, metadata: dict[str, str], dtype: str, shape: tuple[int, int], data: Bytes
) -> None:
    """Write a file, or replace one: whenever this is killed, the old file or the new one is there.

    Parameters
    ----------
    path : str or PathLike
        A symbolic link is followed. A file that is replaced hands on its permissions.
    metadata : dict of str
        The keys of `METADATA` but for "format" and "format_version".
    dtype : str
        A key of `ITEM_BYTES`.
    shape : tuple of int
    data : ndarray of uint8
        Contiguous; it is streamed and never copied.

    Raises
    ------
    BlockingIOError
        Where the file is mapped: the mapping would go on without a name, and be lost.
    OSError
        Where it cannot be written; then the old file is untouched.
    """
    head = _encode(metadata, dtype, shape)
    if data.nbytes != data_bytes(dtype, shape):
        raise ValueError(f"data has {data.nbytes} bytes, which is not {dtype} of shape {shape}")
    replace(path, [memoryview(head), data.data], len(head) + data.nbytes)


def replace(path: StrPath, parts: Iterable[memoryview], size: int) -> None:
    """Write a file of these parts of bytes, `size` in all, one after the other; see `save`."""
    target = _resolve(path)
    with _old_file(path, target) as mode:
        try:
            with _temporary(target.parent, mode) as (file, name):
                for part in parts:
                    _write(file, part)
                os.fsync(file)
                name.replace(target)
        except OSError as error:
            old = "the old file is untouched" if mode is not None else "no file was made"
            text = f"{error.strerror}: {size} bytes were to be written, {old}"
            raise OSError(error.errno, text, str(path)) from error
    _sync_folder(target.parent)


def create(
    path: StrPath,
    metadata: dict[str, str],
    dtype: str,
    shape: tuple[int, int],
    fill: Callable[[Bytes], None] | None = None,
) -> None:
    """Make a new sparse file of zeros, which nobody sees before it is whole.

    Parameters
    ----------
    path : str or PathLike
    metadata, dtype, shape
        As for `save`.
    fill : callable, optional
        Is given the data before anybody sees the file.

    Raises
    ------
    FileExistsError
        Where there is one.
    OSError
        Where the file system refuses, as for a size that it cannot hold.
    """
    head = _encode(metadata, dtype, shape)
    size = len(head) + data_bytes(dtype, shape)
    target = _resolve(path)
    try:
        with _temporary(target.parent, None) as (file, name):
            _write(file, memoryview(head))
            try:
                os.ftruncate(file, size)
            except OverflowError:  # not a number that the system call takes
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG)) from None
            if fill is not None:
                mapped = mmap.mmap(file, 0)
                fill(np.frombuffer(mapped, np.uint8, offset=len(head)))
                mapped.flush()
            os.fsync(file)
            target.hardlink_to(name)  # unlike a rename it never replaces
    except OSError as error:
        text = f"{error.strerror}: a file of {size} bytes was to be made"
        raise OSError(error.errno, text, str(path)) from error
    _sync_folder(target.parent)


class Mapping:
    """A whole file in memory, for reading and writing; no other mapping has it at that time.

    What is written to `data` is in the file as other processes see it, and is on the disk after
    `flush`, or when the kernel gets to it. A disk that is full when a page of a sparse file is
    written for the first time ends the process with SIGBUS, as for any mapped file.

    Parameters
    ----------
    path : str or PathLike
        A file of `create`, `save` or an earlier mapping.

    Attributes
    ----------
    header : Header
        Its counters are those of the last `flush`.
    data : ndarray of uint8
        The data, writeable.

    Raises
    ------
    BlockingIOError
        Where another mapping has it, of this process or another, or it is being saved just now.
    TableFileError
        As for `read_header`, or where its header is not as `save` writes it.
    OSError
        Where it cannot be read and written.

    Notes
    -----
    Without `close` the file stays locked as long as the mapping or a view of `data` lives, here or
    in a process that was forked from this one.
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
                    f"{path} cannot be mapped: its header is not laid out as adagrad does, and so"
                    " could not be overwritten in place; load the table and save it again"
                )
            self._mapped: mmap.mmap | None = mmap.mmap(self._file.fileno(), 0)
        except BaseException:
            self._file.close()
            raise
        # Rows are read at random: reading ahead of each would read pages that nobody asked for.
        with contextlib.suppress(AttributeError, OSError):
            self._mapped.madvise(mmap.MADV_RANDOM)
        self._data = np.frombuffer(self._mapped, np.uint8, offset=self.header.start)
        # The lock outlives this where views do: a mmap has its own descriptor of the open file.
        self._close_file = weakref.finalize(self, self._file.close)

    @property
    def is_ours(self) -> bool:
        """Whether this process made the mapping, not one that it was forked from."""
        return os.getpid() == self._process

    @property
    def data(self) -> Bytes:
        """The mapped bytes of the tensor."""
        self._open_map()
        return self._data

    def flush(self, *values: int) -> None:
        """Bring the data to the disk, and then the counters, which so never promise too much.

        Parameters
        ----------
        *values : int
            What the header is to say, in the order of `COUNTERS`; the others stay.

        Raises
        ------
        OSError
            Where the disk fails.
        RuntimeError
            In a forked child: it shares the data with its parent, whose counters say more.
        """
        mapped = self._open_map()
        if not self.is_ours:
            raise RuntimeError("a table is flushed by the process that mapped it, not by its child")
        mapped.flush()
        counters = {name: f"{n:0{DIGITS}}" for name, n in zip(COUNTERS, values, strict=False)}
        header = dataclasses.replace(self.header, metadata={**self.header.metadata, **counters})
        os.pwrite(self._file.fileno(), _encode(header.metadata, header.dtype, header.shape), 0)
        os.fsync(self._file)
        self.header = header

    def close(self) -> None:
        """Give up `data` and the lock, without a `flush`.

        Views that were taken of `data` stay valid and still write to the file, which another
        mapping may have by then; the memory is unmapped with the last of them.
        """
        if self._mapped is None:
            return
        self._mapped = None
        self._data = np.empty(0, np.uint8)
        # Explicitly, as views keep a descriptor. A forked child shares its parent's lock, and must
        # not give it up.
        if self.is_ours:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._close_file()

    def _open_map(self) -> mmap.mmap:
        if self._mapped is None:
            raise ValueError(f"the mapping of {self._path} is closed")
        return self._mapped


def _open(path: StrPath, mode: str) -> FileIO:
    path = Path(path)
    if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        # now, as to open a pipe is to wait for its other end; a directory is open's to refuse
        raise TableFileError(f"{path} is not a regular file")
    return FileIO(path, mode)


def _open_alone(path: StrPath) -> FileIO:
    """Open a file for reading and writing, locked against other mappings and against savers."""
    _need_locks()
    while True:
        file = _open(path, "r+b")
        try:
            if not _try_lock(file.fileno(), fcntl.LOCK_EX):
                raise _in_use(path, file.fileno(), "mapped by another table, or being saved")
            if os.path.samestat(os.fstat(file.fileno()), Path(path).stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # a save has replaced it since it was opened


@contextlib.contextmanager
def _old_file(path: StrPath, target: Path) -> Iterator[int | None]:
    """Keep tables from mapping the file that is to be replaced; give its permissions, if it is."""
    try:
        file = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        yield None
        return
    try:
        mode = os.fstat(file).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "what is there is not a regular file", str(path))
        if not _share(file):
            raise _in_use(path, file, "mapped by a table, which would lose it")
        yield stat.S_IMODE(mode)
    finally:
        os.close(file)


@contextlib.contextmanager
def _temporary(folder: Path, mode: int | None) -> Iterator[tuple[int, Path]]:
    """Give a new file in a folder, open for writing, and its name, which is gone at the end.

    It is locked while its process lives: an unlocked one was left by a killed process, and is
    removed by the next. Unlike a process id this holds across containers and machines.
    """
    for name in folder.glob(_TEMPORARY.format("?" * 16)):
        with contextlib.suppress(OSError):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _try_lock(file, fcntl.LOCK_EX):
                    name.unlink()
            finally:
                os.close(file)
    while True:
        name = folder / _TEMPORARY.format(os.urandom(8).hex())
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            # Else another process has found it before it was locked, and removes it.
            if _share(file) and os.fstat(file).st_nlink:
                if mode is not None:
                    os.fchmod(file, mode)
                yield file, name
                return
        finally:
            name.unlink(missing_ok=True)
            os.close(file)


def _write(file: int, left: memoryview) -> None:
    while left:
        left = left[os.write(file, left[:_CHUNK]) :]


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that knows no such thing
            raise
    finally:
        os.close(file)


def _resolve(path: StrPath) -> Path:
    _need_locks()
    return Path(os.path.realpath(path))


def _need_locks() -> None:
    if sys.platform == "win32":
        raise NotImplementedError("files of tables are written on POSIX systems only")


def _try_lock(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _share(file: int) -> bool:
    """Take the lock of savers, which they share; False where a mapping has its own."""
    try:
        return _try_lock(file, fcntl.LOCK_SH)
    except OSError:
        return True  # a file system without locks, where nothing is mapped


def _in_use(path: StrPath, file: int, how: str) -> BlockingIOError:
    """Return the error for a locked file, with the process that has it where the system tells."""
    info = os.fstat(file)
    inode = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    holder = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            _, kind, _, _, process, where, *_ = line.split()
            if kind == "FLOCK" and where == inode:
                holder = f" (process {process})"
    return BlockingIOError(errno.EWOULDBLOCK, f"the file is {how}{holder}", str(path))
