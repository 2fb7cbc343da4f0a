"""Training on a cluster: a dataset of Ray in, a learner out."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray

from adagrad._arguments import check_integer
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.sweep import SWEEP_EXAMPLES, sweep
from adagrad.ctr.learners.trainer import Trainer
from adagrad.ctr.training.encoders import Encoder
from adagrad.ctr.training.stop import Stop
from adagrad.distributed._dataset import first_rows
from adagrad.distributed._run import Plan, Run
from adagrad.distributed._shards import First
from adagrad.distributed._worker import labels_of

__all__ = ["Cluster", "adopt", "fit", "plan_of"]

MODES = ("sync", "async")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How a training is spread over a cluster, and how often it is saved.

    Attributes
    ----------
    workers : int, optional
        Processes that encode and compute gradients; as many as the cluster has processors, at most
        two rounds of batches, where left out.
    shards : int, optional
        Processes that hold the model; one for each node where left out. The bits do not depend on
        either.
    mode : {"sync", "async"}
        Batches in rounds that read the same params and take one step of their summed gradients, in
        a fixed order; or each on its own, as it comes.
    staleness : int
        The params that a batch reads may lack the steps of so many batches before it. "sync" comes
        in rounds of ``staleness + 1``.
    batch_size : int
        Examples of a batch.
    checkpoint : str or PathLike, optional
        A directory that every node sees under this path, for what a training goes on from after a
        failure. Where left out it begins anew then.
    checkpoint_every : int
        Examples between two checkpoints, rounded up to whole rounds.
    resume : bool
        Go on from the checkpoint, if there is one.
    """

    workers: int | None = None
    shards: int | None = None
    mode: str = "sync"
    staleness: int = 1
    batch_size: int = 8192
    checkpoint: Any = None
    checkpoint_every: int = 10_000_000
    resume: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be 'sync' or 'async', got {self.mode!r}")
        check_integer("staleness", self.staleness, 0, 10_000)
        check_integer("batch_size", self.batch_size, 1, 2**24)
        check_integer("checkpoint_every", self.checkpoint_every, 1, 2**62)
        for name in ("workers", "shards"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1, 65_536)
        if self.resume and self.checkpoint is None:
            raise ValueError("resume needs the directory of a checkpoint")


def plan_of(
    estimator: ClickLearner,
    dataset: Any,
    label: str,
    cluster: Cluster,
    encoder: Encoder | None = None,
    identity: dict[str, Any] | None = None,
) -> Plan:
    """Look at the first rows of a dataset, and return what a training of it does.

    Parameters
    ----------
    estimator : ClickLearner
        It is not changed.
    dataset : ray.data.Dataset
    label : str
    cluster : Cluster
    encoder : HashingEncoder or SlotEncoder, optional
        Instead of the estimator's.
    identity : dict, optional
        What else must agree where a checkpoint goes on; JSON.

    Raises
    ------
    ValueError
        The estimator asks for something that cannot be done this way, or the rows do not fit it.
    """
    _check(estimator)
    if cluster.shards is None or cluster.workers is None:
        processors = int(ray.cluster_resources().get("CPU", 1))
        nodes = sum(node["Alive"] for node in ray.nodes())
        cluster = dataclasses.replace(
            cluster,
            shards=cluster.shards or max(1, nodes),
            workers=cluster.workers or max(1, min(processors, 2 * (cluster.staleness + 1))),
        )
    rows = first_rows(dataset, SWEEP_EXAMPLES)
    y = labels_of(rows, label)
    encoder = encoder or _encoder(estimator, rows.drop_columns([label]))
    x = encoder.transform(rows)
    rule, margins = estimator._rule(), None
    settings = estimator._settings(x, rule)
    if estimator.lr == "auto":
        lr, margins = sweep(settings, x, y, None)
        settings = dataclasses.replace(settings, rule=rule.replace(lr=lr))
    assert cluster.workers is not None
    assert cluster.shards is not None
    least = settings.n_slots // 8
    if cluster.shards > least:
        raise ValueError(
            f"shards is {cluster.shards}, but each has a row of every eighth of the model's"
            f" {settings.n_slots} slots: at most {least}"
        )
    of_encoder = encoder.to_dict() if hasattr(encoder, "to_dict") else {"slots": settings.n_slots}
    same = {
        "settings": dataclasses.asdict(settings),
        "encoder": of_encoder,
        "label": label,
        "mode": cluster.mode,
        "staleness": cluster.staleness,
        "batch_size": cluster.batch_size,
    }
    return Plan(
        settings,
        encoder,
        label,
        First(x, y, margins),
        {**same, **(identity or {})},
        cluster.workers,
        cluster.shards,
        cluster.mode,
        cluster.staleness,
        cluster.batch_size,
        check_integer("passes", estimator.passes, 1, 2**31),
        None if cluster.checkpoint is None else Path(cluster.checkpoint).absolute(),
        cluster.checkpoint_every,
    )


def fit(
    estimator: ClickLearner,
    dataset: Any,
    label: str,
    cluster: Cluster,
    show: Callable[[Run], None] = lambda run: None,
    stop: Stop | None = None,
) -> ClickLearner:
    """Train an estimator on a Ray dataset, on a cluster.

    Parameters
    ----------
    estimator : ClickLearner
        With an encoder. It is changed only if the training succeeds.
    dataset : ray.data.Dataset
        Raw columns for the encoder, in the same order whenever they are read.
    label : str
        The column to predict: 0 and 1, -1 and +1, or false and true.
    cluster : Cluster
        How the training is spread, and how often it is saved.
    show : callable, optional
        Called with the run as it makes progress.
    stop : Stop, optional
        Ends the training early.

    Returns
    -------
    ClickLearner
        The estimator.

    Raises
    ------
    ValueError
        An option or a row is not valid.
    adagrad.distributed.Lost
        A part of the cluster is gone and does not come back.

    Notes
    -----
    The first 20,480 rows are learned as by the estimator's own `fit`, which also chooses the rate
    of ``lr="auto"``. After that each batch takes one step, of its summed gradients.
    """
    plan = plan_of(estimator, dataset, label, cluster)
    run = Run(plan, dataset, show, stop)
    try:
        if cluster.resume:
            run.resume()
        run.run(lambda run: adopt(estimator, plan, run.shards.model(run.at)))
    finally:
        run.close()
    return estimator


def adopt(estimator: ClickLearner, plan: Plan, model: Model) -> None:
    """Make a model that a plan has led to that of an estimator."""
    estimator.classes_ = np.array([0, 1])
    estimator.n_features_in_ = plan.settings.n_slots
    estimator.n_passes_ = plan.passes
    if estimator.encoder is not None:
        estimator.encoder_ = plan.encoder
    estimator._trainer = Trainer(model)


def _check(estimator: ClickLearner) -> None:
    estimator._check()
    for name in ("shuffle", "warm_start"):
        if getattr(estimator, name):
            raise ValueError(
                f"{name}=True cannot be done on a cluster"
                + (": shuffle the dataset instead" if name == "shuffle" else "")
            )


def _encoder(estimator: ClickLearner, rows: Any) -> Encoder:
    """Return what encodes the rows: the fitted encoder, or one that is fitted on them."""
    given = estimator.encoder
    if given is None:
        raise ValueError(
            "a dataset has columns: give the estimator an encoder, such as HashingEncoder(bits=22)"
        )
    encoder: Encoder = copy.deepcopy(given)
    if not hasattr(given, "fields_"):
        encoder.fit(rows)  # type: ignore[attr-defined]
    return encoder
