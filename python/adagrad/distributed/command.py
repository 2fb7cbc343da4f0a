"""What ``adagrad train --ray`` runs: a `Training` whose batches go to a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray

from adagrad.ctr.learners.model import Model, layouts
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.logs.log import Log
from adagrad.ctr.training.curve import extended_curve
from adagrad.ctr.training.run import Training, evaluate
from adagrad.ctr.training.stop import Stop
from adagrad.distributed import _checkpoint
from adagrad.distributed._dataset import Skipped, from_log
from adagrad.distributed._metrics import Metrics
from adagrad.distributed._run import Run
from adagrad.distributed.training import Cluster, adopt, plan_of

__all__ = ["RayTraining"]

_LOOK = 1.0  # seconds between two looks at the shards


class RayTraining(Training):
    """A training on the cluster that this process is connected to.

    Parameters
    ----------
    *arguments, **options
        Of `Training`.
    cluster : Cluster
        With the directory of the checkpoints.
    keep : bool
        Whether the model is wanted in the memory of this process, for a report.

    Attributes
    ----------
    load : list of dict
        What each shard has done, a moment ago; see `ModelShard.stats`.
    staleness : float
        Batches that the last ones could not know of, on average.
    in_flight : int
        Batches that are under way.
    failures : dict of str to int
        Workers that were replaced, and returns to a checkpoint after a "shard" was lost.
    """

    def __init__(
        self, *arguments: Any, cluster: Cluster, keep: bool = True, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.cluster, self.keep = cluster, keep
        self.load: list[dict[str, float]] = []
        self.staleness, self.in_flight = 0.0, 0
        self.failures = {"worker": 0, "shard": 0}
        self._run: Run | None = None
        self._done: int | None = None
        self._looked = 0.0

    @property
    def saved_in(self) -> Path:
        """Where a training that is interrupted goes on from."""
        return Path(self.cluster.checkpoint)

    @property
    def examples(self) -> int:
        """How many are learned, in all passes."""
        return super().examples if self._run is None else self._run.at.examples

    @property
    def progressive(self) -> Progressive | None:
        """Of the first pass; None before there is something to tell."""
        if self._run is None:
            return super().progressive
        return self._run.at.progressive if self._run.at.examples else None

    def resume(self) -> None:
        """Take up a model file that is complete; else `run` goes on from the checkpoint."""
        if self.path.exists():
            super().resume()
        else:
            state = _checkpoint.plan_in(self.cluster.checkpoint)
            if state is not None:
                self._check_identity(self.cluster.checkpoint, state)

    def run(
        self,
        show: Callable[[Training], None] = lambda training: None,
        *,
        validate: Callable[[], Log] | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Train to the end, and write the model file; see `Training.run`.

        Raises
        ------
        Lost
            The cluster does not recover.
        """
        if self.pass_number >= self.passes:
            return
        skipped = ray.remote(num_cpus=0)(Skipped).remote() if self.options.skip_bad else None
        dataset = from_log(self.log, skipped)
        self.estimator.set_params(passes=self.passes)
        self.sample = next(self.log.batches(), None)
        plan = plan_of(
            self.estimator, dataset, self.options.label, self.cluster, self.encoder, self.identity
        )
        metrics = Metrics(self)
        run = Run(plan, dataset, lambda run: self._look(run, show, metrics), stop)
        try:
            if self.cluster.resume:
                run.resume()
            self._run = run
            measure = None if validate is None else lambda model: self._measure(model, validate)
            run.run(lambda run: self._finish(run, skipped), measure)
        finally:
            run.close()
        self._run = None
        _checkpoint.remove(self.cluster.checkpoint)
        show(self)

    def _look(self, run: Run, show: Callable[[Training], None], metrics: Metrics) -> None:
        self._take(run)
        now = time.monotonic()
        if now - self._looked > _LOOK:
            self._looked = now
            self.load = run.shards.stats()
            metrics.tell()
        if run.at.pass_number == 0 and run.at.examples:
            run.at.curve = extended_curve(run.at.curve, run.at.progressive)
        show(self)

    def _take(self, run: Run) -> None:
        at = run.at
        self.pass_number, self.rows, self.curve = at.pass_number, at.rows, at.curve
        self.in_flight, self.failures = run.in_flight, run.failures
        if run.learned:
            self.staleness = float(np.mean([learned.staleness for learned in run.learned]))

    def _finish(self, run: Run, skipped: Any) -> None:
        """Write the model file, straight from the shards unless the model is wanted here, too."""
        self._take(run)
        if skipped is not None:
            self.skipped = ray.get(skipped.total.remote())
        shards, settings = run.shards, run.plan.settings
        model = shards.model(run.at) if self.keep else shards.outline(run.at)
        adopt(self.estimator, run.plan, model)
        names = () if self.keep else layouts(settings)
        self.save(tables={name: shards.rows(name) for name in names})

    def _measure(self, model: Model, validate: Callable[[], Log]) -> None:
        """Note how good the model of a pass is on the held-out log."""
        assert self._run is not None
        adopt(self.estimator, self._run.plan, model)
        with validate() as log:
            self.board = evaluate(self.estimator, log)
        del self.validation[self._run.at.pass_number - 1 :]  # of a pass that was done twice
        self.validation.append(self.board.metrics())
