"""Click logs as a stream of Arrow record batches, in constant memory.

`adagrad train` and the other commands read logs through `open_log`, and so can any user of the
estimators. Reading, checking and cutting into batches happen in one thread, ahead of the consumer.
Formats do not belong here: each has a module with a `Reader`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from adagrad._batches import rechunk
from adagrad.ctr.logs.arrow import ColumnReader
from adagrad.ctr.logs.checks import check_rows
from adagrad.ctr.logs.csv import DelimitedReader
from adagrad.ctr.logs.labels import Labels
from adagrad.ctr.logs.libsvm import LibsvmReader
from adagrad.ctr.logs.partitions import (
    PartitionedReader,
    check_same_partitions,
    partition_types,
)
from adagrad.ctr.logs.prefetch import Prefetcher
from adagrad.ctr.logs.reader import EmptyReader
from adagrad.ctr.logs.request import Request
from adagrad.ctr.logs.rows import LogError, ParsedRows
from adagrad.ctr.logs.sources import Source, find
from adagrad.ctr.logs.survey import survey

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from adagrad.ctr.logs.reader import Reader

__all__ = ["Log", "LogError", "Position", "open_log"]

# With smaller batches, the dictionaries of Parquet files would be hashed more often.
ROWS = 65_536


@dataclass(frozen=True)
class Position:
    """The progress of a pass over a log.

    Attributes
    ----------
    path : str
        The file being read.
    rows : int
        Number of rows yielded, plus the rows before the start of the pass. A pass that starts at
        this row resumes here.
    bytes_read : int
        Bytes read from all files, as they lie on disk. The reader is up to three batches ahead.
    """

    path: str
    rows: int
    bytes_read: int


def open_log(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    label: str | None,
    format: str | None = None,
    columns: Sequence[str] | None = None,
    numeric: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    text: Sequence[str] = (),
    keep: Sequence[str] = (),
    schema: pa.Schema | None = None,
    delimiter: str | None = None,
    header: bool | Sequence[str] | None = None,
    rows: int = ROWS,
    skip_bad: bool = False,
) -> Log:
    r"""Open a click log for reading as record batches.

    The columns and their types are decided at once, for all files: those of Parquet and Arrow files
    by their schemas, those of CSV and TSV files by samples of their values. All batches have them.

    Parameters
    ----------
    paths : str, os.PathLike or sequence of them
        Files, globs, directories, URIs and ``"-"``, the standard input, read in the order given. A
        glob or directory gives its files in the order of their names. A directory includes all
        files below it with a known suffix or, if it has none, all files; never names that begin
        with ``.`` or ``_``. URIs are those of pyarrow's file systems, such as ``s3://bucket/log/``
        and ``gs://bucket/day_*.parquet``. Empty files are passed over.
    label : str, optional
        The column with the label, or None to read no label. Labels are 0 and 1, -1 and +1, false
        and true, or 1 and 2, in any type and spelling. The label becomes the first column, float32
        0 or 1. In libsvm files the label has no name and gets this one.
    format : {"csv", "tsv", "parquet", "arrow", "libsvm"}, optional
        Overrides the suffix. Known suffixes are ``.csv``, ``.tsv``, ``.libsvm``, ``.svm`` and
        ``.svmlight``, each plain or followed by ``.gz``, ``.zst``, ``.bz2`` or ``.xz``;
        ``.parquet``; ``.arrow``, ``.arrows``, ``.feather`` and ``.ipc``. The first bytes tell the
        compression, whatever the suffix, and the format of a file with another suffix or none. By
        default the standard input has delimited columns.
    columns : sequence of str, optional
        The features to read, in this order. By default all columns, in the order of the first
        file. Of several columns with one name, each has the name of its position instead: ``c0``
        is the first column of a file. So have columns without a name, unless there is one alone,
        whose name is ``""``. Columns of one name are refused unless `columns` or `ignore` tells
        them apart.
    numeric : sequence of str, optional
        CSV and TSV only: the features that are numbers; all others are strings. By default a
        feature is int64, float64, bool (true and false) or a timestamp (ISO 8601, with a time) if
        every value in the samples is, and otherwise a string. Integers of 16 digits or more that
        do not fit int64 are taken for ids, which makes the feature a string.
    ignore : sequence of str, default ()
        Columns to leave out. They are not parsed, so that broken values in them do no harm.
    text : sequence of str, default ()
        Features to read as text in every format, so that ``007`` is not ``7`` and texts may follow
        digits. The text of an integer in a Parquet or Arrow file is its digits; that of any other
        value, what `HashingEncoder` hashes. Lists stay as they are.
    keep : sequence of str, default ()
        Columns to read after those of `columns` or `schema`, as they are in the file: in CSV and
        TSV files as text.
    schema : pyarrow.Schema, optional
        Read these columns with these types, for example the ``schema`` of another log. Text may be
        dictionary-encoded. A column of type null has the type of the files. Excludes `columns`,
        `ignore`, `numeric` and `text`.
    delimiter : str, optional
        CSV and TSV only: one character. By default a comma in CSV files and a tab in TSV files; on
        the standard input, a tab if the first line contains one, else a comma. With tabs, quotes
        have no meaning; with other delimiters, values may be enclosed in ``"``. A value cannot
        contain a line break.
    header : bool or sequence of str, optional
        CSV and TSV only: whether the first line of every file names the columns; if it does not,
        their names may be given here. By default the first line is a header if it contains the
        label or one of ``columns``. Without a header and names, the columns are ``c0``, ``c1``,
        ... Files with headers may have their columns in different orders.
    rows : int
        Rows per batch, a multiple of 64.
    skip_bad : bool
        Leave broken rows out and count them in :attr:`Log.skipped`, instead of raising.

    Returns
    -------
    Log
        A context manager; iterate over it for the batches.

    Raises
    ------
    FileNotFoundError
        A path, glob or directory has no file.
    LogError
        A file is damaged or lacks a column, or a column has types that mean different things.
    ValueError
        A parameter is out of range or does not fit the format.

    Notes
    -----
    A folder named ``name=value`` directly above a file, or in a row of such folders, or anywhere
    below a given directory, is a column of the file, unless that is libsvm. Its name and value are
    percent-decoded; an empty value and ``__HIVE_DEFAULT_PARTITION__`` are null. It has the type
    that CSV files with these values would give it: int64 if all values in the log are integers,
    else string. Every file must have it, in its path or in its columns, but not in both.

    The first 65,536 rows decide what labels mean: if they contain 1 and 2 and neither 0 nor -1,
    then 2 is the positive label and 1 the negative one. A later label that contradicts this stops
    the reading, even with ``skip_bad``.

    A row is broken if its line is empty, has a different number of columns or an open quote, or is
    not UTF-8; if a column of numbers, bools or timestamps contains something else; if any column
    contains NaN or an infinity; or if the label is not one of those above. Empty fields are nulls,
    not faults, nor are empty lines at the end of a file, comments and ``qid:`` in libsvm files. A
    broken row stops the reading with a :class:`LogError` that gives file, line and
    reason, after the rows before it have been yielded. A compressed file that ends early raises
    after its last intact line, even with ``skip_bad``.

    A column has one type in all files. Integers of several widths are int64, integers and floats
    are float64, dates and naive timestamps are timestamps, each of the finest unit, and a column
    without values takes the type that it has elsewhere. Text beside numbers, bools beside integers,
    other time zones and other scales of decimals are errors that name both files. A value that the
    common type cannot hold, such as an integer above 2**53 in float64, makes its row broken. In
    a column of integers, ``5.0`` and ``5e0`` are 5.

    The samples of CSV and TSV files are the first MiB of the first file and 64 KiB of up to 31
    others, spread evenly over the log. The standard input is sampled only if it comes first.

    String columns that the writers of all Parquet files have dictionary-encoded remain
    dictionaries, as do dictionary columns of Arrow files. In libsvm files an id is in
    ``[0, 2**63)``, ids keep their order, and the columns are ``ids`` (list of int64) and
    ``values`` (list of float32).

    Memory does not grow with the length of the log. It holds about 1 MiB of text, for Parquet one
    column chunk per column, for Arrow one record batch of the file, and four batches.

    Examples
    --------
    >>> from adagrad.ctr.logs import open_log
    >>> with open_log("day_*.tsv.gz", label="click") as log:  # doctest: +SKIP
    ...     for batch in log:
    ...         train(batch)
    ...         print(log.position.rows, log.position.bytes_read / log.total_bytes)
    """
    if rows < 64 or rows % 64:
        raise ValueError(f"rows must be a multiple of 64, at least 64, got {rows}")
    if schema is not None and (columns is not None or numeric is not None or text or ignore):
        raise ValueError(
            "schema excludes columns, ignore, numeric and text: it gives the columns and their"
            " types"
        )
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ValueError(
            f"delimiter must be one character, no quote and no line break, got {delimiter!r}"
        )
    lists = {"columns": columns, "ignore": ignore, "numeric": numeric, "text": text, "keep": keep}
    for name, names in (lists | {"header": header}).items():
        if isinstance(names, str):
            raise TypeError(f"{name} must be a sequence of names, got {names!r}")
    both = sorted(set(text).intersection(numeric or ()))
    if both:
        raise ValueError(f"text and numeric both name {both[0]!r}")
    sources = find(paths, format)
    has_text = {"csv", "tsv", None} >= {source.format for source in sources}
    for name, value in (("numeric", numeric), ("delimiter", delimiter), ("header", header)):
        if value is not None and not has_text:
            raise ValueError(f"{name} is for CSV and TSV files only")
    if columns is not None and label in columns:
        raise ValueError(f"columns must name features, but {label!r} is the label")
    if schema is not None:
        columns = [name for name in schema.names if name != label]
    return Log(
        sources,
        Request(
            label=label,
            columns=None if columns is None else tuple(columns),
            ignore=frozenset(ignore),
            numeric=None if numeric is None else frozenset(numeric),
            text=frozenset(text),
            keep=tuple(name for name in keep if name != label),
            delimiter=delimiter,
            header=header if header is None or isinstance(header, bool) else tuple(header),
            rows=rows,
            types={} if schema is None else dict(zip(schema.names, schema.types, strict=True)),
        ),
        skip_bad=skip_bad,
    )


class Log:
    """A click log in files, read as record batches any number of times; see :func:`open_log`.

    (`adagrad.datasets.Log` is another class: a small data set in memory.)

    A thread reads ahead of the consumer. It ends with the pass: when the batches are exhausted,
    when the iterator is closed or garbage-collected, at :meth:`close` or at the end of the ``with``
    block. There is one pass at a time; a new pass ends the previous one. A log is also an Arrow
    stream (``__arrow_c_stream__``), which pyarrow, polars and duckdb accept directly.

    Attributes
    ----------
    schema : pyarrow.Schema
        Schema of every batch, the label first.
    paths : tuple of str
        The files, in the order in which they are read.
    label : str or None
        Name of the label.
    rows : int
        Rows of every batch except the last one.
    total_bytes : int or None
        Size of all files on disk; None with the standard input.
    """

    def __init__(self, sources: list[Source], request: Request, *, skip_bad: bool) -> None:
        self.sources = sources
        self._skip_bad = skip_bad
        types = {**partition_types(sources), **request.types}
        types = {name: kind for name, kind in types.items() if name != request.label}
        request = replace(request, types=types)
        self._first: Reader | None = _open_reader(sources[0], request)
        try:
            self._request = survey(self._first, sources, request, _open_reader)
            if request.columns is None:
                check_same_partitions(sources, self._request)
        except BaseException:
            self._first.close()
            raise
        self._prefetcher: Prefetcher[tuple[pa.RecordBatch | None, _State]] | None = None
        self._state = _State(Position(sources[0].path, 0, 0), {})
        self._started = False
        assert self._request.schema is not None
        self.schema: pa.Schema = self._request.schema
        self.paths = tuple(source.path for source in sources)
        self.label = request.label
        self.rows = request.rows
        sizes = [source.size for source in sources if source.size is not None]
        self.total_bytes = sum(sizes) if len(sizes) == len(sources) else None

    @property
    def position(self) -> Position:
        """The progress of the current pass, or of the last one."""
        return self._state.position

    @property
    def skipped(self) -> dict[str, int]:
        """Number of broken rows left out in this pass, by kind; complete at the end of the pass.

        The kinds are ``"empty line"``, ``"number of columns"``, ``"open quote"``, ``"carriage
        return"``, ``"not UTF-8"``, ``"not a number"``, ``"not a bool"``, ``"not a timestamp"``,
        ``"another type"``, ``"not finite"``, ``"missing label"``, ``"bad label"`` and, in libsvm
        files, ``"bad entry"``.
        """
        return dict(self._state.skipped)

    def batches(self, start: int = 0) -> Generator[pa.RecordBatch, None, None]:
        """Read the log, beginning with row ``start``.

        Parameters
        ----------
        start : int
            Number of rows to pass over, not counting broken ones: ``position.rows`` of the pass to
            resume. These rows are read and checked, then dropped.

        Yields
        ------
        pyarrow.RecordBatch
            Exactly :attr:`rows` rows, except for the last batch. The cuts between batches do not
            depend on files, compression or format.

        Raises
        ------
        LogError
            A row or file is broken. The rows before it are yielded first.
        ValueError
            ``start`` is negative or beyond the end, or the log contains the standard input, which
            was read before.
        """
        if start < 0:
            raise ValueError(f"start must not be negative, got {start}")
        self._end_pass()
        if self._started and any(source.pipe for source in self.sources):
            raise ValueError("the standard input can be read only once")
        self._started = True
        prefetcher = self._prefetcher = Prefetcher(self._read(start))
        try:
            for batch, state in prefetcher:
                self._state = state
                if batch is not None:
                    yield batch
        finally:
            self._stop(prefetcher)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read the log from its first row."""
        return self.batches()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Read the log from its first row, as an Arrow stream."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """End the current pass and close the files."""
        self._end_pass()
        if self._first is not None:
            self._first.close()
            self._first = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _end_pass(self) -> None:
        if self._prefetcher is not None:
            self._stop(self._prefetcher)

    def _stop(self, prefetcher: Prefetcher[tuple[pa.RecordBatch | None, _State]]) -> None:
        prefetcher.cancel()
        for source in self.sources:
            if source.pipe is not None:
                source.pipe.cancel()
        prefetcher.join()

    def _is_cancelled(self) -> bool:
        return any(source.pipe is not None and source.pipe.cancelled for source in self.sources)

    def _read(self, start: int) -> Generator[tuple[pa.RecordBatch | None, _State], None, None]:
        """Read everything, in the thread of the prefetcher; the last state has no batch."""
        progress = _Progress()
        tables = self._tables(progress)
        rows = start
        for batch in rechunk(tables, self.rows, start):
            rows += batch.num_rows
            yield batch, progress.state(rows)
        if progress.rows < start:
            raise ValueError(f"start is {start}, but the log has {progress.rows} rows")
        yield None, progress.state(rows)

    def _tables(self, progress: _Progress) -> Iterator[pa.Table]:
        skipped = progress.skipped if self._skip_bad else None
        labels = replace(self._request.labels)
        parts = self._parts()
        if self.label is not None and not labels.is_decided:
            parts = _settled(parts, self.label, labels, skip_bad=self._skip_bad)
        for part in parts:
            progress.path, progress.bytes_read = part.path, part.bytes_read
            if part.rows is None:
                continue
            for table in check_rows([part.rows], part.path, self.label, labels, skipped):
                progress.rows += table.num_rows
                yield table
        self._request = replace(self._request, labels=labels)  # for the next passes

    def settled_request(self) -> Request:
        """Return how to read a file of the log by itself: labels mean what they do in the log."""
        labels = replace(self._request.labels)
        if self.label is not None and not labels.is_decided:
            parts = _settled(self._parts(), self.label, labels, skip_bad=self._skip_bad)
            with contextlib.closing(parts):
                next(parts, None)
            self._request = replace(self._request, labels=labels)
        return self._request

    def _parts(self) -> Generator[_Part, None, None]:
        before = 0  # bytes of the files before this one
        for source in self.sources:
            reader, self._first = self._first or _open_reader(source, self._request), None
            try:
                for rows in reader.read(self._request):
                    yield _Part(source.path, before + reader.bytes_read(), rows)
                    if source.pipe is None and self._is_cancelled():
                        return
            finally:
                reader.close()
            if self._is_cancelled():
                return
            before += source.size or reader.bytes_read()
            yield _Part(source.path, before, None)


@dataclass(frozen=True)
class _Part:
    """Some rows of a file, and the bytes read so far of all files; no rows at its end."""

    path: str
    bytes_read: int
    rows: ParsedRows | None


def _settled(
    parts: Iterator[_Part], label: str, labels: Labels, *, skip_bad: bool
) -> Generator[_Part, None, None]:
    """Hold rows back until the meaning of the labels is known, or until a broken row ends all."""
    held: list[_Part] = []
    error = None
    try:
        for part in parts:
            held.append(part)
            if part.rows is not None and (
                labels.watch(part.rows, label, skip_bad=skip_bad)
                or (part.rows.faults and not skip_bad)
            ):
                break
    except LogError as raised:
        error = raised
    if not labels.is_decided:
        labels.decide()
    yield from held
    if error is not None:
        raise error
    yield from parts


def _open_reader(source: Source, request: Request) -> Reader:
    if source.size == 0:
        return EmptyReader(source, request)
    if source.partitions:
        return PartitionedReader(source, request, _open_format)
    return _open_format(source, request)


def _open_format(source: Source, request: Request) -> Reader:
    if source.format in ("parquet", "arrow"):
        return ColumnReader(source, request)
    if source.format == "libsvm":
        return LibsvmReader(source, request)
    return DelimitedReader(source, request)


@dataclass(frozen=True)
class _State:
    """What a log says about its pass, as of one batch."""

    position: Position
    skipped: dict[str, int]


@dataclass
class _Progress:
    """The counts of the reading thread."""

    path: str = ""
    rows: int = 0
    bytes_read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def state(self, rows: int) -> _State:
        return _State(Position(self.path, rows, self.bytes_read), dict(self.skipped))
