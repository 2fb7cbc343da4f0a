"""Which columns of a log the caller wants, and how its files are to be read.

`open_log` makes a request, and every reader resolves it against the columns of its file. Nothing
here reads a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adagrad._text import listed
from adagrad.ctr.logs.labels import Labels
from adagrad.ctr.logs.mistakes import missing_columns
from adagrad.ctr.logs.rows import LogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """The parameters of :func:`adagrad.ctr.logs.open_log` that readers need.

    ``schema`` may be None for the first file of a log only. The first reader replaces it by the
    columns that it found, which all other files must have. ``in_path`` are the columns of a file
    that are in its path, of the ``partition_types`` of the log.
    """

    label: str | None
    columns: tuple[str, ...] | None
    numeric: frozenset[str] | None
    schema: pa.Schema | None
    delimiter: str | None
    header: bool | tuple[str, ...] | None
    rows: int
    partition_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    in_path: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels)

    def features(self) -> tuple[str, ...] | None:
        """Return the names of the requested features; None if all columns are requested."""
        if self.schema is not None:
            return tuple(name for name in self.schema.names if name != self.label)
        return self.columns

    def select(self, path: str, names: list[str], first_line: Sequence[str] = ()) -> list[str]:
        """Return the columns of a file to read, the label first.

        Parameters
        ----------
        path : str
            Path of the file, for error messages.
        names : list of str
            All columns of the file.
        first_line : sequence of str, optional
            The fields of the first line, if the file seems to have no header.

        Raises
        ------
        LogError
            A requested column is missing, or several columns have its name.
        """
        wanted = self.features()
        if wanted is None:
            wanted = tuple(name for name in names if name != self.label)
        wanted = wanted if self.label is None else (self.label, *wanted)
        for name in self.in_path:
            if name in names:
                reason = f"column {name!r} is in the file and in its path: leave one of them out"
                raise LogError(path, 1, reason)
        wanted = tuple(name for name in wanted if name not in self.in_path)
        counts = Counter(names)
        if missing := [name for name in wanted if name not in counts]:
            raise LogError(path, 1, missing_columns(missing, names, first_line))
        for name in wanted:
            if counts[name] > 1:
                reason = f"{counts[name]} columns {name!r}; the columns are {listed(names, 50)}"
                raise LogError(path, 1, reason)
        return list(wanted)
