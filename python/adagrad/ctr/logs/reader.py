"""The interface of a format.

To add a format, write a module with a `Reader`, choose it in `formats.py`, and name it in
`sources.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.rows import ParsedRows
    from adagrad.ctr.logs.sources import Source

__all__ = ["LATER_SAMPLE", "SAMPLE", "EmptyReader", "Reader"]

SAMPLE, LATER_SAMPLE = 1 << 20, 1 << 16
"""Bytes of the first file, and of each later one, that decide the types of its columns."""


class Reader(Protocol):
    """One file of a log. A format is a class with this interface.

    Its constructor takes a `Source` and a `Request`, opens the file and finds the columns.
    """

    header: bool | tuple[str, ...] | None
    """The ``header`` with which the other files of the log are read."""

    @property
    def names(self) -> Sequence[str] | None:
        """The features, by their distinct names; None if the file is empty."""

    @property
    def types(self) -> Mapping[str, pa.DataType] | None:
        """Their types; None if the format has no types."""

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return the texts of columns in the first `size` bytes of a file without types."""

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Read the file to its end, once, with the columns of ``request.schema``."""

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, as it lies on disk."""

    def close(self) -> None:
        """Close the file."""


class EmptyReader:
    """The `Reader` of a file without bytes, in any format."""

    def __init__(self, source: Source, request: Request) -> None:
        self.names: list[str] | None = None
        self.types: dict[str, pa.DataType] | None = None
        self.header = request.header

    def sample(self, names: Sequence[str], size: int) -> list[pa.Table]:
        """Return nothing."""
        return []

    def read(self, request: Request) -> Iterator[ParsedRows]:
        """Return no rows."""
        return iter(())

    def bytes_read(self) -> int:
        """Return 0."""
        return 0

    def close(self) -> None:
        """Do nothing."""
