"""The driver of a distributed training: who gets which batch, and what happens when one dies.

A batch is in flight from when a worker has it until its gradients have arrived at every shard.
Workers are given two at a time, so that one's rows are on their way while the other is computed.

What dies is started again by Ray. A worker's batches are given out again: shards keep their answers
and take no gradient twice, so the params have the bits that they would have had. With a shard, or a
block of the dataset, everything goes back to the last checkpoint.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from adagrad.ctr.learners.model import Model, Settings
from adagrad.ctr.training.encoders import Encoder
from adagrad.ctr.training.stop import Interrupted, Stop
from adagrad.distributed import _checkpoint
from adagrad.distributed._checkpoint import Checkpoint
from adagrad.distributed._dataset import Batch, batches, root
from adagrad.distributed._order import window
from adagrad.distributed._shard import Stale
from adagrad.distributed._shards import PATIENCE, First, Shards, lasting
from adagrad.distributed._worker import Learned, Worker

__all__ = ["Lost", "Plan", "Run"]

_SHARE = 8


class Lost(RuntimeError):
    """A part of the cluster is gone and does not come back."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training does; see `adagrad.distributed.fit` for what is not said here.

    Attributes
    ----------
    settings : Settings
        Of the model.
    encoder : HashingEncoder or SlotEncoder
    first : First
        Rows that are learned before the batches.
    identity : dict
        What must agree where a checkpoint goes on; JSON.
    """

    settings: Settings
    encoder: Encoder
    label: str
    first: First
    identity: dict[str, Any]
    workers: int
    shards: int
    mode: str = "sync"
    staleness: int = 4
    batch_size: int = 8192
    passes: int = 1
    checkpoint: Path | None = None
    checkpoint_every: int = 10_000_000


@dataclasses.dataclass
class _Flight:
    """A batch that a worker has."""

    batch: Batch
    worker: int
    prepared: Any
    finished: Any = None  # asked for once the next one is prepared, or nothing else is to be done


class Run:
    """A training on a cluster that is connected.

    Parameters
    ----------
    plan : Plan
    dataset : ray.data.Dataset
    show : callable
        Called with this now and then.
    stop : Stop
        Asked before each batch.

    Attributes
    ----------
    at : Checkpoint
        Where it stands: what is counted is learned.
    learned : list of Learned
        Of the last batches, without their examples.
    failures : dict of str to int
        How often a "worker" was replaced, and how often the training went back ("shard").
    """

    def __init__(
        self,
        plan: Plan,
        dataset: Any,
        show: Callable[[Run], None] = lambda run: None,
        stop: Stop | None = None,
    ) -> None:
        self.plan, self.dataset, self._show, self._stop = plan, dataset, show, stop or Stop()
        self.at, self._saved = Checkpoint(), Checkpoint()
        self.learned: list[Learned] = []
        self.failures = {"worker": 0, "shard": 0}
        self._epoch = 0
        self._round = plan.staleness + 1 if plan.mode == "sync" else 1
        name = f"adagrad-{uuid.uuid4().hex[:8]}"
        self.shards = Shards(plan.settings, plan.shards, plan.mode, plan.staleness, name)
        worker, arguments = lasting(Worker), (plan.settings, plan.encoder, plan.label)
        self.workers = [
            worker.options(name=f"{name}-worker-{k}").remote(
                arguments, self.shards.names, self.shards.edges
            )
            for k in range(plan.workers)
        ]
        self._flights: dict[int, _Flight] = {}
        self._results: dict[int, Learned] = {}
        self._failed: float | None = None  # when, if nothing was learned since

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one.

        Raises
        ------
        Mismatch, adagrad.TableFileError
            It is of another training, or damaged.
        """
        assert self.plan.checkpoint is not None
        found = _checkpoint.read(self.plan.checkpoint, self.plan.identity)
        if found is not None:
            self._saved = found
            self.at = found.copy()
        return found is not None

    def run(
        self, finish: Callable[[Run], None], validate: Callable[[Model], None] | None = None
    ) -> None:
        """Train to the end.

        Parameters
        ----------
        finish : callable
            Called with this at the end, to take what the shards hold; again where one is lost
            meanwhile.
        validate : callable, optional
            Called with the model of each pass.

        Raises
        ------
        Lost
            The cluster does not recover.
        Interrupted
            At a signal; a checkpoint is written where the plan has a directory.
        LogError, ValueError
            Of a row.
        """
        while True:
            try:
                self._begin()
                while self.at.pass_number < self.plan.passes:
                    self._pass()
                    if validate is not None:
                        validate(self.shards.model(self.at))
                finish(self)
                return
            except (RayError, Stale) as error:
                cause = root(error)
                if not isinstance(cause, (RayError, Stale)):
                    raise cause from None
                self._go_back(cause)

    def close(self) -> None:
        """End the actors."""
        for actor in (*self.workers, *self.shards.actors):
            ray.kill(actor, no_restart=True)

    @property
    def in_flight(self) -> int:
        """Batches that workers have."""
        return len(self._flights)

    # -- a pass ---------------------------------------------------------------------------------

    def _pass(self) -> None:
        at, plan = self.at, self.plan
        number = at.first
        for batch in self._waited(batches(self.dataset, self._length, at.rows)):
            self._make_room(number)
            self._give(number, batch)
            number += 1
            given = at.examples + self._rows_in_flight() - self._saved.examples
            if given >= plan.checkpoint_every and (number - at.start) % self._round == 0:
                self.save()
        self._drain()
        self._count(number)
        self.shards.end_pass(self._epoch, number)
        at.pass_number += 1
        at.rows, at.start, at.first = 0, number, number
        self._show(self)

    def _length(self, row: int) -> int:
        """Return how many rows the batch has that begins at a row.

        In the first pass a round is at most an eighth of what was learned before it: a model that
        knows little takes no large steps.
        """
        most = self.plan.batch_size
        if self.at.pass_number > 0:
            return most
        return min(most, max(64, row // (_SHARE * (self.plan.staleness + 1))))

    def _waited(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        try:
            while (batch := self._stop.wait(stream)) is not None:
                yield batch
        except Interrupted:
            self.save()
            raise

    def _rows_in_flight(self) -> int:
        waiting = sum(len(result.y) for result in self._results.values())
        return waiting + sum(flight.batch.rows for flight in self._flights.values())

    def _make_room(self, number: int) -> None:
        """Wait until a batch may be given out."""
        while self._flights and (
            len(self._flights) >= 2 * self.plan.workers
            or number - min(self._flights) >= window(self.plan.staleness)
        ):
            self._collect()

    def _give(self, number: int, batch: Batch, worker: int | None = None) -> None:
        """Have a batch prepared by the worker with the least to do, and its last one finished."""
        if worker is None:
            load = [0] * self.plan.workers
            for flight in self._flights.values():
                load[flight.worker] += 1
            worker = load.index(min(load))
        prepared = self.workers[worker].prepare.remote(
            self._epoch, number, batch.cuts, *batch.blocks
        )
        for other in sorted(self._flights):
            if self._flights[other].worker == worker:
                self._ask(other)
        self._flights[number] = _Flight(batch, worker, prepared)

    def _ask(self, number: int) -> None:
        flight = self._flights[number]
        if flight.finished is None:
            finish = self.workers[flight.worker].finish
            flight.finished = finish.remote(self._epoch, number, flight.prepared)

    def _drain(self) -> None:
        while self._flights:
            self._collect()

    def _collect(self) -> None:
        """Wait for a batch, the first of all or another."""
        self._ask(min(self._flights))
        asked = {f.finished: n for n, f in self._flights.items() if f.finished is not None}
        ready, _ = ray.wait(list(asked), num_returns=1, timeout=1.0)
        for finished in ready:
            number = asked[finished]
            try:
                self._results[number] = ray.get(finished)
            except RayTaskError:
                raise  # of what the worker does: of a shard, a block or a row
            except RayActorError as error:
                self._replace(self._flights[number].worker, error)
                return
            del self._flights[number]
            self._failed = None
        self._count()

    def _count(self, end: int | None = None) -> None:
        """Take the results of batches in their order, those of a round together.

        So where a training stands is always between two rounds, and a checkpoint can be made there.
        `end` is where the pass ends, when that is known.
        """
        at = self.at
        while True:
            last = at.first + self._round if end is None else min(at.first + self._round, end)
            if last == at.first or not all(n in self._results for n in range(at.first, last)):
                break
            for number in range(at.first, last):
                learned = self._results.pop(number)
                at.rows += len(learned.y)
                at.examples += len(learned.y)
                if at.pass_number == 0:
                    at.progressive.add(learned.margins, learned.y)
                self.learned = [*self.learned[-63:], learned]
            at.first = last
            self._show(self)

    # -- what dies ------------------------------------------------------------------------------

    def _replace(self, worker: int, error: BaseException) -> None:
        """Give the batches of a worker that died to the one that Ray starts in its place."""
        self._note_failure(error)
        self.failures["worker"] += 1
        mine = {n: f.batch for n, f in self._flights.items() if f.worker == worker}
        for number in mine:
            del self._flights[number]
        time.sleep(0.1)  # it is told again as long as it is not there
        for number in sorted(mine):
            self._give(number, mine[number], worker)

    def _go_back(self, error: BaseException) -> None:
        """Return to the last checkpoint."""
        self._note_failure(error)
        self.failures["shard"] += 1
        self._flights, self._results = {}, {}
        self._epoch += 1
        self.at = self._saved.copy()

    def _begin(self) -> None:
        at = self.at
        self.shards.begin(self._epoch, at, self._note_failure)
        if not at.examples:
            first = self.plan.first
            at.progressive.add(self.shards.learn_first(first), first.y)
            at.rows = at.examples = len(first.x)
            self._show(self)

    def _note_failure(self, error: BaseException) -> None:
        """Raise where nothing was learned for long since the first of some failures."""
        now = time.monotonic()
        self._failed = self._failed or now
        if now - self._failed > PATIENCE:
            where = self.plan.checkpoint
            hint = "" if where is None else f"; the last checkpoint is in {where}"
            raise Lost(
                f"nothing was learned for {PATIENCE:.0f} s, in spite of new starts: {error}{hint}"
            ) from error

    def save(self) -> None:
        """Write a checkpoint of what is given out so far, where there is a directory for them."""
        directory, at = self.plan.checkpoint, self.at
        self._drain()
        if directory is None or at.examples == self._saved.examples:
            return
        folder = _checkpoint.prepare(directory, at.first)
        self.shards.save(self._epoch, str(folder), at.first)
        at.folder = str(folder)
        _checkpoint.write(directory, at, self.plan.identity)
        self._saved = at.copy()
