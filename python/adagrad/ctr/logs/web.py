"""Files behind ``http://`` and ``https://``, read as a stream, or from any position.

`remote` uses it. A file is one request as long as it is read in order, as text is. A read elsewhere
is another request, with a Range, which not every server takes.
"""

from __future__ import annotations

import http.client
import io
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

__all__ = ["WebFile", "find_web"]

TIMEOUT = 30.0  # seconds without an answer
PARTIAL = 206
REASONS = {401: "access is denied", 403: "access is denied", 407: "the proxy denies access"}
GONE = (404, 410)


@dataclass(frozen=True)
class WebFile:
    """One file of a server.

    Attributes
    ----------
    uri : str
        Its address, with all that follows the path.
    size : int or None
        Bytes; None if the server does not say.
    """

    uri: str
    size: int | None

    def open(self) -> Any:
        """Open the file for reading at any position."""
        return pa.PythonFile(_Stream(self.uri, self.size), "r")


def find_web(uri: str) -> WebFile:
    """Ask the server for a file, but not for its content.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    OSError
        The server cannot be reached or refuses.
    """
    place = uri.partition("?")[0]
    try:
        with _request(uri, 0) as answer:
            size = answer.headers.get("Content-Length")
            return WebFile(uri, int(size) if size is not None else None)
    except urllib.error.HTTPError as error:
        if error.code in GONE:
            raise FileNotFoundError(f"{place}: no such file") from None
        raise OSError(f"{place}: {REASONS.get(error.code, error)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(f"{place}: cannot connect: {getattr(error, 'reason', error)}") from None


def _request(uri: str, start: int) -> Any:
    request = urllib.request.Request(uri)
    if start:
        request.add_header("Range", f"bytes={start}-")
    answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    if start and answer.status != PARTIAL:
        answer.close()
        raise OSError("the server sends whole files only: download the file first")
    return answer


class _Stream(io.RawIOBase):
    """The bytes of a file; a request is open while they are read in order."""

    def __init__(self, uri: str, size: int | None) -> None:
        self._uri, self._size = uri, size
        self._at = 0
        self._answer: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence == io.SEEK_END:
            if self._size is None:
                raise OSError("the server does not say how long the file is: download it first")
            offset += self._size
        if offset != self._at:
            self._end()
            self._at = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """Read what the server sends next, at least one byte; 0 at the end."""
        if self._size is not None and self._at >= self._size:
            return 0
        try:
            if self._answer is None:
                self._answer = _request(self._uri, self._at)
            got: int = self._answer.readinto(buffer)
        except (http.client.HTTPException, OSError) as error:
            raise OSError(f"the download ends: {error or type(error).__name__}") from None
        if not got and self._size is not None:  # urllib takes a lost connection for the end
            raise OSError(f"the download ends after {self._at:,} of {self._size:,} bytes")
        self._at += got
        return got

    def _end(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def close(self) -> None:
        self._end()
        super().close()
