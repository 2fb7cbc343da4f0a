"""How distributed training scales: costs measured on this machine, and a simulation of more.

The cost of each stage of a batch and the throughput of trainings are measured. From the costs, and
the rows that the batches of a log pull from each shard, `bench.scale_sim` simulates clusters; it is
checked against a measured training. ``--only costs`` and ``--only throughput`` select a part;
``--picture`` draws the simulated throughput.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from adagrad import datasets
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import Claim, number, table
from bench.scale_model import Cluster, Costs, Outcome, Rows, Training

COSTS, SIMULATION, THROUGHPUT = "costs", "simulation", "throughput"
QUICK = (COSTS,)
FILE_ROWS, FILES, SAMPLE = 1 << 16, 16, 8  # costs are measured on the first SAMPLE files
SIZES = (2048, 8192, 32768, 131072)
NODES = (1, 2, 4, 8, 16, 32, 64)
OURS, HASH, RANGE = "part of each region", "hash", "range by frequency"
FEW = 8


class Setup(NamedTuple):
    """One curve of the simulation: how training is spread over nodes that run one worker each."""

    name: str
    batch: int = 8192
    most_shards: int = FEW
    partition: str = OURS
    mode: str = "sync"
    staleness: int | None = None  # None: rounds of one batch per worker
    drawn: tuple[str, ...] = ()  # titles of the panels that show the curve

    def on(self, nodes: int) -> tuple[Cluster, Training]:
        shards = min(nodes, self.most_shards)
        staleness = nodes - 1 if self.staleness is None else self.staleness
        training = Training(self.mode, staleness, self.batch)
        return Cluster(nodes, workers=nodes, shards=shards), training


EVERY = 1 << 30
LENGTH, PARTITION, ORDER = (
    f"length of batches, at most {FEW} shards",
    "partition, batches of 32768",
    "order, batches of 32768",
)
SETUPS = (
    Setup("batches of 2048", 2048, drawn=(LENGTH,)),
    Setup("batches of 8192", drawn=(LENGTH,)),
    Setup("batches of 32768", 32768, drawn=(LENGTH, PARTITION, ORDER)),
    Setup("batches of 131072", 131072, drawn=(LENGTH,)),
    Setup("a shard on every node", 32768, EVERY, drawn=(PARTITION,)),
    Setup("a shard on every node, by hash", 32768, EVERY, HASH, drawn=(PARTITION,)),
    Setup("a shard on every node, by range", 32768, EVERY, RANGE, drawn=(PARTITION,)),
    Setup("async", 32768, mode="async", drawn=(ORDER,)),
    Setup("sync, staleness 4", 32768, staleness=4, drawn=(ORDER,)),
    Setup("async, staleness 4", 32768, mode="async", staleness=4, drawn=(ORDER,)),
)


class Load:
    """The rows that the batches of a log pull from each shard.

    Parameters
    ----------
    slots : ndarray of uint32, shape [examples, fields]
    n_slots : int
    """

    def __init__(self, slots: np.ndarray, n_slots: int) -> None:
        self.slots, self.n_slots = slots, n_slots

    @functools.cache  # noqa: B019 (a run has one Load)
    def pulled(self, size: int) -> list[np.ndarray]:
        """Return the distinct slots of some batches."""
        starts = range(0, min(len(self.slots), 16 * size) - size + 1, size)
        return [np.unique(self.slots[start : start + size]) for start in starts]

    @functools.cache  # noqa: B019
    def owners(self, partition: str, shards: int) -> np.ndarray:
        """Return the shard of each slot."""
        from adagrad.distributed._model_shard import edges

        if partition == OURS:
            pieces = np.diff(edges(self.n_slots, shards))
            return np.repeat(np.arange(len(pieces)) % shards, pieces)
        if partition == HASH:
            mixed = np.arange(self.n_slots, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            return (mixed >> np.uint64(40)).astype(np.int64) % shards
        # As a vocabulary is sorted: the slots that occur, by frequency, in ranges of equal length.
        counts = np.bincount(self.slots.ravel(), minlength=self.n_slots)
        rank = np.empty(self.n_slots, np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(self.n_slots)
        return np.minimum(rank * shards // np.count_nonzero(counts), shards - 1)

    def __call__(self, size: int, partition: str, shards: int) -> Rows:
        """Return the number of rows that each batch pulls from each shard, [batches, shards]."""
        owners = self.owners(partition, shards)
        counts = [np.bincount(owners[rows], minlength=shards) for rows in self.pulled(size)]
        return np.array(counts, np.float64)

    def show(self) -> None:
        """Print how longer batches pull fewer rows per example."""
        lines = []
        for size in (512, *SIZES):
            if size > len(self.slots) // 2:
                continue
            rows = [len(x) / size for x in self.pulled(size)]
            skew = [self(size, kind, 16).mean(0) for kind in (OURS, HASH, RANGE)]
            most = [f"{16 * x.max() / x.sum():.2f}" for x in skew]
            lines.append(
                [f"{size}", number(float(np.mean(rows))), f"{12 * np.mean(rows):.0f}", *most]
            )
        headers = ["batches of", "rows", "bytes of ids, params, gradients", OURS, HASH, RANGE]
        title = "Model rows that an example pulls; of 16 shards the one with most, over the mean"
        table(title, headers, lines)


def write_log(folder: Path, files: int, rows: int) -> list[Path]:
    """Write synthetic clicks of 39 fields to `files` files of `rows` rows each."""
    paths = []
    stream = datasets.synthetic_clicks(files * rows, 1)
    for k, batch in enumerate(pa.Table.from_batches(list(stream)).to_batches(rows)):
        paths.append(folder / f"clicks-{k:03}.parquet")
        pyarrow.parquet.write_table(pa.Table.from_batches([batch]), paths[-1])
    return paths


def simulate_all(report: Report, costs: dict[int, Costs], load: Load) -> dict[str, list[Outcome]]:
    """Simulate each setup on each number of nodes, and print the outcomes."""
    from bench.scale_sim import simulate

    nodes = NODES[:3] if report.smoke else NODES
    found: dict[str, list[Outcome]] = {}
    lines = []
    for setup in SETUPS:
        if setup.batch not in costs:
            continue
        outcomes = found[setup.name] = []
        for count in nodes:
            cluster, training = setup.on(count)
            rows = load(setup.batch, setup.partition, cluster.shards)
            outcomes.append(simulate(costs[setup.batch], cluster, training, rows))
        one = outcomes[0].rate
        lines.append([setup.name, *(f"{o.rate / 1e6:.2f} M" for o in outcomes)])
        shares = zip(nodes, outcomes, strict=True)
        lines.append(["  of linear", *(f"{100 * o.rate / one / n:.0f} %" for n, o in shares)])
        lines.append(["  bottleneck", *(o.bottleneck for o in outcomes)])
    base = Cluster()
    table(
        f"SIMULATED examples a second: nodes of {base.processors} processors with a worker each,"
        f" {8 * base.bandwidth / 1e9:g} Gbit/s, {1e6 * base.latency:g} us",
        ["nodes", *map(str, nodes)],
        lines,
    )
    return found


def check(report: Report, costs: Costs, load: Load, size: int, passes: list[Any]) -> None:
    """Simulate the measured training: two workers and two shards on this machine."""
    from bench.scale_sim import simulate

    cores = report.record["machine"]["cores"]
    cluster = Cluster(1, workers=2, shards=2, processors=cores)
    out = simulate(costs, cluster, Training("sync", 1, size), load(size, OURS, 2))
    ns = out.busy["processors"] * cores / out.rate * 1e9
    measured_ns = float(np.median([sum(of.processors.values()) for of in passes]))
    rate = float(np.median([of.rows / of.steady for of in passes]))
    lines = [
        ["simulated", f"{out.rate:,.0f}", f"{ns:.0f}", f"{cores / ns * 1e9:,.0f}"],
        ["measured", f"{rate:,.0f}", f"{measured_ns:.0f}", f"{cores / measured_ns * 1e9:,.0f}"],
    ]
    headers = ["", "examples/s", "processor ns an example", "examples/s that these allow"]
    table("The simulation beside what was measured: 2 workers and 2 shards here", headers, lines)
    print("busy: " + ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in out.busy.items()))
    text = "processor time of an example: measured over simulated"
    report.claims.append(Claim(text, measured_ns / ns, "<=", 2))


def run(report: Report) -> list[Panel]:
    """Run the parts that --only selects."""
    if peer("ray") is None:
        return []
    from bench import scale_costs, scale_ray

    rows, files = (1 << 13, 4) if report.smoke else (FILE_ROWS, FILES)
    with TemporaryDirectory() as name, scale_ray.cluster():
        paths = write_log(Path(name), files, rows)
        passes: dict[int, list[Any]] = {}
        if report.wants(COSTS) or report.wants(SIMULATION):
            sizes = SIZES[:2] if report.smoke else SIZES
            sample = paths if report.smoke else paths[:SAMPLE]
            costs, slots = scale_costs.measure(report, sample, sizes)
            load = Load(slots, 1 << scale_costs.BITS)
            load.show()
            call = scale_ray.calls(report)
            costs = {size: replace(cost, call=call) for size, cost in costs.items()}
        if report.wants(THROUGHPUT):
            passes = scale_ray.throughput(report, paths, files * rows)
    if report.wants(SIMULATION):
        size = scale_ray.OURS["batch_size"]
        if passes and not report.smoke:  # a quick pass ends before batches reach their full size
            check(report, costs[size], load, size, passes[scale_costs.BITS])
        outcomes = simulate_all(report, costs, load)
        if report.args.picture:
            from bench.scale_picture import draw

            panels = {
                title: {s.name: outcomes[s.name] for s in SETUPS if title in s.drawn}
                for title in dict.fromkeys(panel for s in SETUPS for panel in s.drawn)
            }
            draw(panels, NODES, report.args.picture)
            report.args.picture = None  # done: the caller must not draw it again
    return []
