"""Click logs as a stream of Arrow record batches, in constant memory.

`adagrad train` and the other commands read logs through `open_log`, and so can any user of the
estimators. Reading, checking and cutting into batches happen in one thread, ahead of the consumer.
Formats do not belong here: each has a module with a `Reader`.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from adagrad._batches import rechunk
from adagrad.ctr.logs.arrow import parquet_rows
from adagrad.ctr.logs.checks import check_rows
from adagrad.ctr.logs.formats import open_reader
from adagrad.ctr.logs.labels import settled
from adagrad.ctr.logs.partitions import check_same_partitions, partition_types
from adagrad.ctr.logs.prefetch import Prefetcher
from adagrad.ctr.logs.rows import LogError, Part
from adagrad.ctr.logs.survey import survey
from adagrad.ctr.logs.types import plain, unify

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from adagrad.ctr.logs.reader import Reader
    from adagrad.ctr.logs.request import Request
    from adagrad.ctr.logs.sources import Source

__all__ = ["Log", "LogError", "Position"]


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
        Schema of every batch: the label, the weight and the rate come first.
    paths : tuple of str
        The files, in the order in which they are read.
    label : str or None
        Name of the label.
    weight : str or None
        Name of the column of weights, float32 in every batch, after the label.
    negative_rate : str or None
        Name of the column with the rate at which negatives were kept, float32 after the weight.
    rows : int
        Rows of every batch except the last one; at most so many in a live log.
    total_bytes : int or None
        Size of all files on disk; None with the standard input.
    unread : dict of str to str
        Columns that the first file lacks, although all columns were to be read, each with the first
        later file that has it. No batch contains them. Of many CSV and TSV files, 32 are looked at.
    """

    def __init__(self, sources: list[Source], request: Request, *, skip_bad: bool) -> None:
        self.sources = sources
        self._skip_bad = skip_bad
        types = {**partition_types(sources), **request.types}
        types = {name: kind for name, kind in types.items() if name not in request.targets}
        request = replace(request, types=types)
        self._first: Reader | None = open_reader(sources[0], request)
        try:
            self._request = survey(self._first, sources, request)
            if request.columns is None:
                check_same_partitions(sources, self._request)
        except BaseException:
            self._first.close()
            raise
        self._prefetcher: Prefetcher[tuple[pa.RecordBatch | None, _State]] | None = None
        self._is_live = any(source.pipe and source.pipe.is_live for source in sources)
        self._state = _State(Position(sources[0].path, 0, 0), {})
        self._head: _Head | None = None
        self._started = False
        self._begin, self._end = 0, sys.maxsize  # rows that a pass reads
        assert self._request.schema is not None
        self.schema: pa.Schema = self._request.schema
        self.paths = tuple(source.path for source in sources)
        self.unread = dict(self._request.unread)
        self.label = request.label
        self.weight, self.negative_rate = request.weight, request.negative_rate
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

        The kinds are ``"empty line"``, ``"unreadable line"``, ``"number of columns"``, ``"open
        quote"``, ``"carriage return"``, ``"not UTF-8"``, ``"not a number"``, ``"not a bool"``,
        ``"not a timestamp"``, ``"another type"``, ``"not finite"``, ``"missing label"``, ``"bad
        label"``, ``"missing weight"``, ``"bad weight"``, ``"missing rate"`` and ``"bad rate"``; in
        libsvm, libffm and VW files ``"bad entry"``; in JSON lines ``"not JSON"`` and ``"new key"``.
        """
        return dict(self._state.skipped)

    def keep_types(self, features: pa.Schema) -> None:
        """Read the features with the types that they had in an earlier pass over the log.

        Parameters
        ----------
        features : pyarrow.Schema
            Columns without dictionaries. Those that the log has with a type that means the same
            change; all others stay.
        """
        self._drop_head()
        fields = []
        for column in self.schema:
            at = features.get_field_index(column.name)
            before = column.type if at < 0 else features.field(at).type
            is_other = before != plain(column.type) and unify(before, column.type) is not None
            fields.append(column.with_type(before) if is_other else column)
        self.schema = pa.schema(fields)
        self._request = replace(self._request, schema=self.schema)

    def known_rows(self) -> int | None:
        """Return the number of rows if the files say it; None if they have to be read."""
        leaves_out = self._skip_bad or self.weight is not None
        if leaves_out or any(source.format != "parquet" for source in self.sources):
            return None
        return sum(parquet_rows(source) for source in self.sources)

    def limit(self, begin: int, end: int | None = None) -> None:
        """Let passes have only the rows from `begin` up to, but not including, `end`.

        Parameters
        ----------
        begin : int
            At least 0. The rows before it are read and checked, then dropped; from now on, rows are
            counted from here.
        end : int, optional
            None is the end of the log. What follows is not read.
        """
        self._drop_head()
        self._begin, self._end = begin, sys.maxsize if end is None else end

    def head(self, rows: int) -> pa.Table:
        """Return the first rows of the log, or all if there are fewer.

        A pass that begins at the first row continues from them, so that they are read once, also
        from the standard input.

        Parameters
        ----------
        rows : int
            At least 1.

        Notes
        -----
        A broken row ends the table. The next pass raises the error, after the rows before it.
        """
        if self._head is None:
            batches = self.batches()
            held, count, error = [], 0, None
            try:
                while count < rows and (batch := next(batches, None)) is not None:
                    held.append((batch, self._state))
                    count += batch.num_rows
            except LogError as raised:
                error = raised
            self._head = _Head(held, batches, error)
        first = [batch for batch, _ in self._head.held]
        schema = first[0].schema if first else self.schema
        return pa.Table.from_batches(first, schema).slice(0, rows)

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
            depend on files, compression or format. Batches of a live log are shorter.

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
        has_pipe = any(source.pipe for source in self.sources)
        head, self._head = self._head, None
        if head is not None and (start == 0 or has_pipe):
            yield from self._after(head, start)
            return
        self._end_pass()
        if self._started and has_pipe:
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

    def _after(self, head: _Head, start: int) -> Generator[pa.RecordBatch, None, None]:
        """Yield the batches of a head and those that follow it, without the first rows."""

        def every() -> Iterator[pa.RecordBatch]:
            while head.held:  # and let go of each
                batch, self._state = head.held.pop(0)
                yield batch
                del batch
            if head.error is not None:
                raise head.error
            yield from head.rest

        with contextlib.closing(head.rest):
            left = start
            for batch in every():
                rows = min(left, batch.num_rows)
                left -= rows
                if rows < batch.num_rows:
                    yield batch.slice(rows)
            if left:
                raise ValueError(f"start is {start}, but the log has {start - left} rows")

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read the log from its first row."""
        return self.batches()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Read the log from its first row, as an Arrow stream."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """End the current pass and close the files."""
        self._drop_head()
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

    def _drop_head(self) -> None:
        if self._head is not None and not any(source.pipe for source in self.sources):
            self._head.rest.close()
            self._head = None

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
        rows, first = start, self._begin + start
        for batch in rechunk(tables, self.rows, first):
            batch = batch.slice(0, max(0, self._end - self._begin - rows))
            rows += batch.num_rows
            if batch.num_rows:
                yield batch, progress.state(rows)
            if self._begin + rows >= self._end:
                break
        known = min(progress.rows, self._end)
        if first > known:
            raise ValueError(f"start is {first}, but the log has {known} rows")
        yield None, progress.state(rows)

    def _tables(self, progress: _Progress) -> Iterator[pa.Table | None]:
        """Read everything; None where the tables before it must not wait for more."""
        skipped = progress.skipped if self._skip_bad else None
        labels = replace(self._request.labels)
        parts = self._parts()
        if self.label is not None and not labels.is_decided:
            parts = settled(parts, self.label, labels, skip_bad=self._skip_bad)
        for part in parts:
            progress.path, progress.bytes_read = part.path, part.bytes_read
            if part.rows is None:
                if self._is_live:  # the next file may be the pipe
                    yield None
                continue
            for table in check_rows([part.rows], part.path, self._request, labels, skipped):
                progress.rows += table.num_rows
                yield table
            if part.has_paused:
                yield None
        self._request = replace(self._request, labels=labels)  # for the next passes

    def settled_request(self) -> Request:
        """Return how to read a file of the log by itself: labels mean what they do in the log."""
        labels = replace(self._request.labels)
        if self.label is not None and not labels.is_decided:
            parts = settled(self._parts(), self.label, labels, skip_bad=self._skip_bad)
            with contextlib.closing(parts):
                next(parts, None)
            self._request = replace(self._request, labels=labels)
        return self._request

    def _parts(self) -> Generator[Part, None, None]:
        before = 0  # bytes of the files before this one
        for source in self.sources:
            reader, self._first = self._first or open_reader(source, self._request), None
            try:
                for rows in reader.read(self._request):
                    has_paused = source.pipe is not None and source.pipe.has_paused
                    yield Part(source.path, before + reader.bytes_read(), rows, has_paused)
                    if source.pipe is None and self._is_cancelled():
                        return
            finally:
                reader.close()
            if self._is_cancelled():
                return
            before += source.size or reader.bytes_read()
            yield Part(source.path, before, None)


@dataclass(frozen=True)
class _State:
    """What a log says about its pass, as of one batch."""

    position: Position
    skipped: dict[str, int]


@dataclass
class _Head:
    """The first batches of a pass, what follows them, and the error that ended them."""

    held: list[tuple[pa.RecordBatch, _State]]
    rest: Generator[pa.RecordBatch, None, None]
    error: LogError | None


@dataclass
class _Progress:
    """The counts of the reading thread."""

    path: str = ""
    rows: int = 0
    bytes_read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def state(self, rows: int) -> _State:
        return _State(Position(self.path, rows, self.bytes_read), dict(self.skipped))
