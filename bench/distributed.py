"""Training on a Ray cluster of several nodes on this machine: bits, staleness and failures.

In sync mode the model must have the same bits on every number of workers and shards. Staleness may
cost little logloss, and training must survive the death of a process or a node. For the speed, here
and simulated on more machines, see ``python -m bench scale``.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from adagrad.ctr import FactorizationMachine, HashingEncoder, LogisticRegression
from adagrad.datasets import synthetic_clicks
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import Claim, number, table

LABEL, BITS, SEED = "click", 20, 7
BITS_SHOWN, QUALITY, FAILURES = "bits", "quality", "failures"
QUICK = (BITS_SHOWN,)
GRID = tuple(itertools.product((1, 2, 3), (1, 2, 4)))
STALENESS = (0, 1, 4, 15)
SIZES = (1024, 2048, 8192)
DEATHS = 20
# Ray declares a lost node dead after a few seconds instead of fifteen.
HEALTH = {"health_check_period_ms": 700, "health_check_failure_threshold": 4}
NODE = {"num_cpus": 1, "object_store_memory": 150 << 20}


@contextlib.contextmanager
def nodes(count: int) -> Iterator[Any]:
    """Run `count` nodes of one processor each, and connect this process to them."""
    import ray
    from ray.cluster_utils import Cluster

    from adagrad.distributed import connect

    head = {**NODE, "include_dashboard": False, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(count - 1):
            cluster.add_node(**NODE)
        connect(cluster.address)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def clicks(rows: int) -> pa.Table:
    """Return synthetic clicks of 39 fields."""
    return pa.Table.from_batches(list(synthetic_clicks(rows, SEED)))


def trained(rows: pa.Table, show: Any = lambda run: None, kind: Any = None, **how: Any) -> Any:
    """Train a learner on a cluster and return it."""
    import ray.data

    from adagrad.distributed import Cluster, fit

    logging.getLogger("ray.data").setLevel(logging.ERROR)

    model = (kind or LogisticRegression)(lr=0.1, encoder=HashingEncoder(BITS))
    blocks = [rows.slice(start, 20_000) for start in range(0, len(rows), 20_000)]
    return fit(model, ray.data.from_arrow(blocks), LABEL, Cluster(**how), show)


def digest(model: Any) -> str:
    """Return a digest of the model file of a learner."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        model.save(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def same_bits(report: Report) -> None:
    """Train on every number of workers and shards, and compare the model files."""
    rows = clicks(50_000 if report.args.quick or report.smoke else 200_000)
    grid = GRID[:2] if report.smoke else GRID[::4] if report.short else GRID
    found: dict[str, set[str]] = {}
    lines = []
    for (workers, shards), kind in itertools.product(
        grid, (LogisticRegression, FactorizationMachine)
    ):
        start = time.perf_counter()
        model = trained(rows, kind=kind, workers=workers, shards=shards)
        file = digest(model)
        found.setdefault(kind.__name__, set()).add(file)
        seconds = f"{time.perf_counter() - start:.1f}"
        lines.append((kind.__name__, str(workers), str(shards), file, seconds))
    table("sync: model files", ("", "workers", "shards", "sha256", "s"), lines)
    for kind, files in found.items():
        text = f"{kind}: different model files on {len(grid)} numbers of workers and shards"
        report.claims.append(Claim(text, len(files), "<=", 1, "files"))


