"""The rows of a model that one process holds, and the order in which batches read and step them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adagrad import _core
from adagrad.ctr.encoding.examples import REGIONS, region_size
from adagrad.ctr.learners.model import Settings, layouts
from adagrad.distributed._order import Async, Order, Sync, window
from adagrad.distributed._ranges import starts
from adagrad.distributed._slices import load_slice, make_slice, save_slice
from adagrad.tables.table import Table

__all__ = ["Answer", "ModelShard", "Stale"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]
Gradients = dict[str, Floats]
Rows = dict[str, Floats]

BIAS = "bias"
ORDERS: dict[str, type[Order]] = {"sync": Sync, "async": Async}


class Stale(Exception):
    """A call from before the shards went back to a checkpoint."""


class Answer(NamedTuple):
    """What a batch reads of a shard.

    Attributes
    ----------
    params : dict of str to ndarray of float32, shape [n] or [n, dim]
        Of the rows, by table.
    bias : float or None
        Of the shard that has it.
    staleness : int
        How many batches before this one have not stepped yet.
    """

    params: Gradients
    bias: float | None
    staleness: int


def edges(n_slots: int, shards: int) -> npt.NDArray[np.int64]:
    """Return where the slots are cut into ranges: range ``region * shards + k`` is of shard k.

    Every shard has a part of each region, since an encoder deals fields to regions, and fields
    differ in how many values they have.

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
    """Some ranges of rows of the tables of a model, and of one shard the bias, too.

    An actor: its methods run by turns in one thread, and give way only where they wait.

    Parameters
    ----------
    settings : Settings
        Of the whole model.
    ranges : list of (int, int)
        First row, and one past the last; ascending.
    has_bias : bool
    mode : {"sync", "async"}
    staleness : int
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
        self._epoch = -1  # no call is of it: begin() comes first, also where this was restarted
        self._waiters: list[asyncio.Future[None]] = []

    async def begin(
        self, epoch: int, directory: str | None = None, start: int = 0, first: int = 0
    ) -> None:
        """Start anew, or from a checkpoint.

        Parameters
        ----------
        epoch : int
            Calls that carry another one are `Stale` from now on.
        directory : str, optional
            Of the checkpoint.
        start, first : int
            See `Order`.
        """
        rule, tables = self.settings.rule, layouts(self.settings)
        if directory is None:
            self._tables = {
                name: [make_slice(*rows, rule=rule, **layout) for rows in self.ranges]
                for name, layout in tables.items()
            }
            self._bias = Table(1, rule=rule)
        else:
            self._tables = {
                name: [load_slice(directory, name, *rows) for rows in self.ranges]
                for name in tables
            }
            self._bias = load_slice(directory, BIAS, 0, 1)
        self._order = self._order_of(self._staleness, start, first)
        self._pushed: dict[int, Gradients] = {}
        self._slots: dict[int, Slots] = {}
        self._answers: dict[int, Answer] = {}
        self._epoch = epoch
        self.pulled_rows = self.pulls = self.steps = 0
        self.busy = 0.0
        self._wake()

    async def take(self, slots: Slots) -> Rows:
        """Return params and accumulators of some slots, and of the bias where it is here."""
        rows = {}
        for name, tables in self._tables.items():
            parts = [_pairs(tables[part])[at] for part, _, at in self._parts(slots)]
            rows[name] = np.concatenate(parts)
        if self.has_bias:
            rows[BIAS] = _pairs(self._bias)[0]
        return rows

    async def put(self, slots: Slots, rows: Rows) -> None:
        """Set what `take` returns."""
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
            In the ranges, ascending and different.

        Raises
        ------
        Stale
        """
        await self._until(epoch, lambda: batch in self._answers or self._order.may_pull(batch))
        if batch in self._answers:  # whoever asked before has died
            return self._answers[batch]
        start = time.perf_counter()
        params = {name: self._gather(tables, slots) for name, tables in self._tables.items()}
        bias = float(self._bias.weights[0]) if self.has_bias else None
        answer = Answer(params, bias, batch - self._order.applied)
        for old in [b for b in self._answers if b < batch - window(self._staleness)]:
            del self._answers[old], self._slots[old]  # nobody asks for it again
        self._answers[batch], self._slots[batch] = answer, slots
        self.pulls += 1
        self.pulled_rows += len(slots)
        self.busy += time.perf_counter() - start
        return answer

    async def push(self, epoch: int, batch: int, gradients: Gradients) -> None:
        """Take the summed gradients of a batch, and step as soon as the order allows it.

        Parameters
        ----------
        epoch, batch : int
        gradients : dict of str to ndarray of float32
            Of each table, those of the slots that were pulled; and "bias" [1] where it is here.

        Raises
        ------
        Stale
        """
        if epoch != self._epoch:
            raise Stale
        if not self._order.has(batch):
            self._pushed[batch] = gradients
            self._advance()

    async def end_pass(self, epoch: int, batches: int) -> None:
        """Return when so many batches have stepped: the next one begins a pass."""
        self._order.end(batches)
        self._advance()
        await self._until(epoch, lambda: self._order.applied >= batches)
        self._order = self._order_of(self._staleness, batches, batches)

    async def save(self, epoch: int, directory: str, batches: int) -> None:
        """Write the rows, once so many batches have stepped."""
        await self._until(epoch, lambda: self._order.applied >= batches)
        for name, tables in self._tables.items():
            for (first, _), table in zip(self.ranges, tables, strict=True):
                save_slice(directory, name, first, table)
        if self.has_bias:
            save_slice(directory, BIAS, 0, self._bias)

    async def read(self, name: str, part: int, start: int, stop: int) -> Floats:
        """Return params and accumulators of rows [start, stop) of a range, or of the bias."""
        return _pairs(self._bias if name == BIAS else self._tables[name][part])[start:stop]

    async def stats(self) -> dict[str, float]:
        """Return what it has done since it began."""
        return {
            "pulls": self.pulls,
            "rows": self.pulled_rows,
            "steps": self.steps,
            "waiting": len(self._pushed),
            "busy": self.busy,
        }

    def _advance(self) -> None:
        """Let those step that may."""
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
        """Yield each range with which of the slots are in it, and their rows there."""
        cuts = np.searchsorted(slots, self._firsts)
        for part, first in enumerate(self._firsts[:-1]):
            where = slice(int(cuts[part]), int(cuts[part + 1]))
            yield part, where, slots[where] - np.uint32(first)

    def _gather(self, tables: list[Table], slots: Slots) -> Floats:
        dim = tables[0].dim
        params = np.empty(len(slots) if dim == 1 else (len(slots), dim), np.float32)
        for part, where, rows in self._parts(slots):
            tables[part].gather(rows, params[where], threads=1)
        return params

    def _step(self, slots: Slots, gradients: Gradients) -> None:
        rule, l1 = self.settings.rule, self.settings.l1
        for name, tables in self._tables.items():
            for part, where, rows in self._parts(slots):
                table, g = tables[part], gradients[name][where]
                if name == "linear" and l1 != 0.0:
                    steps = (rule._compiled, rule.lr, rule.lr_decay, l1)
                    linear = _core.LinearLearner(table._memory, table.rows, None, *steps)
                    linear.apply(*_core.coalesce(rows, g), table.steps)
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
    """Return the memory of a table: rows of params and accumulators."""
    assert table._memory is not None
    pairs: Floats = table._memory.view(np.float32).reshape(table.rows, -1)
    return pairs
