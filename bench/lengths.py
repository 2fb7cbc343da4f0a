"""Time of a Table at every length of a row, from L1 to DRAM, beside the plain loops of limits.c.

Sequential steps, gather and pool, with batches from 256 ids on. A table takes as many bytes at each
length. Both sides are called from Python, with arguments that are made before, so a small batch
counts what its call costs. A sample is several batches, each of other ids.

A step has a root and a division for each element, and the limit none. So in a cache the time of
dense steps on as many elements in L1 is a second limit: what arithmetic alone takes on this
processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import adagrad
from bench import data, limits
from bench.harness import Report
from bench.results import LIMIT, US, Claim, Shape, Variant, check, number, table
from bench.rows import EPS, LR, START

DIMS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 31, 32, 48, 64, 100, 128)
HOMES = {"L1": 1 << 14, "L2": 1 << 19, "L3": 1 << 24, "DRAM": 1 << 30}  # bytes of a table
NS = (256, 1000, 10**4, 65536, 10**6)
SMOKE_DIMS, SMOKE_HOMES, SMOKE_NS = (1, 4, 31), ("L1", "L3"), (256, 10**4)
SMOKE_POOL = 1 << 16
MOST = 1 << 24  # elements of a batch
POOL = 1 << 22  # ids, before they repeat
SAMPLE = 1 << 15  # ids of a sample, at least one batch
BAG = 16
STEP, GATHER, SINGLES, BAGS = "step", "gather", "pool of single rows", f"pool of bags of {BAG}"
DENSE, DENSE_ELEMENTS = "limit of arithmetic", 2048
TARGET = 1.25

Make = Callable[[np.ndarray], Callable[[], object]]


def run(report: Report) -> None:
    """Measure, print the ratio of every cell, and judge the worst of each kind."""
    homes = {home: HOMES[home] for home in (SMOKE_HOMES if report.smoke else HOMES)}
    for dim in SMOKE_DIMS if report.smoke else DIMS:
        for home, size in homes.items():
            measure_table(report, dim, home, max(4, size // (8 * dim)))
    for group in (STEP, GATHER, SINGLES, BAGS):
        show(report, group)
        for home in homes:
            judge(report, group, home)


def measure_table(report: Report, dim: int, home: str, rows: int) -> None:
    """Measure every operation and batch on one table."""
    rule = adagrad.Rule(lr=LR, eps=EPS, initial_accumulator=START)
    ours = adagrad.Table(rows, dim, rule)
    ids = np.random.default_rng(1).integers(0, rows, SMOKE_POOL if report.smoke else POOL)
    for n in SMOKE_NS if report.smoke else NS:
        if n * dim > MOST or not report.wants(label_of(dim, home, n)):
            continue
        count = max(1, SAMPLE // n)
        facts = {"dim": dim, "home": home, "rows": rows, "ids": n}
        shape = Shape(label_of(dim, home, n), n * count, facts)
        batches = data.Batches(ids, data.gradients(MOST), n)
        for variants in make(ours, batches, count, home):
            report.measure(shape, variants, repeat=False, budget=0.04)


def make(
    ours: adagrad.Table, batches: data.Batches, count: int, home: str
) -> Iterator[list[Variant]]:
    """Return the variants of each operation, checked."""
    n, dim = batches.n, ours.dim
    shape = (n,) if dim == 1 else (n, dim)
    w, s, g = ours.weights, ours.state, data.gradients(MOST)[: n * dim].reshape(shape)
    out, theirs = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def of(group: str, name: str, one: Make) -> Variant:
        def prepare(i: int) -> list[Callable[[], object]]:
            return [one(batches(i * count + k)[0]) for k in range(count)]

        return Variant(name, lambda calls: [call() for call in calls], prepare, group)

    def both(group: str, one: Make, limit: Callable[[limits.Limits], Make]) -> list[Variant]:
        loops = limits.load()
        return [of(group, US, one), *([of(group, LIMIT, limit(loops))] if loops else [])]

    stepping = both(
        STEP,
        lambda ids: lambda: ours.step(ids, g, "sequential"),
        lambda loops: lambda ids: loops.step_rows(w, s, ids, g),
    )
    if home in ("L1", "L2"):
        arrays = [np.full(DENSE_ELEMENTS, x, np.float32) for x in (1.0, 0.5, START)]
        calls = range(count * n * dim // DENSE_ELEMENTS)  # as many elements as the sample has
        dense = lambda _: [adagrad.step(*arrays, ours.rule) for _ in calls]  # noqa: E731
        stepping.append(Variant(DENSE, dense, group=STEP))
    yield stepping

    def check_read(group: str, got: np.ndarray, limit: Callable[[], object]) -> None:
        limit()
        check(group, got.reshape(-1), theirs.reshape(-1)[: got.size], 1e-5)

    loops, ids = limits.load(), batches(0)[0]
    if loops is not None:
        check_read(GATHER, ours.gather(ids, out), loops.gather(w, ids, theirs))
    yield both(
        GATHER,
        lambda ids: lambda: ours.gather(ids, out),
        lambda loops: lambda ids: loops.gather(w, ids, theirs),
    )
    for group, size in ((SINGLES, 1), (BAGS, BAG)):
        offsets = np.append(np.arange(0, n, size), n)
        room = theirs[: len(offsets) - 1]
        if loops is not None:
            pooled = ours.pool(ids, offsets)
            check_read(group, pooled, loops.pool(w, ids, offsets, room))
        yield both(
            group,
            lambda ids, offsets=offsets: lambda: ours.pool(ids, offsets),
            lambda loops, offsets=offsets, room=room: lambda ids: loops.pool(w, ids, offsets, room),
        )


def label_of(dim: int, home: str, n: int) -> str:
    """Return a cell as text."""
    return f"D {dim}, {home}, {n} ids"


def limit_of(report: Report, shape: Shape, group: str) -> float | None:
    """Return ns per id of the limit, or of arithmetic where that takes longer."""
    found = [report.get(shape.label, name, group) for name in (LIMIT, DENSE)]
    times = [r.ns for r in found if r is not None]
    return None if found[0] is None else max(times)


def show(report: Report, group: str) -> None:
    """Print a row per length and size of a table, a column per batch."""
    shapes = report.shapes(group)
    ns = list(dict.fromkeys(shape.facts["ids"] for shape in shapes))
    lines: dict[tuple[int, str], dict[int, str]] = {}
    for shape in shapes:
        ours, limit = (report.get(shape.label, name, group) for name in (US, LIMIT))
        if ours is None:
            continue
        text = number(ours.ns)
        if limit is not None:
            text += f" {number(ours.ns / limit.ns):>5}x"
        arithmetic = report.get(shape.label, DENSE, group)
        if arithmetic is not None:
            text += f" {number(ours.ns / arithmetic.ns):>5}x"
        key = shape.facts["dim"], shape.facts["home"]
        lines.setdefault(key, {})[shape.facts["ids"]] = text
    rows = [
        [f"D {dim}, {home}", *(cells.get(n, "-") for n in ns)]
        for (dim, home), cells in lines.items()
    ]
    title = f"{group}: ns per id, and {US} / {LIMIT}"
    title += ", and / dense steps in L1" if group == STEP else ""
    table(title, ["", *(f"{n} ids" for n in ns)], rows)


def judge(report: Report, group: str, home: str) -> None:
    """Judge the worst cell of an operation on tables of one size."""
    ratios = {}
    for shape in report.shapes(group):
        ours, limit = report.get(shape.label, US, group), limit_of(report, shape, group)
        if shape.facts["home"] == home and ours is not None and limit is not None:
            ratios[shape.label] = ours.ns / limit
    worst = max(ratios, key=lambda label: ratios[label], default="")
    missed = sum(ratio > TARGET for ratio in ratios.values())
    text = f"{group}, {home}, the worst of {len(ratios)} cells ({worst}; {missed} above)"
    report.claims.append(Claim(text, ratios.get(worst), "<=", TARGET))
