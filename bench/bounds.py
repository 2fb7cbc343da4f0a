"""The limits of a pass over examples: one of memory, and one of arithmetic.

The limit of memory reads and writes the same rows in the same order, each once per entry: it does
not wait for the margin before it takes a step. That of arithmetic takes as many roots and divisions
as the pass, on arrays in L1. A pass is not faster than the slower one, unless rows that stay in a
cache spare it some of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import adagrad
from bench import limits
from bench.clicks import Clicks
from bench.harness import Report
from bench.results import LIMIT, US, Claim, Variant

ARITHMETIC = f"{LIMIT} of arithmetic"
IN_L1 = 2048  # elements of each of three arrays


def memory(of: Clicks, tables: Callable[[], Sequence[adagrad.Table]], group: str) -> list[Variant]:
    """Return a visit of the rows of each entry, once, in new tables."""
    g, margins = np.full(len(of), 2.0**-10, np.float32), np.empty(len(of), np.float32)

    def bind(loops: limits.Limits, _: int) -> limits.Call:
        pairs = [(t.weights, t.state) for t in tables()]
        return loops.learn(pairs, of.x, g, margins)

    return limits.variant(bind, group)


def arithmetic(steps: int, group: str) -> list[Variant]:
    """Return `steps` roots and divisions."""
    loops = limits.load()
    if loops is None:
        return []
    w, s, g = (np.full(IN_L1, x, np.float32) for x in (0.0, 1.0, 2.0**-10))
    call = loops.roots(w, s, g, steps, 0.1, 1e-6)
    return [Variant(ARITHMETIC, lambda _: call(), group=group)]


def claim(report: Report, label: str, text: str, group: str, most: float, ours: str = US) -> None:
    """Claim how near a pass is to the slower of its limits."""
    over = [report.ratio(label, ours, group, limit) for limit in (LIMIT, ARITHMETIC)]
    known = [ratio for ratio in over if ratio is not None]
    report.claims.append(Claim(f"{text}: over the limit", min(known, default=None), "<=", most))
