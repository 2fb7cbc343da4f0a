"""`Worker`: an actor that encodes a batch, pulls its rows, and pushes the sums of its gradients.

The functions below it are also used by the driver, the benchmarks and the simulator.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import ray

import adagrad._core as _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.compiled import gradients
from adagrad.ctr.learners.layouts import layouts
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.training.encoders import Encoder
from adagrad.distributed._blocks import joined_blocks, labels_of
from adagrad.distributed._model_shard import BIAS, Answer, Stale

__all__ = ["Learned", "PulledBatch", "Worker", "dealt", "joined", "smaller", "spread"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]


class Learned(NamedTuple):
    """What a worker reports of a batch after its gradients have arrived at the shards.

    Attributes
    ----------
    margins, y : ndarray of float32, shape [n]
        Predictions from before the batch was learned, and labels.
    staleness : float
        Number of earlier batches whose steps its params lacked: the mean over shards.
    seconds : dict of str to float
        Duration of "encode", "pull", "compute" and "push"; "pull" and "push" are spent waiting.
    rows, nbytes : int
        Rows pulled, and bytes of ids, params and gradients sent.
    """

    margins: Floats
    y: Floats
    staleness: float
    seconds: dict[str, float]
    rows: int
    nbytes: int


@dataclasses.dataclass
class PulledBatch:
    """An encoded batch whose params are on their way from the shards."""

    epoch: int
    x: Examples
    y: Floats
    slots: Slots
    places: Slots
    parts: list[list[slice]]  # of the slots, for each shard
    answers: list[Any]
    seconds: dict[str, float]


class Worker:
    """An actor that learns batches: `prepare` and then `finish` each, the next one in between.

    Parameters
    ----------
    task : tuple of Settings, HashingEncoder or SlotEncoder, and str
        The settings of the model, the encoder, and the column to predict.
    shards : list of str
        Names of the `ModelShard` actors.
    edges : ndarray of int64
        See `edges`.
    """

    def __init__(
        self,
        task: tuple[Settings, Encoder, str],
        shards: Sequence[str],
        edges: npt.NDArray[np.int64],
    ) -> None:
        self._settings, self._encoder, self._label = task
        self._shards, self._edges = [ray.get_actor(name) for name in shards], edges
        self._batches: dict[int, PulledBatch] = {}

    def prepare(
        self, epoch: int, batch: int, cuts: Sequence[tuple[int, int]], *blocks: Any
    ) -> None:
        """Encode a batch, and request its rows from the shards.

        Parameters
        ----------
        epoch, batch : int
        cuts : sequence of (int, int)
            First row of each block, and one past its last row.
        *blocks : pyarrow.Table or pandas.DataFrame
            Blocks of a dataset.
        """
        start = time.perf_counter()
        self._batches = {n: of for n, of in self._batches.items() if of.epoch == epoch}
        table = joined_blocks(blocks, cuts)
        y = labels_of(table, self._label)
        x = self._encoder.transform(table)
        encoded = time.perf_counter()
        slots, places = _core.compact(x.slots)
        parts = dealt(slots, self._edges, len(self._shards))
        answers = [
            shard.pull.remote(epoch, batch, joined(slots, of_shard))
            for shard, of_shard in zip(self._shards, parts, strict=True)
        ]
        seconds = {"encode": encoded - start, "compute": time.perf_counter() - encoded}
        self._batches[batch] = PulledBatch(epoch, x, y, slots, places, parts, answers, seconds)

    def finish(self, epoch: int, batch: int, prepared: None) -> Learned:
        """Wait for the rows of a batch, sum its gradients, and push them to the shards.

        Parameters
        ----------
        epoch, batch : int
        prepared : None
            The result of `prepare`; if that raised, Ray raises the same error here.

        Raises
        ------
        Stale
            The shards have returned to a checkpoint.
        ray.exceptions.RayError
            A shard does not answer.
        """
        pulled = self._batches.pop(batch, None)
        if pulled is None or pulled.epoch != epoch:
            raise Stale
        start = time.perf_counter()
        answers: list[Answer] = ray.get(pulled.answers)
        arrived = time.perf_counter()
        margins, sums, bias = summed(self._settings, pulled, answers)
        pushes = []
        for k, (shard, parts) in enumerate(zip(self._shards, pulled.parts, strict=True)):
            of_shard = {name: joined(g, parts) for name, g in sums.items()}
            if k == 0:
                of_shard[BIAS] = bias
            pushes.append(shard.push.remote(epoch, batch, of_shard))
        computed = time.perf_counter()
        ray.get(pushes)
        seconds = {
            "encode": pulled.seconds["encode"],
            "pull": arrived - start,
            "compute": pulled.seconds["compute"] + computed - arrived,
            "push": time.perf_counter() - computed,
        }
        staleness = float(np.mean([answer.staleness for answer in answers]))
        nbytes = pulled.slots.nbytes + sum(2 * g.nbytes for g in sums.values())
        return Learned(margins, pulled.y, staleness, seconds, len(pulled.slots), nbytes)


def summed(
    settings: Settings, batch: PulledBatch, answers: Sequence[Answer]
) -> tuple[Floats, dict[str, Floats], Floats]:
    """Return the margins of a batch, and its summed gradients: by table for each slot, of the bias.

    Parameters
    ----------
    settings : Settings
        Settings of the whole model.
    batch : PulledBatch
    answers : sequence of Answer
        The answers of all shards, in order.
    """
    memory, n = {}, len(batch.slots)
    for name, layout in layouts(settings).items():
        dim = layout["dim"]
        rows = np.zeros((n, 2 * dim), np.float32)
        params = rows[:, 0] if dim == 1 else rows[:, :dim]
        spread([answer.params[name] for answer in answers], batch.parts, params)
        memory[name] = rows
    bias = np.zeros(2, np.float32)
    bias[0] = next((answer.bias for answer in answers if answer.bias is not None), 0.0)
    local, of_slots = smaller(batch.x, batch.places, n), dataclasses.replace(settings, n_slots=n)
    margins = gradients(of_slots, memory, bias if settings.intercept else None, local, batch.y)
    sums = {}
    for name, rows in memory.items():
        dim = rows.shape[1] // 2
        sums[name] = rows[:, 1] if dim == 1 else rows[:, dim:]
    return margins, sums, bias[1:]


def smaller(x: Examples, places: Slots, n_slots: int) -> Examples:
    """Return examples whose slots are places in a smaller table; regions are unchanged."""
    return Examples._of(x.bounds, x.fields, len(x), x.n_fields, n_slots, places, x.values)


def dealt(slots: Slots, edges: npt.NDArray[np.int64], shards: int) -> list[list[slice]]:
    """Return the parts of ascending slots that belong to each shard: a slice per range."""
    cuts = np.searchsorted(slots, edges).tolist()
    pieces = [slice(*pair) for pair in itertools.pairwise(cuts)]
    return [pieces[k::shards] for k in range(shards)]


def spread(arrays: Sequence[npt.NDArray[Any]], parts: Sequence[Sequence[slice]], out: Any) -> None:
    """Write each shard's array to its parts of `out`: the inverse of `joined`."""
    for array, of_shard in zip(arrays, parts, strict=True):
        at = 0
        for part in of_shard:
            length = part.stop - part.start
            out[part] = array[at : at + length]
            at += length


def joined(array: npt.NDArray[Any], parts: Sequence[slice]) -> npt.NDArray[Any]:
    """Return the parts of an array, concatenated."""
    return np.concatenate([array[part] for part in parts])
