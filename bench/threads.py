"""Time of two threads, or --threads N, beside one: each shape is shared or not as the library does.

Every step takes turns with itself on one thread, which is the fastest way that we know there; a
call too small to share runs on one thread whatever is allowed, so that 1.00 is its ratio. Results
of both are checked to be the same bits. Peers run on as many threads as ours. A pool that another
library keeps may spin for a while after its work; every sample waits for that first. --grain 1
shares every call, however small, and shows from how many ids on that pays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import adagrad
from adagrad import _core
from bench import data, rows
from bench.dense import EPS, LR, START, torch_variants
from bench.harness import Report
from bench.machine import home, peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant, check
from bench.rows import Apply
from bench.table import Interleaved

BITS, LARGE_BITS = (18, 24, 26), 28
NS = (10**3, 10**4, 10**5, 10**6)
GRAIN_NS = (10**3, 3 * 10**3, 10**4, 3 * 10**4, 10**5)
DENSE = {
    "1 k": 10**3,
    "10 k": 10**4,
    "100 k": 10**5,
    "1 M": 10**6,
    "16 M": 1 << 24,
    "64 M": 1 << 26,
}
WIDE = 16
ONE = f"{US}, 1 thread"
TABLE, ROWS = "Table.step", "step_rows"
SEQUENTIAL, SUM, LONG = (f"{TABLE}, {what}" for what in ("sequential", "sum", f"sum, D {WIDE}"))
SCALING = (SEQUENTIAL, SUM, LONG, f"{ROWS}, sequential", f"{ROWS}, sum")
DENSE_STEP, TWO_TABLES = "step", "two tables, each stepped by a Python thread"
QUICK = (
    *("2^24 uniform, 10 k", "dense 1 M", "dense 16 M"),
    *(f"2^{bits} {law}, 1 M" for bits in (24, 26) for law in ("uniform", "Zipf 1.05")),
)
WAIT = 2e-3  # seconds


def quiet(prepare: Callable[[int], Any]) -> Callable[[int], Any]:
    """Wait until the threads of others have gone to sleep, then prepare."""

    def then(i: int) -> Any:
        x = prepare(i)
        time.sleep(WAIT)
        return x

    return then


def crew(group: str, step: Callable[[int], Apply], prepare: Any, threads: int) -> list[Variant]:
    """Return a step on `threads` threads, on one, and on the powers of two between."""
    between = [1 << k for k in range(1, 10) if 1 < 1 << k < threads]
    names = {US: threads, ONE: 1} | {f"{US}, {k} threads": k for k in between}
    return [Variant(name, step(k), quiet(prepare), group) for name, k in names.items()]


def make(
    memory: rows.Table, kind: str, batches: data.Batches, threads: int, suffix: str = ""
) -> list[Variant]:
    """Return both policies on one memory, checked: the same bits as one thread."""
    variants: list[Variant] = []
    for policy in ("sum",) if suffix else ("sequential", "sum"):
        step = lambda k, policy=policy: memory.step(policy, threads=k)  # noqa: E731
        team = crew(f"{kind}, {policy}{suffix}", step, batches, threads)
        for v in team:
            memory.check(v, batches(0), step(1), 0.0)
        variants += team
    torch = peer("torch")
    if torch is not None and kind == ROWS:
        v = rows.torch_sparse(torch, memory, f"{ROWS}, sum", batches)
        v.prepare(0)
        memory.check(v, batches(0), memory.reference_sum, 4e-3)
        variants.append(Variant(v.name, v.call, quiet(v.prepare), v.group))
    return variants


def numba_parallel(numba: Any) -> Callable[..., None]:
    """Compile the plain dense loop for several threads."""

    @numba.njit(error_model="numpy", parallel=True)
    def loop(w, g, s, lr, eps):  # type: ignore[no-untyped-def]
        for i in numba.prange(w.size):
            s[i] += g[i] * g[i]
            w[i] -= lr * g[i] / np.sqrt(s[i] + eps)

    return loop


def make_dense(n: int, threads: int, loop: Any) -> list[Variant]:
    """Return the dense step, checked."""
    random = np.random.default_rng(0)
    g = random.random(n, dtype=np.float32) + np.float32(0.5)
    w, s = np.ones(n, np.float32), np.full(n, START, np.float32)
    step = lambda k: lambda _: adagrad.step(w, g, s, lr=LR, eps=EPS, threads=k)  # noqa: E731
    variants = crew(DENSE_STEP, step, lambda _: None, threads)
    if loop is not None:
        lr, eps = np.float32(LR), np.float32(EPS)
        variants.append(Variant("numba", lambda _: loop(w, g, s, lr, eps), group=DENSE_STEP))
    torch = peer("torch")
    if torch is not None:
        fused = torch_variants(torch, w, g, s)[0]
        variants.append(Variant(fused.name, fused.call, group=DENSE_STEP))
    w[:], s[:] = 1.0, START
    step(1)(None)
    w1, s1 = w.copy(), s.copy()
    for v in variants:
        w[:], s[:] = 1.0, START
        v.call(None)
        check(v.name, s, s1, 0.0 if v.name.startswith(US) else 1e-6)
        check(v.name, w, w1, 0.0 if v.name.startswith(US) else 1e-6)
    return [Variant(v.name, v.call, quiet(lambda _: None), v.group) for v in variants]


def two_tables(bits: int, batches: data.Batches, pool: ThreadPoolExecutor) -> list[Variant]:
    """Return steps of two tables by two Python threads, and by one after the other."""
    steps = [Interleaved(1 << bits).step("sequential") for _ in range(2)]

    def at_once(batch: Any) -> None:
        other = pool.submit(steps[1], batch)
        steps[0](batch)
        other.result()

    def in_turn(batch: Any) -> None:
        for step in steps:
            step(batch)

    group = TWO_TABLES
    return [
        Variant(US, at_once, quiet(batches), group),
        Variant(ONE, in_turn, quiet(batches), group),
    ]


def label_of(bits: int, law: str, n: int) -> str:
    """Return elements of the table, law and ids as text."""
    return rows.label_of(bits, law, n)


def measure_table(report: Report, bits: int, threads: int, pool: int) -> None:
    """Measure all sparse steps on tables of 2^bits elements."""
    laws = (data.UNIFORM, data.ZIPF_12) if report.smoke else data.LAWS
    ns = (10**4, 10**5) if report.smoke else GRAIN_NS if report.args.grain else NS
    cells = [(law, n) for law in laws for n in ns if report.wants(label_of(bits, law, n))]
    if not cells:
        return
    ours, apart = Interleaved(1 << bits), rows.Table((1 << bits,))
    wide = Interleaved((1 << bits) // WIDE, WIDE)
    for law, n in cells:
        facts = {"table": 1 << bits, "law": law}
        shape = Shape(label_of(bits, law, n), n, facts)
        budget = 8.0 if n == NS[-1] else 2.0
        ids = data.draw(law, bits, pool)
        batches = data.Batches(ids, data.gradients(pool), n)
        for memory, kind in ((ours, TABLE), (apart, ROWS)):
            variants = make(memory, kind, batches, threads)
            if report.short:  # no claim is about peers
                variants = [v for v in variants if not v.is_peer]
            report.measure(shape, variants, False, budget)
        ids = data.draw(law, bits - WIDE.bit_length() + 1, pool)
        batches = data.Batches(ids, data.gradients(max(pool, 2 * NS[-1] * WIDE)), n, WIDE)
        variants = make(wide, TABLE, batches, threads, f", D {WIDE}")
        report.measure(shape, variants, False, budget)
    law, n = data.UNIFORM, max(ns)
    if (law, n) in cells:
        del ours, apart, wide, variants
        batches = data.Batches(data.draw(law, bits, pool), data.gradients(pool), n)
        shape = Shape(label_of(bits, law, n), 2 * n, {"table": 1 << bits, "law": law})
        with ThreadPoolExecutor(1) as executor:
            report.measure(shape, two_tables(bits, batches, executor), False, 4.0)


def run(report: Report) -> list[Panel]:
    """Measure, print a table per step, and judge the claims."""
    threads = max(2, report.args.threads)
    if report.args.grain:
        _core.set_sparse_grain(report.args.grain)
    numba, torch = peer("numba"), peer("torch")
    loop = None
    if numba is not None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        loop = numba_parallel(numba)
    if torch is not None:
        torch.set_num_threads(threads)
    pool = data.SMOKE_POOL if report.smoke else data.POOL
    tables = BITS[:1] if report.smoke else (*BITS, *((LARGE_BITS,) if report.args.large else ()))
    for bits in tables:
        measure_table(report, bits, threads, pool)
    for label, n in DENSE.items():
        if report.wants(f"dense {label}") and not (report.smoke and n > 10**6):
            in_cache = home(12 * n) != "DRAM"
            shape = Shape(f"dense {label}", n, {"dtype": "float32"})
            report.measure(shape, make_dense(n, threads, loop), in_cache, 1.0 if in_cache else 4.0)
    unit = {DENSE_STEP: "element"}
    for group in (*SCALING, DENSE_STEP, TWO_TABLES):
        what = f"{group}, {threads} threads: ns per {unit.get(group, 'id')}"
        report.by_shape(f"{what}, and time / that of {threads} threads", group)
    judge(report, threads)
    groups = (SEQUENTIAL, SUM, LONG)
    return [panel(report, law, group) for law in (data.UNIFORM, data.ZIPF_12) for group in groups]


def judge(report: Report, threads: int) -> None:
    """Compare with what the project promises for two threads."""
    labels = [
        label_of(bits, law, NS[-1]) for bits in (24, 26) for law in (data.UNIFORM, data.ZIPF_105)
    ]
    for group in SCALING:
        ratios = [report.ratio(label, ONE, group) for label in labels]
        found = [ratio for ratio in ratios if ratio is not None]
        value = min(found) if len(found) == len(ratios) else None
        text = f"{group}, 1 M, 2^24 and 2^26, uniform and Zipf 1.05, worst: 1 thread / {threads}"
        report.claims.append(Claim(text, value, ">=", 1.4))
    value = report.ratio(label_of(26, data.UNIFORM, NS[-1]), ONE, TWO_TABLES)
    text = "2^26 uniform, two tables of 1 M ids: in turn / by two Python threads"
    report.claims.append(Claim(text, value, ">=", 1.4))
    if report.args.grain:
        return
    worst = min(
        (
            (report.ratio(r.shape.label, ONE, r.variant.group), r.variant.group, r.shape.label)
            for r in report.results
            if r.variant.name == ONE
        ),
        default=(None, "", ""),
    )
    text = f"every shape, worst ({worst[1]}: {worst[2]}): 1 thread / {threads}"
    report.claims.append(Claim(text, worst[0], ">=", 0.95))


def panel(report: Report, law: str, group: str) -> Panel:
    """Return how much longer one thread takes, against the ids of a call."""
    series: dict[str, Any] = {}
    for shape in report.shapes(group):
        ratio = report.ratio(shape.label, ONE, group)
        if shape.facts["law"] == law and ratio is not None:
            name = f"1 thread, {data.power(shape.facts['table'].bit_length() - 1)}"
            x, y = series.setdefault(name, ([], []))
            x.append(shape.count)
            y.append(ratio)
    return Panel(f"{group}, {law}", "ids per call", series)
