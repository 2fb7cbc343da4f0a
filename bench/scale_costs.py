"""The cost of each stage of a batch of distributed training.

The stages run the code of adagrad.distributed in this process, on one processor. The two batches
of a round are encoded and compacted, pull rows from two shards, are computed, and push gradients.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from adagrad import Rule, _core
from adagrad.ctr import HashingEncoder
from adagrad.ctr.learners.progressive import Progressive
from adagrad.ctr.learners.settings import Settings
from adagrad.ctr.logs import open_log
from adagrad.distributed._blocks import labels_of
from adagrad.distributed._model_shard import BIAS, ModelShard, edges
from adagrad.distributed._worker import PulledBatch, dealt, joined, summed
from bench.harness import MIN_ROUNDS, Report
from bench.machine import one_processor
from bench.results import US, Result, Shape, Variant
from bench.scale_model import Call, Costs

LABEL, BITS, SHARDS, ROUND = "click", 22, 2, 2
STAGES, READING = "stages of a batch", "reading, and progressive metrics"
RULE = Rule(lr=0.1, eps=1.0)


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("the shard waits")


class Batch:
    """Rows of a log, and what each stage passes to the next."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows
        self.pulled: PulledBatch
        self.slots: list[Any]  # one array per shard
        self.sums: list[dict[str, Any]]  # one per shard


class Stages:
    """A worker and two shards in one process.

    Parameters
    ----------
    log : pyarrow.Table
    size : int
        Examples per batch.
    """

    def __init__(self, log: pa.Table, size: int) -> None:
        self.size = size
        self.settings = Settings("lr", 1 << BITS, RULE)
        self.encoder = HashingEncoder(BITS).fit(log.drop_columns([LABEL]))
        self.edges = edges(self.settings.n_slots, SHARDS)
        ranges = list(zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True))
        self.shards = [
            ModelShard(self.settings, ranges[k::SHARDS], k == 0, "sync", ROUND - 1)
            for k in range(SHARDS)
        ]
        for shard in self.shards:
            finished(shard.begin(0))
        self.number = 0  # the number of the round's first batch
        self.pulled: list[Batch] = []  # batches that have not pushed yet
        self.rounds = [
            [Batch(log.slice(at + k * size, size)) for k in range(ROUND)]
            for at in range(0, len(log) - ROUND * size + 1, ROUND * size)
        ]
        for batches in self.rounds:
            for batch in batches:
                self.compact(batch, *self.encode(batch))
            self.pull(batches)
            for batch in batches:
                self.compute(batch)
            self.push(batches)
        pulled = [len(batch.pulled.slots) for batches in self.rounds for batch in batches]
        self.rows_per_example = float(np.mean(pulled)) / size

    def encode(self, batch: Batch) -> tuple[Any, Any]:
        return self.encoder.transform(batch.rows), labels_of(batch.rows, LABEL)

    def compact(self, batch: Batch, x: Any, y: Any) -> None:
        slots, places = _core.compact(x.slots)
        parts = dealt(slots, self.edges, SHARDS)
        batch.slots = [joined(slots, of_shard) for of_shard in parts]
        batch.pulled = PulledBatch(0, x, y, slots, places, parts, [], {})

    def pull(self, batches: list[Batch]) -> None:
        self.pulled = batches
        for k, batch in enumerate(batches):
            batch.pulled.answers = [
                finished(shard.pull(0, self.number + k, slots))
                for shard, slots in zip(self.shards, batch.slots, strict=True)
            ]

    def compute(self, batch: Batch) -> None:
        _, sums, bias = summed(self.settings, batch.pulled, batch.pulled.answers)
        batch.sums = [
            {name: joined(g, parts) for name, g in sums.items()} for parts in batch.pulled.parts
        ]
        batch.sums[0][BIAS] = bias

    def push(self, batches: list[Batch]) -> None:
        for k, batch in enumerate(batches):
            for shard, sums in zip(self.shards, batch.sums, strict=True):
                finished(shard.push(0, self.number + k, sums))
        self.number += ROUND
        self.pulled = []

    def variants(self) -> list[Variant]:
        """Return the stages of a round; `prepare` pulls or pushes what a stage needs first."""

        def at(i: int) -> list[Batch]:
            return self.rounds[i % len(self.rounds)]

        def unpulled(i: int) -> list[Batch]:
            if self.pulled:
                self.push(self.pulled)
            return at(i)

        def pulled(i: int) -> list[Batch]:
            self.pull(unpulled(i))
            return at(i)

        def each(stage: Any, batches: list[Batch]) -> None:
            for batch in batches:
                stage(batch)

        def compact(batch: Batch) -> None:
            self.compact(batch, batch.pulled.x, batch.pulled.y)

        stages = {
            "encode": (functools.partial(each, self.encode), at),
            "compact": (functools.partial(each, compact), at),
            "pull": (self.pull, unpulled),
            "compute": (functools.partial(each, self.compute), at),
            "push": (self.push, pulled),
        }
        return [
            Variant(f"{US}, {name}", call, prepare, STAGES)
            for name, (call, prepare) in stages.items()
        ]


