"""`RayTraining`: what ``adagrad train --ray`` runs, a `Training` whose batches go to a cluster.

Options and printing are in `adagrad.commands`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray

from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.learners.files import Tables
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.logs.log import Log
from adagrad.ctr.training.curve import extended_curve
from adagrad.ctr.training.evaluation import Look, evaluate
from adagrad.ctr.training.resume import check_same_training
from adagrad.ctr.training.run import Training
from adagrad.ctr.training.stop import Stop
from adagrad.distributed import _checkpoint
from adagrad.distributed._dataset import SkippedRows, from_log
from adagrad.distributed._driver import Driver
from adagrad.distributed.cluster import Cluster
from adagrad.distributed.fitting import adopt, plan_of

__all__ = ["RayTraining"]

_STATS_PERIOD = 1.0  # seconds between two requests for the statistics of the shards


class RayTraining(Training):
    """A training on the cluster that this process is connected to.

    Parameters
    ----------
    *arguments, **options
        As for `Training`.
    cluster : Cluster
        With a directory for checkpoints.
    keep : bool, default True
        Whether to load the model into the memory of this process at the end, for a report.

    Attributes
    ----------
    load : list of dict
        Recent statistics of each shard; see `ModelShard.stats`.
    staleness : float
        Mean number of batches whose steps the params of the last batches lacked.
    in_flight : int
        Number of batches in flight.
    failures : dict of str to int
        How often a "worker" was replaced, and how often the training returned to a checkpoint
        because a "shard" was lost.
    """

    def __init__(
        self, *arguments: Any, cluster: Cluster, keep: bool = True, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.cluster, self.keep = cluster, keep
        self.load: list[dict[str, float]] = []
        self.staleness, self.in_flight = 0.0, 0
        self.failures = {"worker": 0, "shard": 0}
        assert cluster.checkpoint is not None
        self._directory = Path(cluster.checkpoint)
        self._driver: Driver | None = None
        self._asked_at = 0.0

    @property
    def saved_in(self) -> Path:
        """The directory that an interrupted training resumes from."""
        return self._directory

    @property
    def examples(self) -> int:
        """Examples learned, in all passes."""
        return super().examples if self._driver is None else self._driver.at.examples

    @property
    def progressive(self) -> Progressive | None:
        """Progressive scores of the first pass; None before there are any."""
        if self._driver is None:
            return super().progressive
        return self._driver.at.progressive if self._driver.at.examples else None

    def resume(self) -> None:
        """Continue from a complete model file; without one, `run` resumes from the checkpoint."""
        if self.path.exists():
            super().resume()
        else:
            state = _checkpoint.plan_in(self._directory)
            if state is not None:
                if "params" in state["encoder"]:
                    self._keep_types(HashingEncoder.from_dict(state["encoder"]))
                check_same_training(self._directory, state, self.identity)

    def run(
        self,
        show: Callable[[Training], None] = lambda training: None,
        *,
        validate: Callable[[], Log] | None = None,
        stop: Stop | None = None,
        look: Look | None = None,
    ) -> None:
        """Train to the end and write the model file; see `Training.run`.

        Raises
        ------
        Lost
            The cluster does not recover.
        """
        if self.pass_number >= self.passes:
            return
        self.prepare()
        skipped = ray.remote(num_cpus=0)(SkippedRows).remote() if self.options.skip_bad else None
        dataset = from_log(self.log, skipped)
        self.estimator.set_params(passes=self.passes)
        self.sample = next(self.log.batches(), None)
        if look is not None and self.sample is not None:
            look(self.sample)
        plan = plan_of(
            self.estimator, dataset, self.options.label, self.cluster, self.encoder, self.identity
        )
        driver = Driver(plan, dataset, lambda driver: self._update(driver, show), stop)
        if self.cluster.resume:
            driver.resume()
        self._driver = driver
        measure = None if validate is None else lambda model: self._measure(model, validate)
        driver.run(lambda driver: self._finish(driver, skipped), measure)
        self._driver = None
        _checkpoint.remove(self._directory)
        show(self)

    def _update(self, driver: Driver, show: Callable[[Training], None]) -> None:
        self._take(driver)
        now = time.monotonic()
        if now - self._asked_at > _STATS_PERIOD:
            self._asked_at = now
            self.load = driver.shards.stats()
        if driver.at.pass_number == 0 and driver.at.examples:
            at = driver.at
            self.curve = at.curve = extended_curve(at.curve, at.progressive, at.examples)
        show(self)

    def _take(self, driver: Driver) -> None:
        at = driver.at
        self.pass_number, self.rows, self.curve = at.pass_number, at.rows, at.curve
        self.in_flight, self.failures = driver.in_flight, driver.failures
        if driver.learned:
            self.staleness = float(np.mean([learned.staleness for learned in driver.learned]))

    def _finish(self, driver: Driver, skipped: Any) -> None:
        """Write the model file; without `keep`, stream the tables from the shards to it."""
        self._take(driver)
        if skipped is not None:
            self.skipped = ray.get(skipped.total.remote())
        shards = driver.shards
        model = shards.model(driver.at) if self.keep else shards.outline(driver.at)
        adopt(self.estimator, driver.plan, model)
        self.save(tables=None if self.keep else Tables(shards.touched(), shards.rows))

    def _measure(self, model: Model, validate: Callable[[], Log]) -> None:
        """Record the metrics of a pass's model on the held-out log."""
        assert self._driver is not None
        adopt(self.estimator, self._driver.plan, model)
        with validate() as log:
            self.board = evaluate(self.estimator, log)
        del self.validation[self._driver.at.pass_number - 1 :]  # if the pass was repeated
        self.validation.append(self.board.metrics())
