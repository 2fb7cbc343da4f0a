"""Ray datasets: a click log as a dataset, and a dataset as batches of rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayTaskError

from adagrad.ctr.logs.log import Log
from adagrad.distributed._blocks import joined_blocks

__all__ = [
    "Batch",
    "SkippedRows",
    "batches",
    "first_rows",
    "from_log",
    "root_cause",
]


class Batch(NamedTuple):
    """Consecutive rows of a dataset, as parts of its blocks.

    Attributes
    ----------
    blocks : list of ray.ObjectRef
        The blocks that have the rows, in order.
    cuts : list of (int, int)
        First row of each block, and one past its last row.
    rows : int
        Number of rows of the batch.
    """

    blocks: list[Any]
    cuts: list[tuple[int, int]]
    rows: int


class SkippedRows:
    """An actor that counts broken rows, which reading has skipped, by file and kind.

    A file that is read again, after a failure or in another pass, counts once.
    """

    def __init__(self) -> None:
        self._of_file: dict[str, dict[str, int]] = {}

    def add(self, path: str, skipped: dict[str, int]) -> None:
        """Record the counts of a file that was read to its end."""
        self._of_file[path] = skipped

    def total(self) -> dict[str, int]:
        """Return the counts of all files, by kind."""
        total: dict[str, int] = {}
        for skipped in self._of_file.values():
            for kind, count in skipped.items():
                total[kind] = total.get(kind, 0) + count
        return total


class _LogFiles(Datasource):
    """The files of a log. A task per file reads it with the log's columns, types and checks."""

    def __init__(self, log: Log, skipped: Any) -> None:
        super().__init__()
        self._log, self._skipped = log, skipped

    def get_name(self) -> str:
        return "Log"

    def estimate_inmemory_data_size(self) -> int | None:
        return self._log.total_bytes

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, *more: Any, **others: Any
    ) -> list[ReadTask]:
        request, schema, skipped = self._log.settled_request(), self._log.schema, self._skipped
        tasks = []
        for source in self._log.sources:
            # A default argument binds the source of this iteration; a closure would see the last.
            def read(source: Any = source) -> Iterator[pa.Table]:
                with Log([source], request, skip_bad=skipped is not None) as log:
                    for batch in log:
                        yield pa.Table.from_batches([batch])
                    if skipped is not None:
                        ray.get(skipped.add.remote(source.path, log.skipped))

            about = BlockMetadata(
                num_rows=None,
                size_bytes=source.size,
                input_files=(source.path,),
                exec_stats=None,
            )
            tasks.append(ReadTask(read, about, schema=schema))
        return tasks


def from_log(log: Log, skipped: Any = None) -> Any:
    """Return a log as a dataset, which one task per file reads.

    Parameters
    ----------
    log : Log
        A log of files that every node sees under the same path; not the standard input.
    skipped : ActorHandle of SkippedRows, optional
        Skip broken rows and report them to this actor. By default a broken row is an error.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised as well
    return ray.data.read_datasource(_LogFiles(log, skipped), override_num_blocks=len(log.sources))


def batches(dataset: Any, rows: Callable[[int], int], start: int = 0) -> Iterator[Batch]:
    """Cut a dataset into batches of consecutive rows, without reading the rows.

    Parameters
    ----------
    dataset : ray.data.Dataset
        It must have the same rows in the same order whenever it is read.
    rows : callable
        Given the first row of a batch, returns its number of rows. The last batch may have fewer.
    start : int, default 0
        The first row of the first batch.
    """
    blocks: list[Any] = []
    cuts: list[tuple[int, int]] = []
    position, room = start, rows(start)
    before = 0  # rows of the blocks before this one
    for block, length in _blocks(dataset):
        while position < before + length:
            end = min(before + length, position + room)
            blocks.append(block)
            cuts.append((position - before, end - before))
            room -= end - position
            position = end
            if room == 0:
                yield Batch(blocks, cuts, sum(last - first for first, last in cuts))
                blocks, cuts, room = [], [], rows(position)
        before += length
    if blocks:
        yield Batch(blocks, cuts, sum(last - first for first, last in cuts))


def first_rows(dataset: Any, rows: int) -> pa.Table:
    """Return up to `rows` rows from the beginning of a dataset, in this process."""
    batch = next(batches(dataset, lambda start: rows), None)
    if batch is None:
        raise ValueError("the dataset has no rows")
    return joined_blocks(ray.get(batch.blocks), batch.cuts)


def _blocks(dataset: Any) -> Iterator[tuple[Any, int]]:
    """Yield the blocks of a dataset in order, with their numbers of rows."""
    # By default, blocks come in the order in which their tasks finish.
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    try:
        for bundle in dataset.iter_internal_ref_bundles():
            for entry in bundle.blocks:
                block, about = entry.ref, entry.metadata
                if about.num_rows:
                    yield block, about.num_rows
    except RayTaskError as error:
        raise root_cause(error) from None


def root_cause(error: BaseException) -> BaseException:
    """Return the error behind a chain of failed tasks, for example that of a broken row."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error