def processor_time(report: Report, shape: Shape, variants: list[Variant]) -> None:
    """Time variants in rotation, in processor time: other processes may be running."""
    budget = report.args.budget or (0.1 if report.smoke else 2.0)
    samples: list[list[float]] = [[] for _ in variants]
    start, rounds = time.perf_counter(), 0
    while rounds < MIN_ROUNDS or time.perf_counter() - start < budget:
        for k, v in enumerate(variants):
            x = v.prepare(rounds)
            begin = time.process_time()
            v.call(x)
            samples[k].append(time.process_time() - begin)
        rounds += 1
    report.results += [
        Result(shape, v.label_only(), tuple(seconds[1:]))  # the first call only warms up
        for v, seconds in zip(variants, samples, strict=True)
    ]


def label_of(size: int) -> str:
    """Return the label of a batch size."""
    return f"batches of {size}"


def measure(
    report: Report, paths: list[Path], sizes: tuple[int, ...]
) -> tuple[dict[int, Costs], Any]:
    """Measure reading, and the stages at each batch size.

    Returns
    -------
    dict of int to Costs
        The costs by batch size, without those of calls.
    ndarray of uint32, shape [examples, fields]
        The slots of the log.
    """
    with open_log(paths, label=LABEL) as rows:
        log = pa.Table.from_batches(list(rows))
    random = np.random.default_rng(0)
    margins, y = (random.random(len(log), np.float32) for _ in range(2))
    y = (y < 0.03).astype(np.float32)

    def read(_: Any) -> None:
        with open_log(paths, label=LABEL) as rows:
            for _ in rows:
                pass

    reading = [
        Variant(f"{US}, read", read, group=READING),
        Variant(f"{US}, track", lambda _: Progressive().add(margins, y), group=READING),
    ]
    found = {}
    with one_processor():
        processor_time(report, Shape("a log", len(log)), reading)
        for size in sizes:
            stages = Stages(log, size)
            label, rows = label_of(size), stages.rows_per_example
            shape = Shape(label, ROUND * size, {"rows_per_example": rows})
            processor_time(report, shape, stages.variants())
            cost = {
                r.variant.name.partition(", ")[2]: r.ns * 1e-9
                for r in report.results
                if r.shape.label in (label, "a log")
            }
            found[size] = Costs(
                read=cost["read"],
                encode=cost["encode"],
                compute=cost["compact"] + cost["compute"],
                gather=cost["pull"] / rows,
                step=cost["push"] / rows,
                track=cost["track"],
                call=Call(),
                block=log.nbytes / len(log),
            )
    report.by_shape("Processor time at the driver and at readers, ns an example", READING)
    report.by_shape("Processor time of a batch on one processor, ns an example", STAGES)
    entries = [batch.pulled.x.slots for batches in stages.rounds for batch in batches]
    return found, np.concatenate(entries).reshape(-1, stages.rounds[0][0].pulled.x.n_fields)
