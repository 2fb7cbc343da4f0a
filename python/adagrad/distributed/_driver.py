"""The driver of a distributed training: it hands out batches, and recovers when a process dies.

A batch is in flight from the moment a worker has it until its gradients have arrived at every
shard. Each worker has up to two batches, so that it prepares one while the params of the other are
on their way.

Ray restarts the processes that die. The batches of a dead worker are handed out again: shards keep
their answers and apply the gradients of a batch once, so the params keep their bits. When a shard
or a block of the dataset is lost, the training returns to the last checkpoint.
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

from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.training.encoders import Encoder, plain
from adagrad.ctr.training.stop import Interrupted, Stop
from adagrad.distributed import _checkpoint
from adagrad.distributed._checkpoint import Checkpoint
from adagrad.distributed._dataset import Batch, batches, root_cause
from adagrad.distributed._model_shard import Stale
from adagrad.distributed._model_shards import PATIENCE, FirstRows, ModelShards, restarting_actor
from adagrad.distributed._order import window
from adagrad.distributed._worker import Learned, Worker
from adagrad.distributed.cluster import Cluster

__all__ = ["Driver", "Lost", "Plan"]

_ROUND_SHARE = 8  # in the first pass, a round is at most this share of what was learned before


class Lost(RuntimeError):
    """A training failed because a part of the cluster is gone and does not come back."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that a training does, as `adagrad.distributed.fitting.plan_of` has worked it out.

    Attributes
    ----------
    settings : Settings
        Settings of the model.
    encoder : HashingEncoder or SlotEncoder
    label : str
        The column to predict.
    first : FirstRows
        The rows that the driver learns before the batches begin.
    identity : dict
        What must agree for a checkpoint to be resumed; JSON.
    passes : int
    workers, shards : int
        Numbers of processes.
    cluster : Cluster
        The options, of which `workers` and `shards` may be None.
    """

    settings: Settings
    encoder: Encoder
    label: str
    first: FirstRows
    identity: dict[str, Any]
    passes: int
    workers: int
    shards: int
    cluster: Cluster


@dataclasses.dataclass
class _Flight:
    """A batch that a worker has."""

    batch: Batch
    worker: int
    prepared: Any
    finished: Any = None  # requested after the worker's next batch is prepared, or when needed


class Driver:
    """Carries out one training on the cluster that this process is connected to.

    Parameters
    ----------
    plan : Plan
    dataset : ray.data.Dataset
    show : callable
        Called with this driver as the training makes progress.
    stop : Stop
        Checked before each batch.

    Attributes
    ----------
    at : Checkpoint
        The progress: what it counts is learned.
    shards : ModelShards
    workers : list of ray.actor.ActorHandle
        The actors, during `run`.
    learned : list of Learned
        The last 64 batches.
    failures : dict of str to int
        How often a "worker" was replaced, and how often the training returned to a checkpoint
        because a "shard" was lost.
    """

    def __init__(
        self,
        plan: Plan,
        dataset: Any,
        show: Callable[[Driver], None] = lambda driver: None,
        stop: Stop | None = None,
    ) -> None:
        self.plan, self.dataset, self._show, self._stop = plan, dataset, show, stop or Stop()
        self.at, self._saved = Checkpoint(), Checkpoint()
        self.learned: list[Learned] = []
        self.failures = {"worker": 0, "shard": 0}
        self._epoch = 0
        self._staleness = plan.cluster.staleness
        self._round = self._staleness + 1 if plan.cluster.mode == "sync" else 1
        directory = plan.cluster.checkpoint
        self._directory = None if directory is None else Path(directory).absolute()
        self.shards: ModelShards
        self.workers: list[Any]
        self._flights: dict[int, _Flight] = {}
        self._results: dict[int, Learned] = {}
        self._failed_at: float | None = None  # the first failure since a batch was learned

    def resume(self) -> bool:
        """Continue from the checkpoint if there is one, and return whether there is.

        Raises
        ------
        Mismatch, adagrad.TableFileError
            The checkpoint is of another training, or damaged.
        """
        assert self._directory is not None
        found = _checkpoint.read(self._directory, self.plan.identity)
        if found is not None:
            self._saved = found
            self.at = found.copy()
        return found is not None

    def run(
        self, finish: Callable[[Driver], None], validate: Callable[[Model], None] | None = None
    ) -> None:
        """Start the actors, train to the end, and end the actors.

        Parameters
        ----------
        finish : callable
            Called with this driver at the end, to take the model from the shards. Called again if
            a shard is lost meanwhile.
        validate : callable, optional
            Called with the model after each pass.

        Raises
        ------
        Lost
            The cluster does not recover.
        Interrupted
            A signal arrived. A checkpoint is written if there is a directory for it.
        LogError, ValueError
            A row is broken.
        """
        self._start()
        try:
            self._train(finish, validate)
        finally:
            for actor in (*self.workers, *self.shards.actors):
                ray.kill(actor, no_restart=True)

    def _start(self) -> None:
        plan, cluster = self.plan, self.plan.cluster
        name = f"adagrad-{uuid.uuid4().hex[:8]}"
        self.shards = ModelShards(plan.settings, plan.shards, cluster.mode, cluster.staleness, name)
        task = plan.settings, plain(plan.encoder), plan.label
        worker = restarting_actor(Worker)
        self.workers = [
            worker.options(name=f"{name}-worker-{k}").remote(
                task, self.shards.names, self.shards.edges
            )
            for k in range(plan.workers)
        ]

    def _train(
        self, finish: Callable[[Driver], None], validate: Callable[[Model], None] | None
    ) -> None:
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
                cause = root_cause(error)
                if not isinstance(cause, (RayError, Stale)):
                    raise cause from None
                self._return_to_checkpoint(cause)

    @property
    def in_flight(self) -> int:
        """Number of batches that workers have."""
        return len(self._flights)

    # -- a pass ---------------------------------------------------------------------------------

    def _pass(self) -> None:
        at, plan = self.at, self.plan
        number = at.first
        for batch in self._until_stopped(batches(self.dataset, self._length, at.rows)):
            self._make_room(number)
            self._give(number, batch)
            number += 1
            given = at.examples + self._rows_in_flight() - self._saved.examples
            if given >= plan.cluster.checkpoint_every and (number - at.start) % self._round == 0:
                self.save()
        self._drain()
        self._count(number)
        self.shards.end_pass(self._epoch, number)
        at.pass_number += 1
        at.rows, at.start, at.first = 0, number, number
        self._show(self)

    def _length(self, row: int) -> int:
        """Return the number of rows of the batch that begins at a row.

        In the first pass, a round is at most an eighth of what was learned before it, so that a
        model that has learned little does not take large steps.
        """
        most = self.plan.cluster.batch_size
        if self.at.pass_number > 0:
            return most
        return min(most, max(64, row // (_ROUND_SHARE * (self._staleness + 1))))

    def _until_stopped(self, stream: Iterator[Batch]) -> Iterator[Batch]:
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
        """Wait until a batch may be handed out."""
        while self._flights and (
            len(self._flights) >= 2 * self.plan.workers
            or number - min(self._flights) >= window(self._staleness)
        ):
            self._collect()

    def _give(self, number: int, batch: Batch, worker: int | None = None) -> None:
        """Hand a batch to the worker with the fewest, and have it finish those it has."""
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
                self._request(other)
        self._flights[number] = _Flight(batch, worker, prepared)

    def _request(self, number: int) -> None:
        flight = self._flights[number]
        if flight.finished is None:
            finish = self.workers[flight.worker].finish
            flight.finished = finish.remote(self._epoch, number, flight.prepared)

    def _drain(self) -> None:
        while self._flights:
            self._collect()

    def _collect(self) -> None:
        """Wait up to a second for the results of batches, of the oldest at least."""
        self._request(min(self._flights))
        requested = {f.finished: n for n, f in self._flights.items() if f.finished is not None}
        ready, _ = ray.wait(list(requested), num_returns=1, timeout=1.0)
        for finished in ready:
            number = requested[finished]
            try:
                self._results[number] = ray.get(finished)
            except RayTaskError:
                raise  # the worker is alive; a shard, a block or a row failed
            except RayActorError as error:
                self._replace(self._flights[number].worker, error)
                return
            del self._flights[number]
            self._failed_at = None
        self._count()

    def _count(self, end: int | None = None) -> None:
        """Count results as learned: in the order of the batches, and by whole rounds.

        So the progress is always between two rounds, where a checkpoint can be made. `end` is the
        end of the pass, once that is known.
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

    # -- failures -------------------------------------------------------------------------------

    def _replace(self, worker: int, error: BaseException) -> None:
        """Hand the batches of a dead worker to the one that Ray starts in its place."""
        self._note_failure(error)
        self.failures["worker"] += 1
        mine = {n: f.batch for n, f in self._flights.items() if f.worker == worker}
        for number in mine:
            del self._flights[number]
        time.sleep(0.1)  # calls fail, and come back here, until the new worker runs
        for number in sorted(mine):
            self._give(number, mine[number], worker)

    def _return_to_checkpoint(self, error: BaseException) -> None:
        """Return to the last checkpoint, or to the beginning if there is none."""
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
        """Raise `Lost` if failures have gone on for long without a batch learned."""
        now = time.monotonic()
        self._failed_at = self._failed_at or now
        if now - self._failed_at > PATIENCE:
            where = self._directory
            hint = "" if where is None else f"; resume from the last checkpoint in {where}"
            raise Lost(
                f"no batch was learned for {PATIENCE:.0f} s after a failure, although Ray restarts"
                f" processes: {error}{hint}"
            ) from error

    def save(self) -> None:
        """Write a checkpoint of all batches handed out so far, if there is a directory for it."""
        directory, at = self._directory, self.at
        self._drain()
        if directory is None or at.examples == self._saved.examples:
            return
        folder = _checkpoint.prepare(directory, at.first)
        self.shards.save(self._epoch, str(folder), at.first)
        at.folder = str(folder)
        _checkpoint.write(directory, at, self.plan.identity)
        self._saved = at.copy()
