"""Time of one call on few elements, and of an import.

All arrays are in L1, so that this is the cost of arriving at the loop. An import is measured in
fresh processes, in pairs: with adagrad less without, NumPy in both.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np

import adagrad
from adagrad import _core
from bench.dense import EPS, LR, START, numba_step, numpy_step, torch_variants
from bench.harness import Report
from bench.machine import peer
from bench.picture import Panel
from bench.results import US, Claim, Shape, Variant, check

SIZES = (1, 8, 32, 64, 512, 2048, 4096)
PAIRS, SMOKE_PAIRS = 15, 3


def make(n: int, loop: Any) -> list[Variant]:
    """Return the variants for one size, checked."""
    g = np.random.default_rng(0).random(n, dtype=np.float32) + np.float32(0.5)
    w, s = np.ones(n, np.float32), np.full(n, START, np.float32)
    rows = np.arange(n)
    rule = adagrad.Rule(lr=LR, eps=EPS)
    variants = [
        Variant(US, lambda _: adagrad.step(w, g, s, lr=LR, eps=EPS)),
        Variant(f"{US}, a Rule", lambda _: adagrad.step(w, g, s, rule)),
        Variant(f"{US}, _core.step", lambda _: _core.step(w, g, s, rule, *[None] * 4)),
        Variant(f"{US}.step_rows", lambda _: adagrad.step_rows(w, g, s, rows, rule)),
        Variant("NumPy", lambda _: numpy_step(w, g, s)),
    ]
    if loop is not None:
        lr, eps = np.float32(LR), np.float32(EPS)
        variants.append(Variant("numba", lambda _: loop(w, g, s, lr, eps)))
    torch = peer("torch")
    if torch is not None:
        variants += [v for v in torch_variants(torch, w, g, s) if "own" not in v.name]
    w1, s1 = w.copy(), s.copy()
    numpy_step(w1, g, s1)
    for v in variants:
        w[:], s[:] = 1.0, START
        v.call(None)
        check(v.name, w, w1, 1e-6 if v.name.startswith("torch") else 0.0)
    return variants


def import_times(pairs: int) -> list[float]:
    """Return the seconds that importing adagrad adds, once per pair of fresh processes."""
    times = []
    for _ in range(pairs + 1):
        seconds = []
        for modules in ("numpy", "numpy, adagrad"):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
            seconds.append(time.perf_counter() - begin)
        times.append(seconds[1] - seconds[0])
    return times[1:]  # the first pair fills the file cache


def run(report: Report) -> list[Panel]:
    """Measure calls and imports, and judge the claims."""
    numba = peer("numba")
    loop = numba_step(numba) if numba is not None else None
    for n in SIZES[:4] if report.smoke else SIZES:
        # Counted in calls, so that ns are those of a call.
        report.measure(Shape(f"{n}", 1, {"elements": n}), make(n, loop), repeat=True, budget=1.0)
    report.by_shape("elements: ns per call, and time / adagrad's")
    imports = import_times(SMOKE_PAIRS if report.smoke else PAIRS)
    low, median, high = np.percentile(imports, [25, 50, 75]) * 1e3
    print(f"\nimport adagrad after NumPy: {median:.0f} ms ({low:.0f} to {high:.0f})")

    call = report.get("64")
    value = None if call is None else call.ns / 1e3
    report.claims.append(Claim("a step of 64 elements", value, "<=", 0.5, "µs"))
    for n in (64, 512, 2048, 4096):
        text = f"a step of {n} elements: numba / {US}"
        report.claims.append(Claim(text, report.ratio(f"{n}", "numba"), ">=", 1.0))
    call = report.get("32", f"{US}.step_rows")
    value = None if call is None else call.ns / 1e3
    report.claims.append(Claim("step_rows of 32 ids", value, "<=", 1.0, "µs"))
    report.claims.append(Claim("import adagrad after NumPy", float(median), "<=", 60, "ms"))
    shapes = report.shapes()
    x = [shape.facts["elements"] for shape in shapes]
    series = {
        name: (x, [report.ratio(shape.label, name) for shape in shapes])
        for name in report.names()
        if name != US
    }
    return [Panel("one call, arrays in L1", "elements", series)]
