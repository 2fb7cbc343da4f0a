"""Files behind a URI such as ``s3://bucket/log/``, through pyarrow's file systems, or of the web.

`adagrad.ctr.logs.sources` uses it. pyarrow brings the file systems and finds the credentials; `web`
reads ``https://``.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from adagrad._text import one_line
from adagrad.ctr.logs.web import WebFile, find_web

__all__ = ["Remote", "find_remote"]

KNOWN = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
INSTEAD = {
    "az": "give abfs://container/path",
    "wasb": "give abfs://container/path",
    "s3a": "give s3://bucket/path",
    "s3n": "give s3://bucket/path",
}


@dataclass(frozen=True)
class Remote:
    """One file of a file system.

    Attributes
    ----------
    filesystem : pyarrow.fs.FileSystem
        The file system.
    path : str
        Path within it.
    """

    filesystem: fs.FileSystem
    path: str

    def open(self) -> Any:
        """Open the file for reading at any position."""
        return self.filesystem.open_input_file(self.path)


def find_remote(uri: str) -> tuple[list[tuple[str, Remote | WebFile, int | None]], str | None]:
    """Find the files that a URI stands for: a file, a folder or a pattern with ``*``.

    Returns
    -------
    files : list of (str, Remote or WebFile, int or None)
        URI, file and size in bytes, in the order of their names.
    folder : str or None
        The URI without options, if it is a folder.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        pyarrow has no file system for the scheme.
    OSError
        The file system cannot be reached.
    """
    place, _, options = uri.partition("?")
    scheme, host = urlsplit(place).scheme.lower(), urlsplit(place).netloc
    if scheme in ("http", "https"):
        if "*" in place:
            raise ValueError(f"{place}: {scheme}:// has no folders to search: name each file")
        file = find_web(uri)
        return [(unquote(place), file, file.size)], None
    if scheme not in KNOWN:
        instead = INSTEAD.get(scheme, "copy the log to this machine first")
        raise ValueError(f"{uri}: {scheme}:// is not read; {instead}")
    if scheme in ("gs", "gcs") and "retry_limit_seconds" not in options:
        # pyarrow tries for 15 minutes
        options = "&".join(filter(None, (options, "retry_limit_seconds=5")))
    pattern = re.search(r"[*\[]", place)
    base = place[: place.rindex("/", 0, pattern.start())] if pattern else place
    try:
        filesystem, path = fs.FileSystem.from_uri(base + ("?" + options if options else ""))
        info = filesystem.get_file_info(path)
        is_folder = info.type == fs.FileType.Directory
        found = _below(filesystem, path) if is_folder else [info]
    except (pa.ArrowException, OSError, NotImplementedError) as error:
        raise OSError(f"{place}: {_reason(error)}") from None
    if pattern:
        wanted = f"{path.rstrip('/')}/{place[len(base) + 1 :]}"
        found = [file for file in found if _matches(file.path, wanted)]
    root = f"{scheme}://{host.rpartition('@')[2] if path.startswith('/') else ''}"
    files: list[tuple[str, Remote | WebFile, int | None]] = [
        (root + file.path, Remote(filesystem, file.path), int(file.size))
        for file in sorted(found, key=lambda file: file.path)
        if file.type == fs.FileType.File
    ]
    if not files:
        raise FileNotFoundError(f"{place}: no such file")
    return files, root + path if is_folder and not pattern else None


def _reason(error: Exception) -> str:
    """Return what went wrong, without the names of the requests of a file system."""
    text = one_line(error)
    if "ACCESS_DENIED" in text or "PERMISSION_DENIED" in text or "HTTP 403" in text:
        return "access is denied: check the credentials and the region"
    failed = re.search(r"NETWORK_CONNECTION.*Details: (.*)", text) or re.search(
        r"UNAVAILABLE.*last message of (?:PerformWork\(\) - )?(.*?)(?: error_info=.*)?$", text
    )
    return f"cannot connect: {failed[1]}" if failed else text


def _below(filesystem: fs.FileSystem, path: str) -> list[fs.FileInfo]:
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    return [file for file in found if file.type == fs.FileType.File]


def _matches(path: str, pattern: str) -> bool:
    """Return whether a path matches; a star does not match across folders."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
