"""Where a log lies: files, globs, directories and the standard input, by format and compression.

Called by :mod:`adagrad.ctr.logs` and the readers of the formats. What is in a file does not
matter here.
"""

from __future__ import annotations

import glob
import io
import os
import select
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["FORMATS", "STDIN", "Pipe", "Source", "call_off_pipes", "find"]

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


@dataclass(frozen=True)
class Source:
    """One file, or the standard input.

    Attributes
    ----------
    path : str
        The file, ``"-"`` for the standard input.
    format : str, optional
        One of :data:`FORMATS`. None: lines of the standard input, separated by tabs if the first
        line has one, else by commas.
    codec : str, optional
        Compression, by its name in Arrow.
    size : int, optional
        Bytes, as they lie on disk; None for the standard input.
    pipe : Pipe, optional
        The standard input.
    """

    path: str
    format: str | None
    codec: str | None
    size: int | None
    pipe: Pipe | None = None

    def open(self) -> Any:
        """Open the raw bytes: what ``tell()`` says is a position on disk."""
        return self.pipe or pa.OSFile(self.path)

    def decompressed(self, raw: Any) -> Any:
        """Return the stream of bytes after decompression."""
        return raw if self.codec is None else pa.CompressedInputStream(raw, self.codec)


class Pipe(io.RawIOBase):
    """The standard input, so that a thread that waits for it can be called off.

    A read from a silent pipe would otherwise hold its thread until the writer goes away.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        try:
            self._file: int | None = stream.fileno()
        except (OSError, AttributeError):
            self._file = None  # bytes in memory stand in for the standard input
        self._wake, self._waker = os.pipe()
        self._read = 0
        self.called_off = False
        _PIPES.add(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes read."""
        return self._read

    def readinto(self, buffer: Any) -> int:
        """Read what there is, at least one byte; 0 at the end or once called off."""
        if self.called_off:
            return 0
        if self._file is None:
            got = self._stream.readinto(buffer)
        else:
            ready, _, _ = select.select([self._file, self._wake], [], [])
            if self._wake in ready:
                return 0
            data = os.read(self._file, len(buffer))
            buffer[: len(data)] = data
            got = len(data)
        self._read += got
        return cast("int", got)

    def call_off(self) -> None:
        """Let a read that waits return, now and from now on."""
        if not self.closed:
            self.called_off = True
            os.write(self._waker, b"x")

    def close(self) -> None:
        """Close the means to call it off; the standard input itself stays open."""
        if not self.closed:
            os.close(self._wake)
            os.close(self._waker)
        super().close()


_PIPES: weakref.WeakSet[Pipe] = weakref.WeakSet()


def call_off_pipes() -> bool:
    """Let what is being read from the standard input end with what has come; whether anything is.

    The line under way is not given out. May be called from a signal handler.
    """
    being_read = [pipe for pipe in _PIPES if not pipe.closed]
    for pipe in being_read:
        pipe.call_off()
    return bool(being_read)


def find(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], format: str | None
) -> list[Source]:
    """Turn paths, globs, directories and ``"-"`` into files, in the order given.

    The files of a glob or a directory come in the order of their names; in a directory (and in
    those below it), names that begin with ``.`` or ``_`` are left out, as are, unless a format is
    given, files whose suffix is not known.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    ValueError
        No paths, an unknown format, a suffix that is not known and no format, or the standard
        input twice.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    sources: list[Source] = []
    for path in paths:
        sources.extend(_one(os.fspath(path), format))
    if not sources:
        raise ValueError("paths is empty")
    if [source.path for source in sources].count(STDIN) > 1:
        raise ValueError("the standard input '-' can be read only once")
    return sources


def _one(path: str, format: str | None) -> list[Source]:
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
    return [source for match in matches for source in _one(match, format)]


def _is_data(file: Path, directory: Path, format: str | None) -> bool:
    hidden = any(part[0] in "._" for part in file.relative_to(directory).parts)
    return file.is_file() and not hidden and (format or _known(file)[0]) is not None


def _known(file: Path) -> tuple[str | None, str | None]:
    codec = CODECS.get(file.suffix.lower())
    inner = file.with_suffix("") if codec else file
    return SUFFIXES.get(inner.suffix.lower()), codec


def _source(path: str, format: str | None) -> Source:
    known, codec = _known(Path(path))
    format = format or known
    if format is None:
        raise ValueError(
            f"{path}: the suffix does not tell the format; give one of {', '.join(FORMATS)}"
        )
    if codec and format in ("parquet", "arrow"):
        raise ValueError(f"{path}: {format} files have their own compression, so no {codec}")
    return Source(path, format, codec, Path(path).stat().st_size)
