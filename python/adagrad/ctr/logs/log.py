"""Click logs as a stream of Arrow record batches, in constant memory.

Called by ``adagrad train``, by the estimators' users and by whoever has a log. A file passes
through its reader (``_csv``, ``_arrow``, ``_libsvm``), the checks of rows and the cutting into
batches (``_rows``), all in one thread that works ahead of the consumer.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from adagrad._batches import rechunk
from adagrad.ctr.logs.arrow import ColumnReader
from adagrad.ctr.logs.checks import LogError, Request, checked
from adagrad.ctr.logs.csv import DelimitedReader
from adagrad.ctr.logs.libsvm import LibsvmReader
from adagrad.ctr.logs.sources import Source, find

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Log", "LogError", "Position", "open_log"]

# With fewer, each dictionary of a Parquet file would be hashed more often.
ROWS = 65_536
# Batches that lie ready: one to take and one in case the next takes longer.
AHEAD = 2


@dataclass(frozen=True)
class Position:
    """How far a pass over a log has come.

    Attributes
    ----------
    path : str
        The file being read.
    rows : int
        Rows given out, those before the start included: where to resume.
    bytes_read : int
        Bytes read of all files, as they lie on disk. The reader is up to three batches ahead.
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
    schema: pa.Schema | None = None,
    delimiter: str | None = None,
    header: bool | Sequence[str] | None = None,
    rows: int = ROWS,
    skip_bad: bool = False,
) -> Log:
    r"""Open a click log for reading as record batches.

    The first file is opened at once, and its first block decides the columns and their types;
    what comes later never does. All batches of all files have this one schema.

    Parameters
    ----------
    paths : str, os.PathLike or sequence of them
        Files, globs, directories (all files below them whose suffix is known; names that begin
        with ``.`` or ``_`` are left out) and ``"-"``, the standard input. They are read in the
        order given; the files of a glob or a directory in the order of their names.
    label : str, optional
        The column with the label: 0 and 1, -1 and +1, or false and true, in any type and spelling.
        It comes first and is float32 0 or 1. In libsvm files it has no name: this is the one it
        gets. None: no label is read.
    format : {"csv", "tsv", "parquet", "arrow", "libsvm"}, optional
        Instead of the suffix: ``.csv``, ``.tsv`` and ``.libsvm``, ``.svm``, ``.svmlight``, all of
        them plain or with ``.gz``, ``.zst`` or ``.bz2``; ``.parquet``; ``.arrow``, ``.arrows``,
        ``.feather``, ``.ipc``. The standard input without a format has separated columns.
    columns : sequence of str, optional
        The features to read, in this order. Default: all columns, as they come in the first file.
    numeric : sequence of str, optional
        CSV and TSV: the features that are numbers; all others are strings. Default: a feature is
        int64, float64, bool (true and false) or a timestamp (ISO 8601, with a time) if every value
        in the first MiB is, and else a string. Numbers of 16 digits and more that do not fit int64
        are ids and make it a string.
    schema : pyarrow.Schema, optional
        Read these columns with these types: the ``schema`` of another log, as for validation.
        Instead of ``columns`` and ``numeric``.
    delimiter : str, optional
        CSV and TSV: one character. Default: a comma, a tab in TSV, and on the standard input a tab
        if the first line has one. With a tab, quotes mean nothing; else values may be in ``"``.
        A value cannot contain the end of a line.
    header : bool or sequence of str, optional
        CSV and TSV: whether the first line of every file names the columns, or their names if it
        does not. Default: it does if it has ``label`` or one of ``columns``. Columns without names
        are ``c0``, ``c1``, ... Files with headers may order columns differently.
    rows : int
        Rows of a batch, a multiple of 64.
    skip_bad : bool
        Leave broken rows out and count them in :attr:`Log.skipped` instead of raising.

    Returns
    -------
    Log
        Iterate over it for the batches. A context manager.

    Raises
    ------
    FileNotFoundError
        A path, glob or directory with nothing there.
    LogError
        The first file is empty or damaged, or lacks a column.
    ValueError
        A parameter is out of its range or does not fit the format.

    Notes
    -----
    A row is broken, and stops the reading with a :class:`LogError` that names file, line and
    reason, if the line is empty, has another number of columns or a quote that stays open, is not
    UTF-8, has something else in a column of numbers, bools or timestamps, NaN or an infinity in any
    column, or no label as above. Empty fields are nulls. The rows before the broken one are given
    out first. A compressed file that ends early raises with ``skip_bad`` too, after the lines
    before the damage.

    String columns that a Parquet writer has dictionary-encoded, and dictionary columns of Arrow
    files, stay dictionaries. In libsvm files an id is in [0, 2**63), ids keep their order, and the
    columns are ``ids`` (list of int64) and ``values`` (list of float32).

    Memory does not depend on the length of the log: about 1 MiB of text (for Parquet, what a
    column chunk takes) and four batches.

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
    if schema is not None and (columns is not None or numeric is not None):
        raise ValueError("schema already says what columns and numeric would")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ValueError(f"delimiter must be one character, not a quote, got {delimiter!r}")
    for name, names in (("columns", columns), ("numeric", numeric), ("header", header)):
        if isinstance(names, str):
            raise TypeError(f"{name} must be a sequence of names, got {names!r}")
    sources = find(paths, format)
    text = {"csv", "tsv", None} >= {source.format for source in sources}
    for name, value in (("numeric", numeric), ("delimiter", delimiter), ("header", header)):
        if value is not None and not text:
            raise ValueError(f"{name} is for CSV and TSV files only")
    if columns is not None and label in columns:
        raise ValueError(f"columns are the features, but {label!r} is the label")
    return Log(
        sources,
        Request(
            label=label,
            columns=None if columns is None else tuple(columns),
            numeric=None if numeric is None else frozenset(numeric),
            schema=schema,
            delimiter=delimiter,
            header=header if header is None or isinstance(header, bool) else tuple(header),
            rows=rows,
        ),
        skip_bad=skip_bad,
    )


class Log:
    """A click log that can be read as record batches, again and again; see :func:`open_log`.

    Reading runs ahead in a thread of its own, which ends with the pass: when the batches are
    exhausted, when the iterator is closed or forgotten, at :meth:`close`, or with the ``with``
    block. One pass at a time: a new one ends the one before. It is also an Arrow stream
    (``__arrow_c_stream__``), which pyarrow, polars and duckdb take as it is.

    Attributes
    ----------
    schema : pyarrow.Schema
        Of every batch; the label first.
    paths : tuple of str
        The files, in the order in which they are read.
    label : str or None
        The name of the label.
    rows : int
        Rows of every batch but the last one.
    total_bytes : int or None
        Of all files as they lie on disk; None with the standard input.
    """

    def __init__(self, sources: list[Source], request: Request, *, skip_bad: bool) -> None:
        self.sources = sources
        self._skip_bad = skip_bad
        self._first: Reader | None = _reader(sources[0], request)
        self._request = self._first.request
        self._ahead: Ahead | None = None
        self._state = _State(Position(sources[0].path, 0, 0), {})
        self._started = False
        self.schema: pa.Schema = self._first.schema
        self.paths = tuple(source.path for source in sources)
        self.label = request.label
        self.rows = request.rows
        sizes = [source.size for source in sources if source.size is not None]
        self.total_bytes = sum(sizes) if len(sizes) == len(sources) else None

    @property
    def position(self) -> Position:
        """How far the pass has come that is under way, or was last."""
        return self._state.position

    @property
    def skipped(self) -> dict[str, int]:
        """Broken rows left out in this pass, by kind; complete when the pass is.

        The kinds are ``"empty line"``, ``"number of columns"``, ``"open quote"``, ``"carriage
        return"``, ``"not UTF-8"``, ``"not a number"``, ``"not a bool"``, ``"not a timestamp"``,
        ``"not finite"``, ``"missing label"``, ``"bad label"`` and, in libsvm files, ``"bad
        entry"``.
        """
        return dict(self._state.skipped)

    def batches(self, start: int = 0) -> Generator[pa.RecordBatch, None, None]:
        """Read the log, from its row ``start`` on.

        Parameters
        ----------
        start : int
            Rows to pass over, broken ones not counted: ``position.rows`` of a pass to resume.
            They are read and dropped, so that broken ones among them are found as before.

        Yields
        ------
        pyarrow.RecordBatch
            Exactly :attr:`rows` rows, the last one what is left; its borders do not depend on
            files, compression or format.

        Raises
        ------
        LogError
            A broken row or file, after the rows before it.
        ValueError
            ``start`` is negative or beyond the end, or the standard input was read before.
        """
        if start < 0:
            raise ValueError(f"start must not be negative, got {start}")
        self._end_pass()
        if self._started and any(source.pipe for source in self.sources):
            raise ValueError("the standard input can be read only once")
        self._started = True
        ahead = self._ahead = Ahead(self._read(start))
        try:
            for batch, state in ahead:
                self._state = state
                if batch is not None:
                    yield batch
        finally:
            self._stop(ahead)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read the log from its first row."""
        return self.batches()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Read the log from its first row, as an Arrow stream."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """End the pass under way and close the files."""
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
        if self._ahead is not None:
            self._stop(self._ahead)

    def _stop(self, ahead: Ahead) -> None:
        ahead.call_off()
        for source in self.sources:
            if source.pipe is not None:
                source.pipe.call_off()
        ahead.join()

    def _is_called_off(self) -> bool:
        return any(source.pipe is not None and source.pipe.called_off for source in self.sources)

    def _read(self, start: int) -> Generator[tuple[pa.RecordBatch | None, _State], None, None]:
        """Read everything, in the thread that works ahead."""
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
        for source in self.sources:
            progress.path = source.path
            reader, self._first = self._first or _reader(source, self._request), None
            try:
                skipped = progress.skipped if self._skip_bad else None
                for table in checked(reader.pieces(), source.path, self.label, skipped):
                    progress.rows += table.num_rows
                    progress.in_file = reader.bytes_read()
                    yield table
                    if source.pipe is None and self._is_called_off():
                        return
            finally:
                reader.close()
            if self._is_called_off():
                return
            progress.before += source.size or progress.in_file
            progress.in_file = 0


Reader = ColumnReader | DelimitedReader | LibsvmReader


def _reader(source: Source, request: Request) -> Reader:
    if source.format in ("parquet", "arrow"):
        return ColumnReader(source, request)
    if source.format == "libsvm":
        return LibsvmReader(source, request)
    return DelimitedReader(source, request)


@dataclass(frozen=True)
class _State:
    """What is told of a pass, as of one batch."""

    position: Position
    skipped: dict[str, int]


@dataclass
class _Progress:
    """What the reading thread keeps count of."""

    path: str = ""
    rows: int = 0
    before: int = 0
    in_file: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def state(self, rows: int) -> _State:
        return _State(Position(self.path, rows, self.before + self.in_file), dict(self.skipped))


class Ahead:
    """Run a generator in a thread, a few items ahead of who takes them."""

    def __init__(self, items: Generator[Any, None, None]) -> None:
        self._made: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._free = threading.Semaphore(AHEAD)
        self._called_off = False
        self._thread = threading.Thread(
            target=self._run, args=(items,), name="adagrad-log", daemon=True
        )
        self._thread.start()

    def _run(self, items: Generator[Any, None, None]) -> None:
        end: BaseException = StopIteration()
        try:
            for item in items:
                self._free.acquire()
                if self._called_off:
                    break
                self._made.put((item, None))
        except BaseException as error:
            end = error  # raised where the items are taken
        finally:
            items.close()
            self._made.put((None, end))

    def __iter__(self) -> Iterator[Any]:
        while True:
            item, end = self._made.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            self._free.release()
            yield item

    def call_off(self) -> None:
        """Make no further item."""
        self._called_off = True
        self._free.release()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()
