"""The measurements of bench/scale.py on Ray: single calls, and trainings on the same files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray

from adagrad.ctr.logs import Log, open_log
from adagrad.ctr.training.options import Options
from adagrad.ctr.training.pipeline import encoded
from adagrad.distributed import Cluster, connect
from adagrad.distributed._dataset import from_log
from adagrad.distributed._driver import Driver
from adagrad.distributed.fitting import plan_of
from bench import ray_dense
from bench.harness import Report
from bench.machine import one_processor
from bench.results import US, Claim, Result, Shape, Variant, number, table
from bench.scale_costs import LABEL
from bench.scale_model import Call

CALLS, THROUGHPUT = "a call through Ray", "throughput"
CALL_BYTES = (0, 1 << 16, 1 << 20)
OURS = {"workers": 2, "shards": 2, "mode": "sync", "staleness": 1, "batch_size": 8192}
SINGLE, SHARDED, DENSE = f"{US}, one process", US, "dense arrays"
ALONE = f"{US}, one process on one processor"
# Rates are measured between these shares of the rows, long after all actors have started.
STEADY = (0.25, 0.95)
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Run a Ray cluster on this machine, apart from any that already runs."""
    connect("local")
    try:
        yield
    finally:
        ray.shutdown()


class Other:
    """The callee: an asynchronous actor, as shards are."""

    async def take(self, array: Any) -> None:
        pass

    async def spent(self) -> float:
        return time.process_time()


def calls(report: Report) -> Call:
    """Measure the duration of single calls that carry an array, and their cost at both ends."""
    other = ray.remote(num_cpus=0)(Other).remote()
    rounds = 20 if report.smoke else 100
    lines, caller, callee = [], [], []
    for nbytes in CALL_BYTES:
        array = np.zeros(nbytes, np.uint8)
        ray.get([other.take.remote(array) for _ in range(10)])
        seconds, here, there = [], [], []
        for _ in range(5):
            begun, start = ray.get(other.spent.remote()), time.process_time()
            for _ in range(rounds):
                begin = time.perf_counter()
                ray.get(other.take.remote(array))
                seconds.append(time.perf_counter() - begin)
            here.append((time.process_time() - start) / rounds)
            there.append((ray.get(other.spent.remote()) - begun) / rounds)
        caller.append(float(np.median(here)))
        callee.append(float(np.median(there)))
        shape = Shape(f"{nbytes} bytes", 1)
        found = Result(shape, Variant(f"{US}, there and back", _none, group=CALLS), tuple(seconds))
        report.results.append(found)
        cells = [found.ns / 1e3, caller[-1] * 1e6, callee[-1] * 1e6]
        q1, _, q3 = found.quartiles()
        spread = f"±{round(50 * (q3 - q1) / found.ns)}%"
        first, *more = (number(cell) for cell in cells)
        lines.append([shape.label, f"{first} {spread}", *more])
    ray.kill(other)
    headers = ["us", "there and back", "processor, caller", "processor, called"]
    table(f"{CALLS} that carries an array", headers, lines)
    return Call(tuple(map(float, CALL_BYTES)), tuple(caller), tuple(callee))


def _none(_: Any) -> None:
    return None


