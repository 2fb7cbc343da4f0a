"""The few ratios that every change must keep: one thread, in cache, beside a plain loop.

They are chosen to be steady on a shared machine. All memory fits into the caches of one core, times
are processor times of this thread, and the reference takes turns with ours: the limit, NumPy where
the time of a call is what counts, a fixed rate beside the default learner. What depends on memory,
on two threads, on peers or on much Python is left to the other questions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import adagrad
from bench import clicks, everything, limits, machine, record
from bench.data import gradients
from bench.dense import EPS, LR, START, empty, numpy_step
from bench.harness import Report
from bench.picture import Panel
from bench.results import LIMIT, US, Shape, Table, Variant, number, table

NUMPY, FIXED = "NumPy", f"{US}, lr=0.1"
FALL = 25  # percent
ROWS, IDS, DIM, BAG = 1 << 12, 10_000, 16, 16
EXAMPLES, SLOT_BITS = 1024, 10
Watched = tuple[Shape, list[Variant]]
Call = Callable[[], object]


def pair(
    label: str,
    count: int,
    ours: Callable[[Any], object],
    bind: Callable[[limits.Limits], Call],
    prepare: Callable[[], Any] = lambda: None,
) -> Watched:
    """Return ours and the limit as variants of one shape."""
    of_limit = limits.variant(lambda loops, _: bind(loops))
    return Shape(label, count), [Variant(US, ours, lambda _: prepare()), *of_limit]


def arrays(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return w, g and s, which begin at cache lines."""
    w, g, s = (empty(n, "float32", 64, 0) for _ in range(3))
    w[:], g[:], s[:] = 1.0, gradients(n), START
    return w, g, s


def dense() -> Iterator[Watched]:
    """Yield a call, and steps in L1 and L2."""
    w, g, s = arrays(64)
    numpy = Variant(NUMPY, lambda _: numpy_step(w, g, s))
    yield Shape("step of 64", 1), [Variant(US, lambda _: adagrad.step(w, g, s, lr=LR)), numpy]
    for label, n in (("2 k", 1 << 11), ("16 k", 1 << 14)):
        x, h, t = arrays(n)
        yield pair(
            f"step of {label}",
            n,
            lambda _, x=x, h=h, t=t: adagrad.step(x, h, t, lr=LR, eps=EPS, threads=1),
            lambda of, x=x, h=h, t=t: of.dense(x, h, t),
        )


