"""Two threads, or --threads N, beside one: on a quiet machine, and beside a busy processor.

Whatever shares a machine takes processors away from threads that wait for each other. Each step
takes turns with itself on one thread: first alone, then beside a process that never pauses.
Learners go on with models that have learned before, as in a stream.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import adagrad
from adagrad.ctr import FactorizationMachine, FieldAwareFactorizationMachine, LogisticRegression
from bench import clicks
from bench.harness import Report
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant

BITS, EXAMPLES = 20, 60_000
ROWS, DIM, IDS = 100_000, 16, 100_000
ALONE, BUSY = "a quiet machine", "beside a busy processor"
BURN = "print(flush=True)\nwhile True: sum(range(10_000))"
FIELDED, MATRIX, AUTO, FM, FFM = SHARED = (
    "LR, 39 fields",
    "LR, a sparse matrix",
    "LR, lr='auto', 39 fields",
    "FM, k = 8",
    "FFM, k = 4",
)
SCALING = (FIELDED, MATRIX, FM, FFM)  # those that two threads are to speed up by half
Step = Callable[[], object]


@contextmanager
def busy() -> Iterator[None]:
    """Keep a processor busy."""
    with subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
            yield
        finally:
            process.kill()


def _learner(make: Callable[[int], Any], x: Any, y: np.ndarray) -> Callable[[int], Step]:
    def of(threads: int) -> Step:
        model = make(threads).partial_fit(x, y, classes=[0.0, 1.0])
        return lambda: model.partial_fit(x, y)

    return of


def _tables() -> Iterator[tuple[str, int, Callable[[int], Step]]]:
    random = np.random.default_rng(0)
    ids = random.zipf(1.2, IDS) % ROWS
    g = random.standard_normal((IDS, DIM), np.float32)
    w, s = np.ones((ROWS, DIM), np.float32), np.full((ROWS, DIM), 0.1, np.float32)
    for policy in ("sum", "sequential"):
        table = adagrad.Table(ROWS, DIM)
        name = f"Table.step, {policy}, D {DIM}"
        yield name, IDS, lambda k, p=policy, t=table: lambda: t.step(ids, g, p, threads=k)
        name, rows = f"step_rows, {policy}, D {DIM}", adagrad.step_rows
        yield name, IDS, lambda k, p=policy, f=rows: lambda: f(w, g, s, ids, 0.01, p, threads=k)


def _work(n: int, bits: int) -> Iterator[tuple[str, int, Callable[[int], Step]]]:
    """Yield a name, what is counted, and the step on a number of threads."""
    of, rows = clicks.fielded(n, bits), clicks.generic(n // 2, bits)
    few, matrix = of.x[: n // 6], rows.x.to_csr()
    made = {
        FIELDED: (lambda j: LogisticRegression(0.05, n_jobs=j), of.x, of.y, of.entries),
        MATRIX: (lambda j: LogisticRegression(0.05, n_jobs=j), matrix, rows.y, rows.entries),
        AUTO: (lambda j: LogisticRegression(n_jobs=j), of.x, of.y, of.entries),
        FM: (lambda j: FactorizationMachine(8, lr=0.05, n_jobs=j), of.x, of.y, n),
        FFM: (
            lambda j: FieldAwareFactorizationMachine(4, lr=0.1, n_jobs=j),
            few,
            of.y[: len(few)],
            len(few),
        ),
    }
    for name, (make, x, y, count) in made.items():
        yield name, count, _learner(make, x, y)
    yield from _tables()


def run(report: Report) -> list[Panel]:
    """Measure all of it twice."""
    threads = max(2, report.args.threads)
    one, several = f"{US}, 1 thread", US
    steps = [
        (Shape(name, count), {one: of(1), several: of(threads)})
        for name, count, of in _work(*((2048, 12) if report.smoke else (EXAMPLES, BITS)))
        if report.wants(name)
    ]

    def measure(group: str) -> None:
        for shape, ways in steps:
            variants = [Variant(name, lambda _, s=s: s(), group=group) for name, s in ways.items()]
            report.measure(shape, variants, False, 4.0)

    measure(ALONE)
    with busy():
        measure(BUSY)
    for group in (ALONE, BUSY):
        report.by_shape(f"{group}, {threads} threads: ns an entry, example or id", group)
        for shape, _ in steps:
            least = 1.5 if group == ALONE and shape.label in SCALING else 0.95
            text = f"{group}: {shape.label}: 1 thread / {threads}"
            gained = report.ratio(shape.label, one, group)
            report.claims.append(Claim(text, gained, ">=", least))
    return []
