"""The files of a log: paths, globs, directories, URIs and the standard input, with their formats.

`open_log` and the readers use this module. `content` recognizes formats that the suffix does not
tell, and `remote` finds files behind URIs.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from adagrad.ctr.logs.compression import SNIFFED, codec_of, decompressed
from adagrad.ctr.logs.content import (
    HEAD,
    format_of_text,
    looks_like_text,
    named_format,
    not_read,
)
from adagrad.ctr.logs.partitions import partitions_in
from adagrad.ctr.logs.pipes import Pipe
from adagrad.ctr.logs.rows import LogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from adagrad.ctr.logs.remote import Remote
    from adagrad.ctr.logs.web import WebFile

__all__ = ["FORMATS", "NAMELESS_LABEL", "STDIN", "Source", "find", "would_find"]

STDIN = "-"
FORMATS = ("csv", "tsv", "parquet", "arrow", "libsvm", "libffm", "vw", "jsonl")
NAMELESS_LABEL = ("libsvm", "libffm", "vw")  # formats whose label has a place, but no name
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
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".libffm": "libffm",
    ".ffm": "libffm",
    ".vw": "vw",
}
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # a drive letter of Windows is no scheme

# Bytes of a remote file to fetch at once: each request takes long.
READ_AHEAD = 1 << 23


@dataclass(frozen=True)
class Source:
    """One file, or the standard input.

    Attributes
    ----------
    path : str
        Path or URI of the file; ``"-"`` for the standard input.
    format : str, optional
        One of :data:`FORMATS`. None: delimited lines of the standard input, separated by tabs if
        the first line contains one, else by commas.
    codec : str, optional
        The compression that the suffix names: "gzip", "zstd", "bz2" or "xz".
    size : int, optional
        Bytes on disk; None for the standard input.
    pipe : Pipe, optional
        The standard input.
    remote : Remote or WebFile, optional
        The file behind a URI.
    partitions : tuple of (str, str or None)
        Names and values in the folders above the file; see `adagrad.ctr.logs.partitions`.
    """

    path: str
    format: str | None
    codec: str | None
    size: int | None
    pipe: Pipe | None = None
    remote: Remote | WebFile | None = None
    partitions: tuple[tuple[str, str | None], ...] = ()

    def open(self) -> Any:
        """Open the raw bytes; ``tell()`` gives the position on disk."""
        if self.remote is not None:
            return self.remote.open()
        return self.pipe or pa.OSFile(os.fsencode(self.path))

    def stream(self, raw: Any) -> tuple[Any, str | None]:
        """Return a stream of the decompressed bytes, and the compression that the bytes have.

        Raises
        ------
        LogError
            The bytes are neither text nor of a known compression.
        """
        head = _head(raw)
        if self.remote is not None:
            raw = pa.BufferedInputStream(raw, READ_AHEAD)
        codec = codec_of(head)
        if codec is None:
            self.check_text(head)
            if self.codec and head and not looks_like_text(head):
                raise LogError(
                    self.path, 1, f"the name says {self.codec}, but the file is not compressed so"
                )
        return decompressed(raw, codec), codec

    def check_text(self, head: bytes) -> None:
        """Refuse the first bytes of a file that is not text."""
        binary, reason = named_format(head), not_read(head)
        if binary is not None:
            reason = f"this is a file in {binary} format: rename it to .{binary}"
            if self.pipe is not None:
                reason = f"this is a stream in {binary} format: give --format {binary}"
            elif self.codec is not None:
                reason = f"this is a file in {binary} format: decompress its {self.codec} first"
        if reason is not None:
            raise LogError(self.path, 1, reason if binary else f"this is {reason}")


def _head(raw: Any) -> bytes:
    """Return a few first bytes of a file, which are read again."""
    if isinstance(raw, Pipe):
        return raw.peek()
    head: bytes = raw.read(SNIFFED)
    raw.seek(0)
    return head


def find(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], format: str | None
) -> list[Source]:
    """Find the files that paths, globs, directories, URIs and ``"-"`` stand for.

    They are in the order given. Globs and directories give their files in the order of their names.
    A directory includes its subdirectories, but no names that begin with ``.`` or ``_``. Unless
    `format` is given, it leaves out the files with an unknown suffix if it has any others. The
    first bytes tell the format of a file with an unknown suffix.

    Raises
    ------
    FileNotFoundError
        A path, glob or directory has no file.
    ValueError
        `paths` is empty, the format is unknown, neither suffix nor content tell the format of a
        file, a path is a named pipe or a device, or the standard input occurs twice.
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
    path = _without_scheme(path)
    if URI.match(path) and not Path(path).exists():
        return _find_uri(path, format)
    if Path(path).is_dir():
        below = _chosen(
            [str(file) for file in sorted(Path(path).rglob("*")) if file.is_file()], path, format
        )
        if not below:
            raise FileNotFoundError(f"{path}: no log in this directory")
        folder = Path(path).absolute().as_posix()
        return [_local(file, format, folder) for file in below]
    if Path(path).exists():
        return [_local(path, format)]
    matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207, absolute patterns
    if not matches or path in matches:  # a link to nothing matches itself
        raise FileNotFoundError(f"{path}: no such file")
    return [source for match in matches for source in _find_one(match, format)]