def sparse() -> Iterator[Watched]:
    """Yield steps of rows of one element and of several, and reads."""
    ids = np.random.default_rng(0).integers(0, ROWS, IDS)
    w, _, s = arrays(ROWS)
    g = gradients(IDS)
    yield pair(
        "step_rows, sequential",
        IDS,
        lambda _: adagrad.step_rows(w, g, s, ids, LR, "sequential", threads=1),
        lambda of: of.step_rows(w, s, ids, g),
    )
    rule = adagrad.Rule(lr=LR, initial_accumulator=START)
    narrow, wide = adagrad.Table(ROWS, 1, rule), adagrad.Table(ROWS // DIM, DIM, rule)
    rows, h = ids % (ROWS // DIM), gradients(IDS * DIM).reshape(IDS, DIM)
    for label, t, at, by in (("Table.step", narrow, ids, g), (f"D {DIM}", wide, rows, h)):
        for policy in ("sequential", "sum"):
            yield pair(
                f"{label}, {policy}",
                IDS,
                lambda _, t=t, at=at, by=by, policy=policy: t.step(at, by, policy, threads=1),
                lambda of, t=t, at=at, by=by: of.step_rows(t.weights, t.state, at, by),
            )
    out, sums = np.empty((IDS, DIM), np.float32), np.empty((IDS // BAG, DIM), np.float32)
    offsets = np.arange(0, IDS + 1, BAG)
    w_wide = wide.weights
    yield pair(
        f"D {DIM}, gather",
        IDS,
        lambda _: wide.gather(rows),
        lambda of: of.gather(w_wide, rows, out),
    )
    yield pair(
        f"D {DIM}, pool",
        IDS,
        lambda _: wide.pool(rows, offsets, threads=1),
        lambda of: of.pool(w_wide, rows, offsets, sums),
    )
    yield pair(
        "coalesce",
        IDS,
        lambda _: adagrad.coalesce(ids, g),
        lambda of: of.step_rows(w, s, ids, g),
    )


def pass_of(of: clicks.Clicks, widths: Sequence[int]) -> Callable[[limits.Limits], Call]:
    """Return the limit of a pass over tables of rows of these widths."""
    both = [np.zeros((of.x.n_slots, 2 * width), np.float32) for width in widths]
    tables = [
        (b[:, 0], b[:, 1]) if width == 1 else (b[:, :width], b[:, width:])
        for b, width in zip(both, widths, strict=True)
    ]
    g, margins = np.full(len(of), 2.0**-10, np.float32), np.empty(len(of), np.float32)
    return lambda loops: loops.learn(tables, of.x, g, margins)


def learners() -> Iterator[Watched]:
    """Yield passes of learners and predictions; the default beside a fixed rate."""
    from adagrad.ctr import FieldAwareFactorizationMachine, LogisticRegression

    of = clicks.fielded(EXAMPLES, SLOT_BITS)

    def begun(make: Callable[[], Any]) -> Any:
        return make().partial_fit(of.x, of.y, classes=[0.0, 1.0])

    def fixed() -> Any:
        return begun(lambda: LogisticRegression(0.1, n_jobs=1))

    def learn(model: Any) -> None:
        model.partial_fit(of.x, of.y)

    of_pairs, count = pass_of(of, [1]), of.entries
    yield pair("LR, a pass", count, learn, of_pairs, fixed)
    yield pair("LR, predict_proba", count, lambda m: m.predict_proba(of.x), of_pairs, fixed)
    yield (
        Shape("LR auto, a pass", count),
        [
            Variant(US, learn, lambda _: begun(lambda: LogisticRegression(n_jobs=1))),
            Variant(FIXED, learn, lambda _: fixed()),
        ],
    )
    yield pair(
        "FFM, a pass",
        count,
        learn,
        pass_of(of, [1, 4 * clicks.FIELDS]),
        lambda: begun(lambda: FieldAwareFactorizationMachine(4, lr=0.1, n_jobs=1)),
    )


def run(report: Report) -> list[Panel]:
    """Measure all ratios, in processor time of this thread, and print them."""
    report.clock = time.thread_time
    for group in (dense, sparse, learners):
        try:
            for shape, variants in group():
                if report.wants(shape.label):
                    report.measure(shape, variants, repeat=True, budget=2.0)
        except ModuleNotFoundError as error:
            machine.leave_out(error.name or str(error))
    rows = []
    for shape in report.shapes():
        for name in (LIMIT, NUMPY, FIXED):
            ours, other = report.get(shape.label), report.get(shape.label, name)
            if ours is not None and other is not None:
                rows.append(
                    [shape.label, ours.text(), other.text(), name, number(ours.over(other)[1])]
                )
    table("One thread, in cache: ns", ["", US, "beside", "", "ratio"], rows)
    return []


def ratios(part: dict[str, Any]) -> dict[str, float]:
    """Return our time over that of the reference, by the label of a shape.

    Of both, the fastest sample is compared: other work makes samples slower, never faster.
    """
    times: dict[str, dict[bool, float]] = {}
    for cell in part.get("results", []):
        times.setdefault(cell["shape"], {})[cell["variant"] == US] = cell["least_ns"]
    return {label: of[True] / of[False] for label, of in times.items() if len(of) == 2}


def fallen(kept: dict[str, float], now: dict[str, float]) -> list[str]:
    """Return what is missing now, or has lost more than a quarter of its speed."""
    return [n for n, was in kept.items() if n not in now or was / now[n] < 1 - FALL / 100]


def main(arguments: Sequence[str]) -> int:
    """Measure, and compare with what is kept; return 1 if a speed has fallen twice in a row."""
    parser = argparse.ArgumentParser(prog="python -m bench check", description=__doc__)
    parser.add_argument("--kept", type=Path, default=record.KEPT, metavar="FOLDER")
    args = parser.parse_args(arguments)
    path = args.kept / f"{machine.kind()}.json"
    if not path.exists():
        print(f"No ratios are kept for {machine.kind()}: nothing to compare with.")
        return 0
    kept = ratios(record.read(path)["questions"].get("gate", {}))
    with TemporaryDirectory() as folder:
        now = ratios(everything.ask("gate", [], Path(folder)))
        first = fallen(kept, now)
        again: dict[str, float] = {}
        if first:
            print(
                f"\nFell by more than {FALL} %, so measured again: {', '.join(first)}", flush=True
            )
            only = [option for name in first for option in ("--only", name)]
            again = ratios(everything.ask("gate", only, Path(folder)))
    failed = fallen({name: kept[name] for name in first}, again)
    rows = []
    for name, was in kept.items():
        found = [x.get(name) for x in (now, again)]
        last = next((x for x in reversed(found) if x is not None), None)
        change = "-" if last is None else f"{100 * (was / last - 1):+.0f} %"
        texts = ["-" if x is None else number(x) for x in (was, *found)]
        rows.append([name, *texts, change, "FELL" if name in failed else ""])
    headers = ["", "kept", "now", "again", "speed", ""]
    print(f"\n{Table('Our time over that of the reference', headers, rows)}")
    return int(bool(failed))
