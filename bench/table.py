"""Time of Table.step on rows of one float32, from L1 to tables far larger than any cache.

A param lies beside its accumulator, so an id touches one cache line. The limit and numba's plain
loop work on the memory of the table, step_rows and torch on two separate arrays. Ids are those of
rows.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import adagrad
from bench import data, rows
from bench.harness import Report
from bench.machine import binary, home, peer
from bench.picture import Panel
from bench.results import LIMIT, US, Claim, Shape, Variant, number, table
from bench.rows import EPS, LR, START, Apply

SEPARATE = f"{US} step_rows"
BITS, LARGE_BITS = (12, 15, 20, 24, 26), 28  # 8 bytes each: 32 KiB, 256 KiB, 8, 128, 512 MiB, 2 GiB
N, SMALL_NS = 10**6, (10**4, 10**5)
QUICK = (
    *("2^15 uniform, 1 M", "2^15 no repeats", "2^26 uniform, 10 k"),
    *(f"2^{bits} {law}, 1 M" for bits in (24, 26) for law in ("uniform", "Zipf 1.2", "no repeats")),
)
POLICIES = ("sequential", "sum", "unique")


class Interleaved(rows.Table):
    """The w and s of an adagrad.Table, for the benchmarks of rows."""

    def __init__(self, count: int, dim: int = 1) -> None:
        rule = adagrad.Rule(lr=LR, eps=EPS, initial_accumulator=START)
        self.table = adagrad.Table(count, dim, rule)
        self.w, self.s = self.table.weights, self.table.state

    def step(self, duplicates: str, threads: int = 1) -> Apply:
        """Return Table.step."""
        ours = self.table
        return lambda b: ours.step(b[0], b[1], duplicates, threads=threads)  # type: ignore[arg-type]


def numba_pairs(numba: Any) -> Callable[..., None]:
    """Compile the plain loop over interleaved memory."""

    @numba.njit(error_model="numpy")
    def loop(pairs, g, rows, lr, eps):  # type: ignore[no-untyped-def]
        for i in range(rows.size):
            id = rows[i]
            pairs[id, 1] += g[i] * g[i]
            pairs[id, 0] -= lr * g[i] / np.sqrt(pairs[id, 1] + eps)

    return loop


def make(ours: Interleaved, apart: rows.Table, batches: data.Batches, loop: Any) -> list[Variant]:
    """Return the variants for one shape, checked."""
    variants: list[Variant] = []
    first = batches(0)
    short = (first[0][:4000], first[1][:4000])  # the reference of "sequential" is slow
    references = {"sum": "reference_sum", "sequential": "reference_sequential"}
    distinct = batches.unique() == 1.0 and batches.n <= len(ours.w)

    def add(group: str, name: str, call: Apply, memory: rows.Table) -> None:
        v = Variant(name, call, batches, group)
        want = getattr(memory, references.get(group, "numpy_unique"))
        memory.check(v, short if group == "sequential" else first, want, 0.0)
        variants.append(v)

    for group in ("unique",) if distinct else ("sequential", "sum"):
        add(group, US, ours.step(group), ours)
        variants += ours.limit(batches, group)
        add(group, SEPARATE, apart.step(group), apart)
    if distinct:
        return variants
    if loop is not None:
        lr, eps = np.float32(LR), np.float32(EPS)
        pairs = np.lib.stride_tricks.as_strided(ours.w, (len(ours.w), 2), (8, 4))
        add("sequential", "numba", lambda b: loop(pairs, b[1], b[0], lr, eps), ours)
    torch = peer("torch")
    if torch is not None:
        v = rows.torch_sparse(torch, apart, "sum", batches)
        v.prepare(0)
        # Sums of 1e6 gradients: float32 in another order differs by up to 1e-3.
        apart.check(v, first, apart.reference_sum, 4e-3)
        variants.append(v)
    return variants


def run(report: Report) -> list[Panel]:
    """Measure, print a table per policy, and judge the claims."""
    numba = peer("numba")
    loop = numba_pairs(numba) if numba is not None else None
    tables = (12, 20) if report.smoke else (*BITS, LARGE_BITS)
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    for bits in tables:
        ns = (10**4,) if report.smoke else (*SMALL_NS, N, 4 * N) if bits in (24, 26) else (N,)
        cells = [(law, n) for law in data.LAWS for n in ns]
        cells.append((data.DISTINCT, min(10**4 if report.smoke else N, 1 << bits)))
        cells = [cell for cell in cells if report.wants(label_of(bits, *cell))]
        if not cells:
            continue
        ours, apart = Interleaved(1 << bits), rows.Table((1 << bits,))
        for law, n in cells:
            batches = data.Batches(data.draw(law, bits, pool), data.gradients(pool), n)
            facts = {"table": 1 << bits, "law": law, "unique": batches.unique()}
            variants = make(ours, apart, batches, loop)
            shape = Shape(label_of(bits, law, n), n, facts)
            report.measure(shape, variants, repeat=False, budget=8.0 if n >= N else 2.0)
        print(
            f"{data.power(bits)}: {binary(8 << bits)}, {home(8 << bits)}, {ours.table.pages} pages"
        )
        del ours, apart, variants
    for policy in POLICIES:
        report.by_shape(f"duplicates={policy!r}: ns per id, and time / adagrad's", policy)
    show_costs(report)
    judge(report)
    return [panel(report, law, policy) for policy in POLICIES[:2] for law in data.LAWS]


def label_of(bits: int, law: str, n: int) -> str:
    """Return table, law and batch size as text."""
    count = data.thousands(n) if n % 1000 == 0 else str(n)
    return f"{data.power(bits)} {law}, {count}"


def across(report: Report, label: str, group: str, of: str) -> float | None:
    """Return the time of our policy `group` in units of our policy `of`."""
    a, b = report.get(label, US, group), report.get(label, US, of)
    return None if a is None or b is None else a.ns / b.ns


def show_costs(report: Report) -> None:
    """Print the ratios to the limit, and what summing costs."""
    lines = []
    for policy in ("sequential", "unique"):
        for shape in report.shapes(policy):
            ratios = [
                report.ratio(shape.label, US, policy, LIMIT),
                report.ratio(shape.label, SEPARATE, policy),
                across(report, shape.label, "sum", policy),
            ]
            name = shape.label
            lines.append([name, *("-" if x is None else number(x) for x in ratios)])
    headers = ["", f"{US} / {LIMIT}", f"{SEPARATE} / {US}", "sum / sequential"]
    table(
        "Ratios: Table.step (sequential; unique) to the limit, two arrays, summing", headers, lines
    )


def judge(report: Report) -> None:
    """Compare with what the project promises for tables."""

    def claim(text: str, value: float | None, relation: str, target: float) -> None:
        report.claims.append(Claim(text, value, relation, target))

    def near_limit(bits: int, law: str, n: int, target: float) -> None:
        policy = "unique" if law == data.DISTINCT else "sequential"
        label = label_of(bits, law, n)
        value = report.ratio(label, US, policy, LIMIT)
        claim(f"{label}, {policy}: {US} / {LIMIT}", value, "<=", target)

    for bits in (24, 26, LARGE_BITS):
        near_limit(bits, data.UNIFORM, N, 1.2)
        near_limit(bits, data.DISTINCT, N, 1.2)
        near_limit(bits, data.ZIPF_12, N, 1.25)
    near_limit(15, data.UNIFORM, N, 1.25)
    near_limit(15, data.DISTINCT, 1 << 15, 1.25)
    label = label_of(26, data.UNIFORM, N)
    value = report.ratio(label, SEPARATE, "sequential")
    claim(f"{label}, sequential: {SEPARATE} / {US}", value, ">=", 1.7)
    for bits in (24, 26):
        for law in (data.UNIFORM, data.ZIPF_12):
            for n in (N, 4 * N):
                label = label_of(bits, law, n)
                value = across(report, label, "sum", "sequential")
                claim(f"{label}: sum / sequential", value, "<=", 1.4)


def panel(report: Report, law: str, policy: str) -> Panel:
    """Return the ratios of one law and policy against the size of the table."""
    most = {}
    for shape in report.shapes(policy):
        if shape.facts["law"] == law and shape.count <= N:
            most[shape.facts["table"]] = shape.label
    series = {}
    for name in report.names(policy):
        ratios = [(size, report.ratio(label, name, policy)) for size, label in most.items()]
        ratios = [(size, ratio) for size, ratio in ratios if ratio is not None]
        if name != US and ratios:
            series[name] = tuple(zip(*ratios, strict=True))
    return Panel(f"{policy}, {law}", "coordinates", series)
