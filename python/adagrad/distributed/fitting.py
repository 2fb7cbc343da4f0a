"""`fit`: train a click learner on a Ray dataset.

Plans the training from the first rows of the dataset; `_driver` carries it out.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

import adagrad._core as _core
from adagrad._arguments import check_integer
from adagrad.ctr.encoding.encoder import HashingEncoder
from adagrad.ctr.encoding.examples import REGIONS, Examples
from adagrad.ctr.learners.estimator import ClickLearner
from adagrad.ctr.learners.mixture import Mixture
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.seeds import draws
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.training.encoders import Encoder
from adagrad.ctr.training.stop import Stop
from adagrad.distributed import _checkpoint
from adagrad.distributed._blocks import labels_of
from adagrad.distributed._dataset import first_rows
from adagrad.distributed._driver import Driver, Plan
from adagrad.distributed._model_shards import FirstRows
from adagrad.distributed._worker import smaller
from adagrad.distributed.cluster import Cluster
from adagrad.rule import Rule

__all__ = ["adopt", "fit", "plan_of"]

Floats = npt.NDArray[np.float32]

FIRST_ROWS = 20_480
"""Number of rows that the driver learns before the batches begin."""


def plan_of(
    estimator: ClickLearner,
    dataset: Any,
    label: str,
    cluster: Cluster,
    encoder: Encoder | None = None,
    identity: dict[str, Any] | None = None,
) -> Plan:
    """Return the plan of a training, made from the first rows of its dataset.

    Parameters
    ----------
    estimator : ClickLearner
        It is not changed.
    dataset : ray.data.Dataset
    label : str
    cluster : Cluster
    encoder : HashingEncoder or SlotEncoder, optional
        By default the estimator's.
    identity : dict, optional
        What else must agree for a checkpoint to be resumed; JSON.

    Raises
    ------
    ValueError
        If the estimator has an option that a cluster does not support, or the rows do not fit it.
    """
    _check_supported(estimator)
    workers, shards = _process_counts(cluster)
    rows = first_rows(dataset, FIRST_ROWS)
    y = labels_of(rows, label)
    encoder = encoder or _fitted_encoder(estimator, rows.drop_columns([label]), cluster)
    x = encoder.transform(rows)
    settings, margins = estimator._settings(x, estimator._rule(), estimator._seed()), None
    if settings.rule is None:
        rule, margins = _best_expert(settings, x, y)
        settings = dataclasses.replace(settings, rule=rule)
    most = settings.n_slots // REGIONS
    if shards > most:
        raise ValueError(
            f"shards must be at most {most} for a model of {settings.n_slots} slots, got {shards}"
        )
    of_encoder = encoder.to_dict() if hasattr(encoder, "to_dict") else {"slots": settings.n_slots}
    of_encoder.pop("reasons", None)
    # A checkpoint of an earlier version has no entry for penalties, and other params under them.
    left_out = {"l2"} if settings.negative_rate != 1.0 else {"l2", "negative_rate"}
    must_agree = {
        "settings": {k: v for k, v in dataclasses.asdict(settings).items() if k not in left_out},
        "penalties": [settings.l1, settings.l2] if settings.is_penalized else None,
        "encoder": of_encoder,
        "label": label,
        "mode": cluster.mode,
        "staleness": cluster.staleness,
        "batch_size": cluster.batch_size,
        **(identity or {}),
    }
    return Plan(
        settings=settings,
        encoder=encoder,
        label=label,
        first=FirstRows(x, y, margins),
        identity=must_agree,
        passes=check_integer("passes", estimator.passes, 1, 2**31),
        workers=workers,
        shards=shards,
        cluster=cluster,
    )


def fit(
    estimator: ClickLearner,
    dataset: Any,
    label: str,
    cluster: Cluster,
    show: Callable[[Driver], None] = lambda driver: None,
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
        Called with the driver of the training as it makes progress.
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
    The first 20,480 rows are learned as by the estimator's own `fit`. After that each batch takes
    one step, of its summed gradients. With ``lr="auto"`` the mixture learns the first rows, and the
    AdaGrad expert that predicted them best goes on alone, as a rule with a fixed rate.
    """
    plan = plan_of(estimator, dataset, label, cluster)
    driver = Driver(plan, dataset, show, stop)
    if cluster.resume:
        driver.resume()
    driver.run(lambda driver: adopt(estimator, plan, driver.shards.model(driver.at)))
    return estimator


def adopt(estimator: ClickLearner, plan: Plan, model: Model) -> None:
    """Give an estimator the model that a training with this plan ended with."""
    estimator.classes_ = np.array([0, 1])
    estimator.n_passes_ = plan.passes
    if estimator.encoder is not None:
        estimator.encoder_ = plan.encoder  # type: ignore[assignment]
    estimator._note_features(plan.settings.n_slots)
    estimator._trained = model


def _process_counts(cluster: Cluster) -> tuple[int, int]:
    """Return the numbers of workers and shards, with the defaults of the connected cluster."""
    processors = int(ray.cluster_resources().get("CPU", 1))
    nodes = sum(node["Alive"] for node in ray.nodes())
    workers = cluster.workers or max(1, min(processors, 2 * (cluster.staleness + 1)))
    return workers, cluster.shards or max(1, nodes)


def _check_supported(estimator: ClickLearner) -> None:
    estimator._check()
    if estimator.shuffle:
        raise ValueError("a cluster does not support shuffle=True: shuffle the dataset instead")
    if estimator.class_weight is not None:
        raise ValueError("a cluster does not support class_weight")
    if draws(estimator.random_state):
        raise ValueError(
            "a cluster needs a seed that a training can resume with: give random_state an integer"
        )
    if estimator.warm_start:
        raise ValueError("a cluster does not support warm_start=True")
    if estimator.half_life is not None:
        raise ValueError("a cluster does not support half_life")


def _best_expert(settings: Settings, x: Examples, y: Floats) -> tuple[Rule, Floats]:
    """Return the rule of the AdaGrad expert that predicts rows best, and the mixture's margins.

    The rule takes the steps of the expert, whose rate depends on the number of entries, from here
    on. Experts scale the values of each slot, which a rule does not.
    """
    slots, places = _core.compact(x.slots)
    mixture = Mixture(len(slots), settings.intercept)
    some = smaller(x, places, len(slots))
    margins = mixture.learn(some, y, None, 0, mixes=True, threads=0)
    adagrad = [expert for expert in mixture.experts() if expert["power"] == 0.5]
    best = min(adagrad, key=lambda expert: expert["logloss"])
    lr = best["rate"] * mixture.rate_factor(len(x))
    return Rule(lr=lr, eps=0.0, initial_accumulator=best["start"]), margins


def _fitted_encoder(estimator: ClickLearner, rows: Any, cluster: Cluster) -> Encoder:
    """Return a copy of the estimator's encoder, fitted on these rows if it is not fitted."""
    given = estimator.encoder
    if given is None:
        raise ValueError(
            "the estimator has no encoder for the columns of the dataset: give it one, for example"
            " encoder=HashingEncoder(bits=22)"
        )
    estimator._check_encoder()
    encoder: HashingEncoder = copy.deepcopy(given)
    if not hasattr(given, "fields_"):
        if cluster.resume and cluster.checkpoint is not None:
            begun = _checkpoint.plan_in(Path(cluster.checkpoint))
            if begun is not None and begun["encoder"].get("format") == 1:
                encoder.kinds = "types"  # a training of version 0.1
        encoder.fit(rows)
    return encoder
