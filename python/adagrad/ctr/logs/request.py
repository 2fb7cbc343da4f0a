"""Which columns of a log the caller wants, and how its files are to be read.

`open_log` makes a request, `survey` decides its schema, and every reader resolves it against the
columns of its file. Nothing here reads a file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from adagrad._text import typed
from adagrad.ctr.logs.labels import Labels
from adagrad.ctr.logs.mistakes import missing_columns
from adagrad.ctr.logs.rows import LogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Request", "distinct_names"]


@dataclass(frozen=True)
class Request:
    """The parameters of :func:`adagrad.ctr.logs.open_log` that readers need.

    ``types`` are the types that the caller gives, by the name of the column. ``schema`` is None
    until the files are surveyed; from then on, it has the columns of every batch. ``header`` is
    replaced by what the first text file has. ``is_first`` is true for the first file alone.
    ``takes_all`` is whether no caller chose the columns.
    ``multi`` are the separators of the columns of text to split.
    ``in_path`` are the columns of a file that are in its path. ``unread`` are the columns that only
    later files have, each with the first file that has it; no caller asked for them by name.
    ``floats`` are columns of integers to read as float64, as floats may follow.
    ``weight`` and ``negative_rate`` are columns, and None without a label.
    """

    label: str | None
    columns: tuple[str, ...] | None
    ignore: frozenset[str]
    numeric: frozenset[str] | None
    text: frozenset[str]
    floats: frozenset[str]
    keep: tuple[str, ...]
    delimiter: str | None
    header: bool | tuple[str, ...] | None
    rows: int
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    schema: pa.Schema | None = None
    is_first: bool = True
    takes_all: bool = False
    in_path: tuple[str, ...] = ()
    multi: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    weight: str | None = None
    negative_rate: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are not features, which come first in every batch.

        The label, the weight and the rate at which negatives were kept, as far as they are wanted.
        Readers leave them as they are: `checks` parses them.
        """
        named = (self.label, self.weight, self.negative_rate)
        return tuple(name for name in named if name is not None)

    def features(self) -> tuple[str, ...] | None:
        """Return the names of the requested features; None if all columns are requested."""
        targets = self.targets
        if self.schema is not None:
            return tuple(name for name in self.schema.names if name not in targets)
        if self.columns is None:
            return None
        known = set(self.columns)
        return (*self.columns, *(name for name in self.keep if name not in known))

    def way_out(self, name: str) -> str:
        """Return what to do about a value that does not fit the type of its column."""
        if name in self.text:
            return ""
        if name in self.types:  # a model, or another caller, has decided
            return "; --skip-bad leaves such rows out"
        way_out = f"; --text {typed([name])} reads the column as text"
        if self.schema is not None and pa.types.is_integer(self.schema.field(name).type):
            way_out += f", and --numbers {typed([name])} as floats"
        return way_out

    def select(self, path: str, found: list[str], first_line: Sequence[str] = ()) -> list[str]:
        """Return the columns of a file to read, by their distinct names, the targets first.

        Parameters
        ----------
        path : str
            Path of the file, for error messages.
        found : list of str
            The names of all columns of the file.
        first_line : sequence of str, optional
            The fields of the first line, if the file seems to have no header.

        Raises
        ------
        LogError
            A requested column is missing, or several columns have its name.
        """
        names = distinct_names(found)
        counts = Counter(found)
        known = set(names)

        def check(wanted: Iterable[str]) -> None:
            missing = [name for name in wanted if name not in known]
            for name in missing:
                if counts[name] > 1:
                    raise LogError(path, 1, _several(name, found, names))
            if missing:
                raise LogError(path, 1, missing_columns(missing, names, first_line))

        targets, wanted = self.targets, self.features()
        if self.schema is None:
            check(sorted(self.ignore.difference(counts, self.in_path)))
        if wanted is None:
            left = [
                (name, original)
                for name, original in zip(names, found, strict=True)
                if name not in targets and not self.ignore.intersection((name, original))
            ]
            for original, count in Counter(original for _, original in left).items():
                if count > 1 and original:
                    raise LogError(path, 1, _several(original, found, names))
            wanted = tuple(name for name, _ in left)
        elif self.schema is None:
            wanted = tuple(name for name in wanted if name not in self.ignore)
        wanted = (*targets, *wanted)
        for name in self.in_path:
            if name in counts and name in wanted:
                reason = f"column {name!r} is in the file and in its path: leave one of them out"
                raise LogError(path, 1, reason)
        wanted = tuple(name for name in wanted if name not in self.in_path)
        check(wanted)
        if self.schema is None:
            check(sorted(self.text.union(self.numeric or ()).difference(self.in_path)))
        return list(wanted)


def distinct_names(found: Sequence[str]) -> list[str]:
    """Return a name for each column of a file that no other column has.

    A name that occurs once stays, even if it is empty. All other columns are named by their
    position: ``c0`` is the first column.
    """
    counts = Counter(found)
    names = []
    for position, name in enumerate(found):
        if counts[name] > 1:
            name = f"c{position}"
            while name in counts:
                name += "_"
        names.append(name)
    return names


def _several(name: str, found: Sequence[str], names: Sequence[str]) -> str:
    """Return the reason why a name that several columns have cannot be used."""
    by_name = defaultdict(list)
    for original, distinct in zip(found, names, strict=True):
        by_name[original].append(distinct)
    mine = " and ".join(by_name[name][:5])
    return (
        f"{len(by_name[name])} columns {name!r}: their names by position are {mine}; "
        "choose or ignore them by these"
    )
