"""The interface of a format.

To add a format, write a module with a `Reader`, choose it in `log.py` and name it in `sources.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.rows import ParsedRows

__all__ = ["Reader"]


class Reader(Protocol):
    """One file of a log. A format is a class with this interface.

    Its constructor takes a `Source` and a `Request`, opens the file and decides the columns.

    Attributes
    ----------
    schema : pyarrow.Schema
        The columns that are read: the label first, as float32, then the features.
    request : Request
        How to read the other files of the log, so that they have the same schema.
    """

    schema: pa.Schema
    request: Request

    def read(self) -> Iterator[ParsedRows]:
        """Read the file to its end, once."""

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""

    def close(self) -> None:
        """Close the file."""
