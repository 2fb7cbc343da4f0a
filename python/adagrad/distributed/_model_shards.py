"""`ModelShards`: the driver's view of the actors that hold a model.

Starts them, fills them, and reads the model back. What one actor does is in `_model_shard`.
"""

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

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.compiled import learn_first
from adagrad.ctr.learners.layouts import layouts
from adagrad.ctr.learners.model import Model
from adagrad.ctr.learners.settings import Settings
from adagrad.distributed._checkpoint import Checkpoint
from adagrad.distributed._model_shard import BIAS, ModelShard, edges
from adagrad.distributed._worker import dealt, joined, smaller, spread

__all__ = ["PATIENCE", "FirstRows", "ModelShards", "restarting_actor"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]

PATIENCE = 60.0
"""Seconds after a failure in which a batch must be learned, or the training gives up."""

_READ_BYTES = 8 << 20  # of a table, per call


class FirstRows(NamedTuple):
    """The first rows of a dataset, which the driver learns as one machine would.

    Attributes
    ----------
    x : Examples
    y : ndarray of float32, shape [n]
        Labels.
    margins : ndarray of float32, shape [n], or None
        Predictions to score, if not those of the model itself: with ``lr="auto"`` those of the
        mixture.
    """

    x: Examples
    y: Floats
    margins: Floats | None = None


def restarting_actor(kind: Any) -> Any:
    """Return an actor class that Ray restarts on any node whenever an actor dies.

    The actors reserve no processor: they often wait, and the tasks that read the dataset need the
    processors.
    """
    return ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy="SPREAD")(kind)


class ModelShards:
    """The actors that hold a model.

    Parameters
    ----------
    settings : Settings
        Settings of the model.
    count : int
        Number of shards.
    mode, staleness
        See `ModelShard`.
    name : str
        Prefix of the actors' names, by which a restarted worker finds them.

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
        shard = restarting_actor(ModelShard)
        self.actors = [
            shard.options(name=self.names[k]).remote(
                settings, ranges[k::count], k == 0, mode, staleness
            )
            for k in range(count)
        ]

    def begin(self, epoch: int, at: Checkpoint, failed: Callable[[RayError], None]) -> None:
        """Set all shards to the progress of a training, waiting for those that Ray restarts.

        `failed` is called, and may raise, each time a shard does not answer.
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

    def learn_first(self, first: FirstRows) -> Floats:
        """Learn the first rows in this process, and return the predictions to score.

        Batches need a model that knows the common features. In a new model, the thousands of
        examples of a batch would all step in the same direction, and the bias would take hundreds
        of batches to converge.
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
        """Wait until all batches of a pass, those below this number, have stepped."""
        ray.get([shard.end_pass.remote(epoch, batches) for shard in self.actors])

    def save(self, epoch: int, folder: str, batches: int) -> None:
        """Write all rows to a folder, once the batches below this number have stepped."""
        ray.get([shard.save.remote(epoch, folder, batches) for shard in self.actors])

    def stats(self) -> list[dict[str, float]]:
        """Return the statistics of each shard; see `ModelShard.stats`."""
        found: list[dict[str, float]] = ray.get([shard.stats.remote() for shard in self.actors])
        return found

    def rows(self, name: str, slots: Slots | None = None) -> Iterator[Floats]:
        """Yield the rows of a table in order, params and accumulators, up to 8 MiB at a time.

        With `slots`, which ascend, yield only theirs.
        """
        step = max(1, _READ_BYTES // (8 * layouts(self.settings)[name]["dim"]))
        for number, (first, last) in enumerate(itertools.pairwise(self.edges.tolist())):
            part, k = divmod(number, len(self.actors))
            some = None
            if slots is not None:
                some = slots[slice(*np.searchsorted(slots, [first, last]))].astype(np.int64) - first
            for start in range(0, last - first if some is None else len(some), step):
                end = min(start + step, last - first)
                rows = slice(start, end) if some is None else some[start:end]
                yield ray.get(self.actors[k].read.remote(name, part, rows))

    def touched(self) -> Slots:
        """Return the slots whose rows differ from those of a new model, ascending."""
        numbers = range(len(self.edges) - 1)
        parts = [divmod(number, len(self.actors)) for number in numbers]
        found = ray.get([self.actors[k].touched.remote(part) for part, k in parts])
        slots = [rows + first for rows, first in zip(found, self.edges[:-1], strict=True)]
        return np.concatenate(slots).astype(np.uint32)

    def outline(self, at: Checkpoint) -> Model:
        """Return the model without its tables."""
        model = Model.__new__(Model)
        model.settings, model.examples, model.tables = self.settings, at.examples, {}
        model.progressive, model.bias = at.copy().progressive, None
        model.mixture = model.pair_mixing = None
        if model.settings.intercept:
            model.bias = np.array(ray.get(self.actors[0].read.remote(BIAS, 0, slice(1)))[0])
        return model

    def model(self, at: Checkpoint) -> Model:
        """Return the model, copied into the memory of this process."""
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