def quality(report: Report) -> None:
    """Measure the logloss of each batch size and staleness against one process."""
    rows = clicks(200_000 if report.smoke else 1_000_000)
    features, y = rows.drop_columns([LABEL]), rows[LABEL].to_numpy()
    alone = LogisticRegression(lr=0.1, encoder=HashingEncoder(BITS)).fit(features, y)
    best = alone.progressive_["logloss"]
    lines = [("one process, one by one", "", "", f"{best:.5f}", "")]
    losses = {}
    for size, staleness in itertools.product(SIZES, STALENESS):
        if (staleness + 1) * size > 1 << 15:
            continue
        for mode in ("sync", "async") if staleness else ("sync",):
            stale: list[float] = []
            model = trained(
                rows,
                lambda run, stale=stale: stale.extend(x.staleness for x in run.learned[-1:]),
                workers=2,
                shards=2,
                mode=mode,
                staleness=staleness,
                batch_size=size,
            )
            loss = losses[mode, size, staleness] = model.progressive_["logloss"]
            lines.append(
                (
                    f"{mode}, batches of {size}",
                    str(staleness),
                    f"{np.mean(stale):.1f}",
                    f"{loss:.5f}",
                    f"{100 * (loss / best - 1):+.2f} %",
                )
            )
    headers = ("", "staleness", "measured", "logloss", "beside one process")
    table(f"progressive logloss, {len(rows):,} made-up clicks", headers, lines)
    for size in SIZES:
        sync, stale_loss = losses.get(("sync", size, 4)), losses.get(("async", size, 4))
        if sync is not None and stale_loss is not None:
            text = f"async beside sync, staleness 4, batches of {size}: logloss"
            report.claims.append(Claim(text, 100 * (stale_loss / sync - 1), "<=", 0.5, "%"))


class Reaper:
    """A `show` callback that kills a worker, a shard or a node after `moment` examples."""

    def __init__(self, what: str, moment: float, cluster: Any) -> None:
        self.what, self.moment, self.cluster = what, moment, cluster
        self.victim = cluster.add_node(**NODE) if what == "node" else None
        self.thread: threading.Thread | None = None

    def __call__(self, run: Any) -> None:
        if self.thread is None and run.at.examples >= self.moment:
            self.thread = threading.Thread(target=self.kill, args=(run,))
            self.thread.start()

    def kill(self, run: Any) -> None:
        """Kill the victim while training continues."""
        import ray

        if self.what == "node":
            self.cluster.remove_node(self.victim, allow_graceful=False)
        else:
            actors = run.workers if self.what == "worker" else run.shards.actors
            ray.kill(actors[-1], no_restart=False)


def failures(report: Report, cluster: Any) -> None:
    """Kill something at random moments, in both modes; count examples and compare bits."""
    if not any(report.wants(f"{FAILURES}, {mode}") for mode in ("sync", "async")):
        return
    rows = clicks(100_000 if report.smoke else 400_000)
    deaths = 2 if report.smoke else DEATHS
    random = np.random.default_rng(1)
    how = {"workers": 3, "shards": 3, "batch_size": 2048, "checkpoint_every": 50_000}
    start = time.perf_counter()
    undisturbed = trained(rows, **how)
    seconds, file = time.perf_counter() - start, digest(undisturbed)
    positive = undisturbed._model.progressive.sums[1]
    lines = []
    for mode, what in itertools.product(("sync", "async"), ("worker", "shard", "node")):
        if not report.wants(f"{FAILURES}, {mode}"):
            continue
        wrong, other, slow, killed = 0, 0, 0.0, 0
        for _ in range(deaths):
            reaper = Reaper(what, random.uniform(0, 0.95 * len(rows)), cluster)
            with TemporaryDirectory() as folder:
                start = time.perf_counter()
                model = trained(rows, reaper, mode=mode, checkpoint=folder, **how)
                slow = max(slow, time.perf_counter() - start)
            assert reaper.thread is not None
            reaper.thread.join()
            killed += 1
            sums = model._model.progressive.sums
            wrong += model.n_examples_ != len(rows) or tuple(sums[:2]) != (len(rows), positive)
            other += mode == "sync" and digest(model) != file
        lines.append((f"{mode}, a {what}", str(killed), str(wrong), str(other), number(slow)))
        text = f"{mode}, {deaths} runs with a {what} killed: runs that lost or repeated an example"
        report.claims.append(Claim(text, wrong, "<=", 0, "runs"))
        if mode == "sync":
            text = f"{mode}, {deaths} runs with a {what} killed: runs with other bits"
            report.claims.append(Claim(text, other, "<=", 0, "runs"))
    headers = ("killed at a moment by chance", "killed", "wrong count", "other bits", "slowest, s")
    table(f"{len(rows):,} examples, {seconds:.1f} s undisturbed", headers, lines)


def run(report: Report) -> list[Panel]:
    """Run the parts that --only selects."""
    if peer("ray") is None:
        return []
    with nodes(2) as cluster:
        if report.wants(BITS_SHOWN):
            same_bits(report)
        if report.wants(QUALITY):
            quality(report)
        failures(report, cluster)
    return []
