"""Datasets of Ray: a click log as one, and any one as batches of equal length."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayTaskError

from adagrad.ctr.logs.log import Log

__all__ = ["Batch", "Skipped", "batches", "first_rows", "from_log", "joined_blocks", "root"]


class Batch(NamedTuple):
    """Consecutive rows of a dataset, wherever they lie.

    Attributes
    ----------
    blocks : list of ray.ObjectRef
        In order.
    cuts : list of (int, int)
        Which rows of each.
    rows : int
        In all.
    """

    blocks: list[Any]
    cuts: list[tuple[int, int]]
    rows: int


class Skipped:
    """An actor: broken rows that reading has left out, by file and kind.

    A file that is read again, after a failure or in a further pass, counts once.
    """

    def __init__(self) -> None:
        self._of_file: dict[str, dict[str, int]] = {}

    def add(self, path: str, skipped: dict[str, int]) -> None:
        """Note those of a file that was read to its end."""
        self._of_file[path] = skipped

    def total(self) -> dict[str, int]:
        """Return those of all files, by kind."""
        total: dict[str, int] = {}
        for skipped in self._of_file.values():
            for kind, count in skipped.items():
                total[kind] = total.get(kind, 0) + count
        return total


class _LogFiles(Datasource):
    """The files of a log, each read by a task with the log's columns, types and checks."""

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
        request, schema, skipped = self._log._request, self._log.schema, self._skipped
        tasks = []
        for source in self._log.sources:
            # The source and request as defaults: a closure would see the last ones.
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
    """Return a log as a dataset: a task for each file, wherever there is a free processor.

    Parameters
    ----------
    log : Log
        Of files that every node sees under the same path, not of the standard input.
    skipped : ActorHandle of Skipped, optional
        Leave broken rows out and tell it; where left out, they stop the reading.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised, too
    return ray.data.read_datasource(_LogFiles(log, skipped), override_num_blocks=len(log.sources))


def batches(dataset: Any, rows: Callable[[int], int], start: int = 0) -> Iterator[Batch]:
    """Cut a dataset into batches by order alone, without touching the rows.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Of the same rows in the same order whenever it is read.
    rows : callable
        How many rows the batch has that begins at a row; the last one has what is left.
    start : int, default 0
        Rows to leave out, from the first.
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
    """Return the first rows of a dataset, here, or all where there are fewer."""
    batch = next(batches(dataset, lambda start: rows), None)
    if batch is None:
        raise ValueError("the dataset has no rows")
    return joined_blocks(ray.get(batch.blocks), batch.cuts)


def joined_blocks(blocks: Sequence[Any], cuts: Sequence[tuple[int, int]]) -> pa.Table:
    """Return the rows of a batch as one table.

    Parameters
    ----------
    blocks : sequence of pyarrow.Table or pandas.DataFrame
    cuts : sequence of (int, int)
        Which rows of each.
    """
    tables = []
    for block, (first, last) in zip(blocks, cuts, strict=True):
        if not isinstance(block, pa.Table):
            block = pa.Table.from_pandas(block, preserve_index=False)
        tables.append(block.slice(first, last - first))
    return pa.concat_tables(tables)


def _blocks(dataset: Any) -> Iterator[tuple[Any, int]]:
    # In the order of the dataset, not in that of who is done first; a setting of this dataset.
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    try:
        for bundle in dataset.iter_internal_ref_bundles():
            for entry in bundle.blocks:
                block, about = entry.ref, entry.metadata
                if about.num_rows:
                    yield block, about.num_rows
    except RayTaskError as error:
        raise root(error) from None


def root(error: BaseException) -> BaseException:
    """Return what a remote error comes from: a broken row, rather than the task that read it."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error