def processor_seconds() -> dict[str, float]:
    """Return the processor seconds of this process and its descendants, by kind."""
    parents, names, spent = {}, {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # the process has ended
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            pid = int(folder.name)
            parents[pid], spent[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK
            names[pid] = (folder / "cmdline").read_text().partition("\0")[0] or name
    found: dict[str, float] = {}
    for pid, seconds in spent.items():
        ancestor = pid
        while ancestor in parents and ancestor != os.getpid():
            ancestor = parents[ancestor]
        if ancestor == os.getpid():
            kind = _kind(names[pid], pid)
            found[kind] = found.get(kind, 0.0) + seconds
    return found


def _kind(name: str, pid: int) -> str:
    if pid == os.getpid():
        return "driver"
    if "ModelShard" in name:
        return "shards"
    if "::Worker" in name:
        return "workers"
    return "readers" if name.startswith("ray::") else "Ray's daemons"


class Pass:
    """The times of one pass over a log.

    Parameters
    ----------
    rows : int
        Rows of the log.
    """

    def __init__(self, rows: int) -> None:
        self.rows, self.logloss = rows, float("nan")
        self.start = self.end = time.perf_counter()
        # Time, rows learned and processor seconds at the shares of STEADY.
        self.marks: list[tuple[float, int, dict[str, float]]] = []

    def show(self, learned: int) -> None:
        self.end = time.perf_counter()
        if len(self.marks) < len(STEADY) and learned >= STEADY[len(self.marks)] * self.rows:
            self.marks.append((self.end, learned, processor_seconds()))

    @property
    def whole(self) -> float:
        """Seconds for all rows, the start of the actors included."""
        return self.end - self.start

    @property
    def steady(self) -> float:
        """Seconds that all rows would take at the rate between the marks."""
        (begin, first, _), (end, last, _) = self.marks
        return (end - begin) / (last - first) * self.rows

    @property
    def processors(self) -> dict[str, float]:
        """Processor nanoseconds per row between the marks, by kind of process."""
        (_, first, before), (_, last, after) = self.marks
        return {k: (v - before.get(k, 0.0)) / (last - first) * 1e9 for k, v in after.items()}


def learner(bits: int, log: Log) -> Any:
    """Return the estimator of ``adagrad train --lr 0.1``."""
    return Options(LABEL, lr=0.1, bits=bits).estimator(log.schema)


def single(paths: list[Path], bits: int, of: Pass) -> None:
    """Train as ``adagrad train --threads 1`` does, with extra threads for reading and encoding."""
    with open_log(paths, label=LABEL) as log:
        model = learner(bits, log)
        for batch in encoded(log, model.encoder):
            model.partial_fit(batch.x, batch.y, classes=[0, 1])
            of.show(model.n_examples_)
    of.logloss = model.progressive_["logloss"]


def alone(paths: list[Path], bits: int, of: Pass) -> None:
    """Train as `single` does, on one processor."""
    with one_processor():
        single(paths, bits, of)


def sharded(paths: list[Path], bits: int, of: Pass) -> Driver:
    """Train on two workers and two shards."""
    with open_log(paths, label=LABEL) as log:
        dataset = from_log(log)
        plan = plan_of(learner(bits, log), dataset, LABEL, Cluster(**OURS))
        run = Driver(plan, dataset, lambda run: of.show(run.at.examples))
        run.run(lambda run: None)
    of.logloss = run.at.progressive.metrics()["logloss"]
    return run


def dense(paths: list[Path], bits: int, of: Pass) -> None:
    """Train with whole arrays on two workers and one server."""
    with open_log(paths, label=LABEL) as log:
        model = learner(bits, log)
    of.logloss = ray_dense.train(
        paths,
        LABEL,
        model.encoder,
        workers=OURS["workers"],
        size=OURS["batch_size"],
        rule=model._rule(),
        show=of.show,
    )


def throughput(report: Report, paths: list[Path], rows: int) -> dict[int, list[Pass]]:
    """Compare trainings that run in turn; return the sharded passes by bits."""
    kinds = {US: sharded, SINGLE: single, ALONE: alone, DENSE: dense}
    ours = {}
    for bits in (18,) if report.smoke else (20, 22, 24):
        passes: dict[str, list[Pass]] = {name: [] for name in kinds}
        for _ in range(1 if report.smoke else 3):
            for name, learn in kinds.items():
                passes[name].append(Pass(rows))
                run = learn(paths, bits, passes[name][-1])
                if run is not None:
                    last = run
        shape = Shape(f"2^{bits}", rows)
        lines = []
        for name, of in passes.items():
            seconds = {kind: [getattr(p, kind) for p in of] for kind in ("steady", "whole")}
            for kind, all_ in seconds.items():
                variant = Variant(name, _none, group=f"{THROUGHPUT}, {kind}")
                report.results.append(Result(shape, variant, tuple(all_)))
            cells = [f"{rows / np.median(all_):,.0f}" for all_ in seconds.values()]
            lines.append([name, *cells, f"{sum(of[-1].processors.values()):.0f}"])
            lines[-1].append(f"{of[-1].logloss:.5f}")
        headers = [f"{shape.label}, {rows:,} rows", "rows/s, steady", "whole", "processor ns/row"]
        table(f"{THROUGHPUT}: medians of {len(of)}", [*headers, "logloss"], lines)
        where(passes[US][-1], last)
        for name, least in ((SINGLE, 0.3), (ALONE, 0.3), (DENSE, 5)):
            ratio = report.ratio(shape.label, name, f"{THROUGHPUT}, steady")
            text = f"{shape.label}: 2 workers and 2 shards beside {name}, rows a second"
            report.claims.append(Claim(text, ratio, ">=", least))
        ours[bits] = passes[US]
    return ours


def where(of: Pass, run: Driver) -> None:
    """Print the time that sharded training spends on each part."""
    rows = sum(len(learned.y) for learned in run.learned)
    kinds = run.learned[-1].seconds
    seconds = {kind: sum(learned.seconds[kind] for learned in run.learned) for kind in kinds}
    clock = [f"{kind} {number(s / rows * 1e9)}" for kind, s in seconds.items()]
    pulled = sum(learned.rows for learned in run.learned) / rows
    nbytes = sum(learned.nbytes for learned in run.learned) / rows
    spent = [f"{kind} {number(ns)}" for kind, ns in sorted(of.processors.items())]
    print(f"Wall-clock time of a worker, ns per row it learns: {', '.join(clock)}")
    print(f"Processor time, ns per row: {', '.join(spent)}")
    print(f"An example pulls {pulled:.2f} model rows and moves {nbytes:.0f} bytes")
