"""What a worker does with a batch: encode, pull its rows, sum its gradients, push them."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from adagrad import _core
from adagrad.ctr.encoding.examples import Examples
from adagrad.ctr.learners.model import Settings, gradients, layouts
from adagrad.ctr.training.encoders import Encoder
from adagrad.distributed._dataset import joined_blocks
from adagrad.distributed._shard import BIAS, Answer, Stale

__all__ = ["Asked", "Learned", "Worker", "dealt", "joined", "labels_of", "smaller", "spread"]

Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.uint32]


class Learned(NamedTuple):
    """What is told of a batch once its gradients have arrived.

    Attributes
    ----------
    margins, y : ndarray of float32, shape [n]
        Predictions before it was learned from, and labels.
    staleness : float
        Batches before it whose steps its params had not taken: the mean over shards.
    seconds : dict of str to float
        What took how long: "encode", "pull", "compute", "push". Pulling and pushing is waiting.
    rows, nbytes : int
        Rows that were pulled, and bytes of ids, params and gradients that went over the wire.
    """

    margins: Floats
    y: Floats
    staleness: float
    seconds: dict[str, float]
    rows: int
    nbytes: int


@dataclasses.dataclass
class Asked:
    """A batch whose params are on their way."""

    epoch: int
    x: Examples
    y: Floats
    slots: Slots
    places: Slots
    parts: list[list[slice]]  # of the slots, for each shard
    answers: list[Any]
    seconds: dict[str, float]


class Worker:
    """An actor. For each batch `prepare` and then `finish`; the next is prepared in between.

    Parameters
    ----------
    what : Settings, HashingEncoder or SlotEncoder, and str
        Of the model, and the column to predict.
    shards : list of str
        The names of the actors of `ModelShard`.
    edges : ndarray of int64
        See `edges`.
    """

    def __init__(
        self,
        what: tuple[Settings, Encoder, str],
        shards: Sequence[str],
        edges: npt.NDArray[np.int64],
    ) -> None:
        self._settings, self._encoder, self._label = what
        self._shards, self._edges = [ray.get_actor(name) for name in shards], edges
        self._asked: dict[int, Asked] = {}

    def prepare(
        self, epoch: int, batch: int, cuts: Sequence[tuple[int, int]], *blocks: Any
    ) -> None:
        """Encode a batch, and ask the shards for its rows.

        Parameters
        ----------
        epoch, batch : int
        cuts : sequence of (int, int)
            Of each block, which rows.
        *blocks : pyarrow.Table or pandas.DataFrame
            Of a dataset.
        """
        start = time.perf_counter()
        self._asked = {b: asked for b, asked in self._asked.items() if asked.epoch == epoch}
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
        self._asked[batch] = Asked(epoch, x, y, slots, places, parts, answers, seconds)

    def finish(self, epoch: int, batch: int, prepared: None) -> Learned:
        """Wait for the rows of a batch, sum its gradients, and see them arrive at the shards.

        Parameters
        ----------
        epoch, batch : int
        prepared : None
            What `prepare` returned; if it raised, this raises the same.

        Raises
        ------
        Stale
            The shards have gone back to a checkpoint.
        ray.exceptions.RayError
            A shard does not answer.
        """
        asked = self._asked.pop(batch, None)
        if asked is None or asked.epoch != epoch:
            raise Stale
        start = time.perf_counter()
        answers: list[Answer] = ray.get(asked.answers)
        pulled = time.perf_counter()
        margins, sums, bias = summed(self._settings, asked, answers)
        pushes = []
        for k, (shard, parts) in enumerate(zip(self._shards, asked.parts, strict=True)):
            of_shard = {name: joined(g, parts) for name, g in sums.items()}
            if k == 0:
                of_shard[BIAS] = bias
            pushes.append(shard.push.remote(epoch, batch, of_shard))
        computed = time.perf_counter()
        ray.get(pushes)
        seconds = {
            "encode": asked.seconds["encode"],
            "pull": pulled - start,
            "compute": asked.seconds["compute"] + computed - pulled,
            "push": time.perf_counter() - computed,
        }
        staleness = float(np.mean([answer.staleness for answer in answers]))
        nbytes = asked.slots.nbytes + sum(2 * g.nbytes for g in sums.values())
        return Learned(margins, asked.y, staleness, seconds, len(asked.slots), nbytes)


def summed(
    settings: Settings, asked: Asked, answers: Sequence[Answer]
) -> tuple[Floats, dict[str, Floats], Floats]:
    """Return margins, and the summed gradients of the slots that were pulled and of the bias.

    Parameters
    ----------
    settings : Settings
        Of the whole model.
    asked : Asked
        The batch.
    answers : sequence of Answer
        Of all shards, in order.
    """
    memory, n = {}, len(asked.slots)
    for name, layout in layouts(settings).items():
        dim = layout["dim"]
        rows = np.zeros((n, 2 * dim), np.float32)
        params = rows[:, 0] if dim == 1 else rows[:, :dim]
        spread([answer.params[name] for answer in answers], asked.parts, params)
        memory[name] = rows
    bias = np.zeros(2, np.float32)
    bias[0] = next((answer.bias for answer in answers if answer.bias is not None), 0.0)
    local, of_slots = smaller(asked.x, asked.places, n), dataclasses.replace(settings, n_slots=n)
    margins = gradients(of_slots, memory, bias if settings.intercept else None, local, asked.y)
    sums = {}
    for name, rows in memory.items():
        dim = rows.shape[1] // 2
        sums[name] = rows[:, 1] if dim == 1 else rows[:, dim:]
    return margins, sums, bias[1:]


def smaller(x: Examples, places: Slots, n_slots: int) -> Examples:
    """Return examples whose slots are places in a small table; regions stay what they were."""
    return Examples._of(x.bounds, x.fields, len(x), x.n_fields, n_slots, places, x.values)


def dealt(slots: Slots, edges: npt.NDArray[np.int64], shards: int) -> list[list[slice]]:
    """Return which of some ascending slots each shard has: a slice for each of its ranges."""
    cuts = np.searchsorted(slots, edges).tolist()
    pieces = [slice(*pair) for pair in itertools.pairwise(cuts)]
    return [pieces[k::shards] for k in range(shards)]


def spread(arrays: Sequence[npt.NDArray[Any]], parts: Sequence[Sequence[slice]], out: Any) -> None:
    """Undo what `joined` does with the parts of each shard."""
    for array, of_shard in zip(arrays, parts, strict=True):
        at = 0
        for part in of_shard:
            length = part.stop - part.start
            out[part] = array[at : at + length]
            at += length


def joined(array: npt.NDArray[Any], parts: Sequence[slice]) -> npt.NDArray[Any]:
    """Return the parts of an array, one after the other."""
    return np.concatenate([array[part] for part in parts])


def labels_of(table: pa.Table, label: str) -> Floats:
    """Return the labels of rows as 0 and 1.

    Raises
    ------
    ValueError
        Where there is no such column, or a label is none of 0/1, -1/+1, false/true.
    """
    if label not in table.column_names:
        raise ValueError(f"the dataset has no column {label!r}, but {table.column_names}")
    column = table.column(label)
    if column.null_count:
        at = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise ValueError(f"column {label!r} is null in row {at} of a batch: a label is missing")
    given = column.to_numpy()
    if given.dtype.kind not in "biuf":
        raise ValueError(f"column {label!r} is {column.type}: labels are 0/1, -1/+1 or false/true")
    positive = given == 1
    strange = ~(positive | (given == 0) | (given == -1))
    if strange.any():
        at = int(np.flatnonzero(strange)[0])
        raise ValueError(
            f"column {label!r} has {column[at].as_py()!r}: labels are 0/1, -1/+1 or false/true"
        )
    labels: Floats = positive.astype(np.float32)
    return labels
