"""Time of a Table at every length of a row, from L1 to DRAM, beside the plain loops of limits.c.

Sequential steps, sums, gather and pool, with batches from 256 ids on. A table takes as many bytes
at each length. Both sides are called from Python, with arguments that are made before, so a small
batch counts what its call costs. A sample is several batches, each of other ids.

A step has a root and a division for each element, and the limit none. So in a cache the time of
as many roots and divisions in L1 is a second limit: what arithmetic alone takes on this processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

import adagrad
from bench import bounds, data, limits
from bench.harness import Report
from bench.results import LIMIT, US, Claim, Shape, Variant, check, number, table
from bench.rows import EPS, LR, START

DIMS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 31, 32, 48, 64, 100, 128)
HOMES = {"L1": 1 << 14, "L2": 1 << 19, "L3": 1 << 24, "DRAM": 1 << 30}  # bytes of a table
NS = (256, 1000, 10**4, 65536, 10**6)
SMOKE_DIMS, SMOKE_HOMES, SMOKE_NS = (1, 4, 31), ("L1", "L3"), (256, 10**4)
SHORT_DIMS, SHORT_HOMES, SHORT_NS = (1, 4, 31, 128), ("L2", "DRAM"), (256, 10**4)
SMOKE_POOL = 1 << 16
MOST = 1 << 24  # elements of a batch
POOL = 1 << 22  # ids, before they repeat
SAMPLE = 1 << 15  # ids of a sample, at least one batch
BAG = 16
STEP, SUM, GATHER, SINGLES, BAGS = GROUPS = (
    "step",
    "step, sum",
    "gather",
    "pool of single rows",
    f"pool of bags of {BAG}",
)
SEQUENTIAL = f"{US} sequential"
ARITHMETIC, IN_L1 = bounds.ARITHMETIC, bounds.IN_L1
TARGETS = dict.fromkeys(GROUPS, 1.25) | {SUM: 1.5}
MINI_BATCH, MOST_DEARER = 10**4, 1.25  # of "sum" than "sequential"

Make = Callable[[np.ndarray], Callable[[], object]]


def run(report: Report) -> None:
    """Measure, print the ratio of every cell, and judge the worst of each kind."""
    dims, names, ns = DIMS, tuple(HOMES), NS
    if report.smoke:
        dims, names, ns = SMOKE_DIMS, SMOKE_HOMES, SMOKE_NS
    elif report.short:
        dims, names, ns = SHORT_DIMS, SHORT_HOMES, SHORT_NS
    for dim in dims:
        for home in names:
            measure_table(report, dim, home, max(4, HOMES[home] // (8 * dim)), ns)
    for group in GROUPS:
        show(report, group)
        for home in names:
            judge(report, group, home)
    for home in names:
        judge_sums(report, home)


def measure_table(report: Report, dim: int, home: str, rows: int, ns: Sequence[int]) -> None:
    """Measure every operation and batch on one table."""
    rule = adagrad.Rule(lr=LR, eps=EPS, initial_accumulator=START)
    ours = adagrad.Table(rows, dim, rule)
    ids = np.random.default_rng(1).integers(0, rows, SMOKE_POOL if report.smoke else POOL)
    for n in ns:
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
    summing = both(
        SUM,
        lambda ids: lambda: ours.step(ids, g, "sum"),
        lambda loops: lambda ids: loops.step_rows(w, s, ids, g),
    )
    summing.append(of(SUM, SEQUENTIAL, lambda ids: lambda: ours.step(ids, g, "sequential")))
    if home in ("L1", "L2"):
        for variants in (stepping, summing):
            variants += bounds.arithmetic(count * n * dim, variants[0].group)
    yield stepping
    yield summing

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
    found = [report.get(shape.label, name, group) for name in (LIMIT, ARITHMETIC)]
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
        arithmetic = report.get(shape.label, ARITHMETIC, group)
        if arithmetic is not None:
            text += f" {number(ours.ns / arithmetic.ns):>5}x"
        key = shape.facts["dim"], shape.facts["home"]
        lines.setdefault(key, {})[shape.facts["ids"]] = text
    rows = [
        [f"D {dim}, {home}", *(cells.get(n, "-") for n in ns)]
        for (dim, home), cells in lines.items()
    ]
    title = f"{group}: ns per id, and {US} / {LIMIT}"
    title += ", and / roots in L1" if group in (STEP, SUM) else ""
    table(title, ["", *(f"{n} ids" for n in ns)], rows)


def judge(report: Report, group: str, home: str) -> None:
    """Judge the worst cell of an operation on tables of one size."""
    ratios = {}
    for shape in report.shapes(group):
        ours, limit = report.get(shape.label, US, group), limit_of(report, shape, group)
        if shape.facts["home"] == home and ours is not None and limit is not None:
            ratios[shape.label] = ours.ns / limit
    worst = max(ratios, key=lambda label: ratios[label], default="")
    target = TARGETS[group]
    missed = sum(ratio > target for ratio in ratios.values())
    text = f"{group}, {home}, the worst of {len(ratios)} cells ({worst}; {missed} above)"
    report.claims.append(Claim(text, ratios.get(worst), "<=", target))


def judge_sums(report: Report, home: str) -> None:
    """Judge how much dearer sums are than sequential steps, in the worst batch that is small."""
    ratios = {}
    for shape in report.shapes(SUM):
        found = [report.get(shape.label, name, SUM) for name in (US, SEQUENTIAL)]
        if shape.facts["home"] == home and shape.facts["ids"] <= MINI_BATCH and all(found):
            ratios[shape.label] = report.ratio(shape.label, US, SUM, SEQUENTIAL)
    worst = max(ratios, key=lambda label: ratios[label] or 0.0, default="")
    text = f"Table.step, {home}, at most 10 k ids: sum / sequential, worst ({worst})"
    report.claims.append(Claim(text, ratios.get(worst), "<=", MOST_DEARER))