def would_find(path: str, file: Path, format: str | None) -> bool:
    """Return whether a glob or a directory stands for a file, if that existed.

    Parameters
    ----------
    path : str
        As for `find`.
    file : Path
        Absolute, without symbolic links.
    format : str, optional
        As for `find`.
    """
    path = _without_scheme(path)
    if Path(path).is_dir():
        return _is_chosen(file, Path(path).resolve(), format)
    if Path(path).exists():
        return False
    parts = Path(path).absolute().parts
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    pattern = [*Path(*parts[:fixed]).resolve().parts, *parts[fixed:]]
    if _matches(file.parts, pattern):
        return True
    return any(
        _matches(folder.parts, pattern) and _is_chosen(file, folder, format)
        for folder in file.parents
    )


def _is_chosen(file: Path, folder: Path, format: str | None) -> bool:
    """Return whether a directory stands for a file, if that existed."""
    if folder not in file.parents:
        return False
    files = {str(other) for other in folder.rglob("*") if other.is_file()}
    return str(file) in _chosen([*files, str(file)], str(folder), format)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a recursive glob matches a path; both are in parts."""
    if not pattern:
        return not parts
    first, rest = pattern[0], pattern[1:]
    if first == "**" and _matches(parts, rest):
        return True
    if not parts or (parts[0][0] == "." and first[0] != "."):
        return False
    if first == "**":
        return _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], first) and _matches(parts[1:], rest)


def _without_scheme(path: str) -> str:
    return unquote(urlsplit(path).path) if path.startswith("file://") else path


def _find_uri(uri: str, format: str | None) -> list[Source]:
    from adagrad.ctr.logs.remote import find_remote

    found, folder = find_remote(uri)
    if folder is not None:
        chosen = {*_chosen([name for name, _, _ in found], folder, format)}
        found = [file for file in found if file[0] in chosen]
        if not found:
            raise FileNotFoundError(f"{uri}: no log in this directory")
    return [
        _with_format(
            Source(name, format, None, size, None, remote, partitions_in(name, folder)), format
        )
        for name, remote, size in found
    ]


def _chosen(files: list[str], folder: str, format: str | None) -> list[str]:
    """Return the files of a folder that belong to a log."""
    depth = len(Path(folder).parts)
    files = [
        file for file in files if not any(part[0] in "._" for part in Path(file).parts[depth:])
    ]
    known = [file for file in files if format or _format_and_codec(Path(file))[0]]
    return known or files


def _format_and_codec(file: Path) -> tuple[str | None, str | None]:
    codec = CODECS.get(file.suffix.lower())
    inner = file.with_suffix("") if codec else file
    return SUFFIXES.get(inner.suffix.lower()), codec


def _local(path: str, format: str | None, folder: str | None = None) -> Source:
    partitions = partitions_in(Path(path).absolute().as_posix(), folder)
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode) and path != os.devnull:
        raise ValueError(
            f"{path} is a pipe or a device, which has no size: redirect the standard input from it"
            " and give - as the log"
        )
    source = Source(path, format, None, status.st_size, partitions=partitions)
    return _with_format(source, format)


def _with_format(source: Source, format: str | None) -> Source:
    known, codec = _format_and_codec(Path(source.path))
    source = replace(source, format=format or known, codec=codec)
    if source.format is None:
        source = replace(source, format=_format_by_content(source))
    if source.format == "libsvm":  # it has ids, no columns
        source = replace(source, partitions=())
    if codec and source.format in ("parquet", "arrow"):
        raise ValueError(
            f"{source.path}: {source.format} files have their own compression; decompress the"
            f" {codec} file first"
        )
    return source


def _format_by_content(source: Source) -> str:
    """Return the format of a file by its first bytes."""
    with source.open() as raw:
        head = _head(raw)
        binary, reason = named_format(head), not_read(head)
        if binary is not None:
            return binary
        if reason is not None:
            raise ValueError(f"{source.path}: this is {reason}")
        stream, _ = source.stream(raw)
        try:
            head = stream.read(HEAD)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{source.path}: the file ends early or is damaged: {error}") from None
        source.check_text(head)
    try:
        return format_of_text(head)
    except ValueError as error:
        raise ValueError(f"{source.path}: {error}") from None
