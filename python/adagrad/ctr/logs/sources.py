"""The files of a log: paths, globs, directories and the standard input, with format and codec.

`open_log` and the readers use this module. It does not look at the contents of files.
"""

from __future__ import annotations

import fnmatch
import glob
import io
import os
import queue
import select
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["FORMATS", "STDIN", "Pipe", "Source", "cancel_pipes", "find", "would_find"]

STDIN = "-"
FORMATS = ("csv", "tsv", "parquet", "arrow", "libsvm")
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".libsvm": "libsvm",
    ".svm": "libsvm",
    ".svmlight": "libsvm",
}
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}

CAN_SELECT_FILES = sys.platform != "win32"  # there, select() takes sockets only


@dataclass(frozen=True)
class Source:
    """One file, or the standard input.

    Attributes
    ----------
    path : str
        Path of the file; ``"-"`` for the standard input.
    format : str, optional
        One of :data:`FORMATS`. None: delimited lines of the standard input, separated by tabs if
        the first line contains one, else by commas.
    codec : str, optional
        Name of the compression in Arrow.
    size : int, optional
        Bytes on disk; None for the standard input.
    pipe : Pipe, optional
        The standard input.
    """

    path: str
    format: str | None
    codec: str | None
    size: int | None
    pipe: Pipe | None = None

    def open(self) -> Any:
        """Open the raw bytes; ``tell()`` gives the position on disk."""
        return self.pipe or pa.OSFile(os.fsencode(self.path))

    def decompressed(self, raw: Any) -> Any:
        """Return a stream of the decompressed bytes."""
        return raw if self.codec is None else pa.CompressedInputStream(raw, self.codec)


class Pipe(io.RawIOBase):
    """The standard input, with reads that another thread or a signal handler can cancel.

    A plain read from a silent pipe would block its thread until the writer closes the pipe.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        try:
            self._file: int | None = stream.fileno()
        except (OSError, AttributeError):
            self._file = None  # bytes in memory
        self._wake, self._waker = os.pipe()
        self._arrived: queue.SimpleQueue[bytes | OSError] = queue.SimpleQueue()
        self._read = 0
        self.cancelled = False
        _PIPES.add(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes read."""
        return self._read

    def readinto(self, buffer: Any) -> int:
        """Read what is available, at least one byte; 0 at the end or after `cancel`."""
        if self.cancelled:
            return 0
        data = self._wait_for_bytes(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        return len(data)

    def _wait_for_bytes(self, size: int) -> bytes:
        if self._file is None:
            data: bytes = self._stream.read(size)
            return data
        if CAN_SELECT_FILES:
            ready, _, _ = select.select([self._file, self._wake], [], [])
            return b"" if self._wake in ready else os.read(self._file, size)
        # The thread of a cancelled read stays behind until the pipe has data or is closed.
        threading.Thread(target=self._read_in_thread, args=(self._file, size), daemon=True).start()
        arrived = self._arrived.get()
        if isinstance(arrived, OSError):
            raise arrived
        return arrived

    def _read_in_thread(self, file: int, size: int) -> None:
        try:
            self._arrived.put(os.read(file, size))
        except OSError as error:
            self._arrived.put(error)

    def cancel(self) -> None:
        """Let the read under way and all later ones return without data."""
        if not self.closed:
            self.cancelled = True
            os.write(self._waker, b"x")
            self._arrived.put(b"")

    def close(self) -> None:
        """Release what `cancel` needs; the standard input itself stays open."""
        if not self.closed:
            os.close(self._wake)
            os.close(self._waker)
        super().close()


_PIPES: weakref.WeakSet[Pipe] = weakref.WeakSet()


def cancel_pipes() -> bool:
    """End all reading of the standard input at the last whole line; return whether there was any.

    A signal handler may call this.
    """
    being_read = [pipe for pipe in _PIPES if not pipe.closed]
    for pipe in being_read:
        pipe.cancel()
    return bool(being_read)


def find(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], format: str | None
) -> list[Source]:
    """Find the files that paths, globs, directories and ``"-"`` stand for, in the order given.

    Globs and directories give their files in the order of their names. A directory includes its
    subdirectories, but no names that begin with ``.`` or ``_`` and, unless `format` is given, no
    files with an unknown suffix.

    Raises
    ------
    FileNotFoundError
        A path, glob or directory has no file.
    ValueError
        `paths` is empty, the format is unknown, a suffix is unknown and no format is given, or the
        standard input occurs twice.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    sources: list[Source] = []
    for path in paths:
        sources.extend(_find_one(os.fspath(path), format))
    if not sources:
        raise ValueError("paths is empty")
    if [source.path for source in sources].count(STDIN) > 1:
        raise ValueError("the standard input '-' can be read only once")
    return sources


def _find_one(path: str, format: str | None) -> list[Source]:
    if path == STDIN:
        return [Source(path, format, None, None, Pipe(sys.stdin.buffer))]
    if Path(path).is_dir():
        below = sorted(file for file in Path(path).rglob("*") if _is_data(file, Path(path), format))
        if not below:
            raise FileNotFoundError(f"{path}: no log in this directory")
        return [_source(str(file), format) for file in below]
    if Path(path).exists():
        return [_source(path, format)]
    matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207, absolute patterns
    if not matches:
        raise FileNotFoundError(f"{path}: no such file")
    return [source for match in matches for source in _find_one(match, format)]


def would_find(path: str, file: Path, format: str | None) -> bool:
    """Return whether a glob or a directory stands for a file, if that existed."""
    if Path(path).is_dir():
        directory = Path(path).resolve()
        return directory in file.parents and _is_named_as_data(file, directory, format)
    if Path(path).exists():
        return False
    pattern = os.path.abspath(path)  # noqa: PTH100, as find() expands it
    parts = Path(pattern).parts
    if "**" in parts:
        return fnmatch.fnmatchcase(str(file), pattern)
    return len(parts) == len(file.parts) and all(map(fnmatch.fnmatchcase, file.parts, parts))


def _is_data(file: Path, directory: Path, format: str | None) -> bool:
    return file.is_file() and _is_named_as_data(file, directory, format)


def _is_named_as_data(file: Path, directory: Path, format: str | None) -> bool:
    hidden = any(part[0] in "._" for part in file.relative_to(directory).parts)
    return not hidden and (format or _format_and_codec(file)[0]) is not None


def _format_and_codec(file: Path) -> tuple[str | None, str | None]:
    codec = CODECS.get(file.suffix.lower())
    inner = file.with_suffix("") if codec else file
    return SUFFIXES.get(inner.suffix.lower()), codec


def _source(path: str, format: str | None) -> Source:
    known, codec = _format_and_codec(Path(path))
    format = format or known
    if format is None:
        raise ValueError(
            f"{path}: the suffix does not tell the format; give one of {', '.join(FORMATS)}"
        )
    if codec and format in ("parquet", "arrow"):
        raise ValueError(
            f"{path}: {format} files have their own compression; decompress the {codec} file first"
        )
    return Source(path, format, codec, Path(path).stat().st_size)
