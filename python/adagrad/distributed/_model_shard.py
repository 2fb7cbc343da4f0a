"""`ModelShard`: an actor that holds some rows of a model.

It answers the pulls and pushes of workers in the order that `_order` allows.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import adagrad._core as _core
from adagrad.ctr.encoding.examples import REGIONS, region_size
from adagrad.ctr.learners.compiled import linear_learner
from adagrad.ctr.learners.layouts import layouts, new_rows
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.learners.stored_rows import differing
from adagrad.distributed._order import Async, Order, Sync, window
from adagrad.distributed._ranges import starts
from adagrad.distributed._slices import load_slice, make_slice, save_slice
from adagrad.tables.table import Table
from adagrad.tables.tensors import TableFileError

__all__ = ["Answer", "ModelShard", "Stale"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]
Gradients = dict[str, Floats]
Rows = dict[str, Floats]

BIAS = "bias"
ORDERS: dict[str, type[Order]] = {"sync": Sync, "async": Async}


class Stale(Exception):
    """A call belongs to an epoch that ended when the shards returned to a checkpoint."""


class Answer(NamedTuple):
    """What a batch reads from a shard.

    Attributes
    ----------
    params : dict of str to ndarray of float32, shape [n] or [n, dim]
        Params of the requested rows, by table.
    bias : float or None
        The bias; None from shards that do not have it.
    staleness : int
        Number of batches before this one that have not stepped yet.
    """

    params: Gradients
    bias: float | None
    staleness: int


def edges(n_slots: int, shards: int) -> npt.NDArray[np.int64]:
    """Return the edges of the ranges of slots; range ``region * shards + k`` belongs to shard k.

    Every shard has a part of each region, because an encoder assigns fields to regions, and some
    fields have many more values than others.

    Parameters
    ----------
    n_slots, shards : int

    Returns
    -------
    ndarray of int64, shape [REGIONS * shards + 1]
    """
    size = region_size(n_slots)
    cuts = [0]
    for region in range(REGIONS):
        first, last = (min(n_slots, (region + k) * size) for k in (0, 1))
        cuts += (first + starts(last - first, shards)[1:]).tolist()
    return np.array(cuts, np.int64)


class ModelShard:
    """An actor with some ranges of rows of a model's tables, and on one shard the bias.

    Its methods are coroutines on one thread, and yield only where they await.

    Parameters
    ----------
    settings : Settings
        Settings of the whole model.
    ranges : list of (int, int)
        The first row of each range, and one past its last row; ascending.
    has_bias : bool
        Whether this shard has the bias.
    mode : {"sync", "async"}
    staleness : int
        See `Cluster`.
    """

    def __init__(
        self,
        settings: Settings,
        ranges: Sequence[tuple[int, int]],
        has_bias: bool,
        mode: str,
        staleness: int,
    ) -> None:
        self.settings, self.ranges, self.has_bias = settings, list(ranges), has_bias
        self._firsts = np.array([first for first, _ in ranges] + [ranges[-1][1]], np.int64)
        self._order_of, self._staleness = ORDERS[mode], staleness
        self._epoch = -1  # of no call: begin() comes first, also after a restart
        self._waiters: list[asyncio.Future[None]] = []

    async def begin(
        self, epoch: int, directory: str | None = None, start: int = 0, first: int = 0
    ) -> None:
        """Start with new tables, or from a checkpoint.

        Parameters
        ----------
        epoch : int
            From now on, calls with another epoch raise `Stale`.
        directory : str, optional
            The folder of the checkpoint.
        start, first : int
            See `Order`.
        """
        rule, tables = self.settings.fixed_rule, layouts(self.settings)
        if directory is None:
            self._tables = {
                name: [
                    make_slice(*rows, rule=self.settings.rule_of(name), **layout)
                    for rows in self.ranges
                ]
                for name, layout in tables.items()
            }
            self._bias = Table(1, rule=rule)
        else:
            self._tables = {
                name: [load_slice(directory, name, *rows) for rows in self.ranges]
                for name in tables
            }
            self._bias = load_slice(directory, BIAS, 0, 1)
            self._check_loaded(directory)
        self._bias.rule = rule.replace(weight_decay=0.0)  # the bias takes no penalty
        self._order = self._order_of(self._staleness, start, first)
        self._pushed: dict[int, Gradients] = {}
        self._slots: dict[int, Slots] = {}
        self._answers: dict[int, Answer] = {}
        self._epoch = epoch
        self.pulled_rows = self.pulls = self.steps = 0
        self.busy = 0.0
        self._wake()

    def _check_loaded(self, directory: str) -> None:
        """Raise if a checkpoint has tables of another model."""
        dims = {name: layout["dim"] for name, layout in layouts(self.settings).items()} | {BIAS: 1}
        expected = "float32", self.settings.fixed_rule.accumulator
        for name, tables in {**self._tables, BIAS: [self._bias]}.items():
            for table in tables:
                if (table.dim, table.dtype, table.accumulator) != (dims[name], *expected):
                    raise TableFileError(
                        f"{directory}: the table {name} is not of this model: {table}"
                    )

    async def take(self, slots: Slots) -> Rows:
        """Return params and accumulators of some slots, and of the bias if it is here."""
        rows = {}
        for name, tables in self._tables.items():
            parts = [_pairs(tables[part])[at] for part, _, at in self._parts(slots)]
            rows[name] = np.concatenate(parts)
        if self.has_bias:
            rows[BIAS] = _pairs(self._bias)[0]
        return rows

    async def put(self, slots: Slots, rows: Rows) -> None:
        """Set what `take` has returned."""
        for name, tables in self._tables.items():
            for part, where, at in self._parts(slots):
                _pairs(tables[part])[at] = rows[name][where]
        if self.has_bias:
            _pairs(self._bias)[0] = rows[BIAS]

    async def pull(self, epoch: int, batch: int, slots: Slots) -> Answer:
        """Return the params of some slots, once the order allows the batch to read.

        Parameters
        ----------
        epoch, batch : int
        slots : ndarray of uint32, shape [n]
            Slots in the ranges of this shard, ascending and distinct.

        Raises
        ------
        Stale
            The epoch has ended.
        """
        await self._until(epoch, lambda: batch in self._answers or self._order.may_pull(batch))
        if batch in self._answers:  # the worker that asked before has died
            return self._answers[batch]
        start = time.perf_counter()
        params = {name: self._gather(name, slots) for name in self._tables}
        bias = float(self._bias.weights[0]) if self.has_bias else None
        answer = Answer(params, bias, batch - self._order.applied)
        for old in [b for b in self._answers if b < batch - window(self._staleness)]:
            del self._answers[old], self._slots[old]  # no longer in flight
        self._answers[batch], self._slots[batch] = answer, slots
        self.pulls += 1
        self.pulled_rows += len(slots)
        self.busy += time.perf_counter() - start
        return answer

    async def push(self, epoch: int, batch: int, gradients: Gradients) -> None:
        """Accept the summed gradients of a batch, and step as soon as the order allows it.

        Gradients of a batch that has stepped are ignored: its worker died before it could say so.

        Parameters
        ----------
        epoch, batch : int
        gradients : dict of str to ndarray of float32
            For each table the gradients of the slots that the batch pulled, and for the "bias",
            if it is here, an array of shape [1].

        Raises
        ------
        Stale
            The epoch has ended.
        """
        if epoch != self._epoch:
            raise Stale
        if not self._order.has(batch):
            self._pushed[batch] = gradients
            self._advance()

    async def end_pass(self, epoch: int, batches: int) -> None:
        """Wait until the batches below this number have stepped; the next one begins a pass."""
        self._order.end(batches)
        self._advance()
        await self._until(epoch, lambda: self._order.applied >= batches)
        self._order = self._order_of(self._staleness, batches, batches)

    async def save(self, epoch: int, directory: str, batches: int) -> None:
        """Write the rows, once the batches below this number have stepped."""
        await self._until(epoch, lambda: self._order.applied >= batches)
        for name, tables in self._tables.items():
            for (first, _), table in zip(self.ranges, tables, strict=True):
                save_slice(directory, name, first, table)
        if self.has_bias:
            save_slice(directory, BIAS, 0, self._bias)

    async def read(self, name: str, part: int, rows: slice | npt.NDArray[np.int64]) -> Floats:
        """Return params and accumulators of rows of a range, from 0, or of the bias."""
        return _pairs(self._bias if name == BIAS else self._tables[name][part])[rows]

    async def touched(self, part: int) -> npt.NDArray[np.int64]:
        """Return the rows of a range that differ from those of a new model, as `read` counts."""
        first = self.ranges[part][0]
        rows = {name: _pairs(tables[part]) for name, tables in self._tables.items()}
        found = differing(
            rows, lambda name, a, b: new_rows(self.settings, name, first + a, first + b)
        )
        return found.astype(np.int64)

    async def stats(self) -> dict[str, float]:
        """Return what this shard has done since `begin`.

        ``"pulls"``, the ``"rows"`` pulled, ``"steps"``, batches ``"waiting"`` to step, and seconds
        ``"busy"`` with reading and stepping.
        """
        return {
            "pulls": self.pulls,
            "rows": self.pulled_rows,
            "steps": self.steps,
            "waiting": len(self._pushed),
            "busy": self.busy,
        }

    def _advance(self) -> None:
        """Step with all batches that the order allows, and wake the calls that wait for them."""
        while batches := self._order.ready(self._pushed):
            start = time.perf_counter()
            slots = np.concatenate([self._slots[batch] for batch in batches])
            gradients = [self._pushed.pop(batch) for batch in batches]
            order = np.argsort(slots, kind="stable") if len(batches) > 1 else slice(None)
            sums = {
                name: np.concatenate([g[name] for g in gradients])[order] for name in self._tables
            }
            self._step(slots[order], sums)
            if self.has_bias:
                bias = np.concatenate([g[BIAS] for g in gradients])
                self._bias.step(np.zeros(len(bias), np.uint32), bias, "sum")
            self._order.step(batches)
            self.steps += 1
            self.busy += time.perf_counter() - start
        self._wake()

    def _parts(self, slots: Slots) -> Iterator[tuple[int, slice, Slots]]:
        """Yield the number of each range, which slots are in it, and their rows in its tables."""
        cuts = np.searchsorted(slots, self._firsts)
        for part, first in enumerate(self._firsts[:-1]):
            where = slice(int(cuts[part]), int(cuts[part + 1]))
            yield part, where, slots[where] - np.uint32(first)

    def _gather(self, name: str, slots: Slots) -> Floats:
        tables = self._tables[name]
        dim = tables[0].dim
        params = np.empty(len(slots) if dim == 1 else (len(slots), dim), np.float32)
        for part, where, rows in self._parts(slots):
            if self._is_penalized(name):
                params[where] = self._linear(part).weights(rows)
            else:
                tables[part].gather(rows, params[where], threads=1)
        return params

    def _is_penalized(self, name: str) -> bool:
        """Whether a table has the state of FTRL-proximal instead of params."""
        return name == "linear" and self.settings.is_penalized

    def _linear(self, part: int) -> _core.LinearLearner:
        table = self._tables["linear"][part]
        settings = dataclasses.replace(self.settings, kind="lr", n_slots=table.rows)
        return linear_learner(settings, {"linear": table._memory})

    def _step(self, slots: Slots, gradients: Gradients) -> None:
        for name, tables in self._tables.items():
            for part, where, rows in self._parts(slots):
                table, g = tables[part], gradients[name][where]
                if self._is_penalized(name):
                    self._linear(part).apply(*_core.coalesce(rows, g), table.steps)
                    table.steps += 1
                else:
                    table.step(rows, g, "sum", threads=1)

    async def _until(self, epoch: int, ready: Callable[[], bool]) -> None:
        while True:
            if epoch != self._epoch:
                raise Stale
            if ready():
                return
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _pairs(table: Table) -> Floats:
    """Return the memory of a table as rows of params and accumulators."""
    assert table._memory is not None
    pairs: Floats = table._memory.view(np.float32).reshape(table.rows, -1)
    return pairs
