"""The schema of a log: one type for each column, which holds in all files.

Before the first row is read, the types of all Parquet and Arrow files are compared. CSV and TSV
files have no types, so those of their columns are inferred from samples: the first MiB of the first
file and 64 KiB of up to 31 others, spread evenly over the log.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from adagrad._text import typed
from adagrad.ctr.logs.formats import open_reader
from adagrad.ctr.logs.mistakes import missing_columns
from adagrad.ctr.logs.multi import LISTS, with_separators
from adagrad.ctr.logs.reader import LATER_SAMPLE, SAMPLE
from adagrad.ctr.logs.rows import LogError
from adagrad.ctr.logs.types import as_text, is_number, is_text, plain, unify
from adagrad.ctr.logs.values import inferred_types, read_as

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from adagrad.ctr.logs.reader import Reader
    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["survey"]

WITH_TYPES = ("parquet", "arrow")
OF_MAPS = ("vw", "libffm")  # a line lacks the columns for which it has no entry
SAMPLED_FILES = 32


def survey(first: Reader, sources: Sequence[Source], request: Request) -> Request:
    """Return the request with the schema that all files are read with.

    Parameters
    ----------
    first : Reader
        The reader of the first file, which stays open.
    sources : sequence of Source
        All files. Besides the first one, one is open at a time.
    request : Request
        What the caller wants.

    Raises
    ------
    LogError
        A file lacks a column or is damaged, or two files have types that mean different things.
    """
    if request.schema is not None:  # decided before, for more files than these
        return request
    takes_all = request.columns is None
    request = replace(request, is_first=False, takes_all=takes_all)
    unread: dict[str, str] = {}
    columns: list[_Column] | None = None
    known: tuple[str, ...] = ()
    samples: list[pa.Table] = []
    text_file: str | None = None
    last: Mapping[str, pa.DataType] = {}
    for source in _surveyed(sources):
        every = replace(request, columns=None) if takes_all else request
        reader = first if source is sources[0] else open_reader(source, every)
        try:
            if reader.names is None:  # the file is empty
                continue
            if columns is None:
                known = tuple(reader.names)
                request = replace(request, header=reader.header, columns=known)
                columns = [_Column(name, request) for name in reader.names]
            elif takes_all and source.format in OF_MAPS:
                columns += [_Column(name, request) for name in reader.names if name not in known]
                known = tuple(dict.fromkeys((*known, *reader.names)))
            elif takes_all:
                if source.format != "jsonl":  # its rows need not have all keys
                    _check_columns(source.path, known, reader.names, request.targets)
                for name in set(reader.names).difference(known):
                    unread.setdefault(name, source.path)
            if reader.types is None:
                text_file = text_file or source.path
                sampled = [column.name for column in columns if column.is_sampled]
                if sampled:
                    samples += reader.sample(sampled, SAMPLE if reader is first else LATER_SAMPLE)
            elif reader.types != last:
                last = reader.types or {}
                for column in columns:
                    kind = last.get(column.name, pa.null())
                    if source.format == "jsonl" and column.is_parsed_from(kind):
                        continue
                    column.add(source.path, kind)
        finally:
            if reader is not first:
                reader.close()
    if columns is None:
        if not request.types:
            raise LogError(sources[0].path, 1, "the file is empty")
        columns = [_Column(name, request) for name in request.features() or ()]
    if text_file is not None:
        inferred = inferred_types(samples)
        for column in columns:
            column.add_text(text_file, inferred.get(column.name, pa.null()))
    if any(source.format == "jsonl" for source in sources):
        for column in columns:
            column.settle()
    fields = [(name, pa.float32()) for name in request.targets]
    fields += [(column.name, column.final()) for column in columns]
    schema = with_separators(pa.schema(fields), request.multi)
    return replace(request, schema=schema, unread=dict(sorted(unread.items())))


def _check_columns(
    path: str, known: Sequence[str], names: Sequence[str], targets: Sequence[str]
) -> None:
    """Raise if a file lacks columns of the first one."""
    there = set(names)
    missing = [name for name in known if name not in there]
    if missing:
        raise LogError(path, 1, missing_columns(missing, [*targets, *names]))


def _surveyed(sources: Sequence[Source]) -> Iterator[Source]:
    """Choose the files to look at: all that have types, and some of the others."""
    texts = [source for source in sources if source.format not in WITH_TYPES]
    chosen = {source.path for source in texts[:: -(-len(texts) // SAMPLED_FILES) or 1]}
    for source in sources:
        is_chosen = source.format in WITH_TYPES or source.path in chosen
        if source is sources[0] or (is_chosen and source.pipe is None):
            yield source


class _Column:
    """What the files say about a column, and the type that follows from it.

    Attributes
    ----------
    name : str
        Name of the column.
    kind : pyarrow.DataType
        The type that all files so far agree on.
    is_sampled : bool
        Whether its type in text files is inferred.
    """

    def __init__(self, name: str, request: Request) -> None:
        given = request.types.get(name, pa.null())  # null: a model of a column without values
        self._is_split = name in request.multi
        if self._is_split:
            given = LISTS
        is_number = request.numeric is not None and name in request.numeric
        self.name = name
        self._given = given
        self._wants_text = name in request.text or is_text(given)
        self._is_fixed = not (pa.types.is_null(given) or self._wants_text)
        self.kind = given if self._is_fixed else pa.null()
        self._path = ""  # the first file that has the column
        self._must_be_number = is_number
        self._must_be_float = name in request.floats
        self._is_written = (
            self._wants_text
            or name in request.types
            or name in request.keep
            or (request.numeric is not None and not is_number)
        )
        self.is_sampled = not (self._is_fixed or self._is_written)

    def add(self, path: str, kind: pa.DataType) -> None:
        """Take in the type of the column in a Parquet or Arrow file."""
        if self._wants_text:
            kind = as_text(kind) or kind
        unified = unify(self.kind, plain(kind) if self._is_fixed else kind)
        if unified is None or (is_text(self._given) and not is_text(kind)):
            raise self._mismatch(path, kind)
        if not self._is_fixed:
            self.kind = unified
            self._path = self._path or path

    def is_parsed_from(self, kind: pa.DataType) -> bool:
        """Return whether values of JSON of this type are parsed, as JSON has no moments."""
        types = pa.types
        is_written = types.is_temporal(self.kind) or types.is_decimal(self.kind)
        return bool(is_written and types.is_string(kind))

    def add_text(self, path: str, kind: pa.DataType) -> None:
        """Take in what the samples of text files have; `path` is the first of these files."""
        if pa.types.is_nested(self.kind) and self._is_fixed and not self._is_split:
            raise LogError(
                path,
                1,
                f"column {self.name!r} has lists, which CSV and TSV cannot hold: train with"
                f" --multi {typed([self.name + '=|'])}, if | is what separates its values",
            )
        if self._is_fixed:
            return
        if self._is_written:
            kind = pa.string()
        elif self._must_be_number and not is_number(kind):
            kind = pa.float64()
        if pa.types.is_null(self.kind):
            self.kind = read_as(kind)
            return
        unified = _unify_with_sample(self.kind, kind)
        if unified is None:
            raise self._mismatch(path, kind)
        self.kind = unified

    def settle(self) -> None:
        """Take a column whose samples have no value for text, as in CSV."""
        if pa.types.is_null(self.kind):
            self.kind = pa.string()
        elif pa.types.is_list(self.kind) and pa.types.is_null(self.kind.value_type):
            self.kind = pa.list_(pa.string())

    def final(self) -> pa.DataType:
        """Return the type of the column in the batches of the log."""
        if is_text(self._given) and not pa.types.is_dictionary(self.kind):
            return plain(self._given)
        if self._must_be_float and pa.types.is_integer(self.kind):
            return pa.float64()
        return self.kind

    def _mismatch(self, path: str, kind: pa.DataType) -> LogError:
        reason = f"column {self.name!r} is {_name(kind)}, but "
        if not self._path:
            reason += f"must be {_name(self._given)}"
            if as_text(kind) and as_text(self._given):
                reason += f"; to read it as text, train with --text {typed([self.name])}"
            return LogError(path, 1, reason)
        reason += f"{_name(self.kind)} in {self._path}"
        if as_text(kind) and as_text(self.kind) and not self._wants_text:
            reason += f"; to read it as text, use --text {typed([self.name])}"
        return LogError(path, 1, reason)


def _name(kind: pa.DataType) -> str:
    return "text" if is_text(kind) else str(kind)


def _unify_with_sample(stored: pa.DataType, sample: pa.DataType) -> pa.DataType | None:
    """Return the type that text files are read with beside a file that stores a type."""
    if is_text(stored):
        return plain(stored)  # the text as it is written
    kinds = pa.types
    if kinds.is_boolean(stored) and (kinds.is_integer(sample) or kinds.is_null(sample)):
        return stored  # 0 and 1
    if kinds.is_decimal(stored) and (is_number(sample) or kinds.is_null(sample)):
        return stored
    if kinds.is_nested(stored) or kinds.is_dictionary(stored):
        return None
    return unify(stored, read_as(sample) if kinds.is_timestamp(sample) else sample)
