"""All shards of a model, as the driver of a training sees them."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import RayError, RayTaskError

from adagrad import _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.model import Model, Settings, layouts, learn_first
from adagrad.distributed._checkpoint import Checkpoint
from adagrad.distributed._shard import BIAS, ModelShard, edges
from adagrad.distributed._worker import dealt, joined, smaller, spread

__all__ = ["PATIENCE", "First", "Shards", "lasting"]

Floats = npt.NDArray[np.float32]

PATIENCE = 60.0
"""Seconds from a failure without a batch after which a training gives up."""

_READ = 8 << 20  # bytes of a table that are read of a shard at once


class First(NamedTuple):
    """The first rows of a dataset, which the driver learns one by one, as one machine would.

    Attributes
    ----------
    x : Examples
    y : ndarray of float32, shape [n]
    margins : ndarray of float32, shape [n], or None
        What was predicted before, where that is not what the model predicted.
    """

    x: Examples
    y: Floats
    margins: Floats | None = None


def lasting(kind: Any) -> Any:
    """Return a class of actors that Ray starts again, on any node, as often as they die.

    They take no processor: the tasks that read the dataset need them, and actors here often wait.
    """
    return ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy="SPREAD")(kind)


class Shards:
    """The actors that hold a model.

    Parameters
    ----------
    settings : Settings
        Of the model.
    count : int
    mode, staleness
        See `ModelShard`.
    name : str
        The names of the actors begin with it: by them a worker that starts again finds them.

    Attributes
    ----------
    actors : list of ray.actor.ActorHandle
    names : list of str
    edges : ndarray of int64
        See `edges`.
    """

    def __init__(
        self, settings: Settings, count: int, mode: str, staleness: int, name: str
    ) -> None:
        self.settings, self.edges = settings, edges(settings.n_slots, count)
        self.names = [f"{name}-shard-{k}" for k in range(count)]
        ranges = list(itertools.pairwise(self.edges.tolist()))
        shard = lasting(ModelShard)
        self.actors = [
            shard.options(name=self.names[k]).remote(
                settings, ranges[k::count], k == 0, mode, staleness
            )
            for k in range(count)
        ]

    def begin(self, epoch: int, at: Checkpoint, failed: Callable[[RayError], None]) -> None:
        """Have all shards take up where a training stands, those that are starting again, too.

        `failed` is called, and may raise, as often as one is not there yet.
        """
        for shard in self.actors:
            while True:
                begun = shard.begin.remote(epoch, at.folder, at.start, at.first)
                try:
                    ray.get(begun, timeout=PATIENCE)
                    break
                except RayTaskError:
                    raise
                except RayError as error:
                    failed(error)
                    time.sleep(0.2)

    def learn_first(self, first: First) -> Floats:
        """Learn the first rows here, and return what was predicted.

        Batches need a model that knows the common features: with thousands of examples on params
        that know nothing, all would step the same way, and the bias would take hundreds of batches
        to arrive.
        """
        x, y, predicted = first
        slots, places = _core.compact(x.slots)
        parts = dealt(slots, self.edges, len(self.actors))
        asked = zip(self.actors, parts, strict=True)
        taken = ray.get([shard.take.remote(joined(slots, of)) for shard, of in asked])
        memory = {}
        for name, layout in layouts(self.settings).items():
            memory[name] = np.empty((len(slots), 2 * layout["dim"]), np.float32)
            spread([rows[name] for rows in taken], parts, memory[name])
        bias = np.array(taken[0][BIAS])
        of_slots = dataclasses.replace(self.settings, n_slots=len(slots))
        some = smaller(x, places, len(slots))
        margins = learn_first(of_slots, memory, bias if of_slots.intercept else None, some, y)
        put = []
        for shard, of in zip(self.actors, parts, strict=True):
            rows = {name: joined(table, of) for name, table in memory.items()}
            put.append(shard.put.remote(joined(slots, of), {**rows, BIAS: bias}))
        ray.get(put)
        return margins if predicted is None else predicted

    def end_pass(self, epoch: int, batches: int) -> None:
        """Wait until so many batches have stepped, the last ones of a pass."""
        ray.get([shard.end_pass.remote(epoch, batches) for shard in self.actors])

    def save(self, epoch: int, folder: str, batches: int) -> None:
        """Write all rows to a folder, once so many batches have stepped."""
        ray.get([shard.save.remote(epoch, folder, batches) for shard in self.actors])

    def stats(self) -> list[dict[str, float]]:
        """Return what each shard has done since it began."""
        found: list[dict[str, float]] = ray.get([shard.stats.remote() for shard in self.actors])
        return found

    def rows(self, name: str) -> Iterator[Floats]:
        """Yield the rows of a table in order, params and accumulators, a few MiB at a time."""
        step = max(1, _READ // (8 * layouts(self.settings)[name]["dim"]))
        for number, (first, last) in enumerate(itertools.pairwise(self.edges.tolist())):
            part, k = divmod(number, len(self.actors))
            for start in range(0, last - first, step):
                end = min(start + step, last - first)
                yield ray.get(self.actors[k].read.remote(name, part, start, end))

    def outline(self, at: Checkpoint) -> Model:
        """Return the model without its tables."""
        model = Model.__new__(Model)
        model.settings, model.examples, model.tables = self.settings, at.examples, {}
        model.progressive, model.bias = at.copy().progressive, None
        if model.settings.intercept:
            model.bias = np.array(ray.get(self.actors[0].read.remote(BIAS, 0, 0, 1))[0])
        return model

    def model(self, at: Checkpoint) -> Model:
        """Return the model, in the memory of this process."""
        outline, model = self.outline(at), Model(self.settings)
        for name, table in model.tables.items():
            assert table._memory is not None
            memory, filled = table._memory.view(np.float32), 0
            for rows in self.rows(name):
                memory[filled : filled + rows.size] = rows.reshape(-1)
                filled += rows.size
        if model.bias is not None:
            model.bias[:] = outline.bias
        model.examples, model.progressive = outline.examples, outline.progressive
        return model
