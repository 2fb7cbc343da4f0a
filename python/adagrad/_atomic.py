"""Files that appear whole or not at all. Every module that writes a file uses this one.

A file is written beside its target, synced and renamed. On Linux it has no name until it is
complete, so that SIGKILL leaves nothing behind either, except between the two system calls that
name and rename it. On a file system that cannot do that, it has an unguessable name. The lock of a
mapped table is respected.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl

__all__ = [
    "NewFile",
    "StrPath",
    "WrittenFile",
    "check_writable",
    "explained",
    "in_use",
    "is_stream",
    "move",
    "new_file",
    "replacing",
    "resolved",
    "share",
    "sync_folder",
    "try_lock",
    "writing",
]

StrPath = str | os.PathLike[str]

_CHUNK = 16 << 20  # bytes per system call: Ctrl-C takes effect between two calls
_NAME = ".adagrad-{}.tmp"
_NAMED = re.compile(r"\.adagrad-[0-9a-f]{16}\.tmp")
_OPEN_FILES = Path("/proc/self/fd")

# Errors of open() for O_TMPFILE where the file system or the kernel lacks it.
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


class WrittenFile(FileIO):
    """A file open for writing, which writes all that it is given or raises.

    Attributes
    ----------
    written : int or None
        Number of bytes written to a stream, which has no position; None for a file.
    """

    written: int | None = None
    _failure: tuple[StrPath, str] | None = None

    def explain(self, path: StrPath, failure: str) -> None:
        """Set the path and the text of the errors of `write`."""
        self._failure = path, failure

    def write(self, data: Any) -> int:
        """Write all bytes of a buffer."""
        left = memoryview(data)
        size = left.nbytes
        if not size:
            return 0
        with contextlib.nullcontext() if self._failure is None else explained(*self._failure):
            left = left.cast("B")
            while left:
                count = os.write(self.fileno(), left[:_CHUNK])
                left = left[count:]
        if self.written is not None:
            self.written += size
        return size

    def tell(self) -> int:
        """Return the position."""
        return super().tell() if self.written is None else self.written


@contextlib.contextmanager
def writing(path: StrPath) -> Iterator[WrittenFile]:
    """Yield a file as `replacing` does; but a device or a pipe is written directly."""
    if is_stream(path):
        with WrittenFile(path, "ab") as stream:
            stream.written = 0
            stream.explain(path, "could not write")
            yield stream
        return
    with replacing(path) as file:
        yield file


@contextlib.contextmanager
def replacing(path: StrPath, size: int | None = None) -> Iterator[WrittenFile]:
    """Yield a new file, which takes the place of `path` if the block ends without an error.

    Parameters
    ----------
    path : str or PathLike
        A symbolic link is followed: the file that it names is replaced, and the link stays. The new
        file has the permissions and, if this process may set it, the owner of the old one.
    size : int, optional
        The number of bytes to come, for the texts of errors.

    Raises
    ------
    BlockingIOError
        If the file is a mapped table: replacing it would lose what the mapping writes.
    OSError
        If the file cannot be written. The old file is unchanged.
    """
    target = resolved(path)
    with _old_file(path, target) as old:
        what = "the file" if size is None else f"{size} bytes"
        kept = "no file was created" if old is None else "the old file is unchanged"
        failure = f"could not write {what}, {kept}"
        with contextlib.ExitStack() as stack:
            with explained(path, failure):
                new = stack.enter_context(new_file(target.parent, old))
            new.file.explain(path, failure)
            yield new.file
            with explained(path, failure):
                os.fsync(new.file.fileno())
                new.rename(target)
    sync_folder(target.parent)


def move(source: StrPath, path: StrPath) -> None:
    """Let a complete file take the place of another in its folder, as `replacing` does.

    Raises
    ------
    BlockingIOError
        The file to be replaced is a mapped table.
    OSError
        It cannot be replaced. Both files are unchanged.
    """
    target = resolved(path)
    with _old_file(path, target) as old, explained(path, "the old file is unchanged"):
        if old is not None and sys.platform != "win32":
            with Path(source).open("rb") as file:
                _adopt(file.fileno(), old)
        Path(source).replace(target)
    sync_folder(target.parent)


def check_writable(path: StrPath) -> None:
    """Raise the OSError with which `writing` would fail; leave everything as it is.

    A file is created beside the target and removed, because permissions do not tell whether a file
    system is full or read-only.
    """
    if is_stream(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    target = resolved(path)
    if not target.parent.is_dir():
        given = Path(path).parent
        missing = target.parent if given.is_dir() else given
        raise OSError(errno.ENOENT, f"there is no directory {missing}", str(path))
    with _old_file(path, target) as old:
        if old is not None:
            with explained(path):
                os.close(os.open(target, os.O_WRONLY))  # a write-protected file is one to keep
                _check_replaceable(target, old)
        with explained(path), new_file(target.parent, old):
            pass


def is_stream(path: StrPath) -> bool:
    """Return whether a path is a device, a pipe or an open file, such as ``/dev/stdout``."""
    folder = os.path.realpath(Path(path).parent)
    if folder == "/dev" or re.fullmatch(r"/proc/\d+(/task/\d+)?/fd", folder):
        return True
    try:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    except OSError:
        return False
    return kind not in (stat.S_IFREG, stat.S_IFDIR)


class NewFile:
    """A file that has no name yet, or a temporary one; from `new_file`.

    Attributes
    ----------
    file : WrittenFile
        Open for reading and writing, and locked while its process lives.
    """

    file: WrittenFile

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name: Path | None = None  # set before a file has it, so that `close` removes the file

    def open(self) -> None:
        """Create the file; a signal may interrupt this, and then `close` must follow."""
        kind = getattr(os, "O_TMPFILE", None)
        if kind is not None and _OPEN_FILES.is_dir():
            try:
                descriptor = os.open(self._folder, kind | os.O_RDWR | os.O_CLOEXEC, 0o666)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
            else:
                self.file = WrittenFile(descriptor, "r+b")
                share(descriptor)
                return
        while True:
            self._name = self._free_name()
            try:
                self.file = WrittenFile(self._name, "x+b")
            except OSError:
                self._name = None
                raise
            # Windows: an open file is as good as locked. Elsewhere another process may have found
            # the file before it was locked, and removed it.
            if sys.platform == "win32":
                return
            if share(self.file.fileno()) and os.fstat(self.file.fileno()).st_nlink:
                return
            self.file.close()

    def link(self, target: Path) -> None:
        """Give the file its name; raise FileExistsError if there is a file of that name."""
        if self._name is None:
            self._link_unnamed(target)
        else:
            target.hardlink_to(self._name)

    def rename(self, target: Path) -> None:
        """Give the file its name, and replace the file of that name."""
        if self._name is None:
            self._name = self._free_name()
            self._link_unnamed(self._name)
        if sys.platform == "win32":
            self.file.close()  # Windows does not rename an open file
        self._name.replace(target)

    def close(self) -> None:
        """Close the file and remove the temporary name."""
        if hasattr(self, "file"):
            self.file.close()
        if self._name is not None:
            self._name.unlink(missing_ok=True)

    def _free_name(self) -> Path:
        return self._folder / _NAME.format(os.urandom(8).hex())

    def _link_unnamed(self, target: Path) -> None:
        descriptor = self.file.fileno()
        # Without a directory, Python calls link(), which does not follow the link to the file.
        source = _OPEN_FILES / str(descriptor)
        os.link(source, target, src_dir_fd=descriptor, follow_symlinks=True)


@contextlib.contextmanager
def new_file(folder: Path, old: os.stat_result | None = None) -> Iterator[NewFile]:
    """Yield a new file in a folder, with the permissions and the owner of an old one.

    It is gone at the end of the block unless it was given a name. What a killed process left in the
    folder is removed first: a file that no process holds locked. Unlike process ids, locks work
    across containers and machines.
    """
    for name in folder.glob(_NAME.format("?" * 16)):
        if _NAMED.fullmatch(name.name):
            with contextlib.suppress(OSError):
                _remove_unlocked(name)
    new = NewFile(folder)
    try:
        new.open()
        if old is not None and sys.platform != "win32":
            _adopt(new.file.fileno(), old)
        yield new
    finally:
        new.close()


def _adopt(file: int, old: os.stat_result) -> None:
    """Give a file the owner and the permissions of another."""
    now = os.fstat(file)
    if (now.st_uid, now.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(file, -1, old.st_gid)
            os.fchown(file, old.st_uid, -1)
    os.fchmod(file, stat.S_IMODE(old.st_mode))


@contextlib.contextmanager
def _old_file(path: StrPath, target: Path) -> Iterator[os.stat_result | None]:
    """Lock the file to be replaced against mapping; yield its status, or None if there is none."""
    if sys.platform == "win32":  # nothing is mapped, and an open file cannot be replaced
        yield _regular(path, target.stat()) if target.exists() else None
        return
    try:
        file = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        yield None
        return
    try:
        status = _regular(path, os.fstat(file))
        if not share(file):
            raise in_use(path, file, "mapped by a table, which would lose its updates")
        yield status
    finally:
        os.close(file)


def _regular(path: StrPath, status: os.stat_result) -> os.stat_result:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return status


def _check_replaceable(target: Path, old: os.stat_result) -> None:
    """Raise if a file may be written but not renamed over."""
    folder = target.parent.stat()
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    if folder.st_mode & stat.S_ISVTX and user not in (0, old.st_uid, folder.st_uid):
        raise PermissionError(errno.EPERM, f"another user's file in {target.parent}")
    mounts = b""
    with contextlib.suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_bytes()
    name = re.sub(rb"[\\\s]", lambda found: b"\\%03o" % found[0][0], os.fsencode(target))
    if any(line.split(b" ")[4] == name for line in mounts.splitlines()):
        raise OSError(errno.EBUSY, "the file is mounted by itself, so it cannot be replaced")


@contextlib.contextmanager
def explained(path: StrPath, failure: str = "") -> Iterator[None]:
    """Add the path, and what it means, to an OSError of the block."""
    try:
        yield
    except OSError as error:
        text = f"{error.strerror}: {failure}" if failure else error.strerror
        raise OSError(error.errno, text, str(path)) from error


def _remove_unlocked(name: Path) -> None:
    if sys.platform == "win32":
        name.unlink()  # Windows refuses while a process has the file open
        return
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(file).st_mode) and try_lock(file, fcntl.LOCK_EX):
            name.unlink()
    finally:
        os.close(file)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk."""
    if sys.platform == "win32":  # which cannot open a folder, and journals its entries
        return
    try:
        file = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may add to the folder, but not list it
        return
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system cannot sync a folder
            raise
    finally:
        os.close(file)


def resolved(path: StrPath) -> Path:
    """Return the path of the file that symbolic links lead to."""
    return Path(os.path.realpath(path))


def try_lock(file: int, how: int) -> bool:
    """Lock a file if no other lock forbids it."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share(file: int) -> bool:
    """Take the shared lock of a save; return False if a mapping holds the exclusive lock."""
    try:
        return try_lock(file, fcntl.LOCK_SH)
    except OSError:
        return True  # the file system has no locks, so nothing is mapped


def in_use(path: StrPath, file: int, how: str) -> BlockingIOError:
    """Return the error for a locked file, with the process that holds the lock if known."""
    info = os.fstat(file)
    inode = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    holder = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            _, kind, _, _, process, where, *_ = line.split()
            if kind == "FLOCK" and where == inode:
                holder = f" (process {process})"
    return BlockingIOError(errno.EWOULDBLOCK, f"the file is {how}{holder}", str(path))
