"""`TableShard`: the actor that holds a slice of a `ShardedTable`, and how such actors start."""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

import numpy.typing as npt
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from adagrad.distributed import _manifest
from adagrad.distributed._connection import check_room, nodes
from adagrad.distributed._slices import load_slice, make_slice, save_slice
from adagrad.rule import Duplicates
from adagrad.tables.table import Table

__all__ = ["ShardStats", "TableShard", "start_shards"]

Array = npt.NDArray[Any]

_START_TIMEOUT = 60.0  # seconds for the processes of the actors to start
_HOT = 1.5


class ShardStats(NamedTuple):
    """What one shard has done since it was made or loaded.

    Attributes
    ----------
    first, last : int
        Its rows are [first, last).
    node : str
        Ray's id of its node.
    asked : int
        Total number of ids in its calls of `gather` and `step`.
    steps : int
        Number of steps in which it had a row.
    busy : float
        Seconds spent in calls.
    nbytes : int
        Bytes of its params and accumulators.
    load : float
        `asked` divided by the mean over all shards; 1 if that mean is 0.
    """

    first: int
    last: int
    node: str
    asked: int
    steps: int
    busy: float
    nbytes: int
    load: float = 1.0

    @property
    def is_hot(self) -> bool:
        """Whether `load` is at least 1.5."""
        return self.load >= _HOT


class TableShard:
    """An actor with a slice of a table."""

    def ready(self) -> None:
        """Do nothing; an answer shows that the process runs."""

    def make(self, first: int, last: int, options: dict[str, Any]) -> None:
        self._hold(make_slice(first, last, **options))

    def load(self, folder: str, first: int, last: int) -> None:
        self._hold(load_slice(folder, _manifest.NAME, first, last))

    def _hold(self, table: Table) -> None:
        self._table = table
        self._asked = self._steps = 0
        self._busy = 0.0

    def gather(self, rows: Array) -> Array:
        begin = time.perf_counter()
        found = self._table.gather(rows)
        self._asked += len(rows)
        self._busy += time.perf_counter() - begin
        return found

    def step(
        self,
        number: int,
        rows: Array,
        g: Array,
        duplicates: Duplicates | None,
        lr: float,
        positions: Array | None,
    ) -> int:
        """Take step `number` of the whole table; this shard may have had no row in earlier ones."""
        begin = time.perf_counter()
        table = self._table
        fixed = False, table.seed, number, 0
        compiled = table.rule._compiled
        skipped = table._core.step(rows, g, compiled, lr, duplicates, *fixed, positions=positions)
        table.steps = number
        table.skipped += skipped
        self._asked += len(rows)
        self._steps += len(rows) != 0
        self._busy += time.perf_counter() - begin
        return skipped

    def decay(self, gamma: float, floor: float) -> None:
        begin = time.perf_counter()
        self._table.decay(gamma, floor)
        self._busy += time.perf_counter() - begin

    def save(self, folder: str, steps: int) -> None:
        self._table.steps = steps
        save_slice(folder, _manifest.NAME, self._table._first_row, self._table)

    def stats(self) -> ShardStats:
        table = self._table
        ends = table._first_row, table._first_row + table.rows
        node = ray.get_runtime_context().get_node_id()
        return ShardStats(*ends, node, self._asked, self._steps, self._busy, table.nbytes)


def start_shards(count: int) -> list[Any]:
    """Start empty shards on the nodes of the connected cluster, in turn.

    Raises
    ------
    RuntimeError
        If the cluster has no live node, loses one meanwhile, or does not start the processes
        within a minute. No actor is left then.
    """
    check_room(count, "shards", cpus=0)
    # Neither Ray's "SPREAD" nor soft affinity spreads actors that reserve no processor.
    by_node = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes()]
    places = itertools.cycle(by_node)
    actor = ray.remote(num_cpus=0, max_restarts=0)(TableShard)
    shards = [actor.options(scheduling_strategy=next(places)).remote() for _ in range(count)]
    try:
        ray.get([shard.ready.remote() for shard in shards], timeout=_START_TIMEOUT)
    except BaseException as error:
        for shard in shards:
            ray.kill(shard)
        if isinstance(error, GetTimeoutError):
            raise RuntimeError(
                f"the cluster did not start {count} shards within {_START_TIMEOUT:g} seconds: it"
                " has no room for their processes"
            ) from error
        if isinstance(error, RayError):
            raise RuntimeError(
                f"a node of the cluster died before its shards started ({type(error).__name__})"
            ) from error
        raise
    return shards
